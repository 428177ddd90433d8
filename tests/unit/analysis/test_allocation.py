"""Curves over the division of idle parameters: which models are one, and what a mixture gains."""

import numpy as np
import pytest

import idle_tables
from capacity.analysis import kinds
from capacity.analysis.idle import allocation, analysis
from capacity.analysis.idle.reading import described
from capacity.compose import load_many
from capacity.origins import Given
from capacity.parts import registry
from capacity.report import text as terminal
from idle_tables import BEST, RATES, TABLE_RATES

# experts and rows of Engram's tables: the totals of 2x16 differ by under 2%
DIVISIONS = {(8, 0): 1.0, (6, 56): 0.79, (4, 148): 0.48, (2, 248): 0.16, (0, 298): 0.0}
SIZED = [
    p for p in idle_tables.UNIFORM if not p.startswith(("data.vocab", "data.seq", "model.n_h"))
]
PINS = ["data.vocab_size=256", "data.seq_len=32", "model.n_heads=4", *SIZED]


@pytest.fixture(scope="module")
def runs():
    return plan()


def plan(divisions=tuple(DIVISIONS), seeds=(1, 2, 3), tuned=True):
    """Seed 0 tries rates, the others have the middle ones."""
    recipes = [(0, lr, 1.0) for lr in RATES] + [(0, 0.02, rate) for rate in TABLE_RATES]
    recipes = [*dict.fromkeys(recipes if tuned else []), *((seed, 0.02, 1.0) for seed in seeds)]
    layers = []
    for experts, rows in (*divisions, (0, 0)):
        model = ["model=engram", f"model.engram_rows={rows}"] if rows else ["model=gpt"]
        own = [*PINS, *model, f"model.n_experts={experts}", "model.mlp_ratio=1.0"]
        own += ["model.n_layers=2", "model.d_model=16", "train=adamw", "train.exposures=500"]
        for seed, lr, table_lr in recipes:
            if table_lr == 1.0 or rows:
                rates = [f"train.lr={lr}", *([f"train.table_lr={table_lr}"] if rows else [])]
                texts = (*own, *rates, f"seed={seed}")
                layers.append([[Given(text, "test") for text in texts]])
    return load_many(layers)


def held(runs, gain, noise=0.002):
    """Bits of 3 per parameter, and `gain` of the share times what is left more for a mixture."""
    known = described(runs, []).set_index("run_id")
    rates = {run.run_id: (run.train.lr, run.train.table_lr) for run in runs}
    table = idle_tables.table(runs)
    random = np.random.default_rng(0)
    bits = []
    for one in table.run_id:
        row = known.loc[one]
        share = row.idle_by.get("experts", 0) / max(1, sum(row.idle_by.values()))
        more = 4 * gain * share * (1 - share)
        off = 1.0 if rates[one] == (0.02, 1.0) else 0.9
        bits.append(off * 3 * row.p * (1 + more) * np.exp(noise * random.standard_normal()))
    return table.assign(strict_bits=bits)


def curve(runs, table):
    (one,) = analysis.analysed(runs, table, "study", BEST).numbers["allocation"]
    return one


def test_models_of_one_total_are_a_curve(runs):
    one = curve(runs, held(runs, 0.1))
    assert one["kinds"] == ["experts", "engram"] and one["size"] == "2x16"
    shares = [point["share"] for point in one["points"]]
    assert shares == pytest.approx(sorted(DIVISIONS.values()), abs=0.01)
    totals = [point["p"] for point in one["points"]]
    assert max(totals) < 1.02 * min(totals)
    assert all(len(point["by_seed"]) == 3 for point in one["points"])


def test_a_planted_gain_is_found_and_said(runs):
    one = curve(runs, held(runs, 0.1))
    rows = {round(row["share"], 2): row for row in one["against"]["mixtures"]}
    assert set(rows) == {0.16, 0.48, 0.79}
    for share, row in rows.items():
        truth = 1 + 0.4 * share * (1 - share)
        assert row["ratio"] == pytest.approx(truth, abs=0.015)
        assert row["corrected"][0] < row["interval"][0] < row["ratio"]
    assert allocation.told(one) == "more"
    table = held(runs, 0.1)
    said = terminal.render(kinds.document(analysis.analysed(runs, table, "study", BEST)))
    said = " ".join(said.split())
    assert "2x16, experts + engram: a mixture holds more: the best mixture, 4" in said


def test_a_planted_loss_and_no_difference_are_told_apart(runs):
    assert allocation.told(curve(runs, held(runs, -0.2))) == "less"
    assert allocation.told(curve(runs, held(runs, 0.0, noise=0.03))) == "unknown"


def test_other_totals_and_mixtures_alone_are_no_curve():
    far = plan(((8, 0), (4, 148), (0, 1200)))
    assert analysis.analysed(far, held(far, 0.1), "study", BEST).numbers["allocation"] == []
    alone = plan(((6, 56), (4, 148), (2, 248)))
    one = curve(alone, held(alone, 0.1))
    assert one["against"] is None and allocation.told(one) == "none"
    said = terminal.render(
        kinds.document(analysis.analysed(alone, held(alone, 0.1), "study", BEST))
    )
    assert "neither part is there alone" in " ".join(said.split())


def test_idle_by_kind_adds_up_to_what_is_counted(runs):
    for run in [*runs, *idle_tables.plan(("stem", "keys", "experts"), seeds=(1,))]:
        rows = run.rows + run.data.bos
        by = registry.idle(run.model, rows)
        assert sum(by.values()) == registry.count(run.model, rows).idle


def test_the_figure_draws_every_seed_and_the_means(runs):
    finding = analysis.analysed(runs, held(runs, 0.1), "study", BEST)
    axes = kinds.figures(finding)["allocation"].axes[0]
    drawn = {line.get_gid(): len(line.get_xdata()) for line in axes.lines if line.get_gid()}
    assert drawn == {"runs 2x16, experts + engram": 15, "means 2x16, experts + engram": 5}


def test_rates_that_nobody_tuned_withhold_the_division():
    loose = plan(tuned=False)
    one = curve(loose, held(loose, 0.1))
    assert allocation.told(one) == "withheld"
    assert "2x16 experts: lr is not tuned: 1 value (0.02)" in one["withheld"]
    said = terminal.render(
        kinds.document(analysis.analysed(loose, held(loose, 0.1), "study", BEST))
    )
    assert "cannot tell the best division" in " ".join(said.split())
