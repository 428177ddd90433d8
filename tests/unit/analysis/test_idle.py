"""Studies of parts: a planted kappa is found again, and what withholds one is said by name."""

import numpy as np
import pytest

import idle_tables
from capacity.analysis import finding, kinds
from capacity.analysis.idle import analysis, reading, tuning
from capacity.base.words import digits
from capacity.report import markdown
from capacity.report import text as terminal
from drawings import texts
from idle_tables import BEST, BIOS, KAPPAS, plan, table

EVERY = ("plain", "experts", "engram", "stem", "keys", "peer", "banks")


@pytest.fixture(scope="module")
def runs():
    return plan(EVERY)


@pytest.fixture(scope="module")
def pair():
    return plan()


def found(runs, rows=None, over=BEST, **planted):
    return analysis.analysed(runs, table(runs, **planted) if rows is None else rows, "study", over)


def laws(runs, rows=None, over=BEST, **planted):
    return {law["system"]: law for law in found(runs, rows, over, **planted).numbers["laws"]}


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_kappa_of_every_system_is_found_again(runs):
    one = found(runs, noise=0.003)
    every = {law["system"]: law for law in one.numbers["laws"]}
    assert set(every) == set(KAPPAS)
    for name, law in every.items():
        low, high = law["kappa"]["interval"]
        assert low < KAPPAS[name] < high and not law["withheld"], law
        low, high = law["alpha"]["interval"]
        assert low < idle_tables.ALPHA < high
        assert law["runs"] == 12 and len(law["models"]) == 4
    experts = every["experts"]
    assert experts["per_idle"]["value"] == pytest.approx(
        experts["alpha"]["value"] * experts["kappa"]["value"]
    )
    said = shown(one)
    for name, words in (("experts", "holds less than"), ("engram", "not shown to differ from")):
        assert f"{name}: kappa = {digits(every[name]['kappa']['value'])}" in said and words in said


def test_intervals_of_kappa_hold_the_truth(pair):
    """95% in principle; of 16 planted studies whose models scatter by 3% at most 4 may miss (p <
    0.1% if exact); results/studies/coverage has 400 of the form alone."""
    rows, misses = table(pair, noise=0.0), 0
    known = reading.described(pair, BEST)
    model = rows.merge(known[["run_id", "model"]], on="run_id", suffixes=("_", "")).model
    random = np.random.default_rng(4)
    for _ in range(16):
        scatter = dict(zip(set(model), 0.03 * random.standard_normal(4), strict=True))
        deviate = model.map(scatter) + 0.005 * random.standard_normal(len(rows))
        drawn = rows.assign(strict_bits=rows.strict_bits * np.exp(deviate))
        low, high = laws(pair, drawn)["engram"]["kappa"]["interval"]
        misses += not low <= KAPPAS["engram"] <= high
    assert misses <= 4


def test_people_are_judged_by_their_own_bits_and_parameters():
    people = plan(("plain", "stem"), pins=BIOS)
    every = laws(people, noise=0.003)
    low, high = every["stem"]["kappa"]["interval"]
    assert low < KAPPAS["stem"] < high and not every["stem"]["withheld"]
    known = reading.described(people, BEST)
    counted = {run.run_id: run.parameters["paper"] for run in people}
    assert (known.p == known.run_id.map(counted)).all() and (known.p_idle >= 0).all()


@pytest.mark.parametrize(
    "best, system, told",
    [
        ((0.005, 1.0), "experts", "its best lr, 0.01, is the smallest of 3 tried"),
        ((0.02, 8.0), "engram", "its best table_lr, 4, is the largest of 3 tried"),
    ],
)
def test_an_optimum_at_the_edge_withholds_kappa(runs, best, system, told):
    one = found(runs, best=best)
    every = {law["system"]: law for law in one.numbers["laws"]}
    assert any(reason.endswith(told) for reason in every[system]["withheld"])
    assert f"{system}: cannot tell kappa:" in shown(one) and told in shown(one)
    # a model without tables has no rate of tables
    assert bool(every["experts"]["withheld"]) == (best[0] != 0.02)


def test_rates_that_were_not_tuned_withhold_kappa():
    law = laws(plan(tuned=False))["engram"]
    assert any("lr is not tuned: 1 value (0.02)" in reason for reason in law["withheld"])
    law = laws(plan(tuned=False), over=[])["engram"]
    assert any("lr is not tuned: 0 values" in reason for reason in law["withheld"])


