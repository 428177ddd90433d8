"""What a study of random data writes: numbers, words, files and residuals."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import finding, kinds
from capacity.analysis.random import analysis
from capacity.analysis.random import plateaus as fit
from capacity.fitting import capacity_forms
from capacity.published import values as published
from capacity.report import markdown, text
from random_data import hole, ragged, study


def shown(found):
    """What a terminal shows of a finding."""
    return text.render(kinds.document(found))


def words_of(found):
    """The same on one line, so that a sentence is found wherever it was broken."""
    return " ".join(shown(found).split())


def write(table, folder, name, **options):
    """What the command writes: everything is computed first."""
    found = analysis.analysed(table, name, **options)
    figures = kinds.figures(found)
    page = markdown.render(kinds.document(found), [*figures])
    return found, finding.write(found, figures, page, folder)


@pytest.mark.parametrize(
    "table",
    [
        study(),
        ragged(),
        study(widths=(16,), seeds=(0,)),
        study(loads=(0.3, 0.6)),
        study().assign(model=lambda t: t.model + " n_heads=2 mlp_ratio=2.0"),
    ],
)
def test_the_result_is_json_without_nan_and_the_report_fits_80_columns(table):
    name = "a study with a name that is long enough to need a second line, or so"
    found = analysis.analysed(table, name, bootstraps=200)
    assert json.loads(found.json()) == found.numbers
    strict = found.numbers["strict"]
    assert strict == fit.fit_laws(table, n_boot=200)
    told = shown(found)
    assert max(map(len, told.splitlines())) <= 80
    words = " ".join(told.split())
    assert name in words and "Gradient descent finds a lower bound" in words
    fewer = published.get("morris/mean_bf16").setting["tokens"] / table.tokens.max()
    assert f"{fewer:,.0f} times fewer than published" in words
    for row in strict["plateaus"]:
        assert f"\n  {row['model']} " in told or f"\n  {row['model']}\n" in told


def test_nothing_that_was_dropped_goes_unnamed():
    table = ragged()
    found = analysis.analysed(table, "study", bootstraps=200)
    law, words, document = found.numbers["strict"], words_of(found), kinds.document(found)
    dropped = {kind: entry["runs"] for kind, entry in law["dropped"].items()}
    assert all(dropped.values())
    assert law["n"]["used"] + sum(map(len, dropped.values())) == law["n"]["rows"] == len(table)
    for kind in ("missing", "failed", "unlearned"):
        assert all(run in words for run in dropped[kind])
    flags = {flag.name: list(flag.runs) for flag in document.flags}
    for kind, names in dropped.items():
        assert flags[kind.replace("_", "-")] == names
    assert flags["unconverged"] == law["rising"] and flags["near-corner"] == law["near_corner"]
    assert flags["above-ceiling"] == law["above_ceiling"] == []
    assert "above-ceiling" not in words  # that it was looked for, the page says
    assert "failed: 4 runs (" in words and "missing: 2 runs (" in words
    assert "unlearned: 1 run (" in words
    assert re.search(r"unconverged: 8 runs \([^)]* and 2 more\): gained over 2%", words)


def test_a_terminal_shows_plateaus_as_columns_with_marks_that_are_explained():
    found = analysis.analysed(ragged(), "study", bootstraps=200)
    lines = shown(found).splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["model", "P"])
    heads = ["model", "P", "seeds", "runs", "other", "capacity", "bits", "bits/P", "±", "sd"]
    assert lines[start].split() == heads
    rows = {line.split()[0]: line.split()[1:] for line in lines[start + 1 : start + 7]}
    plateaus = found.numbers["strict"]["plateaus"]
    assert list(rows) == [row["model"] for row in plateaus]
    for row in plateaus:
        cells, bound = rows[row["model"]], row["lower_bound"]
        used = 0 if bound else row["runs"]
        assert cells[:4] == [
            f"{row['parameters']:,.0f}",
            str(0 if bound else row["seeds"]),
            str(used),
            str(row["finished"] - used),
        ]
        if row["bits"] is None:
            assert cells[4:7] == ["–", "–", "–"]
            continue
        sd = "–" if bound else f"{row['bits_per_parameter_sd']:.3f}"
        assert cells[4:7] == [f"{row['bits']:,.0f}", f"{row['bits_per_parameter']:.3f}", sd]
    marks = {model: "".join(cells[7:]) for model, cells in rows.items()}
    expected = {"1x16": "m", "1x24": "", "1x32": "r", "1x48": "u", "1x64": "≥f", "1x96": "m"}
    assert marks == expected
    words = words_of(found)
    for meaning in (
        "≥: only a lower bound",
        "r: some runs still rising",
        "f: failed",
        "m: missing",
        "u: finished without positive bits",
    ):
        assert meaning in words
    assert "only a lower bound" not in words_of(analysis.analysed(study(), "x", bootstraps=50))


def test_both_intervals_of_a_number_are_shown_and_the_wider_one_is_to_be_quoted():
    found = analysis.analysed(study(shapes=0.05), "study", bootstraps=400)
    law, lines = found.numbers["strict"], shown(found).splitlines()
    start = lines.index("  C = alpha P")
    value, *both = lines[start + 1 : start + 4]
    assert value == f"    alpha = {law['alpha']['value']:.3f} bits per parameter"
    quoted = law["alpha"]["quote"]
    for key, over in (("interval_models", "over models"), ("interval_seeds", "over seeds")):
        low, high = law["alpha"][key]["ends"]
        mark = "  <- quote this one" if key == quoted else ""
        assert f"      95% [{low:.3f}, {high:.3f}] {over}{mark}" in both
    first, second = (law["alpha"][key]["ends"] for key in ("interval_models", "interval_seeds"))
    wider = np.ptp(first) > np.ptp(second)
    assert quoted == ("interval_models" if wider else "interval_seeds")
    numbers = [line.split()[0] for line in lines if line.startswith("    ") and " = " in line]
    assert {"alpha", "gamma", "alpha1", "c0"} <= set(numbers)
    alone = shown(analysis.analysed(study(widths=(16,)), "one", bootstraps=100))
    assert "no interval over models: 1 model with data, this law needs 3" in alone
    assert "C = a P^gamma: none: one parameter count only" in alone


@pytest.mark.parametrize(
    ("table", "headline"),
    [
        (study(gamma=0.9, noise=0.005), "Bits per parameter fall with size"),
        (study(gamma=1.1, noise=0.005), "Bits per parameter rise with size"),
        (study(), "bits per parameter, 95% ["),
        (study(loads=(0.3, 0.6)), "No law from these runs: every model has only lower"),
    ],
)
def test_the_headline_is_one_number_only_where_the_ratio_is_constant(table, headline):
    found = analysis.analysed(table, "study", bootstraps=400)
    first = kinds.document(found).answers[0].replace("**", "")
    assert headline in first
    strict = found.numbers["strict"]
    if strict["alpha"]:
        assert f"{strict['alpha']['value']:.3f}" in first
        assert ("with size" in first) == (headline.endswith("size"))
    else:
        assert f"alpha is at least {strict['alpha_at_least']:.3f}" in first


def test_published_values_are_only_set_beside_the_paper_convention():
    found = analysis.analysed(study(), "study", bootstraps=50)
    paper = found.numbers["paper"]
    (row,) = kinds.document(found).section("published").blocks[0].rows
    assert row.name.startswith("mean over models of bits per parameter, fp32")
    assert row.published.startswith("3.83 [3.65, 4.00]; ") and "arXiv 2505.24832 v3" in row.source
    mean = paper["other_estimators"]["mean_of_ratios"]
    assert row.here.split()[0] == f"{mean:.2f}" and found.numbers["verdicts"][0]["measured"] == mean
    assert f"{found.numbers['strict']['other_estimators']['mean_of_ratios']:.2f}" not in row.here
    bf16 = analysis.analysed(study().assign(precision="bf16"), "study", bootstraps=50)
    rows = kinds.document(bf16).section("published").blocks[0].rows
    there = [published.get(f"morris/{id}").value for id in ("mean_bf16", "slope_bf16")]
    assert [row.published.split()[0] for row in rows] == [f"{value:g}" for value in there]
    slope = bf16.numbers["paper"]["other_estimators"]["with_intercept"]
    assert rows[1].here.split()[0] == f"{slope:.2f}"
    with pytest.raises(ValueError, match="'strict'"):
        analysis.verdicts(found.numbers["strict"])


def test_the_same_table_gives_the_same_result_in_any_row_order_and_the_hash_follows_its_inputs():
    table = study()
    one = fit.fit_laws(table, seed=3, n_boot=200)
    assert fit.fit_laws(table.sample(frac=1, random_state=1), seed=3, n_boot=200) == one
    assert fit.fit_laws(table.assign(wall_s=1.0), seed=3, n_boot=200) == one
    other = fit.fit_laws(table, seed=4, n_boot=200)
    assert other["alpha"]["value"] == one["alpha"]["value"]
    assert other["alpha"]["interval_seeds"] != one["alpha"]["interval_seeds"]
    changed = table.assign(strict_bits=table.strict_bits * (1 + 1e-12))
    tables = (table, table.sample(frac=1, random_state=1), table.assign(wall_s=1.0), changed)
    digests = [
        analysis.analysed(one, "study", seed=seed, bootstraps=50).numbers["inputs_sha256"]
        for seed, one in enumerate(tables)
    ]
    assert digests[0] == digests[1] == digests[2] == fit.inputs_hash(fit.check(table)) != digests[3]


def test_a_study_is_written_whole_and_twice_the_same(tmp_path):
    table = ragged()
    one, paths = write(table, tmp_path / "a", "ragged", bootstraps=200)
    two, _ = write(table, tmp_path / "b", "ragged", bootstraps=200)
    assert shown(one) == shown(two)
    names = [
        "README.md",
        *(f"figures/{n}.{k}" for n in ("capacity", "memorized") for k in ("csv", "pdf", "png")),
        "fit.json",
        "plateaus.csv",
        "runs.csv",
    ]
    there = sorted(p.relative_to(tmp_path / "a").as_posix() for p in paths)
    assert there == sorted(names)
    assert sorted(paths) == sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )
    result = json.loads((tmp_path / "a" / "fit.json").read_text(encoding="utf-8"))
    assert (
        result["strict"] == fit.fit_laws(table, n_boot=200)
        and result["paper"]["parameters"] == "paper"
    )
    assert list(result)[:3] == ["kind", "schema", "study"]
    assert (result["kind"], result["study"]) == ("random", "ragged")
    assert set(result["versions"]) == {"capacity", "python", "numpy", "pandas", "scipy"}
    assert (
        result["verdicts"] == analysis.verdicts(result["paper"])
        and result["verdicts"][0]["published"]["id"] == "morris/mean_fp32"
    )
    runs = pd.read_csv(tmp_path / "a" / "runs.csv").set_index("run_id")
    assert (
        len(runs) == len(table)
        and (runs.class_strict == "failed").sum() == 4
        and runs.still_rising.sum() == 8
    )
    shapes = pd.read_csv(tmp_path / "a" / "plateaus.csv")
    assert len(shapes) == 12 and set(shapes.convention + shapes["count"]) == {
        "stricttotal",
        "paperpaper",
    }
    page = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    for name in ("capacity", "memorized"):
        assert f"](figures/{name}.png)" in page
    before = (tmp_path / "a" / "fit.json").read_bytes()
    with pytest.raises(ValueError, match="no finished run"):
        write(hole(table, table.index, "missing"), tmp_path / "a", "ragged")
    assert (tmp_path / "a" / "fit.json").read_bytes() == before


def test_a_write_that_breaks_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    (tmp_path / "fit.json").write_text("old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write(study(), tmp_path, "x", bootstraps=50)
    assert os.listdir(tmp_path) == ["fit.json"] and (tmp_path / "fit.json").read_text() == "old"


def test_the_errors_of_the_laws_are_fitted_over_measured_minus_one():
    found = analysis.analysed(ragged(), "study", bootstraps=50)
    strict, (over_plateaus, over_runs) = found.numbers["strict"], kinds.residuals(found)
    measured = [unit for unit in strict["units"] if not unit["lower_bound"]]
    one = over_plateaus.points[over_plateaus.points.series == "C = alpha P"]
    alpha = strict["alpha"]["value"]
    expected = [100 * (alpha * u["parameters"] / u["bits"] - 1) for u in measured]
    np.testing.assert_allclose(one.error, expected)
    assert over_plateaus.unit == "%" and set(over_plateaus.points.run_id) == {""}
    series = {"C = alpha P", "C = a P^gamma", "C = c0 + alpha1 P"}
    assert set(over_plateaus.points.series) == series
    runs = found.tables["runs.csv"]
    drawn = runs[runs.class_strict.isin(["capacity_limited", "corner", "data_limited"])]
    assert sorted(over_runs.points.run_id) == sorted(drawn.run_id)
    (smooth,) = [r for r in strict["forms"]["runs"]["forms"] if r["form"] == "smooth_corner"]
    values = (drawn.parameters_total, drawn.strict_ceiling_bits)
    fitted = capacity_forms.smooth_corner(
        *(v.astype(float) for v in values), smooth["values"]["alpha"], smooth["values"]["k"]
    )
    by_run = over_runs.points.set_index("run_id").error
    np.testing.assert_allclose(
        by_run[drawn.run_id], 100 * (fitted / drawn.strict_bits.astype(float) - 1)
    )
    bounds = analysis.analysed(study(loads=(0.3, 0.6)), "bounds", bootstraps=50)
    assert kinds.residuals(bounds) == []


def test_importing_the_fit_is_cheap():
    code = (
        "import sys, capacity.analysis.random.plateaus, capacity.analysis.random; "
        "print([m for m in ('torch', 'hydra', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
