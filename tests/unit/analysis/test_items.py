"""Studies of single items: planted slopes, orders and worths are found again from groups of
canaries, orders that are not there are not told, and what cannot be told is said."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.items import analysis, plots, reading
from capacity.compose import load_many
from capacity.data import canaries
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal

PINS = ["data=text_pocket", "data.documents=400", "data.tokens_per_parameter=null"]
PINS += ["data.n_sequences=200", "data.n_held_out=100", "model=gpt", "model.n_layers=1"]
PINS += ["data.canaries=4", "train.steps=200", "train.batch_size=16", "train.warmup_steps=5"]
PINS += ["data.canary_text=pool"]
LEVELS = "data.repeats=[0,1,4,16]"
SPREAD = np.linspace(0.5, 1.5, 41)  # of canaries about their mean: the AUC rises with the share
WINDOWS = "data.view_windows=[0-0.25,0.25-0.5,0.5-0.75,0.75-1,0-1]"


def plan(*more, replicates=6, **axes):
    """Runs of replicates and every combination of axes."""
    rows = [[]]
    for key, values in axes.items():
        rows = [[*row, f"{key.replace('__', '.')}={v}"] for row in rows for v in values]
    return load_many(
        [
            [[Given(t, "test") for t in (*PINS, *more, *row, f"seed={s}", f"data.split_seed={s}")]]
            for row in rows
            for s in range(replicates)
        ]
    )


def measured(runs, share, noise=0.01, draw=0, tails=None):
    """What records would say, the share of each group by `share(arm, level, run)`, a share of noise
    that groups have by themselves; 8 bits a token."""
    rng, out = np.random.default_rng(draw), {}
    for run in runs:
        listed = []
        for i, arm in enumerate(canaries.arms(run.data, run.steps)):
            bits = 8.0 * arm.length
            for level in run.data.repeats:
                part = share(arm, level, run) + noise * rng.normal() if level else 0.0
                held = bits * part
                window = arm.window
                listed.append(
                    {
                        "group": len(listed) + 1,
                        "kind": i + 1,
                        "length": arm.length,
                        "noise": arm.noise,
                        "replaced": arm.replaced,
                        "window_first": window and window.first,
                        "window_end": window and window.end,
                        "spacing": window and window.spacing,
                        "repeats": level,
                        "canaries": len(SPREAD),
                        "exposure": 2.0,
                        "held_bits": held,
                        "auc": None,
                        "extractable": 0.0,
                        "bits": [bits * (u - part) for u in SPREAD],
                        "tails": tails(arm, level, run, rng) if tails else [0] * len(SPREAD),
                    }
                )
        out[run.run_id] = listed
    return out


def found(runs, share, **planted):
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    return analysis.analysed(runs, rows, measured(runs, share, **planted), "study")


def orders(one):
    return {row["axis"]: row for row in one.numbers["orders"]}


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind():
    runs = plan(LEVELS, WINDOWS)
    table = run_table.table(Path("no such folder"), runs)
    assert kinds.kinds_of(runs, table) == ["items"] and analysis.SCHEMA == 3
    plain = plan(LEVELS)
    assert kinds.kinds_of(plain, run_table.table(Path("no such folder"), plain)) == ["text"]


def test_slopes_and_dilution_are_found_again():
    """Logits 1 per doubling of copies, 0.5 of P, -0.4 of tokens and 0.3 of length; d / b is 0.4,
    so that dilution is slower than in proportion."""
    runs = plan(
        LEVELS,
        "data.canary_lengths=[8,16,32]",
        "train.steps=null",
        "train.exposures=1",
        model__d_model=(8, 16),
        data__n_sequences=(200, 800),
    )

    def share(arm, level, run):
        size, tokens = run.parameters["total"], run.tokens
        x = -8 + np.log2(level) + 0.5 * np.log2(size) - 0.4 * np.log2(tokens / 2**10)
        return expit(x + 0.3 * np.log2(arm.length))

    one = found(runs, share)
    (law,) = one.numbers["laws"]
    assert law["axes"] == ["b", "c", "d", "e"] and law["replicates"] == 6
    for name, truth in {"b": 1.0, "c": 0.5, "d": 0.4, "e": 0.3}.items():
        low, high = law["numbers"][name]["interval"]
        assert low - 0.02 < truth < high + 0.02 and high - low < 0.2, name
    assert law["dilution"]["ratio"] == pytest.approx(0.4, abs=0.05)
    assert law["dilution"]["p"] == 2 / 64
    assert "more slowly than in proportion" in shown(one)
    told = {name: row["verdict"] for name, row in orders(one).items()}
    assert told == dict.fromkeys(
        ("copies", "size of the model", "tokens of training", "length"), "agrees"
    )


def test_the_interval_of_a_slope_holds_the_truth():
    """95% in principle: of 40 planted studies at most 7 may miss (more have a probability of 3 in
    1,000)."""
    runs, missed = plan(LEVELS, "data.canary_lengths=[16,32]", replicates=4), 0
    for draw in range(40):
        one = found(runs, lambda a, r, _: expit(-3 + np.log2(r)), noise=0.03, draw=draw)
        low, high = one.numbers["laws"][0]["numbers"]["b"]["interval"]
        missed += not low <= 1.0 <= high
    assert missed <= 7


def late(arm, level, run):
    """More is left of views that came late."""
    middle = (arm.window.first + arm.window.end) / 2 / run.steps
    return expit(-3 + 0.8 * np.log2(level) + 1.5 * middle)


def test_timing_is_an_order_of_windows_by_schedule():
    runs = plan(LEVELS, WINDOWS, train__final_lr_fraction=(0.0, 1.0))
    one = found(runs, late)
    assert {row["system"] for row in one.numbers["orders"]} == {
        "final_lr_fraction 0.0",
        "final_lr_fraction 1.0",
    }
    rows = orders(one)
    time = rows["time of the window"]
    assert time["values"] == ["0-25%", "25-50%", "50-75%", "75-100%"]
    assert time["verdict"] == "agrees" and time["p"] < 0.001
    assert rows["0-25% after all along"]["verdict"] == "agrees"
    assert rows["0-25% after all along"]["p"] == 2 / 64
    law = one.numbers["laws"][0]
    assert law["numbers"]["g 75-100%"]["value"] > law["numbers"]["g 0-25%"]["value"]


SPACED = "data.view_windows=[56s-100s/1,10s-104s/4]"


def test_spacing_has_a_slope_and_an_order_without_a_published_sign():
    """Planted: 0.5 logits per doubling of the steps between views, at one number of views."""
    runs = plan("data.repeats=[0,16]", SPACED)
    one = found(runs, lambda arm, level, run: expit(-2 + 0.5 * np.log2(arm.window.spacing)))
    (law,) = one.numbers["laws"]
    assert law["axes"] == ["s"]
    low, high = law["numbers"]["s"]["interval"]
    assert low - 0.01 < 0.5 < high + 0.01 and high - low < 0.2
    row = orders(one)["steps between views"]
    assert row["values"] == [1, 4] and row["published"] == 0
    assert row["verdict"] == "shown" and row["slope"] > 0
    assert "**rises**, of which no sign is published" in " ".join(
        markdown.render(kinds.document(one)).split()
    )
    assert "a doubling of the steps between views adds" in shown(one)
    none = found(runs, lambda arm, level, run: 0.3, noise=0.05, draw=2)
    assert orders(none)["steps between views"]["verdict"] == "cannot tell"


def test_the_other_order_differs_and_none_cannot_be_told():
    runs = plan(LEVELS, WINDOWS)
    other = found(runs, lambda a, r, run: 0.9 - late(a, r, run))
    assert orders(other)["time of the window"]["verdict"] == "differs"
    assert "against what is published" in shown(other)
    none = found(runs, lambda a, r, _: 0.3, noise=0.05, draw=1)
    assert orders(none)["time of the window"]["verdict"] == "cannot tell"
    assert "cannot tell" in shown(none)


def test_few_replicates_cannot_tell_two_conditions_apart():
    one = found(plan(LEVELS, WINDOWS, replicates=3), late)
    row = orders(one)["0-25% after all along"]
    assert row["verdict"] == "cannot tell" and row["p"] == 0.25
    assert row["reason"] == "3 replicates cannot reach a p of 5%"
    assert orders(one)["time of the window"]["verdict"] == "agrees"  # 24 orders in each


def test_the_worth_of_a_fuzzy_copy_is_found_again():
    """Planted: 0.6 with an eighth replaced, 0.2 with a half."""
    worths = {0: 1.0, 4: 0.6, 16: 0.2}
    runs = plan("data.repeats=[0,1,2,4,8,16]", "data.copy_noise=[0,0.125,0.5]")

    def share(arm, level, run):
        return expit(-3 + np.log2(1 + worths[arm.replaced] * (level - 1)))

    one = found(runs, share, noise=0.003)
    by = {(row["replaced"], row["outcome"]): row for row in one.numbers["worth"]}
    assert set(by) == {(r, o) for r in (0.125, 0.5) for o in ("share", "auc")}
    for replaced, truth in ((0.125, 0.6), (0.5, 0.2)):
        for outcome in ("share", "auc"):
            row = by[replaced, outcome]
            low, high = row["rho"]["interval"]
            assert abs(row["rho"]["value"] - truth) < 0.03 and high - low < 0.1
            assert row["below_one"] == row["above_zero"] == 2 / 64
    assert orders(one)["replaced tokens"]["verdict"] == "agrees"
    text = shown(one)
    assert "a copy with 12.5% of its tokens replaced is worth" in text
    (law,) = one.numbers["laws"]
    assert law["points"] == 6 * 5  # exact copies alone


def test_what_cannot_be_fitted_is_said():
    flat = found(plan("data.repeats=[0,4]", WINDOWS), late)
    assert flat.numbers["laws"][0]["reason"] == "one number of copies; a slope needs two"
    nothing = found(
        plan("data.repeats=[0,1,2]", "data.copy_noise=[0,0.5]"), lambda a, r, _: 0.0, noise=0.0
    )
    assert all(row["rho"] is None for row in nothing.numbers["worth"])
    assert "cannot tell its worth" in shown(nothing)


def test_missing_runs_are_told_and_left_out():
    runs = plan(LEVELS, WINDOWS)
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    rows.loc[0, "status"] = "missing"
    some = measured([r for r in runs if r.run_id != rows.run_id[0]], late)
    one = analysis.analysed(runs, rows, some, "study")
    assert one.numbers["replicates"] == 5 and one.numbers["missing"] == [rows.run_id[0]]
    with pytest.raises(ValueError, match="no finished run"):
        analysis.analysed(runs, rows.assign(status="missing"), {}, "study")


def test_windows_that_overlap_are_no_parts():
    one = found(plan(LEVELS, "data.view_windows=[0-0.5,0.25-0.75,0.5-1,0-1]"), late)
    assert reading.parts(one.tables["groups.csv"]) == ["0-50%", "50-100%"]


@pytest.mark.parametrize(
    "more",
    [
        [LEVELS, WINDOWS],
        ["data.repeats=[0,1,4]", "data.copy_noise=[0,0.25,0.5]"],
        [LEVELS, "data.canary_lengths=[8,32]", "data.canary_noise=[0,0.5]"],
    ],
    ids=["windows", "copies", "traps"],
)
def test_pages_and_figures_of_every_kind(more):
    def share(arm, level, run):
        return expit(-3 + np.log2(1 + (1 - arm.replaced / 32) * (level - 1)))

    one = found(plan(*more, replicates=2), share)
    text = terminal.render(kinds.document(one))
    assert max(map(len, text.splitlines())) <= 80
    assert markdown.render(kinds.document(one))
    figures = plots.draw(one)
    assert set(kinds.document(one).figures) == set(figures)
    errors = kinds.residuals(one)
    assert len(errors) == 1 and errors[0].points.error.abs().max() < 0.2


def test_what_is_written_out_by_prompt_and_forecasts():
    """Planted: logit of the part written out 1 per doubling of copies, 2 per doubling of the prompt
    in front of 4 tokens; each canary has one threshold in all models, so that what the small one
    writes the large one writes, too, and more than a ranking by copies can know."""
    lengths = "data.canary_lengths=[8,12,20]"
    runs = plan("data.repeats=[0,4,16,64]", lengths, model__d_model=(8, 16))

    def tails(arm, level, run, rng):
        if not level:
            return [0] * len(SPREAD)
        hard = np.random.default_rng(level + 100 * arm.length + 10**6 * run.seed)
        size = 1.0 if run.model.d_model == 16 else 0.0
        x = -5 + size + np.log2(level) + 2 * np.log2((arm.length - 4) / 8)
        written = hard.random(len(SPREAD)) < expit(x)
        return np.where(written, arm.length // 2, 3).tolist()

    one = found(runs, lambda a, r, _: expit(-3 + np.log2(r)), tails=tails)
    (law,) = one.numbers["written"]
    assert law["axes"] == ["b", "c", "h"]
    for name, truth in {"b": 1.0, "h": 2.0}.items():
        low, high = law["numbers"][name]["interval"]
        assert low - 0.1 < truth < high + 0.1 and high - low < 1.0, name
    told = {r["axis"]: r for r in one.numbers["orders"] if r["outcome"] == "extraction"}
    assert set(told) == {"copies", "size of the model", "tokens of the prompt"}
    assert all(row["verdict"] == "agrees" for row in told.values())
    assert told["tokens of the prompt"]["values"] == [4, 8, 16]
    (row,) = one.numbers["forecasts"]
    assert row["precision"]["value"] == 1.0 and 0 < row["recall"]["value"] < 1
    assert row["recall_above_copies"]["value"] > 0.05 and row["recall_above_copies"]["p"] == 2 / 64
    text = shown(one)
    assert "more than a ranking by copies" in text and "k=16" in text


def test_nothing_written_out_is_no_law():
    one = found(plan(LEVELS, WINDOWS, replicates=2), late)
    assert "of every group is written out" in one.numbers["written"][0]["reason"]
    assert all(row["outcome"] != "extraction" for row in one.numbers["orders"])