def test_rising_runs_unread_rows_and_full_data_are_said_by_name(pair):
    rows = table(pair)
    law = laws(pair, rows.assign(gain_last_tenth=0.05))["engram"]
    assert any("12 runs still rising by over 2%" in reason for reason in law["withheld"])

    one = found(pair, rows.assign(rows_read=0.9))
    (law,) = one.numbers["laws"]
    assert "2x8 engram: 10.0% of the rows of a table are never read" in law["withheld"]
    assert not one.numbers["unread_unknown"]
    assert len(found(pair, rows).numbers["unread_unknown"]) == 6

    full = rows.assign(strict_bits=0.97 * rows.strict_ceiling_bits)
    (law,) = found(pair, full).numbers["laws"]
    assert law["reason"].startswith("no run of the plain model of the same form measures capacity")
    assert "no kappa" in shown(found(pair, full))
    with pytest.raises(ValueError, match="no run to fit: none of 28 finished with a positive"):
        found(pair, rows.assign(strict_bits=-1.0))


def test_plain_models_alone_or_of_another_form_give_no_kappa(pair):
    alone = plan(("plain",))
    assert found(alone).numbers["laws"] == [] and not kinds.load("idle").applies(alone, None)
    other = plan(("plain",)) + plan(
        ("engram",), pins=[*idle_tables.UNIFORM, "model.norm=layernorm"]
    )
    law = laws(other)["engram"]
    assert law["reason"] == (
        "no run of the plain model of the same form measures capacity: none is planned"
    )
    rows = table(plan())
    system = rows.run_id.map(reading.described(plan(), BEST).set_index("run_id").system)
    missing = rows.assign(status=np.where(system == "engram", "missing", rows.status))
    assert laws(plan(), missing)["engram"]["reason"].endswith("capacity: none has finished")
    one_size = plan(widths=(16,))
    assert laws(one_size)["engram"]["reason"] == "2 models; an interval over models needs 3"


def test_experts_of_other_settings_are_a_system_of_their_own():
    shared = [*idle_tables.UNIFORM, "model.n_shared=1"]
    runs = plan(("plain",)) + plan(("experts",)) + plan(("experts",), pins=shared)
    known = reading.described(runs, BEST)
    assert set(known.system) == {"plain", "experts", "experts n_shared=1"}
    assert known.form.nunique() == 1


def test_the_law_reads_seeds_that_chose_nothing(pair):
    one = found(pair)
    runs = one.tables["runs.csv"]
    assert set(runs[runs.in_law].seed) == {1, 2, 3} and set(runs[runs.chose].seed) == {0}
    assert one.numbers["laws"][0]["chose"] == one.numbers["laws"][0]["other_recipes"] == []
    only = [run for run in pair if run.seed == 0]  # all that there is chose
    alone = found(only)
    assert set(alone.tables["runs.csv"].query("in_law").seed) == {0}
    assert len(alone.numbers["laws"][0]["chose"]) == 4
    assert "read from the very runs that chose their recipe" in shown(alone)
    other = found(pair, best=(0.01, 1.0))  # the seeds behind have a recipe that was not chosen
    assert other.numbers["laws"][0]["other_recipes"] == other.numbers["laws"][0]["chose"] != []
    row = next(row for row in one.numbers["choices"] if row["system"] == "engram")
    assert row["recipe"] == {"train.lr": 0.02, "train.table_lr": 1.0} and row["seeds"] == [0]
    assert row["tried"] == {"train.lr": [0.01, 0.02, 0.04], "train.table_lr": [0.5, 1.0, 4.0]}


def test_a_seed_that_lacks_a_rate_chooses_nothing(pair):
    rows = table(pair)
    lost = next(run.run_id for run in pair if run.seed == 0 and run.train.lr == 0.04)
    rows.loc[rows.run_id == lost, ["status", "strict_bits"]] = ["failed", np.nan]
    one = found(pair, rows)
    (law,) = one.numbers["laws"]
    assert any("1 run of its tuning did not finish" in reason for reason in law["withheld"])
    assert any("lr is not tuned: 2 values" in reason for reason in law["withheld"])
    assert one.numbers["failed"] == [lost]


