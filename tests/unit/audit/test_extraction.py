"""Verbatim: suffixes by hand, shares with exact intervals, runs within windows."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.audit import extraction
from tests.helpers import audited


def _certain(n, wrong=()):
    log_p = np.full(n, -0.01)
    log_p[list(wrong)] = -5.0
    return log_p


def test_suffixes_need_as_many_tokens_before_them():
    # windows of 64: a whole one and 36 more, whose last 16 have 20 before them; 32 have not
    scored = audited.tokens([_certain(100), _certain(100, [10]), _certain(31), _certain(64, [63])])
    documents = audited.documents(list("abcd"), np.array([True, True, False, False]))
    got = extraction.extraction(documents, scored)
    assert list(got["by_suffix"]) == ["16", "32"]
    sixteen = got["by_suffix"]["16"]
    assert sixteen["members"]["suffixes"] == 4 and sixteen["others"]["suffixes"] == 1
    assert sixteen["members"]["greedy"]["value"] == 1.0
    assert sixteen["others"]["greedy"]["value"] == 0.0
    assert got["difference"]["16"]["value"] == 1.0
    assert got["by_suffix"]["32"]["members"]["suffixes"] == 2
    # p = exp(-5.15): found in 100 samples by 44%, in 10,000 surely
    assert [x["value"] for x in sixteen["others"]["discoverable"].values()] == [0.0, 0.0, 1.0]
    assert got["longest"]["members"] == {"tokens": 64, "document": "d0"}
    assert got["longest"]["others"] == {"tokens": 63, "document": "d3"}


def test_runs_end_with_their_window_and_at_tokens_that_nothing_predicts():
    log_p = _certain(100)
    log_p[[0, 64]] = np.nan
    scored = audited.tokens([log_p, np.full(5, -5.0)], right_T=np.repeat([True, False], [100, 5]))
    assert extraction.longest_D(scored).tolist() == [63, 0]


def test_shares_know_that_windows_of_one_document_are_not_independent():
    hits, units = np.repeat([True, False], 30), np.repeat(np.arange(6), 10)
    alone, together = extraction.share(hits, np.arange(60)), extraction.share(hits, units)
    assert alone["value"] == together["value"] == 0.5
    assert together["interval"][1] - together["interval"][0] > 2 * (
        alone["interval"][1] - alone["interval"][0]
    )


def test_the_interval_of_a_difference_covers():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        a, b = rng.random(60) < 0.2, rng.random(40) < 0.05
        low, high = extraction.subtracted(
            extraction.share(a, np.arange(60)), extraction.share(b, np.arange(40))
        )["interval"]
        covered += low <= 0.15 <= high
    assert covered >= 0.95 * 400 - 3 * np.sqrt(400 * 0.05 * 0.95)
    same = extraction.share(np.ones(5, bool), np.arange(5))
    assert extraction.subtracted(same, same)["interval"] == pytest.approx(
        [-0.5218, 0.5218], abs=1e-4
    )
