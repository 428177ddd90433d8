"""Studies of frequency: a planted law over the times seen is found again, orders and costs are
judged by their exact tests, and what carries no law says why."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.frequency import analysis, reading
from capacity.compose import load_many
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal

A, B, C = -14.0, 0.8, 0.7  # logits
PINS = ["data=bios_pocket", "data.n_people=200", "model=pocket", "train=pocket_bios"]
PINS += ["train.exposures=300", "model.n_layers=2", "model.n_heads=2"]
SKEW = ["data.zipf=1.0", "data.zipf_tiers=6"]
TIMES = (3200, 1600, 800, 400, 200, 100)
GUESS = (0.3, 0.2, 0.12, 0.1, 0.1, 0.1)


def plan(widths=(8, 12, 16), seeds=(1, 2, 3), skews=((), SKEW)):
    rows = [
        [*PINS, *skew, f"model.d_model={width}", f"seed={seed}"]
        for width in widths
        for skew in skews
        for seed in seeds
    ]
    return load_many([[[Given(text, "test") for text in row]] for row in rows])


def table(runs, *, noise=0.01, cost=0.8, b=B, c=C, draw=0):
    """Their table, finished: accuracy by the planted law beyond guessing, bits with a cost of
    skew."""
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    more = []
    for run in runs:
        p = run.parameters["paper"]
        one = {"bits": p * 0.2 * np.exp(0.01 * rng.standard_normal()), "accuracy": 0.2}
        if reading.skewed(run):
            one["bits"] *= cost
            for tier, (n, guess) in enumerate(zip(TIMES, GUESS, strict=True), 1):
                share = 1 / (1 + np.exp(-(A + b * np.log2(n) + c * np.log2(p))))
                share = np.clip(share + noise * rng.standard_normal(), 0, 1)
                one[f"accuracy_tier_{tier}"] = guess + (1 - guess) * share
                one[f"accuracy_most_shown_tier_{tier}"] = guess
                one[f"exposures_mean_tier_{tier}"] = float(n)
                one[f"bits_tier_{tier}"] = 30 * share
                one[f"bits_se_tier_{tier}"] = 1.0
        more.append(one)
    rows = rows.drop(columns=[name for name in pd.DataFrame(more) if name in rows])
    planted = pd.concat([rows.reset_index(drop=True), pd.DataFrame(more)], axis=1)
    return planted.assign(status="finished", gain_last_tenth=0.0)


@pytest.fixture(scope="module")
def runs():
    return plan()


def found(runs, rows=None, **planted):
    return analysis.analysed(runs, table(runs, **planted) if rows is None else rows, "study")


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind_and_even_ones_are_not(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["frequency"]
    even = plan(skews=((),))
    assert kinds.kinds_of(even, run_table.table(Path("no such folder"), even)) == ["facts"]
    assert analysis.SCHEMA == 2


def test_the_planted_law_is_found_again(runs):
    one = found(runs)
    (law,) = one.numbers["laws"]
    for name, truth in (("a", A), ("b", B), ("c", C), ("worth", C / B)):
        low, high = law[name]["interval"]
        assert low < truth < high, (name, law[name])
    assert law["points"] == 9 * 6 and law["replicates"] == 3 and law["rms"] < 0.03
    words = said(one)
    assert "a doubling of the times seen adds" in words
    assert "accuracy beyond guessing rises with the times seen" in words


def test_intervals_hold_the_truth(runs):
    """95% in principle; of 20 planted studies at most 5 may miss (p < 0.3% if exact)."""
    misses = 0
    for draw in range(20):
        low, high = found(runs, noise=0.02, draw=draw).numbers["laws"][0]["b"]["interval"]
        misses += not low <= B <= high
    assert misses <= 5


def test_what_a_guesser_gets_is_no_knowledge(runs):
    rows = table(runs)
    for tier, guess in enumerate(GUESS, 1):
        rows[f"accuracy_tier_{tier}"] = np.where(rows.accuracy_tier_1.notna(), guess, np.nan)
    classes = found(runs, rows).tables["points.csv"]
    skewed = classes[classes.rates != reading.EVEN]
    assert abs(skewed.beyond.astype(float)).max() < 1e-12


def test_the_cost_of_skew_is_a_paired_ratio_with_its_exact_test(runs):
    (cost,) = found(runs, cost=0.8).numbers["skew"]
    assert cost["ratio"] == pytest.approx(0.8, rel=0.02) and cost["pairs"] == 9
    assert cost["interval"][0] < 0.8 < cost["interval"][1]
    assert cost["p"] == pytest.approx(2 / 2**9)  # nine pairs of one sign
    assert "hold less in all" in said(found(runs, cost=0.8))
    none = found(runs, cost=1.0)
    assert "not shown to differ" in said(none)


def test_the_order_of_classes_needs_no_law(runs):
    falling = found(runs, b=-B, c=0.0, noise=0.0)
    (order,) = falling.numbers["orders"]
    assert order["slope"] < 0 or order["p"] > 0.05
    (rising,) = found(runs).numbers["orders"]
    assert rising["p"] < 0.001 and rising["classes"] == 6 and rising["runs"] == 9


def test_what_gives_no_law_says_why(runs):
    assert "models of one size" in said(found(plan(widths=(8,))))
    few = plan(seeds=(1, 2))
    assert "2 replicates; the jackknife needs 3" in said(found(few))


def test_accuracy_without_what_guessing_gets_is_in_no_law(runs):
    rows = table(runs)
    unknown = rows.run_id[rows.accuracy_tier_1.notna()].iloc[0]
    rows.loc[rows.run_id == unknown, "accuracy_most_shown_tier_1"] = np.nan
    one = found(runs, rows)
    assert one.numbers["laws"][0]["points"] == 9 * 6 - 1
    assert one.numbers["orders"][0]["runs"] == 8


def test_people_who_were_never_seen_are_a_class(runs):
    rows = table(runs).assign(people_held_out_accuracy=0.07)
    one = found(runs, rows)
    never = [row for row in one.numbers["classes"] if row["tier"] == 0]
    assert len(never) == 6 and all(row["accuracy"] == pytest.approx(0.07) for row in never)
    assert one.numbers["laws"][0]["points"] == 9 * 6  # a class of rate 0 has no logarithm
    assert "never" in said(one)


def test_the_figures_draw_every_class_and_the_page_its_sections(runs):
    one = found(runs)
    drawn = kinds.figures(one)
    assert set(drawn) == {"accuracy", "bits"}
    axes = drawn["accuracy"].axes[0]
    gids = {line.get_gid(): len(line.get_xdata()) for line in axes.lines if line.get_gid()}
    assert gids["runs 2x8"] == 18 and gids["even 2x8"] == 3 and gids["law 2x16"] == 60
    page = markdown.render(kinds.document(one))
    assert "## What each class of people gives" in page
    (errors,) = kinds.residuals(one)
    assert len(errors.points) == 54 and abs(errors.points.error).max() < 0.1
