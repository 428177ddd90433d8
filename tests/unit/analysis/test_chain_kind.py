"""Studies of a chain of families: planted steps are found and multiply, what counts is what the
module says, and what is not known is withheld."""

import math
from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.chain import analysis
from capacity.analysis.families import FAMILIES
from capacity.report import text as terminal
from capacity.study import load_study

STUDY = """
question: what does each change do?
pins: [model=pocket, model.n_layers=2, model.n_heads=2, train=pocket_bios]
grids:
  - family: &all
      - {data: uniform, data.vocab_size: 333, data.load: 5.0, train.batch_size: 48}
      - {data: mixed, data.random_share: 1.0, data.row_vocab: 333, data.load: 5.0, data.seq_len: 96}
      - &keys {data: biod_pocket, data.load: 2.5, data.seq_len: 96, data.rows: 334,
               data.attributes: 1, data.chunks: 4, data.diversity: 121, data.alphabet: 121,
               data.separator: none, data.wording: values, data.order: fixed}
      - &named {<<: *keys, data.attributes: 4, data.chunks: 1, data.wording: attributes}
      - &new {<<: *named, data.order: permute}
      - &spelled {<<: *new, data.length: 2, data.alphabet: 11}
      - {<<: *spelled, data.wording: sentences}
      - {data: bios_pocket, data.load: 1.0, data.seq_len: 96, data.biographies: 1}
      - {data: bios_pocket, data.load: 1.0, data.seq_len: 96, data.biographies: null}
    model.d_model: [8, 12]
    train.exposures: [400, 800]
    train.lr: [0.025]
    seed: [0, 1, 2]
  - family: *all
    model.d_model: [8]
    train.exposures: [800]
    train.lr: [0.0125, 0.05]
    seed: [0]
"""
BITS = dict(
    zip([f.key for f in FAMILIES], [2.4, 2.0, 1.2, 1.1, 0.9, 0.5, 0.45, 0.4, 0.2], strict=True)
)
LN2 = math.log(2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "chain.yaml"
    path.write_text(STUDY)
    return load_study(str(path), []).runs


def table(runs, *, noise=0.01, best=0.025, full="", clock=0.0, draw=0):
    """Finished runs that hold BITS per parameter, less at other learning rates; clock: how much of
    the log of the last family's lag is gone after a doubling."""
    rng = np.random.default_rng(draw)
    frame = run_table.table(Path("no such folder"), runs)
    named = {name: np.full(len(runs), np.nan) for name in analysis.MEASURED}
    for i, run in enumerate(runs):
        family, p = analysis.families.of(run).key, run.parameters["total"]
        held = BITS[family] * (1 - 0.2 * abs(math.log2(run.train.lr / best)))
        if family == "new texts" and run.exposures < 500:
            held *= math.exp(-clock)
        held *= 1 + noise * rng.standard_normal()
        most = 2.0 * held
        bits, n = held * p, run.items
        if family == "rows":
            named["strict_bits"][i], named["strict_ceiling_bits"][i] = bits, most * p
            named["paper_bits"][i] = bits * 32 / 31
        elif family == "packed":
            named["random_bits"][i], named["random_ceiling_bits"][i] = bits, most * p
        else:
            k = run.data.attributes if run.data.kind == "biod" else 1
            values = (
                k * run.data.chunks * math.log2(run.data.diversity)
                if run.data.kind == "biod"
                else run.data.attribute_bits
            )
            if family == full:
                bits = 0.95 * n * values
            named["p2_nats"][i] = (values - bits / n) * LN2 / k
            named["p1_nats"][i] = (math.log2(run.data.n_names) - 0.1 * bits / n) * LN2
            named["wording_bits"][i] = 0.5 * bits
    return frame.assign(status="finished", gain_last_tenth=0.0, **named)


def found(runs, **planted):
    return analysis.analysed(runs, table(runs, **planted), "study")


def said(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_runs_on_several_families_of_the_chain_are_one_study(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["chain"] and analysis.SCHEMA == 3
    bios = [run for run in runs if run.data.kind == "bios"]
    assert kinds.kinds_of(bios, table(bios)) != ["chain"]


def test_planted_steps_are_found_and_multiply(runs):
    fit = found(runs, noise=0.01).numbers
    keys = [f.key for f in FAMILIES]
    assert [(row["first"], row["last"]) for row in fit["steps"]] == list(
        zip(keys, keys[1:], strict=False)
    )
    for row in fit["steps"]:
        low, high = row["interval"]
        true = BITS[row["last"]] / BITS[row["first"]]
        assert row["value"] == pytest.approx(true, rel=0.03) and low <= high
        assert row["exposures"] == 800 and row["pairs"] == 6 and row["withheld"] == []
    whole = fit["ends"]
    assert sum(row["log"] for row in fit["steps"]) == pytest.approx(whole["log"], abs=1e-9)
    assert whole["value"] == pytest.approx(0.2 / 2.4, rel=0.05)
    # the smallest p of six pairs
    assert whole["p"] == pytest.approx(2 / 64)
    readings = {row["family"]: row["ratio"] for row in fit["readings"]}
    assert readings["rows"] == pytest.approx(32 / 31)
    assert readings["one text"] == pytest.approx(1.5)
    assert readings["new texts"] == pytest.approx(1.1)
    for row in fit["readings"]:  # what is counted as well follows from what is held: no scatter
        assert row["interval"] == pytest.approx([row["ratio"]] * 2) and row["runs"] == 6
    told = said(found(runs, noise=0.01))
    assert "biographies, new texts over those of random rows: 0.083" in told.replace("**", "")


def test_no_noise_gives_the_planted_numbers_exactly(runs):
    for row in found(runs, noise=0.0).numbers["steps"]:
        assert row["value"] == pytest.approx(BITS[row["last"]] / BITS[row["first"]], rel=1e-9)


def test_a_rate_at_an_edge_withholds_the_steps_beside_it(runs):
    """Every family holds most at the largest rate tried, which is not that of most runs."""
    fit = found(runs, best=0.05).numbers
    assert all(row["withheld"] for row in fit["steps"])
    assert "another recipe held more" in " ".join(fit["ends"]["withheld"])
    told = said(found(runs, best=0.05))
    assert "cannot tell:" in told.replace("**", "") and "steps that are shown" not in told


def test_one_rate_is_no_tuning(runs):
    some = [run for run in runs if run.train.lr == 0.025]
    fit = found(some).numbers
    assert "1 learning rate tried" in fit["ends"]["withheld"][0]


def test_a_family_that_is_not_known_is_stepped_over(runs):
    """Of spelled values most seeds hold nothing: the two steps beside it have no value, one over
    both has that of the others, and parts add up."""
    frame = table(runs, noise=0.0)
    spelled = frame.run_id.isin(
        [r.run_id for r in runs if analysis.families.of(r).key == "spelled"]
    )
    values = 4 * math.log2(121) * LN2 / 4
    frame.loc[spelled & (frame.seed > 0), "p2_nats"] = values  # as many nats as values have
    fit = analysis.analysed(runs, frame, "study").numbers
    unknown = [row["last"] for row in fit["steps"] if row["value"] is None]
    assert unknown == ["spelled", "sentences"]
    over = fit["steps"][-1]
    assert (over["first"], over["last"], over["over"]) == ("reordered", "sentences", True)
    assert over["value"] == pytest.approx(BITS["sentences"] / BITS["reordered"], rel=1e-9)
    logs = [row["log"] for row in fit["steps"] if row["log"] is not None]
    assert sum(logs) == pytest.approx(fit["ends"]["log"], abs=1e-9)
    told = said(analysis.analysed(runs, frame, "study"))
    assert "sentences, from new orders" in told
    assert "cannot tell of the 2 steps to spelled values and sentences" in told.replace("**", "")


def test_a_full_family_withholds_its_steps(runs):
    fit = found(runs, full="keyed").numbers
    withheld = {row["last"] for row in fit["steps"] if row["withheld"]}
    assert withheld == {"keyed", "named"}
    assert not fit["ends"]["withheld"]


def test_models_of_two_sizes_are_no_step(runs):
    frame = table(runs)
    shapes = [run for run in runs if run.data.kind != "uniform"]
    wider = [r for r in runs if r.data.kind == "uniform"]
    some = analysis._described([*shapes, *wider])
    assert (
        some.groupby("size").parameters.max() / some.groupby("size").parameters.min() < 1.01
    ).all()
    fit = analysis.analysed(runs, frame, "study").numbers
    assert not any("in parameters" in why for row in fit["steps"] for why in row["withheld"])


def test_a_gap_that_closes_with_exposures_is_one_of_clocks(runs):
    fit = found(runs, clock=0.5, noise=0.005).numbers["clocks"]
    assert [row["exposures"] for row in fit["rows"]] == [400, 800]
    assert fit["slope"] == pytest.approx(0.5, abs=0.05)
    assert "come nearer" in said(found(runs, clock=0.5, noise=0.005))
    assert "cannot tell clocks" in said(found(runs, clock=0.0)).replace("**", "")


def test_two_families_of_no_common_budget_are_no_chain(runs):
    some = [
        run
        for run in runs
        if (run.data.kind == "uniform") == (run.exposures < 500) and run.train.lr == 0.025
    ]
    assert "no chain" in said(found(some))


def test_the_figure_has_every_chosen_run(runs):
    one = found(runs)
    (axes,) = kinds.figures(one)["chain"].axes
    points = [line for line in axes.lines if str(line.get_gid()).startswith("runs ")]
    chosen = one.tables["runs.csv"].query("chosen")
    assert sum(len(line.get_xdata()) for line in points) == len(chosen)
    shown = sorted(x for line in points for x in line.get_xdata())
    assert shown == pytest.approx(sorted(chosen.per_parameter))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f.called for f in FAMILIES]
