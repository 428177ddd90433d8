"""What learned nothing replicates nothing, also where the number is a part of it: formats of models
that hold nothing, and rows that no capacity decides."""

import numpy as np
import pytest

import planted_values
from capacity.analysis.ablation import analysis as ablation
from capacity.analysis.precision import bit_widths
from capacity.published import values as published

FORMATS = ("physics33/int8", "physics33/int4", "morris/bf16_over_fp32")
ERRORS = ("morris/error_vocab_size", "morris/error_seq_len")


@pytest.mark.parametrize("id", FORMATS)
def test_a_part_of_nothing_is_no_replication(id):
    """fp32 models that hold 0 -+ 0.01 bits per parameter, all of which a format keeps to 0.2%: the
    part is within the published range, and says nothing."""
    found = planted_values.verdict(id, planted_values.NOTHING)
    low, high = published.get(id).range
    assert low < found["measured"] < high
    assert found["verdict"] == "cannot tell" and found["interval"] is None
    assert "not shown to hold anything" in found["reason"]


def test_the_base_is_judged_over_all_its_models():
    """Six models whose mean is 0.01 above 0 with a standard deviation of 0.05 hold nothing that is
    shown; the same 2 higher do, and one model shows nothing."""
    import pandas as pd

    def rows(held):
        out = pd.DataFrame(
            [
                (f"r{i}", f"2x{i // 2}", i % 2, 5.0, "trained", "fp32", 32.0, 1e3, 1e3 * x, 32.0)
                for i, x in enumerate(held)
            ],
            columns=list(bit_widths.PARTS),
        )
        return out.assign(bits_per_parameter=out.held_bits / out.parameters)

    draws = np.random.default_rng(1).standard_normal(6)
    noise = 0.01 + 0.05 * (draws - draws.mean()) / draws.std(ddof=1)
    assert bit_widths.base(rows(noise))["empty"]
    found = bit_widths.base(rows(2 + noise))
    assert found["empty"] is None and found["mean"] == pytest.approx(2.01)
    reach = 2.5706 * 0.05 / np.sqrt(6)  # t of 5 degrees of freedom
    assert found["low"] == pytest.approx(2.01 - reach, abs=1e-5)
    assert "one model" in bit_widths.base(rows([3.0]))["empty"]


@pytest.mark.parametrize("id", ERRORS)
def test_rows_that_hold_their_data_do_not_replicate_a_law_of_capacity(id):
    """Two of six rows are limited by capacity; the others have their data whatever alpha is, and
    min(alpha P, data bits) misses them by next to nothing."""
    found = planted_values.verdict(id, planted_values.DATA)
    assert found["interval"][1] < published.get(id).range[1]
    assert found["verdict"] == "cannot tell"
    assert (
        f"2 of 6 rows are limited by capacity, and an alpha of these misses none: at least "
        f"{ablation.FEWEST_LIMITED}" in found["reason"]
    )


@pytest.mark.parametrize("id", (*ERRORS, "morris/alpha_of_rows"))
def test_rows_that_learned_nothing_are_not_left_out_of_an_agreement(id):
    found = planted_values.verdict(id, planted_values.NOTHING)
    assert found["verdict"] == "cannot tell" and "learned nothing" in found["reason"]
