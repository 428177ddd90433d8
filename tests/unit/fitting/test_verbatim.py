"""Runs of right tokens within windows."""

from __future__ import annotations

import numpy as np

from capacity.fitting.verbatim import run_lengths


def test_runs_end_at_wrong_tokens_and_with_their_part():
    right = np.array([1, 1, 0, 1, 1, 1, 0, 1, 1, 1], bool)
    part = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    assert run_lengths(right, part).tolist() == [1, 2, 0, 1, 1, 2, 0, 1, 2, 1]
    assert run_lengths(np.zeros(0, bool), np.zeros(0, int)).tolist() == []


def test_runs_against_a_loop():
    rng = np.random.default_rng(0)
    right, part = rng.random(2000) < 0.8, np.sort(rng.integers(0, 300, 2000))
    expected, run = [], 0
    for i in range(2000):
        run = (run if i and part[i] == part[i - 1] else 0) + 1 if right[i] else 0
        expected.append(run)
    assert run_lengths(right, part).tolist() == expected
