"""Tiers as a plan counts them: whole numbers of items in geometric classes, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import tiers

BIOS = {"kind": "bios", "n_people": 400, "vocabulary": "world", "seq_len": 16, "templates": 2}


def config(n=400, exposures=200.0, batch=64, width=16, seed=0, **data):
    return from_dict(
        {
            "data": BIOS | {"n_people": n} | data,
            "model": {"d_model": width, "n_heads": 2},
            "train": {"exposures": exposures, "batch_size": batch},
            "seed": seed,
        }
    )


def counts(**data):
    return config(**data).tiers.identity()


def test_zipf_has_classes_between_doublings_of_the_frequency():
    """s = 1: every class has half the rate and twice the items of the one before, so that each
    class is seen equally often in total; s = 2: 2^(1/2) times the items."""
    assert counts(n=6300, zipf=1.0, zipf_tiers=6) == [[100 * 2**i, 32 >> i] for i in range(6)]
    n = [items for items, _ in counts(n=10**6, zipf=2.0, zipf_tiers=6)]
    assert all(
        math.isclose(b / a, math.sqrt(2), rel_tol=1e-4) for a, b in zip(n, n[1:], strict=False)
    )


def test_the_frequency_of_a_rank_falls_by_the_exponent():
    """Items seen f times or more are as many as the rank of frequency f: (f_1 / f)^(1/s)."""
    for s in (0.5, 1.0, 1.5):
        some = counts(n=10**6, zipf=s, zipf_tiers=5)
        ranks = [sum(n for n, _ in some[: i + 1]) for i in range(5)]
        # of a sum of a geometric row the ratio tends to that of its terms from below
        last = math.log2(ranks[-1] / ranks[-2])
        first = math.log2(ranks[1] / ranks[0])
        q = 2 ** (1 / s)
        assert math.isclose(2**last, (q**5 - 1) / (q**4 - 1), rel_tol=1e-3)
        assert math.isclose(2**first, q + 1, rel_tol=1e-2)


def test_listed_tiers_are_sorted_and_two_spellings_are_one_run():
    a = config(tiers=["0.5x1", "0.25x2", "0.25x4"])
    b = config(tiers=[".25x8", "0.25x4", "0.50x2"])
    assert a.tiers.identity() == [[100, 4], [100, 2], [200, 1]]
    assert a.run_id == b.run_id != config().run_id
    assert config(zipf=0.0, zipf_tiers=5).run_id == config(tiers=["1x3"]).run_id == config().run_id
    assert config(zipf=1.0, zipf_tiers=5).run_id != config(zipf=1.0, zipf_tiers=4).run_id


def test_the_total_and_the_mean_stay_as_they_are_without_tiers():
    plain, skewed = config(), config(zipf=1.0, zipf_tiers=6)
    assert (plain.steps, plain.tokens, plain.exposures) == (
        skewed.steps,
        skewed.tokens,
        skewed.exposures,
    )
    some = skewed.tiers
    seen = sum(tier.items * some.expected(tier, skewed.exposures) for tier in some.tiers)
    assert seen == pytest.approx(400 * skewed.exposures, rel=1e-12)


def test_tiers_are_the_same_for_every_model_batch_and_length():
    some = [config(zipf=1.0, **kind) for kind in ({}, {"width": 32}, {"batch": 8})]
    some.append(config(zipf=1.0, exposures=70.0))
    assert len({c.tiers for c in some}) == 1


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=9), st.integers(1, 5000))
def test_apportioned_numbers_add_up_and_miss_a_share_by_less_than_one(shares, items):
    given_ = [share / sum(shares) for share in shares]
    out = tiers.apportioned(given_, items)
    assert sum(out) == items
    assert all(abs(n - share * items) < 1 + 1e-6 for n, share in zip(out, given_, strict=True))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"tiers": ["0.5x1", "0.25x2"]}, "the shares add up to 0.75; they have to be 1 together"),
        ({"tiers": ["0.5x2", "0.5x3"]}, "rate 2 is no divisor of the largest, 3"),
        ({"tiers": ["0.5x1", "0.5x1"]}, "two tiers have one rate"),
        ({"tiers": ["0x1", "1x2"]}, "the share of rate 1 is 0; give one above 0"),
        ({"tiers": ["0.5x0", "0.5x2"]}, "rate 0: expected a whole number from 1 to 4096"),
        ({"tiers": ["0.5x1", "0.5x8192"]}, "rate 8192: expected a whole number from 1 to 4096"),
        ({"tiers": ["half"]}, "expected SHARExRATE, such as 0.25x4"),
        ({"tiers": [0.5]}, "expected SHARExRATE, such as 0.25x4"),
        ({"tiers": ["0.5x1", "0.5x2"], "zipf": 1.0}, "give only one"),
        ({"zipf": 0.5}, "which is nobody; give fewer tiers than data.zipf_tiers=8"),
        ({"tiers": ["0.999x1", "0.001x2"]}, "of 400 people, which is nobody; give fewer tiers, or"),
        ({"zipf": -1.0}, "data.zipf=-1.0: expected a number from 0.0 to 8.0"),
        (
            {"tiers": ["0.01x256", "0.99x1"], "seq_len": 100},
            "fewer than a window of data.seq_len=100, which could show the person twice",
        ),
    ],
)
def test_bad_tiers_are_refused_in_one_line(data, words):
    with pytest.raises(ConfigError) as error:
        config(**data)
    assert words in str(error.value) and "\n" not in str(error.value)


TEXT = {"kind": "text", "n_sequences": 90, "seq_len": 8, "vocab_size": 256, "documents": 100}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"trained_on": "half"}, "data.trained_on=half; give data.trained_on=members"),
        ({"canaries": 3}, "data.canaries=3; give data.canaries=0"),
        ({"split_by": "document"}, "data.split_by=document; give data.split_by=window"),
    ],
)
def test_text_has_tiers_where_each_member_is_seen_by_itself(data, words):
    def run(**more):
        some = TEXT | {"n_held_out": 20} | data | more
        return from_dict({"data": some, "train": {"steps": 300}})

    assert run().tiers is None
    with pytest.raises(ConfigError) as error:
        run(tiers=["0.5x1", "0.5x2"])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_random_data_and_text_have_an_identity_of_their_tiers():
    for data in ({"kind": "uniform", "n_sequences": 90}, TEXT | {"n_held_out": 20}):
        ids = [
            from_dict({"data": data | {"tiers": some}, "train": {"steps": 300}}).run_id
            for some in ([], ["1x1"], ["0.5x1", "0.5x2"], ["0.5x2", "0.5x4"])
        ]
        assert ids[0] == ids[1] != ids[2] == ids[3]
