"""Sequences longer than those of training: which training lengths keep what a state holds."""

import numpy as np
import pytest

from capacity.analysis import kinds
from capacity.analysis.context import analysis, lengths
from capacity.compose import load_many
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal

PINS = ["data=copy", "data.vocab_size=16", "model=linear", "model.n_layers=1", "model.d_model=16"]
PINS += ["model.position=none", "model.mixer=delta", "train=adamw", "train.steps=500"]
PINS += ["train.warmup_steps=5", "model.mixer_conv=false"]
STATES = {16: 16, 8: 32, 4: 64, 2: 128}  # heads: numbers of state
TRIED = (16, 32, 64, 128, 256)


def plan(seeds=(1, 2, 3)):
    rows = [(4, 32, rate, 0) for rate in (0.003, 0.01, 0.03)]
    rows += [(heads, n, 0.01, seed) for heads in STATES for n in TRIED for seed in seeds]
    return load_many(
        [
            [
                [
                    Given(text, "test")
                    for text in (
                        *PINS,
                        f"model.n_heads={heads}",
                        f"data.copy_length={n}",
                        f"train.lr={rate}",
                        f"seed={seed}",
                    )
                ]
            ]
            for heads, n, rate, seed in rows
        ]
    )


def table(runs, from_length):
    """Half a bit per number; at 4 times the length all of it from `from_length(state)` on, below
    less than nothing."""
    from pathlib import Path

    from capacity import run_table

    rows = run_table.table(Path("no such folder"), runs)
    random = np.random.default_rng(0)
    held = 0.5 * rows.state_numbers * np.exp(0.01 * random.standard_normal(len(rows)))
    held = np.minimum(held, rows.context_ceiling_bits)
    held = np.where(rows.lr.astype(float) == 0.01, held, 0.8 * held)
    asked = np.array([run.data.copy_length for run in runs])
    keeps = asked >= np.array([from_length(state) for state in rows.state_numbers])
    ratio = np.where(keeps, 0.98, -0.4) + 0.01 * random.standard_normal(len(rows))
    return rows.assign(
        status="finished",
        gain_last_tenth=0.0,
        context_bits=held,
        context_bits_se=0.01,
        context_bits_1x=held,
        context_bits_2x=0.9 * held,
        context_bits_4x=ratio * held,
    )


@pytest.fixture(scope="module")
def runs():
    return plan()


def found(runs, from_length):
    return analysis.analysed(runs, table(runs, from_length), "study")


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_the_training_length_that_a_state_needs_is_found_and_grows(runs):
    one = found(runs, lambda state: 2 * state)
    needed = {row["state"]: row for row in one.numbers["needed"]}
    assert set(needed) == set(STATES.values())
    for state, row in needed.items():
        assert row["times"] == 4 and row["tried"] == list(TRIED)
        assert row["from"] == 2 * state and row["after"] == state
    (test,) = one.numbers["grows"].values()
    # four states in order: one of 4! = 24 orders
    assert test["states"] == 4 and test["p"] == pytest.approx(1 / 24)
    assert "grows with the state" in said(one)
    at = {(row["state"], row["length"]): row for row in one.numbers["beyond"]}
    assert at[64, 128]["says"] == "kept" and at[64, 64]["says"] == "lost"
    low, high = at[64, 128]["interval"]
    assert low < 0.98 < high and at[64, 128]["seeds"] == 3


def test_an_order_that_falls_is_not_one_that_grows(runs):
    falling = {16: 256, 32: 128, 64: 64, 128: 32}
    one = found(runs, lambda state: falling[int(state)])
    (test,) = one.numbers["grows"].values()
    assert test["p"] == 1.0 and "is not shown to grow" in said(one)


def test_states_that_never_overflow_and_those_that_always_do_are_said(runs):
    assert "no state overflows at 4 times the length of training" in said(found(runs, lambda s: 0))
    never = found(runs, lambda state: 10_000)
    assert all(row["from"] is None for row in never.numbers["needed"])
    assert "cannot tell" in said(never)


def test_runs_without_longer_sequences_have_no_such_section(runs):
    rows = table(runs, lambda s: 0).drop(columns=["context_bits_2x", "context_bits_4x"])
    one = analysis.analysed(runs, rows, "study")
    assert one.numbers["beyond"] == [] and "longer than those" not in said(one)
    assert set(kinds.figures(one)) == {"state"}


def test_the_figure_and_the_page_show_every_length(runs):
    one = found(runs, lambda state: 2 * state)
    axes = kinds.figures(one)["lengths"].axes[0]
    drawn = [line for line in axes.lines if str(line.get_gid()).startswith("ratio ")]
    assert len(drawn) == 4 and all(len(line.get_xdata()) == len(TRIED) for line in drawn)
    page = markdown.render(kinds.document(one))
    assert "## Sequences longer than those of training" in page
    assert lengths.KEPT > lengths.LOST
