"""The capacity by a law of one's own: which number is read, and what is refused."""

import json
from pathlib import Path

import pytest

from capacity.audit import own_law
from capacity.base.errors import ConfigError

RESULTS = Path(__file__).resolve().parents[3] / "results"


def test_the_law_is_the_strict_alpha_that_the_study_quotes():
    law = own_law.read("pocket", RESULTS)
    strict = json.loads((RESULTS / "studies" / "pocket" / "fit.json").read_bytes())["strict"]
    ends = strict["alpha"][strict["alpha"]["quote"]]["ends"]
    assert law.alpha == strict["alpha"]["value"] and list(law.interval) == ends
    low, high = law.sizes
    bits, source = law.capacity(10_000)
    assert low < 10_000 < high and bits == 10_000 * law.alpha
    assert "strict, of the study pocket" in source and "extrapolated" not in source
    assert law.capacity(10**9)[1].endswith("extrapolated")
    assert own_law.read(str(RESULTS / "studies" / "pocket" / "fit.json"), Path("x")).alpha == (
        law.alpha
    )


def refused(name, results):
    with pytest.raises(ConfigError) as error:
        own_law.read(name, results)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_law_of_random_data_is_one_line(tmp_path):
    assert "did you mean pocket" in refused("poket", RESULTS)
    assert "kind text" in refused(_written(tmp_path, {"kind": "text"}), RESULTS)
    none = {"kind": "random", "strict": {"alpha": None, "reason": "no plateau"}}
    assert "has no law: no plateau" in refused(_written(tmp_path, none), RESULTS)
    assert "not the numbers of a fit" in refused(_written(tmp_path, None), RESULTS)


def _written(folder, tree):
    path = folder / "law.json"
    path.write_text("{" if tree is None else json.dumps(tree))
    return str(path)
