"""Memorized bits: sums that were planted, intervals over units that cover."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.audit import bits
from tests.helpers import audited


def test_planted_bits_are_found_and_chance_is_subtracted():
    rng = np.random.default_rng(0)
    memory = np.repeat([0.5, 0.0], 200) * np.log(2)  # bits per token
    texts, model, reference = audited.world(rng, 400, memory)
    documents = audited.documents(texts, memory > 0)
    got = bits.memorized(documents, model, reference, (10_000.0, "a law"))
    low, high = got["members"]["per_token"]["interval"]
    # what is below nothing is cut: 0.5 less a little
    assert low < 0.5 and high > 0.4 and high - low < 0.05
    assert got["members"]["signed"]["value"] == pytest.approx(
        200 * 40 * got["members"]["per_token"]["value"]
    )
    assert got["members"]["clipped"]["value"] >= got["members"]["signed"]["value"]
    low, high = got["others"]["signed"]["interval"]
    assert low < got["others"]["signed"]["value"] < high
    excess = got["members"]["clipped"]["value"] - got["others_scaled"]
    assert got["share"]["value"] == pytest.approx(excess / 10_000)
    assert got["others_scaled"] == pytest.approx(got["others"]["clipped"]["value"])  # equal tokens
    assert got["capacity_source"] == "a law"


def test_the_interval_of_a_sum_over_units_is_students():
    from scipy.stats import t as student

    values, units = np.arange(12.0), np.repeat(np.arange(4), 3)
    sums = values.reshape(4, 3).sum(1)
    half = student.ppf(0.975, 3) * np.sqrt(4) * sums.std(ddof=1)
    got = bits.total(values, units)
    assert got["value"] == 66.0
    assert got["interval"] == pytest.approx([66 - half, 66 + half])
    assert bits.total(values, np.zeros(12))["interval"] is None


def test_per_token_covers_the_ratio_of_the_population():
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        count = rng.integers(5, 60, 50).astype(float)
        units = np.arange(50) // 2
        saved = count * (0.3 + 0.2 * rng.standard_normal(25)[units]) + rng.standard_normal(50)
        low, high = bits._per_token(saved, count, units)["interval"]
        covered += low <= 0.3 <= high
    assert covered >= 0.91 * 300


def test_the_quoted_capacity_names_its_source():
    size, source = bits.quoted_capacity(1000)
    assert size == pytest.approx(3640) and "2505.24832" in source and "3.64" in source
