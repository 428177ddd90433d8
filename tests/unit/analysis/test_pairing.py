"""Which runs stand beside which: the one rule of all kinds of study."""

import pandas as pd
import pytest

from capacity.analysis.pairing import SeveralPartners, matched


def rows(side, **columns):
    table = pd.DataFrame(columns)
    return table.assign(run_id=[f"{side}{i}" for i in range(len(table))])


def test_pairs_are_equal_in_the_given_columns_and_the_rest_is_left_out():
    one = rows("a", size=[8, 8, 16], seed=[0, 1, 0])
    other = rows("b", size=[16, 8, 8], seed=[0, 0, 2])
    found = matched(one, other, ["size", "seed"])
    assert set(zip(found.frame.run_id_a, found.frame.run_id_b, strict=True)) == {
        ("a0", "b1"),
        ("a2", "b0"),
    }
    assert matched(one, other.assign(seed=9), ["size", "seed"]).frame.empty


def test_a_setting_is_equal_wherever_a_pair_can_be_and_named_where_none_can():
    one = rows("a", seed=[0, 0], lr=[0.1, 0.2], norm=["x", "x"])
    other = rows("b", seed=[0, 0], lr=[0.2, 0.1], norm=["y", "y"])
    found = matched(one, other, ["seed"], equal_if_any=["lr", "norm"])
    assert dict(zip(found.frame.run_id_a, found.frame.run_id_b, strict=True)) == {
        "a0": "b1",
        "a1": "b0",
    }
    assert found.unequal == ["norm"]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_run_with_two_partners_is_refused_by_name_and_side(swapped):
    one, other = rows("a", seed=[0]), rows("b", seed=[0, 0])
    sides = (other, one) if swapped else (one, other)
    with pytest.raises(SeveralPartners) as refused:
        matched(*sides, ["seed"])
    assert (refused.value.row, refused.value.side) == ("a0", int(swapped))
    assert len(refused.value.rows) == 2


def test_one_run_may_have_a_row_for_each_value_of_what_is_equal():
    one = pd.DataFrame({"run_id": "r", "format": ["int8", "int4"], "held": [3.0, 2.0]})
    found = matched(one, one.assign(held=[2.5, 1.0]), ["format"])
    assert list(found.frame.held_a - found.frame.held_b) == [0.5, 1.0]
