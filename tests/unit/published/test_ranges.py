"""Every range that counts as agreement is closed and says why each end is where it is."""

import math
import re
from pathlib import Path

import pytest

from capacity.published import values as published

ROOT = Path(__file__).resolve().parents[3]
RANGED = [id for id, value in published.values().items() if value.range and value.reason]


def test_every_value_has_a_reason_or_a_margin():
    for id, value in published.values().items():
        assert (value.constants is not None) or bool(value.reason) != (value.margin is not None), id
    assert len(RANGED) > 35


@pytest.mark.parametrize("id", RANGED)
def test_no_range_is_open_to_one_side(id):
    low, high = published.get(id).range
    assert low is not None and high is not None and math.isfinite(high - low) and low < high


@pytest.mark.parametrize("id", RANGED)
def test_an_end_that_nothing_can_pass_or_that_is_the_number_itself_is_justified(id):
    """0 of an error or a share, 1 of a share, and the published number: the range is one-sided
    there, and its reason says so in words."""
    value = published.get(id)
    said = {0.0: r"\b0 is the least\b", 1.0: r"\b1 is the most\b|\b1 is no\b|below 1"}
    for end in value.range:
        bounded = value.unit in ("share", "percent") or value.quantity == "saturated_fraction"
        if bounded and end in said:
            assert re.search(said[end], value.reason), (end, value.reason)
        elif value.value is not None and math.isclose(end, value.value):
            assert "its own number" in value.reason or "says at least" in value.reason


def test_the_page_of_published_values_gives_every_reason():
    page = (ROOT / "docs" / "reference" / "published.md").read_text(encoding="utf-8")
    plain = re.sub(r"[\\`*]", "", page)
    for id in RANGED:
        start = published.get(id).reason.split(";")[0].split(",")[0][:40]
        assert start in plain, (id, start)


def test_a_range_without_a_reason_is_refused():
    entry = {
        "id": "x/y",
        "what": "w",
        "source": "s",
        "evidence": "p",
        "setting": "one",
        "range": [0.5, 1.0],
    }
    with pytest.raises(AssertionError, match="why each end"):
        published._value(entry, {"one": {}})
    assert published._value(entry | {"reason": "because"}, {"one": {}}).range == (0.5, 1.0)
