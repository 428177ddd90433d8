"""The plan and its verdict, priors of other studies, and the command."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from capacity import run_table
from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths as precision
from capacity.cli.main import main
from capacity.design import finished as of_records
from capacity.design import planner
from capacity.design import space as spaces
from capacity.design.prior import Truths
from capacity.design.registry import make_target
from capacity.design.terminal import report
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study
from designs import formats, space  # noqa: F401


def planned(monkeypatch, space, form, parameter, width, budget, runs, truths, count=40):
    target = make_target(form, parameter, width)
    table = (
        pd.DataFrame(target.simulate(space, runs, truths, np.random.default_rng(0)))
        if runs
        else pd.DataFrame()
    )
    seeds = {j: [s for c, s in runs if c == j] for j, _ in runs}
    monkeypatch.setattr(
        planner,
        "finished",
        lambda *_: of_records.Finished(
            table=table, seeds=seeds, hours=0.01 if runs else 0.0, failed=0
        ),
    )
    request = planner.Request(results=Path("nowhere"), budget=budget, simulations=count)
    return planner.plan(target, space, request)


TRUTH = Truths(
    theta=np.array([[3.4]]),
    sharpness=np.array([6.0]),
    noise=np.array([0.01]),
    scatter=np.array([0.02]),
    bend=np.zeros(1),
)


def test_it_stops_when_the_interval_is_narrow_enough(monkeypatch, space):
    runs = [(j, 0) for j, cell in enumerate(space.cells) if cell.load > 8]
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.2, 1.0, runs, TRUTH)
    assert found.verdict == "reached" and not found.new.any() and found.now["width"] <= 0.2
    assert "reached: stop" in report(found)


def test_it_goes_on_and_then_gets_what_it_said(monkeypatch, space):
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.14, 0.5, [], TRUTH)
    assert found.verdict == "go on" and found.cost <= 0.5 and found.expected.middle <= 0.14
    assert (found.batch <= found.new).all() and 0 < found.batch_cost < found.cost
    text = report(found)
    assert "go on:" in text and max(map(len, text.splitlines())) <= 80
    # what runs already know is used: the rest of the plan is cheaper after its first batch
    runs = [(j, run.seed) for j, run in space.runs(found.batch)]
    after = planned(monkeypatch, space, "capacity_linear", "alpha", 0.14, 0.5, runs, TRUTH)
    assert after.now is not None and (after.verdict == "reached" or after.cost < found.cost)


def test_a_plan_of_formats_goes_on_with_what_is_there(monkeypatch):
    """After its first batch the rest of a plan costs less, also where some runs make no point
    yet."""
    some = spaces.space_of(
        "precision/uniform@pocket", [], Path("nowhere"), "cpu", spaces.Choice(formats=True)
    )
    truth = Truths(
        theta=np.array([[0.14, 1.0]]),
        sharpness=np.array([6.0]),
        noise=np.array([0.01]),
        scatter=np.array([0.03]),
        bend=np.zeros(1),
        level=np.array([3.2]),
    )
    first = planned(monkeypatch, some, "precision_storage", "s", 0.6, 0.15, [], truth)
    assert (
        first.verdict == "go on"
        and (first.batch <= first.new).all()
        and max(map(len, report(first).splitlines())) <= 80
    )
    runs = [(j, run.seed) for j, run in some.runs(first.batch)]
    after = planned(monkeypatch, some, "precision_storage", "s", 0.6, 0.15, runs, truth)
    assert after.verdict == "reached" or after.cost < first.cost
    assert "models of finished runs" in after.prior.sources["capacity"]
    target = make_target("precision_storage", "s", 0.6)
    table = pd.DataFrame(target.simulate(some, runs, truth, np.random.default_rng(0)))
    for of_fp32 in (True, False):  # neither is a point of the law alone
        part = table[(table.format == "fp32") == of_fp32]
        now, known = target.learned(target.prior(some), some, part, "a part")
        assert target.points(part) is None and target.measure(None)["width"] == math.inf
        assert (
            now.theta[0] == 0.13
            and bool(known) is of_fp32
            and ("a part" in now.sources["capacity"]) is of_fp32
        )


def test_it_says_what_scatter_over_models_forbids(monkeypatch, space):
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.02, 1.0, [], TRUTH)
    assert (
        found.verdict == "not within the budget"
        and found.floor > 0.05
        and found.more_models > 3 * len(space.models)
    )
    text = report(found)
    assert "Scatter over models alone" in text and f"about {found.more_models} models" in text


@pytest.mark.parametrize(
    "change, word",
    [
        ({"--form": "capacity_linaer"}, "did you mean capacity_linear"),
        ({"--form": "chinchilla"}, "cannot simulate it"),
        ({"--parameter": "beta"}, "alpha"),
        (
            {
                "--form": "precision_storage",
                "--parameter": "c",
                "study": "precision/uniform@pocket",
            },
            "1 by construction",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "pocket"},
            "0 values of train.qat",
        ),
        (
            {
                "--form": "precision_storage",
                "--parameter": "s",
                "study": "precision/uniform@pocket",
                "--assume": "capacity=0",
            },
            "positive",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "mixed.yaml"},
            "mixes methods qat, qat maps",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "alone.yaml"},
            "no run in fp32",
        ),
        (
            {"--form": "capacity_affine", "--parameter": "c0", "--assume": "c0=-1e9"},
            "for every model",
        ),
        ({"--form": "hard_corner", "--parameter": "k"}, "alpha"),
        ({"--width": "0"}, "--width 0"),
        ({"--budget-hours": "-1"}, "--budget-hours"),
        ({"--assume": "noise"}, "NAME=NUMBER"),
        ({"--assume": "speed=2"}, "noise"),
        ({"--assume": "noise=-1"}, "positive"),
        ({"--prior": "absent.json"}, "absent.json"),
        ({"--only": "9x9"}, "--only 9x9"),
        ({"--write": "mine.txt"}, ".yaml"),
        ({"study": "morris/membership@pocket"}, "text"),
        ({"study": "morris/vocabulary@pocket"}, "mixes vocabulary"),
        ({"study": "pocket_budget"}, "several recipes"),
        (
            {"study": "optimizers", "--form": "exposure_power", "--parameter": "r_inf"},
            "several recipes",
        ),
        ({"study": "nowhere"}, "no such study"),
        ({"--form": "exposure_power", "--parameter": "r_inf"}, "--only"),
    ],
)
def test_bad_input_is_one_line(here, capsys, change, word):
    given = {
        "--form": "capacity_linear",
        "--parameter": "alpha",
        "--width": "0.1",
        "--budget-hours": "1",
    } | change
    study = given.pop("study", "pocket")
    mixed = "grids: [{train.qat: [none, int8, int4, int3, int2], train.qat_embeddings: [%s]}]\n"
    texts = {
        "mixed.yaml": mixed % "true, false",
        "alone.yaml": mixed.replace("none, ", "") % "true",
    }
    if study in texts:
        Path(study).write_text(texts[study])
    assert main(["plan", study, *itertools.chain.from_iterable(given.items())]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert [path.name for path in here.iterdir()] == [study] * (study in texts)


def test_a_fit_of_another_study_is_a_prior(here, capsys):
    fit = Path(__file__).resolve().parents[3] / "results" / "studies" / "pocket" / "fit.json"
    code = main(
        [
            "plan",
            "design",
            "--form",
            "capacity_linear",
            "--parameter",
            "alpha",
            "--width",
            "0.2",
            "--budget-hours",
            "0.5",
            "--prior",
            str(fit),
            "--simulations",
            "20",
        ]
    )
    out = capsys.readouterr().out
    assert (
        code == 0
        and f"8 values of {fit}"[:20] in out.replace("\n            ", " ")
        and "degrees of freedom" in out
    )


COMMITTED = Path(__file__).resolve().parents[3] / "results/studies/precision/uniform@pocket"


def test_an_old_file_is_the_prior_that_the_present_one_is(tmp_path, formats):
    """Schema 2 named method, format and share retained otherwise."""
    tree = json.loads((COMMITTED / "precision.json").read_bytes())
    old = tree | {"schema": 2, "kept": [], "laws": {}, "paired": []}
    del old["retained"]
    names = {"method": "way", "format": "rung"}
    old["capacity"] = [
        {names.get(key, key): value for key, value in row.items()} for row in tree["capacity"]
    ]
    (tmp_path / "old.json").write_text(json.dumps(old))
    target = make_target("precision_storage", "s", 0.2)
    was = of_records.read_prior(tmp_path / "old.json", target, formats)
    now = of_records.read_prior(COMMITTED / "precision.json", target, formats)
    assert len(now) >= precision_laws.FEWEST_FORMATS
    pd.testing.assert_frame_equal(was, now)


def test_formats_of_another_study_is_a_prior(here, capsys):
    found = COMMITTED / "precision.json"
    command = [
        "plan",
        "precision/uniform@pocket",
        "--form",
        "precision_storage",
        "--parameter",
        "s",
        "--width",
        "1",
        "--budget-hours",
        "0.06",
    ]
    code = main([*command, "--simulations", "20", "--prior", str(found)])
    out = capsys.readouterr().out
    assert code == 0 and "7 points of" in out and max(map(len, out.splitlines())) <= 80
    assert "fp32" in out and "go on:" in out


def test_runs_in_formats_are_read_as_fit_laws_reads_them(here, capsys):
    """Points of trained records: of a plan, and of the law of the same study."""
    Path("tiny.yaml").write_text(
        "pins: [data.vocab_size=16, data.seq_len=8, model.n_layers=1, train.batch_size=16, "
        "train.lr=0.03, train.exposures=20,\n"
        "       train.warmup_steps=10, cluster.device=cpu]\n"
        "grids:\n"
        "  - {model.d_model: &d [4], quantize.methods: ['[bf16]'], data.load: [3.0], seed: [0, "
        "1]}\n"
        "  - {model.d_model: *d, train.qat: [int8, int4, int2, ternary], train.qat_embeddings: "
        "[true], data.load: [1.5, 3.0], seed: [0]}\n"
    )
    study, results = load_study("tiny.yaml", []), Path("results")
    execute(study.runs, Job(results, torch.device("cpu"), study.name))
    target = make_target("precision_storage", "s", 0.2)
    space = spaces.space_of("tiny.yaml", [], results, "cpu", spaces.Choice(formats=True))
    done = of_records.finished(space, results)
    assert len(done.table) == len(study.runs) == 10 and done.failed == 0 and done.hours > 0
    mine = target.points(done.table)
    rows, _ = precision_laws.rows_of(run_table.table(results, study.runs), study.runs, results)
    law = precision_laws.points(
        precision_laws.of_method(
            precision_laws.relative(precision.capacity(rows)), "qat", "relative"
        )
    )

    def sorted_points(points):
        x = np.round(points.x["bits_per_weight"], 9)
        return sorted(zip(points.cluster, x, points.y, strict=True))

    assert len(law.y) == 6 and [p[:2] for p in sorted_points(mine)] == [
        p[:2] for p in sorted_points(law)
    ]
    assert [p[2] for p in sorted_points(mine)] == pytest.approx(
        [p[2] for p in sorted_points(law)], rel=1e-12
    )
    fitted = precision_laws.law(
        precision_laws.relative(precision.capacity(rows)), "qat", "relative"
    )["forms"]["precision_storage"]
    assert fitted["parameters"]["s"]["value"] == pytest.approx(
        target.measure(mine)["value"], rel=1e-6
    )
    # the same runs are not asked for again, and the report counts them
    command = [
        "plan",
        "tiny.yaml",
        "--form",
        "precision_storage",
        "--parameter",
        "s",
        "--width",
        "0.2",
        "--budget-hours",
        "0.01",
    ]
    main([*command, "--simulations", "20"])
    assert "now         10 finished runs" in capsys.readouterr().out


def test_every_run_that_a_plan_may_ask_for_is_looked_for(monkeypatch):
    one = spaces.space_of(
        "physics33/04_peak_100@pocket", [], Path("nowhere"), "cpu", spaces.Choice(only="2x16")
    )
    asked = []
    monkeypatch.setattr(of_records.records, "read", lambda results, run_id: asked.append(run_id))
    assert of_records.finished(one, Path("nowhere")).table.empty
    assert {run.run_id for _, run in one.runs(np.full(len(one.cells), one.most))} <= set(asked)


@pytest.mark.slow
def test_plan_sweep_plan_on_a_real_study(here, capsys):
    """A plan, its batch trained by `sweep` as written, and a second plan that has learned from
    it."""
    widths = ", ".join(
        f"{{model.d_model: {d}, model.n_heads: {d // 2}}}" for d in (4, 6, 8, 10, 12)
    )
    Path("tiny.yaml").write_text(
        "pins: [data.vocab_size=16, data.seq_len=8, model.n_layers=1, train.batch_size=16, "
        "train.lr=0.03, train.exposures=60, cluster.device=cpu]\n"
        f"grids: [{{width: [{widths}], data.load: [6.0, 9.0], seed: [0, 1]}}]\n"
    )
    command = [
        "plan",
        "tiny.yaml",
        "--form",
        "capacity_linear",
        "--parameter",
        "alpha",
        "--width",
        "0.3",
        "--budget-hours",
        "0.05",
        "--simulations",
        "40",
        "--write",
        "mine.yaml",
        "--assume",
        "capacity=2",
        "--most-seeds",
        "3",
    ]
    assert main(command) == 0
    first = capsys.readouterr().out
    study = load_study("mine.yaml", [])
    assert "go on" in first and f"{len(study.runs)} of them next" in first
    assert main(["sweep", "mine.yaml"]) == 0
    capsys.readouterr()
    main(command)
    second = capsys.readouterr().out
    assert (
        f"now         {len(study.runs)} finished runs" in second
        and "spent" in second
        and "runs of tiny" in second.replace("\n            ", " ")
    )
