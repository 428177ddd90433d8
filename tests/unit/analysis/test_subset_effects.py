"""What single sequences cost: families of shadow models joined by rows of the pool, and said in
words and tables."""

import math

import numpy as np
import pandas as pd
import pytest

from capacity.analysis.text import subset_effects, wording_subsets
from capacity.base.table import text as table_text

MODELS, SEQUENCES = 24, 80


def family(models=MODELS, *, mem=3.0, start=0, model="2x8", width=8, pair=None):
    """Rows of a table of runs, and scores by run, in another order of rows for each: seeing a
    sequence takes mem bits off its loss, and of a pair (row, row, bits) those of the second's."""
    rng = np.random.default_rng(start)
    hard = rng.normal(100, 10, SEQUENCES)
    rows, scores = [], {}
    for k in range(models):
        seen = np.zeros(SEQUENCES, bool)
        seen[rng.permutation(SEQUENCES)[: SEQUENCES // 2]] = True
        loss = hard + rng.normal(size=SEQUENCES) - mem * seen
        if pair:
            loss[pair[1]] -= pair[2] * seen[pair[0]]
        order, name = rng.permutation(SEQUENCES), f"{model}-{k}"
        scores[name] = {
            "row": order * 7,
            "seen": seen[order].astype(np.uint8),
            "loss": (loss[order] * math.log(2)).astype(np.float32),
        }
        rows.append(
            {
                "run_id": name,
                "model": model,
                "seed": k,
                "status": "finished",
                "trained_on": "half",
                "tokens_per_parameter": 2.0,
                "parameters_total": 10 * width,
                "pool": "p",
                "n_sequences": SEQUENCES // 2,
                "seq_len": 16,
                "vocab_size": 256,
                "data.split_seed": 0,
                "data.n_held_out": SEQUENCES // 2,
                "train.lr": 0.01,
                "train.batch_size": 8,
                "steps": 10,
            }
        )
    return rows, scores


def test_losses_are_joined_by_row_and_told_in_bits():
    rows, scores = family(pair=(10, 20, 6.0))
    found, table = subset_effects.of(pd.DataFrame(rows), scores)
    (one,) = found
    assert one["interval"][0] < 3.0 * SEQUENCES / 2 < one["interval"][1]
    assert one["models"] == MODELS and one["members"] == SEQUENCES / 2 and one["above"] > 0.9
    strongest = one["influence"]["strongest"][0]
    assert (strongest["seen"], strongest["on"]) == (70, 140) and strongest["surely"]
    assert abs(strongest["bits"] - 6) < 4 * strongest["se"]
    assert list(table.row) == sorted(scores["2x8-0"]["row"])
    assert abs(table.memorized_bits.mean() - 3) < 0.3
    said = " ".join(wording_subsets.answers({"subsets": found}))
    assert f"holds **{one['bits']:,.0f}**" in said and "40 members" in said
    lines = "\n".join(line for t in wording_subsets.tables({"subsets": found})
                      for line in table_text(t))  # fmt: skip
    assert "per parameter" in lines and "beyond chance" in lines and " 70 " in lines


def test_families_stand_apart_and_few_models_tell_nothing():
    rows, scores = family()
    other, more = family(start=1, model="2x16", width=16)
    few, rest = family(models=subset_effects.FEWEST - 1, start=2, model="2x32", width=32)
    found, table = subset_effects.of(pd.DataFrame([*other, *rows, *few]), scores | more | rest)
    assert [one["model"] for one in found] == ["2x8", "2x16"]
    assert 2 * SEQUENCES - 4 <= len(table) <= 2 * SEQUENCES and set(table.model) == {"2x8", "2x16"}
    members = pd.DataFrame(rows).assign(trained_on="members")
    assert subset_effects.of(members, scores)[0] == []
    assert wording_subsets.answers({}) == [] and wording_subsets.tables({}) == []


def test_too_many_pairs_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(subset_effects, "MOST", SEQUENCES - 1)
    (one,), _ = subset_effects.of(pd.DataFrame((pair := family())[0]), pair[1])
    assert one["influence"] is None
    assert len(wording_subsets.tables({"subsets": [one]})) == 1
    assert not any("pairs" in line for line in wording_subsets.answers({"subsets": [one]}))


def test_parameters_in_use_are_what_bits_are_divided_by():
    rows, scores = family()
    known = pd.DataFrame(rows).assign(parameters_used=40.0)
    assert subset_effects.of(known, scores)[0][0]["parameters"] == 40.0
    unknown = known.assign(parameters_used=np.nan)
    assert subset_effects.of(unknown, scores)[0][0]["parameters"] == 80.0


def test_an_order_of_rarity_that_is_not_shown_is_not_told():
    rows, scores = family()
    found, _ = subset_effects.of(pd.DataFrame(rows), scores)
    found[0] |= {"rho": 0.02, "rho_interval": [-0.1, 0.1], "rho_p": 0.7}
    assert "**cannot tell**" in " ".join(wording_subsets.answers({"subsets": found}))
    found[0] |= {"rho": -0.5, "rho_p": 0.0001}
    said = " ".join(wording_subsets.answers({"subsets": found}))
    assert "memorized **less**" in said and "differs" in said and "p < 0.001" in said


def test_sixteen_models_are_judged_whatever_halves_they_leave():
    """Of 16 models some sequences have one side alone in every half: these are not ranked."""
    rows, scores = family(models=subset_effects.FEWEST, start=3)
    (one,), _ = subset_effects.of(pd.DataFrame(rows), scores)
    assert one["models"] == 16 and one["rho"] is not None
    found = [one | {"rho": None, "rho_interval": None, "rho_p": None, "tenths": []}]
    assert "16 models are too few" in " ".join(wording_subsets.answers({"subsets": found}))
    assert wording_subsets.tables({"subsets": found})


@pytest.mark.parametrize("lost", [3])
def test_a_run_that_was_not_scored_on_all_rows_is_named(lost):
    rows, scores = family()
    scores["2x8-5"] = {name: column[:-lost] for name, column in scores["2x8-5"].items()}
    with pytest.raises(ValueError, match="2x8-5"):
        subset_effects.of(pd.DataFrame(rows), scores)
