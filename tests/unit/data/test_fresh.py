"""Sequences that are new at every step: what they say and ask for, and that none comes twice."""

import numpy as np
import pytest
from scipy import stats

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import fresh
from capacity.settings.fresh import CopyData, MqarData, sequence_bits
from settings_trees import tree

COPY = CopyData(vocab_size=7, copy_length=5)
MQAR = MqarData(vocab_size=16, seq_len=24, pairs=3)
UNLIKELY = 1e-6  # of a right generator to fail, seeds being fixed: once and never


def drawn(data, first=0, count=200, seed=3, stream=fresh.TRAINED):
    return fresh.tokens(data, seed, stream, first, count)


@pytest.mark.parametrize("data", [COPY, MQAR])
def test_a_sequence_depends_on_its_number_alone(data, monkeypatch):
    tokens, asked = drawn(data)
    for first, count in ((0, 1), (17, 30), (199, 1), (5, 0)):
        part, places = drawn(data, first, count)
        assert np.array_equal(part, tokens[first : first + count])
        assert np.array_equal(places, asked[first : first + count])
    monkeypatch.setattr(fresh, "AT_ONCE", 100)  # a few at a time
    assert np.array_equal(drawn(data)[0], tokens)


def test_no_sequence_comes_twice_in_training_or_evaluation_or_of_another_seed():
    """Of 16^16 sequences two of 3,000 are alike with a probability below 1e-12."""
    data = CopyData(vocab_size=16, copy_length=16)
    every = [
        drawn(data, 0, 1000)[0],
        drawn(data, 0, 1000, stream=fresh.HELD_OUT)[0],
        drawn(data, 0, 1000, seed=4)[0],
    ]
    assert len(np.unique(np.concatenate(every), axis=0)) == 3000


def test_a_copy_says_u_and_asks_for_it_behind_a_separator():
    tokens, asked = drawn(COPY)
    u = tokens[:, :5]
    assert np.array_equal(u, tokens[:, 6:]) and (tokens[:, 5] == 7).all()
    assert asked[:, 6:].all() and not asked[:, :6].any()
    counts = np.bincount(drawn(COPY, count=4000)[0][:, :5].ravel(), minlength=7)
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_recall_asks_every_key_once_for_its_value():
    tokens, asked = drawn(MQAR)
    for row, places in zip(tokens, asked, strict=True):
        keys, values = row[0:6:2], row[1:6:2]
        assert len(set(keys)) == 3 and keys.max() < 8 <= values.min()
        at = np.flatnonzero(places)
        assert (at % 2 == 1).all() and at.min() > 6
        told = dict(zip(keys.tolist(), values.tolist(), strict=True))
        assert sorted(row[at - 1].tolist()) == sorted(told)
        assert [told[k] for k in row[at - 1].tolist()] == row[at].tolist()


def test_keys_values_and_fillers_are_uniform():
    many = drawn(MQAR, count=6000)[0]
    for column in (0, 4):  # the first key and the last
        assert stats.chisquare(np.bincount(many[:, column], minlength=8)).pvalue > UNLIKELY
    assert stats.chisquare(np.bincount(many[:, 1] - 8, minlength=8)).pvalue > UNLIKELY


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_gaps_follow_the_power_law(power):
    """The first key draws its place from all, by weight i^(a-1); the second from those that are
    left, whose shares are summed over the first's."""
    data = MqarData(vocab_size=64, seq_len=20, pairs=2, gap_power=power)
    tokens, _ = drawn(data, count=8000)
    weights = np.arange(1, 9) ** (power - 1)
    p = weights / weights.sum()
    second = sum(p[i] * np.where(np.arange(8) == i, 0, p) / (1 - p[i]) for i in range(8))
    rows = np.arange(len(tokens))
    slots = tokens[:, 4::2]
    for key, expected in ((tokens[:, 0], p), (tokens[:, 2], second)):
        # a filler may be the key too: the query has the value behind it
        value = tokens[rows, 1 if expected is p else 3]
        hit = (slots == key[:, None]) & (tokens[:, 5::2] == value[:, None])
        one = hit.sum(1) == 1
        assert one.mean() > 0.99
        counts = np.bincount(hit[one].argmax(1), minlength=8)
        assert stats.chisquare(counts, expected * counts.sum()).pvalue > UNLIKELY


def test_bits_lengths_and_state():
    copy = CopyData(vocab_size=16, copy_length=32)
    assert (sequence_bits(copy), copy.seq_len, copy.rows, copy.said) == (128.0, 65, 17, 33)
    assert copy.longer(4).copy_length == 128
    recall = MqarData(vocab_size=8192, seq_len=64, pairs=4)
    assert (sequence_bits(recall), recall.said, recall.asked) == (48.0, 8, 4)
    assert (recall.longer(2).seq_len, recall.longer(2).pairs) == (128, 8)


def config(**changes):
    return from_dict(tree(data={"kind": "copy", "copy_length": 4, "vocab_size": 8}, **changes))


def test_a_run_on_copies_counts_what_it_draws():
    run = config()
    assert run.items == run.trained_items == 60 * 8 and run.exposures == 1.0
    assert run.entropy_bits == 480 * 12.0 and run.tokens == 480 * 9 and run.rows == 9


@pytest.mark.parametrize(
    "data, changes, words",
    [
        ({}, {"train__steps": None, "train__exposures": 5.0}, "no sequence of data.kind=copy"),
        ({}, {"measure__lengths": (1, 2)}, "model.position=learned has no positions behind"),
        ({}, {"quantize__methods": ("rtn",)}, "hold no data"),
        ({"n_sequences": 5}, {}, "data.n_sequences: a setting of data.kind=text or uniform"),
        ({"kind": "mqar", "seq_len": 21}, {}, "data.seq_len=21: expected an even number"),
        ({"kind": "mqar", "pairs": 5}, {}, "data.pairs=5: keys are distinct"),
        ({"kind": "mqar", "vocab_size": 64, "pairs": 6}, {}, "give at most 5 pairs"),
        (
            {"kind": "mqar", "pairs": 4},
            {"measure__lengths": (2,), "model__position": "none"},
            "give lengths of at most 1",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(data, changes, words):
    recall = {"vocab_size": 8, "seq_len": 20}
    given = data | recall | data if data.get("kind") == "mqar" else {"kind": "copy"} | data
    with pytest.raises(ConfigError) as refused:
        from_dict(tree(data=given, **changes))
    assert words in str(refused.value)
