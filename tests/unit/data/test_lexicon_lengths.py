"""Lengths of vocabularies and of texts: the published ones, and those that are expected."""

import collections
import math

import numpy as np
import pytest
import torch

from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, lists, resolve
from capacity.data.biographies import BiosWorld
from vocabularies import POOLS, lines_of, odd, sections, settings, spy, values_of  # noqa: F401


def published(folder):
    return settings(pools_dir=str(folder), tokenizer="gpt2")


# -------------------------------------------------------------------------------- published numbers


@pytest.mark.official
def test_the_published_vocabulary_and_length(official):
    data = published(official)
    assert resolve.of(data).rows == resolve.of(data).used_rows == 3275
    assert lexicons.of(data).mean_tokens(data) == pytest.approx(72.9, abs=0.3)
    assert resolve.of(data).tokens_per_item == pytest.approx(73.9, abs=0.3)


@pytest.mark.official
def test_the_published_lists_have_their_known_lengths_and_prefixes(official):
    content = lexicons.of(published(official)).content
    mean = {
        name: np.mean(content["values"][name]["last"]["."]["lengths"])
        for name in ("birth_city", "university", "major", "employer")
    }
    assert mean == pytest.approx(
        {"birth_city": 3.72, "university": 4.07, "major": 1.70, "employer": 2.40}, abs=0.0051
    )
    places = np.array(content["headquarters"])
    lengths = np.array(content["values"]["work_city"]["last"]["."]["lengths"])
    assert lengths[places].mean() == pytest.approx(3.71, abs=0.0051)
    names = [
        np.mean([len(content["pieces"][p]) for p in content[part]]) for part in ("first", "middle")
    ]
    names.append(np.mean(content["last"][""]["lengths"]))
    assert names == pytest.approx([1.33, 1.40, 1.47], abs=0.0051)
    years = dict(
        zip(range(1900, 2100), content["values"]["birth_date"]["last"]["."]["lengths"], strict=True)
    )
    assert [y for y, n in years.items() if n == 1] == [
        *range(1900, 2023),
        2024,
        2025,
        2030,
        2048,
        2050,
    ]
    assert set(years.values()) == {1, 2}
    # a day and its comma
    assert all(len(content["pieces"][p]) == 2 for p in content["values"]["birth_date"]["parts"][1])
    count = {name: len(pairs) for name, pairs in content["extensions"].items()}
    assert count["university"] == 2 and count["major"] == 9 and count["employer"] == 2
    companies = values_of(official)["employer"]
    assert {(companies[v], companies[u]) for v, u in content["extensions"]["employer"]} == {
        ("Caterpillar", "Caterpillar Inc."),
        ("Disney", "Disney+"),
    }


@pytest.mark.official
def test_the_published_headquarters(official):
    data = published(official)
    places = lexicons.of(data).content["headquarters"]
    count = collections.Counter(places)
    assert len(places) == 263 and len(count) == 133 and max(count.values()) == 36
    assert values_of(official)["work_city"][count.most_common(1)[0][0]] == "New York, NY"
    city = -sum(n / 263 * math.log2(n / 263) for n in count.values())
    assert math.log2(263) == pytest.approx(8.039, abs=5e-4) and city == pytest.approx(
        6.313, abs=5e-4
    )
    assert math.log2(263) - city == pytest.approx(1.726, abs=5e-4)


# -------------------------------------------------------------------------------------- the lengths


def test_expected_lengths_are_the_mean_over_all_texts(spy, odd):
    """Of a world small enough to write out every text: two sentences, of an employer and of its
    city."""
    data = settings(
        years=0,
        cities=0,
        universities=0,
        majors=0,
        first_names=3,
        middle_names=0,
        last_names=200,
        employers=40,
        templates_file=odd,
        vocab_size=90,
        n_people=600,
    )
    content = compiling.compile(data)
    companies = [line.split("; ") for line in lines_of(POOLS, "company")[:40]]
    names = [
        f"{a} {b}"
        for a in lines_of(POOLS, "first_name")[:3]
        for b in lines_of(POOLS, "last_name")[:200]
    ]
    lines, lengths = sections(odd), []

    def mean(
        line, subjects, values
    ):  # the length of a sentence is a sum of a subject's and a value's part
        with_subject = [
            len(spy[0].whole(" " + line.replace("{value}", values[0]).replace("{subject}", s)))
            for s in subjects
        ]
        with_value = [
            len(spy[0].whole(" " + line.replace("{value}", v).replace("{subject}", subjects[0])))
            for v in values
        ]
        return np.mean(with_subject) + np.mean(with_value) - with_value[0]

    for column, attribute in enumerate(("employer", "work_city")):
        values = [company[column] for company in companies]
        lengths.append(
            np.mean(
                [
                    mean(line, some, values)
                    for line in lines[attribute]
                    for some in (names, ("He", "She"))
                ]
            )
        )
    assert lexicon.Lexicon(content).mean_tokens(data) == pytest.approx(sum(lengths), abs=1e-9)


SMALL = {
    "first_names": 11,
    "last_names": 13,
    "cities": 7,
    "universities": 6,
    "majors": 5,
    "employers": 9,
    "years": 8,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"full_names": True},
        {"order": "fixed"},
        {"order": "pairs"},
        {"order": "fixed", "biographies": 2},
        {"middle_names": 0},
        {"majors": 0},
        {"years": 0, "cities": 0, "universities": 0, "employers": 0},
        {"years": 0, "cities": 0, "universities": 0, "majors": 0, "order": "pairs"},
        {"employers": 0, "order": "pairs"},
        {"tokenizer": "gpt2"},
        {"templates": 1},
        {"odd": True},
        {"odd": True, "vocab_size": 90},
        {"odd": True, "full_names": True, "vocab_size": 300},
        {"odd": True, "order": "pairs", "vocabulary": "world"},
        {"odd": True, "order": "fixed", "templates": 1, "vocab_size": 90},
    ],
    ids=str,
)
def test_expected_lengths_and_used_rows_are_those_of_rendered_texts(changes, odd):
    """The mean within three standard errors over people; the rows of the world are exactly those
    that ever appear."""
    changes = {**SMALL, "first_names": 110, "n_people": 1000, **changes}
    if changes.pop("odd", False):
        changes["templates_file"] = odd
    data, n = settings(**changes), 1000
    content = lexicons.of(data).content
    seen, means = set(), []
    for block in range(4):  # other people each time: the mean is over people and texts
        other = BiosWorld(data, lexicons.of(data), n, 6 + block, torch.device("cpu"))
        person = torch.arange(n).repeat_interleave(8)
        tokens, length = other.pieces.join(other.render(person, torch.arange(8).repeat(n)))
        seen |= set(tokens.unique().tolist())
        means.append(length.view(n, 8).double().mean(1) - 1)
    mean = torch.cat(means)
    error = float(mean.std()) / math.sqrt(len(mean))
    assert abs(float(mean.mean()) - lexicons.of(data).mean_tokens(data)) < 3 * error + 1e-9
    assert len(seen) == resolve.of(data).used_rows, [
        content["tokens"][row] for row in set(range(resolve.of(data).rows)) - seen
    ][:20]
    assert lexicons.of(data).shortest(data) <= float(min(len(lists.ATTRIBUTES) * 3, mean.min()))
