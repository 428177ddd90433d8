"""Canaries: exposure by rank, ceilings, e-values that are valid."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capacity.audit import canaries
from capacity.audit.scored import CanaryScores
from tests.helpers import audited


def test_levels_of_canaries():
    rng = np.random.default_rng(0)
    candidates = rng.normal(100, 5, 1023)
    scores = CanaryScores(
        np.array([1, 1, 8, 8, 8]),
        np.array([np.median(candidates), 200.0, 1.0, 2.0, 3.0]),
        np.array([False, False, True, True, False]),
        candidates,
        np.array([np.nan, np.nan, 160.0, 160.0, 160.0]),
    )
    one, eight = canaries.levels(scores)
    assert (one["repeats"], one["canaries"], one["at_ceiling"]) == (1, 2, 0)
    assert one["exposure"]["value"] == pytest.approx(0.5, abs=0.01)
    assert one["log2_e_value"] is None
    assert eight["exposure"] == {"value": 10.0, "interval": None}
    assert eight["at_most"] == 10.0 and eight["at_ceiling"] == 3
    assert eight["extracted"]["value"] == pytest.approx(2 / 3)
    assert eight["log2_e_value"] == pytest.approx(160 - 2 / math.log(2))


def test_e_values_of_sequences_that_were_never_seen_are_one_at_most_on_average():
    """Whatever a model without knowledge of the draw thinks of sequences."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(256, 0.05))  # of all sequences of 8 bits
    drawn = rng.integers(0, 256, 20_000)
    scores = CanaryScores(
        np.ones(20_000, int),
        -np.log(np.maximum(p[drawn], 1e-300)),
        np.zeros(20_000, bool),
        np.ones(1),
        np.full(20_000, 8.0),
    )
    e = 2.0 ** canaries.log2_e_values(scores)
    assert e.mean() == pytest.approx(1.0, abs=4 * e.std() / math.sqrt(20_000))
    assert (e >= 20).mean() <= 0.05


def test_canaries_from_tokens():
    log_p = [np.array([-3.0, -2.0, -0.1, -0.1]), np.array([-3.0, -0.1, -2.0, -0.1, -0.1])]
    scored = audited.tokens([*log_p, np.full(4, -4.0)])
    got = canaries.scored(scored, np.array([2, 4, 0]), np.full(3, np.nan))
    assert got.written_C.tolist() == [True, False]  # three of five are the second half
    assert got.nats_C == pytest.approx([5.2, 5.3], rel=1e-6)
    assert got.candidates_R == pytest.approx([16.0]) and got.bits_C is None
    with pytest.raises(ValueError, match="no candidate"):
        canaries.levels(canaries.scored(scored, np.array([2, 4, 1]), np.full(3, np.nan)))
