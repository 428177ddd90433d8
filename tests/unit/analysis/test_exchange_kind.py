"""Studies of an exchange rate: a planted rate is found and judged, corners and full models are
told, and what is not known is withheld."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.exchange import analysis
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.study import load_study

ALPHA = 3.0


STUDY = """
question: what does a bit of facts cost?
pins:
  - data=mixed
  - model=pocket
  - train=pocket_bios
  - train.exposures=400
grids:
  - size: [{model.d_model: 8, model.n_heads: 1}]
    data.load: [3.0]
    data.random_share: [0.0, 1.0]
    train.lr: [0.0125, 0.025, 0.05]
    seed: [0]
  - size: &sizes [{model.d_model: 8, model.n_heads: 1}, {model.d_model: 16, model.n_heads: 2}]
    data.load: [3.0]
    data.random_share: [0.0, 0.25, 0.5, 0.75, 1.0]
    train.lr: [0.025]
    seed: [0, 1, 2]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "exchange.yaml"
    path.write_text(STUDY)
    return load_study(str(path), []).runs


def table(runs, *, pi=1.4, noise=0.005, bend=0.0, corner=False, full=False, draw=0):
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    p = np.array([run.parameters["total"] for run in runs], float)
    z = np.array([run.data.random_share for run in runs])
    x = (ALPHA / pi) * (1 - z) * (0.0 if corner else 1.0)
    y = ALPHA - pi * x + bend * z * (1 - z)
    x, y = (v + noise * rng.standard_normal(len(v)) for v in (x, y))
    most = 1.0 if full else 3.0
    return rows.assign(
        status="finished",
        gain_last_tenth=0.0,
        random_bits=np.where(z > 0, y * p, np.nan),
        fact_bits=np.where(z < 1, x * p, np.nan),
        random_ceiling_bits=np.where(z > 0, most * y * p, np.nan),
        fact_ceiling_bits=np.where(z < 1, most * np.abs(x) * p, np.nan),
    )


def found(runs, **planted):
    return analysis.analysed(runs, table(runs, **planted), "study")


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["exchange"] and analysis.SCHEMA == 2
    pocket = load_study("rulers/exchange@pocket", []).runs
    assert kinds.kinds_of(pocket, table(pocket)) == ["exchange"]


@pytest.mark.parametrize(
    "pi, verdict, words",
    [
        (1.0, "one", "agrees with 1 (one capacity) and not with 1.8"),
        (1.8, "dear", "agrees with 1.8 (a bit of facts costs more)"),
        (1.4, "neither", "agrees with neither 1 nor 1.8"),
    ],
)
def test_a_planted_rate_is_found_and_judged(runs, pi, verdict, words):
    one = found(runs, pi=pi)
    (row,) = one.numbers["rates"]
    assert row["pi"]["value"] == pytest.approx(pi, abs=0.05) and row["verdict"] == verdict
    low, high = row["pi"]["interval"]
    assert low < pi < high
    for alpha in row["alpha"].values():
        assert alpha == pytest.approx(ALPHA, rel=0.03)
    assert words in said(one) and set(kinds.figures(one)) == {"frontier"}
    assert markdown.render(kinds.document(one), {}).startswith("#")


def test_noise_that_leaves_both_answers_open_cannot_tell(runs):
    open_ = 0
    for draw in range(8):
        one = found(runs, noise=0.1, draw=draw)
        (row,) = one.numbers["rates"]
        if row["verdict"] != "cannot tell":
            continue
        open_ += 1
        low, high = row["pi"]["interval"]
        assert low <= 1 and high >= 1.8
        assert "cannot tell: the interval holds 1 and 1.8" in said(one)
    assert open_ > 2


@pytest.mark.parametrize(
    "ends, p, verdict",
    [
        ([0.9, 1.1], 0.5, "one"),
        ([1.7, 2.0], 0.5, "dear"),
        ([1.2, 1.5], 0.5, "neither"),
        ([0.9, 1.9], 0.5, "cannot tell"),
        ([0.9, 1.1], 0.04, "concave"),
        (None, 0.5, "no interval"),
    ],
)
def test_verdicts(ends, p, verdict):
    test = {"p": p, "value": 0.1}
    row = {"pi": {"value": 1.0, "interval": ends}, "bulge": test, "shares": {"p": None}}
    assert analysis.verdict(row) == verdict
    assert analysis.verdict(row | {"pi": {"value": None, "interval": None}}) == "no rate"
    inwards = row | {"bulge": {"p": 0.01, "value": -0.1}}
    assert analysis.verdict(inwards) == ("one" if verdict == "concave" else verdict)


def test_own_resources_of_both_families_withhold_the_rate(runs):
    one = found(runs, bend=2.0)
    (row,) = one.numbers["rates"]
    assert row["verdict"] == "concave" and row["bulge"]["p"] <= 0.05 and row["shares"]["value"] > 0
    assert "no one rate" in said(one)


def test_a_corner_is_told_and_has_no_interval(runs):
    one = found(runs, corner=True)
    (row,) = one.numbers["rates"]
    assert row["pi"]["interval"] is None
    inner = [run.run_id for run in runs if 0 < run.data.random_share < 1]
    assert one.numbers["corner"] == sorted(inner)


def test_models_that_hold_all_of_both_do_not_count(runs):
    one = found(runs, full=True)
    assert {run.run_id for run in runs if 0 < run.data.random_share < 1} <= set(one.numbers["full"])
    (row,) = one.numbers["rates"]
    assert row["verdict"] == "no rate" and row["pi"]["blocks"] == 0 and "no rate" in said(one)


def test_ends_do_not_count_for_the_rate(runs):
    rows = table(runs)
    ends = [run.run_id for run in runs if run.data.random_share in (0, 1)]
    moved = rows.assign(
        random_bits=rows.random_bits.where(~rows.run_id.isin(ends), 2 * rows.random_bits),
    )
    before, after = (analysis.analysed(runs, t, "study").numbers["rates"][0] for t in (rows, moved))
    assert before["pi"] == after["pi"] and before["bulge"] == after["bulge"]
    assert before["ends"] != after["ends"]


def test_learning_rates_that_were_tried_on_one_family_are_told_and_count_for_nothing(runs):
    one = found(runs)
    assert {row["family"] for row in one.numbers["tried"]} == {"random rows", "people"}
    used = one.tables["runs.csv"]
    assert used.tried.any() and not used.counts[used.tried].any()


def test_half_a_study_says_what_it_knows(runs):
    rows = table(runs)
    for keep in (lambda r: r.seed == 0, lambda r: r.shape == "2x8", lambda r: r.seed < 0):
        chosen = [run.run_id for run in runs if keep(run)]
        part = rows.assign(status=np.where(rows.run_id.isin(chosen), "finished", "missing"))
        if not chosen:
            with pytest.raises(ValueError, match="no finished run to fit"):
                analysis.analysed(runs, part, "study")
            continue
        one = analysis.analysed(runs, part, "study")
        assert len(one.numbers["missing"]) == len(runs) - len(chosen)
        assert said(one) and kinds.figures(one)


def test_one_seed_of_one_size_has_no_rate(runs):
    rows = table(runs)
    chosen = [run.run_id for run in runs if run.seed == 0 and run.shape == "2x8"]
    part = rows.assign(status=np.where(rows.run_id.isin(chosen), "finished", "missing"))
    (row,) = analysis.analysed(runs, part, "study").numbers["rates"]
    assert row["pi"]["value"] is None and row["verdict"] == "no rate"