def test_which_studies_are_of_this_kind(pair):
    applies = kinds.load("idle").applies
    assert applies(pair, None) and applies(plan(("plain", "experts")), None)
    assert applies(plan(("plain", "keys"), pins=BIOS), None)
    # facts on experts alone are judged by the ratio of their paper
    assert not applies(plan(("plain", "experts"), pins=BIOS), None)
    assert tuning.FEWEST == 3


def test_document_figures_and_files(pair, tmp_path):
    one = found(pair, models=0.02)
    figures = kinds.figures(one)
    assert list(figures) == ["total", "active"]
    (errors,) = kinds.residuals(one)
    assert len(errors.points) == 12 and np.abs(errors.points.error).max() < 15
    written = finding.write(one, figures, markdown.render(kinds.document(one), figures), tmp_path)
    assert {"fit.json", "runs.csv", "README.md"} <= {path.name for path in written}
    drawn = {text.get_text() for text in texts(figures["total"])}
    assert {"engram", "plain", "law", "α P"} <= drawn
    row = next(row for row in one.numbers["models"] if row["system"] == "engram")
    assert row["added"]["seeds"] == 3 and row["added"]["parameters"] > row["p_idle"]
    same = [
        r for r in one.numbers["models"] if r["system"] == "plain" and r["model"] in row["model"]
    ]
    gain = (row["bits"] - same[0]["bits"]) / row["added"]["parameters"]
    assert row["added"]["value"] == pytest.approx(gain, rel=1e-6)


def signs(runs, rows=None, **planted):
    return {
        (row["system"], row["outcome"]): row
        for row in found(runs, rows, **planted).numbers["signs"]
    }


def test_published_signs_agree_where_idle_parameters_hold_less_than_active_ones(runs):
    """More bits than the plain model and fewer per parameter. Three runs a side and size: p = 2 /
    (6 choose 3)^2. The keys and PEER of 2x16 have fewer parameters than the plain model: of those
    of 2x8 alone no more bits are asked for."""
    every = signs(runs, noise=0.003, kappas={"stem": 1.0})
    assert set(every) == {
        *((name, "bits") for name in KAPPAS),
        ("experts", "bits per parameter"),
        ("keys", "bits per parameter"),
        ("banks", "bits per parameter"),
    }
    for narrow in ("keys", "peer"):
        assert every.pop((narrow, "bits"))["sizes"] == ["2x8"]
    for (_, outcome), row in every.items():
        assert row["verdict"] == "agrees" and row["reason"] is None
        assert row["p"] == row["smallest_p"] == 2 / 400 and row["runs"] == [6, 6]
        assert (row["ratio"] > 1) == (outcome == "bits")
    said = shown(found(runs, noise=0.003))
    assert "Published signs, agrees: experts more bits;" in said and "arXiv 2412.09764" in said


def test_a_sign_that_is_the_other_one_differs_and_noise_tells_nothing(runs):
    every = signs(runs, noise=0.003, kappas={"experts": 1.5, "stem": 0.0})
    assert every["experts", "bits per parameter"]["verdict"] == "differs"
    assert every["stem", "bits"]["verdict"] == "differs"
    row = signs(runs, noise=0.1, kappas={"engram": -0.5}, draw=2)["engram", "bits"]
    assert row["p"] > 0.05 and row["verdict"] == "cannot tell" and "p is above 5%" in row["reason"]


def test_what_more_training_of_the_lower_side_could_turn_is_no_sign(runs):
    rows = table(runs, noise=0.003)
    known = reading.described(runs, BEST).set_index("run_id")
    system = rows.run_id.map(known.system)
    every = signs(runs, rows.assign(gain_last_tenth=np.where(system == "experts", 0.05, 0.0)))
    assert every["experts", "bits"]["verdict"] == "agrees"  # more training adds to it
    row = every["experts", "bits per parameter"]
    assert row["verdict"] == "cannot tell" and "6 runs still rising" in row["reason"]
    assert row["p"] <= 0.05  # the number stays
    every = signs(runs, rows.assign(gain_last_tenth=np.where(system == "plain", 0.05, 0.0)))
    assert every["experts", "bits"]["verdict"] == "cannot tell"
    assert every["experts", "bits per parameter"]["verdict"] == "agrees"


def test_a_sign_needs_as_many_runs_as_its_p(pair):
    few = plan(seeds=(1,), widths=(8,))
    row = signs(few)["engram", "bits"]
    assert row["verdict"] == "cannot tell" and row["reason"] == (
        "so few runs cannot reach a p of 5%"
    )
