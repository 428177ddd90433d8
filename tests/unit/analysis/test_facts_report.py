"""What a study of facts writes: the document, the files and the figures."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import facts, finding
from capacity.analysis.facts import exposures
from capacity.analysis.facts.analysis import exposure_laws
from capacity.analysis.facts.arms import arms, noise, quoted
from capacity.analysis.facts.plots import arms_figure, exposures_figure, ratio_figure
from capacity.analysis.facts.reading import prepare
from capacity.analysis.finding import Finding, Options
from capacity.base.files import plain
from capacity.report import markdown, text
from facts_tables import BITS, LLAMA, PAIR, analysed, grid, printed, run, study, table


def everything():
    """Two N, two architectures, five exposures, junk without any knowledge, failed, missing and
    unusual runs."""
    rows = grid(people=(800, 2400), seeds=(0, 1)) + grid(
        people=(2400,), seeds=(0, 1), r=1.5, draw=1, **LLAMA
    )
    for i, e in enumerate((25.0, 50.0, 100.0, 400.0)):
        rows += grid(
            people=(2400,),
            shapes=("2x16", "2x32"),
            seeds=(0, 1),
            r=2.1 * (1 - np.exp(-e / 120)),
            noise=0.01,
            draw=i + 2,
            **{"train.exposures": e},
        )
    rows += grid(
        people=(2400,), seeds=(0, 1), shapes=("2x16",), r=-0.1, draw=9, **{"data.other_parts": 7}
    )
    rows[0] |= {"status": "failed", "bits": np.nan, "error": "loss is nan"}
    rows[9] |= {"status": "missing", "bits": np.nan, "gain_last_tenth": np.nan}
    rows[3] |= {"gain_last_tenth": 0.05}
    rows[4] |= {"exposures_mean": 190.0}
    rows[5] |= {"gain_last_tenth": np.nan}
    rows[6] |= {"bits": 1.2 * rows[6]["ceiling_bits"]}
    return rows


EXPECTED = [
    {"value": 2.0, "where": {"train.exposures": 200}, "note": "a note"},
    PAIR | {"name": "gated", "range": [0.7, 0.8]},
    {"name": "room", "quantity": "saturated_fraction", "range": [0.95, None], "convention": "any"},
    {"name": "up", "quantity": "rising", "range": [1.5, None]},
    {"name": "asked", "quantity": "extraction", "range": [0.9, 1.0]},
]


@cache
def of_everything():
    return analysed(everything(), n_boot=50)


def test_the_document_fits_80_columns_and_says_what_was_found():
    found = analysed(everything(), *EXPECTED, n_boot=300, best_over=["train.lr"])
    document = facts.document(found)
    shown = text.render(document)
    assert max(map(len, shown.splitlines())) <= 80
    flat = " ".join(shown.split())
    for words in (
        "R total",
        "Knowledge in physics33/planted@pocket",
        "40 of 42 runs finished",
        "AGREES AT POCKET SCALE",
        "CANNOT TELL AT POCKET SCALE",
        "not at the published one",
        "a note",
        "published: 2; counts as agreement: 1.8 to 2.3; arXiv 2404.05405, section 5 (Result 1) "
        "[read in the paper]",
        "bits per parameter, 95% [",
        "failed: 1 run (r0000): ended without a result",
        "missing: 1 run (r0009)",
        "unconverged: 1 run (r0003): gained over 2%",
        "exposures-off: 1 run (r0004): shown people over 1% more or less often than asked",
        "unlearned: 2 runs (r0040, r0041): R <= 0",
        "above R^max, which cannot be",
        "Noise of R over seeds",
        "E95 = ",
    ):
        assert words in flat, words
    assert "most bits over" not in flat  # train.lr does not vary
    assert document.answers[0].startswith("R = **")
    assert [*document.figures] == ["arms", "exposures", "ratio"]
    changed = analysed(
        everything(), *EXPECTED, n_boot=100, overrides=["train.exposures=10"], scale="published"
    )
    flat = printed(changed)
    assert "Settings were changed with the command: train.exposures=10" in flat
    assert "POCKET SCALE" not in flat


def test_the_table_of_arms_has_a_row_for_each_below_the_name_of_its_curve():
    found = of_everything()
    (shown,) = facts.document(found).section("arms").blocks
    heads = [column.heading for column in shown.columns]
    rows = [row for row in shown.rows if len(row) > 1]
    fit = found.numbers
    assert len(rows) == len(fit["arms"]) and len(shown.rows) - len(rows) == fit["n"]["curves"]
    for row, arm in zip(rows, fit["arms"], strict=True):
        cells = dict(zip(heads, row, strict=True))
        assert cells["model"] == arm["model"] and cells["seeds"] == str(arm["seeds"])
        assert float(cells["R"]) == pytest.approx(arm["r"], rel=6e-3)
        assert float(cells["R/R^max"].rstrip("%")) == pytest.approx(100 * arm["fraction"], abs=0.06)
    assert set("".join(row[-1] for row in rows)) == set("refm")
    assert "r: some run gained over 2%" in shown.legend and "extraction" not in heads
    asked = analysed([run() | {"extraction_accuracy": 0.5}], n_boot=50)
    (shown,) = facts.document(asked).section("arms").blocks
    assert "50.0%" in shown.rows[-1]


def test_a_choice_among_runs_is_named_with_its_bias():
    lrs = {0.005: 1.2, 0.01: 1.5, 0.02: 1.3}
    rng = np.random.default_rng(0)
    rows = [
        run("2x16", seed, r, 0.02, rng=rng, **{"train.lr": lr})
        for lr, r in lrs.items()
        for seed in (0, 1, 2)
    ]
    found = analysed(rows, n_boot=50, best_over=["train.lr"])
    best = found.numbers["best_over"]
    assert best["settings"] == ["train.lr"] and best["choice"]["arms"][0]["options"] == 3
    flat = printed(found)
    assert "the one with the most bits over train.lr" in flat
    assert "R as quoted exceeds a choice by the other seeds by" in flat


def test_a_study_without_a_finished_arm_or_seed_says_so():
    single = facts.document(analysed([run()], n_boot=50))
    assert "no interval: one seed per arm" in single.answers[0]
    lacking = facts.document(
        analysed([run()], {"quantity": "extraction", "range": [0, 1]}, n_boot=50)
    )
    assert lacking.answers[1].startswith("**No answer yet:** nothing of what this study compares")


def test_the_files_hold_every_run_every_arm_and_every_number(tmp_path):
    rows = table(everything())

    def write(frame):
        found = facts.analyse(study(EXPECTED), frame, Path(), Options(200))
        figures = facts.figures(found)
        page = markdown.render(facts.document(found), figures)
        finding.write(found, figures, page, tmp_path)
        return found

    write(rows.sample(frac=1, random_state=0))
    there = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path).as_posix() for path in there}
    assert names == {
        "fit.json",
        "runs.csv",
        "arms.csv",
        *(f"figures/{n}.{k}" for n in ("ratio", "exposures") for k in ("png", "pdf", "csv")),
        "README.md",
    }
    fit = json.loads((tmp_path / "fit.json").read_text())
    assert [*fit][:5] == ["kind", "schema", "study", "versions", "inputs_sha256"]
    assert (fit["kind"], fit["schema"]) == ("facts", 4)
    assert fit["n"] == {
        "rows": 42,
        "finished": 40,
        "failed": 1,
        "missing": 1,
        "arms": 21,
        "curves": 8,
        "chosen": 40,
        "seeds": 2,
    }
    assert fit["flags"]["failed"] == ["r0000"] and fit["flags"]["missing"] == ["r0009"]
    assert fit["flags"]["rising"] == ["r0003"] and fit["flags"]["unknown_gain"] == ["r0005"]
    assert fit["flags"]["exposures_off"] == ["r0004"] and fit["flags"]["above_ceiling"] == ["r0006"]
    assert fit["flags"]["negative"] == ["r0040", "r0041"]
    runs, shapes = pd.read_csv(tmp_path / "runs.csv"), pd.read_csv(tmp_path / "arms.csv")
    assert set(rows.columns) <= set(runs.columns) and runs.run_id.tolist() == rows.run_id.tolist()
    assert len(shapes) == 21
    assert {"r", "r_low", "r_high", "r_total", "r_max", "fraction", "accuracy"} <= set(
        shapes.columns
    )
    assert {v["verdict"] for v in fit["verdicts"]} == {"agrees", "cannot tell", "differs"}
    assert len(fit["exposure_laws"]) == 2 and fit["exposure_laws"][0]["model"] == "2x16"
    before = {name: (tmp_path / name).read_bytes() for name in names}
    write(rows)  # the order of rows is free
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_the_file_holds_exactly_the_declared_numbers():
    from capacity.analysis.facts import schema

    fit = analysed(everything(), *EXPECTED, n_boot=50, best_over=["train.lr"]).numbers
    others = {"other_exposures"}  # absent where there are no other people
    assert set(fit) == set(schema.Fit.__annotations__) - others
    assert set(fit["arms"][0]) == set(schema.Arm.__annotations__)
    assert set(fit["peaks"][0]) == set(schema.Peak.__annotations__)
    assert set(fit["exposure_laws"][0]) == set(schema.ExposureLaw.__annotations__)
    assert set(fit["data_limited"]) == set(schema.DataLimited.__annotations__)


def test_residuals_are_those_of_the_fitted_laws_run_by_run():
    found = of_everything()
    (errors,) = facts.residuals(found)
    runs = found.tables["runs.csv"].set_index("run_id")
    # two models, five exposures, two seeds, one run missing
    assert len(errors.points) == 2 * 5 * 2 - 1
    law = {law["model"]: law for law in found.numbers["exposure_laws"]}["2x16"]
    for row in errors.points[errors.points.series.str.startswith("2x16")].itertuples():
        fitted = exposures.curve(
            law["form"], row.x, *(law[key]["value"] for key in ("r_inf", "e0", "b"))
        )
        assert row.error == pytest.approx(fitted - runs.r[row.run_id])
    read_back = Finding("facts", "fit.json", json.loads(found.json()), found.tables)
    assert facts.residuals(read_back)[0].points.equals(errors.points)
    assert facts.residuals(analysed(grid(), n_boot=50)) == []


def test_columns_of_runs_are_those_that_some_run_has():
    found = of_everything()
    heads = [column.heading for column in facts.columns(found.tables["runs.csv"])]
    assert heads == ["P", "arm", "R", "R^max", "R/R^max", "accuracy", "gain", "seconds"]


def test_a_study_is_about_facts_where_all_of_its_runs_are():
    class Run:
        def __init__(self, kind):
            self.data = type("Data", (), {"kind": kind})

    empty = table([run()])
    assert facts.applies([Run("bios"), Run("biod"), Run("corpus")], empty)
    assert not facts.applies([Run("bios"), Run("uniform")], empty)
    assert not facts.applies([Run("text")], empty)


def test_figures_are_those_that_say_something():
    assert set(facts.figures(of_everything())) == {"ratio", "exposures"}
    few = [run(seed=s, **{"data.order": order}) for s in (0, 1) for order in ("a", "b")]
    assert set(facts.figures(analysed(few, n_boot=50))) == {"arms"}  # one size
    assert set(facts.figures(analysed(grid(), n_boot=50))) == {"ratio"}


def named(ax, prefix):
    return [artist for artist in ax.get_children() if (artist.get_gid() or "").startswith(prefix)]


def points(ax):
    """Runs at the x where they belong; what shares it is drawn beside it."""
    return sorted(
        (x, y)
        for line in named(ax, "runs")
        for x, y in zip(getattr(line, "at", line.get_xdata()), line.get_ydata(), strict=True)
    )


def arms_of(runs):
    return plain(arms(runs, noise(runs)).to_dict("records"))


def test_the_ratio_figure_shows_every_run_the_guides_and_the_ceilings():
    runs = prepare(table(everything()))
    figure = ratio_figure(runs, arms_of(runs))
    (ax,), done = figure.axes, runs[runs.chosen & (runs.bits > 0)]
    drawn = zip(done.parameters_paper, done.bits, strict=True)
    assert points(ax) == sorted(drawn) and len(done) == 38
    assert [
        g.get_ydata()[0] / g.get_xdata()[0]
        for n in (4, 2, 1, 0.5)
        for g in named(ax, f"guide {n}")
        if hasattr(g, "get_xdata")
    ] == pytest.approx([4, 2, 1, 0.5])
    assert {c.get_ydata()[0] for c in named(ax, "ceiling")} == {800 * BITS, 2400 * BITS}
    assert {t.get_text() for t in named(ax, "label")} == {"N = 800", "N = 2.4K"}
    assert "2 with R <= 0 not drawn" in ax.get_xlabel()
    means, by_arm = named(ax, "mean of"), {arm["arm"]: arm for arm in arms_of(runs)}
    shown = [by_arm[arm] for arm in set(done.arm)]
    assert sorted((line.at[0], line.get_ydata()[0]) for line in means) == sorted(
        (arm["parameters_paper"], arm["bits"]) for arm in shown
    )
    intervals = {line.ends[0] for line in means}
    assert intervals == {
        tuple(end * arm["parameters_paper"] for end in quoted(arm)) for arm in shown
    }
    # a colour per variant, a marker per number of exposures and N
    hue = {line.get_color() for line in means}
    assert len(hue) == done.variant.nunique() > 1
    assert len({line.get_marker() for line in means}) == done.groupby(["asked", "amount"]).ngroups
    open_ones = {line.get_ydata()[0] for line in means if line.get_markerfacecolor() == "white"}
    assert open_ones == {arm["bits"] for arm in shown if arm["fraction"] >= 0.95}
    told = " ".join(t.get_text() for t in figure.legends[0].get_texts()).replace("\n", " ")
    assert all(name in told for name in done.variant.unique())
    assert all(f"{asked:g} exposures" in told for asked in done.asked.unique())
    nothing = prepare(table([run(r=-1.0)]))
    assert not named(ratio_figure(nothing, arms_of(nothing)).axes[0], "runs")


def test_the_exposures_figure_shows_runs_laws_and_the_end_of_the_data():
    runs = prepare(table(everything()))
    laws = exposure_laws(runs)
    ax = exposures_figure(runs, arms_of(runs), laws).axes[0]
    used = runs[
        runs.chosen
        & (runs.model.isin(["2x16", "2x32"]))
        & (runs.series == "N = 2.4K, GPT2, other_parts=0")
    ]
    drawn = zip(used.exposures_mean, used.r, strict=True)
    assert points(ax) == sorted(drawn) and len(named(ax, "law")) == 2
    ends = {line.get_ydata()[0] for line in named(ax, "R^max")}
    assert ends == {used.r_max[used.model == "2x32"].mean()}  # that of 2x16 is far above all runs
    legend = " ".join(t.get_text().replace("\n", " ") for t in ax.figure.legends[0].get_texts())
    assert "max}$ 6.3" in legend and "max}$ 2.05" in legend and "fitted law" in legend
    bare = exposures_figure(runs, arms_of(runs)).axes[0]
    assert len(named(bare, "means 2")) == 2 and not named(bare, "law")


@pytest.mark.parametrize("many", [1, 24])
def test_no_name_leaves_the_figure(many):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [
        run(
            shape,
            **{"data.order": f"a rather long name of an order, number {i}", "train.exposures": e},
        )
        for i in range(many)
        for shape in ("2x16", "2x48")
        for e in (100.0, 200.0)
    ]
    runs = prepare(table(rows))
    for figure in (ratio_figure(runs, arms_of(runs)), exposures_figure(runs, arms_of(runs))):
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        width, height = figure.get_size_inches() * figure.dpi
        assert box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height
        assert min(t.get_fontsize() for t in figure.legends[0].get_texts()) >= 7


def test_the_figure_of_arms_has_a_row_for_each_with_every_run_and_names_that_stay_inside():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [
        run("2x16", seed, **{"data.order": f"a rather long name of an order, number {i}", "r": r})
        for i, r in enumerate((0.9, 0.3, 0.02))
        for seed in (0, 1)
    ]
    runs = prepare(table(rows))
    figure = arms_figure(runs, arms_of(runs))
    (ax,) = figure.axes
    assert (
        sorted(x for x, _ in points(ax)) == sorted(runs.r)
        and ax.get_xscale() == "log"
        and {round(y) for _, y in points(ax)} == {0, -1, -2}
    )
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in named(ax, "mean of")}
    assert (
        all(
            value == pytest.approx(np.mean([x for x, y in points(ax) if round(y) == row]))
            for row, value in means.items()
        )
        and len(means) == 3
    )
    FigureCanvasAgg(figure).draw()
    edge = figure.get_size_inches()[0] * figure.dpi
    assert len(named(ax, "label")) == 3 and all(
        text.get_window_extent().x1 < edge for text in named(ax, "label")
    )
