"""Studies of context: planted bits per number of state are found again, and what withholds them is
said by name."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.context import analysis, reading
from capacity.analysis.context.plots import state_figure
from capacity.base.words import digits
from capacity.compose import load_many
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal
from drawings import texts

PINS = ["data=copy", "data.vocab_size=16", "model=linear", "model.n_layers=1", "model.d_model=16"]
PINS += ["model.mixer_conv=false", "train=adamw", "train.steps=500", "train.warmup_steps=5"]
BETA = {"delta": 0.5, "gla": 0.8}
BEST, RATES = 0.01, (0.003, 0.01, 0.03)
HEADS = {16: 8, 8: 16, 4: 32}  # heads: length; states of 16, 32 and 64 numbers


def plan(mixers=("delta",), seeds=(1, 2), heads=HEADS, rates=RATES, lengths=()):
    """The runs of a study: seed 0 tries rates at one state, the others have the middle one."""
    rows = []
    for mixer in mixers:
        rows += [(mixer, 4, 32, rate, 0) for rate in rates]
        rows += [(mixer, h, n, BEST, seed) for h, n in heads.items() for seed in seeds]
        rows += [(mixer, h, n, BEST, seed) for h, n in lengths for seed in seeds]
    return load_many(
        [
            [
                [
                    Given(text, "test")
                    for text in (
                        *PINS,
                        f"model.mixer={mixer}",
                        f"model.n_heads={h}",
                        f"data.copy_length={n}",
                        f"train.lr={rate}",
                        f"seed={seed}",
                    )
                ]
            ]
            for mixer, h, n, rate, seed in rows
        ]
    )


def table(runs, *, noise=0.01, states=0.0, draw=0, best=BEST):
    """Their table, finished: beta S bits, times lognormal scatter of runs and of states, at most
    the ceiling; each factor of e away from the best rate costs a fifth of it."""
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    deviates = {state: rng.standard_normal() for state in sorted(set(rows.state_numbers))}
    held = []
    for run, state, most in zip(runs, rows.state_numbers, rows.context_ceiling_bits, strict=True):
        off = 0.8 ** abs(np.log(run.train.lr / best))
        scatter = np.exp(noise * rng.standard_normal() + states * deviates[state])
        held.append(min(BETA[run.model.mixer] * state * off * scatter, most))
    return rows.assign(
        status="finished", gain_last_tenth=0.0, context_bits=held, context_bits_se=0.01
    )


def found(runs, rows=None, **planted):
    return analysis.analysed(runs, table(runs, **planted) if rows is None else rows, "study")


def laws(runs, rows=None, **planted):
    return {law["system"]: law for law in found(runs, rows, **planted).numbers["laws"]}


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind():
    runs = plan()
    assert kinds.kinds_of(runs, table(runs)) == ["context"]
    assert analysis.SCHEMA == 2


def test_bits_per_number_of_every_mixer_are_found_again():
    one = found(plan(("delta", "gla")), noise=0.003)
    every = {law["system"]: law for law in one.numbers["laws"]}
    assert set(every) == set(BETA)
    for name, law in every.items():
        low, high = law["beta"]["interval"]
        assert low < BETA[name] < high and high - low < 0.05, law
        assert not law["withheld"] and law["runs"] == 6 and law["states"] == [16, 32, 64]
        value = digits(law["beta"]["value"])
        assert f"{name}: a number of state holds {value} bits, 95%" in shown(one)


def test_intervals_hold_the_truth():
    """95% in principle. Of 40 planted studies whose states scatter by 3% at most 8 may miss: more
    have a probability below 1e-3 for intervals that hold 95%."""
    runs, missed = plan(), 0
    for draw in range(40):
        (law,) = laws(runs, draw=draw, states=0.03).values()
        low, high = law["beta"]["interval"]
        missed += not low <= BETA["delta"] <= high
    assert missed <= 8


@pytest.mark.parametrize(
    "rates, side", [((0.01, 0.03, 0.1), "smallest"), ((0.001, 0.003, 0.01), "largest")]
)
def test_a_rate_at_the_edge_withholds(rates, side):
    one = found(plan(rates=rates))
    (law,) = one.numbers["laws"]
    why = f"train.lr: the best, 0.01, is the {side} tried"
    assert law["withheld"] == [why] and law["runs"] == 6
    assert why in shown(one) and "cannot tell" in shown(one)


def test_runs_of_another_rate_than_the_best_are_in_no_law():
    (law,) = laws(plan(), best=0.001).values()
    assert law["runs"] == 1 and "needs 3" in law["reason"]


def test_a_rate_that_nobody_tuned_withholds():
    (law,) = laws(plan(rates=())).values()
    assert law["withheld"] == ["train.lr: 1 tried; an optimum needs 3"]


def test_a_run_that_rises_withholds_and_says_a_lower_bound():
    runs = plan()
    rows = table(runs)
    rows.loc[rows.seed == 1, "gain_last_tenth"] = 0.03
    one = found(runs, rows)
    (law,) = one.numbers["laws"]
    assert law["withheld"] == ["3 runs still rising by over 2%"]
    assert "delta: cannot tell the bits per number" in shown(one) and "a lower bound" in shown(one)


def test_a_state_at_its_ceiling_measures_nothing():
    """With lengths that ask for less than a state holds no state is measured."""
    runs = plan(heads={16: 1, 8: 2, 4: 4}, rates=RATES)
    one = found(runs)
    assert set(one.tables["runs.csv"].loc[lambda r: r.seed > 0, "class"]) == {"ceiling"}
    (law,) = one.numbers["laws"]
    assert "1 state with runs that measure it" in law["reason"]  # that of the rates
    assert f"{law['system']}: no bits per number" in shown(one)


def test_the_length_at_which_a_state_held_most_tells_it():
    """Longer ones hold a half of it: they are harder to learn."""
    runs = plan(lengths=[(16, 64), (8, 64), (4, 64)])
    rows = table(runs, noise=0.0)
    long = [run.data.copy_length == 64 for run in runs]
    rows.loc[long, "context_bits"] *= 0.5
    (law,) = laws(runs, rows).values()
    assert law["beta"]["value"] == pytest.approx(BETA["delta"]) and law["runs"] == 6
    # a state that held more where no more was asked for is not measured by what it held elsewhere
    rows.loc[long, "context_bits"] = rows.context_ceiling_bits[long]
    (law,) = laws(runs, rows).values()
    assert any("held more at a length" in why for why in law["withheld"])


def test_incomplete_studies_say_what_is_missing():
    runs = plan()
    rows = table(runs)
    rows.loc[rows.seed == 2, "status"] = "missing"
    one = found(runs, rows)
    (law,) = one.numbers["laws"]
    assert law["runs"] == 3 and len(one.numbers["missing"]) == 3
    with pytest.raises(ValueError, match="no finished run to fit"):
        found(runs, rows.assign(status="missing"))


def test_one_seed_and_one_state():
    (law,) = laws(plan(seeds=(1,))).values()
    assert law["runs"] == 3 and not law["reason"]
    (law,) = laws(plan(heads={4: 32})).values()
    assert law["reason"] == "1 state with runs that measure it; an interval over states needs 3"


def test_negative_bits_are_unlearned_and_no_error():
    runs = plan()
    rows = table(runs)
    rows.loc[rows.seed == 1, "context_bits"] = -3.0
    one = found(runs, rows)
    assert len(one.numbers["flags"]["unlearned"]) == 3


def test_two_kinds_of_data_are_refused():
    recall = ["data=mqar", "model=linear", "train=adamw", "train.steps=500"]
    runs = [*plan(), *load_many([[[Given(text, "test") for text in recall]]])]
    with pytest.raises(ValueError, match="runs on data.kind=copy and mqar"):
        reading.described(runs)


def test_figure_errors_and_words():
    one = found(plan(("delta", "gla")))
    figure = state_figure(one.tables["runs.csv"], one.numbers)
    words = {one.get_text() for one in texts(figure)}
    assert {"delta", "gla", "numbers of state", "bits held of a sequence"} <= words
    (errors,) = kinds.residuals(one)
    assert len(errors.points) == 12 and abs(errors.points.error).max() < 5
    assert "C = beta S" in markdown.render(kinds.document(one), ["state"])
    assert kinds.document(one).figures.keys() == kinds.figures(one).keys()


def test_reading_classes():
    rows = found(plan()).tables["runs.csv"]
    assert set(rows["class"]) == {"full"} and rows.in_law.sum() == 6
    assert not rows.in_law[rows.seed == 0].any()  # those that chose the rate
