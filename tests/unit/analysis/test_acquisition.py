"""Studies of acquisition: planted effectivity, decay and orders are found again from probes of
facts, orders that are not there are not told, and what cannot be told is said."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.acquisition import analysis, plots
from capacity.compose import load_many
from capacity.data import timed_facts
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.run import timed_facts as recorded

PINS = ["data=text_pocket", "data.documents=400", "data.tokens_per_parameter=null"]
PINS += ["data.n_sequences=200", "data.n_held_out=100", "model=gpt", "model.n_layers=1"]
PINS += ["train.steps=1200", "train.warmup_steps=5", "data.facts=8", "data.fact_views=4"]
PINS += ["data.last_view=0.25", "data.view_spacing=48", "data.known_facts=4"]
BEFORE = 12.0  # nats of a value that was never shown


def plan(*more, replicates=6, sizes=(16, 32), batches=(16, 64)):
    return load_many(
        [
            [
                [
                    Given(t, "test")
                    for t in (
                        *PINS,
                        *more,
                        f"model.d_model={size}",
                        f"train.batch_size={batch}",
                        f"seed={s}",
                        f"data.split_seed={s}",
                    )
                ]
            ]
            for size in sizes
            for batch in batches
            for s in range(replicates)
        ]
    )


def probes(config, gain, decay, rng):
    """Nats of each fact by kind: every view leaves gain(arm, kind, config) at once, which stays
    until the next one; from 10 steps behind the last one on decay(arm, config) of all is lost per
    decade. The run's own luck scales all, and every probe has noise."""
    step = np.array(timed_facts.probe_steps(config.data, config.steps))
    shown, n = timed_facts.steps_of_views(config.data, config.steps), config.data.facts
    luck = 1 + 0.03 * rng.normal()
    out = {}
    for kind in timed_facts.kinds(config.data):
        table = BEFORE + 0.02 * rng.normal(size=(len(step), 4 * n))
        for j, views in enumerate(shown[: 3 * n]):
            arm = timed_facts.ARMS[j // n]
            seen = (step[:, None] > np.array(views)).sum(1)
            lag = np.maximum(step - views[-1] - 4, 10)  # probes are 4 steps apart
            kept = 1 - luck * decay(arm, config) * np.log10(lag / 10)
            table[:, j] -= luck * gain(arm, kind, config) * seen * kept
        out[kind] = table
    return step, out


def found(runs, gain, decay, draw=0, drop=()):
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    done = [run for i, run in enumerate(runs) if i not in drop]
    rows["status"] = ["missing" if i in drop else "finished" for i in range(len(runs))]
    measured = {run.run_id: recorded.parts(run, *probes(run, gain, decay, rng)) for run in done}
    return analysis.analysed(runs, rows, measured, "study")


def published(arm, kind, config):
    """More in the wording of the views, less so of paraphrases; a third more in the larger
    model."""
    gap = {"duplicate": 0.7, "paraphrase": 0.2, "once": 0.7}[arm]
    less = {"memorization": 0.0, "semantic": gap, "composition": 0.9}[kind]
    return (1.0 - less) * (4 / 3 if config.model.d_model == 32 else 1.0)


def fades(arm, config):
    """A third a decade; faster in one wording, and in small batches."""
    return 0.3 + 0.1 * (arm == "duplicate") + 0.1 * (config.train.batch_size == 16)


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind():
    runs = plan(replicates=1)
    table = run_table.table(Path("no such folder"), runs)
    assert kinds.kinds_of(runs, table) == ["acquisition"] and analysis.SCHEMA == 2
    plain = plan("data.facts=0", "data.last_view=null", replicates=1)
    assert kinds.kinds_of(plain, run_table.table(Path("no such folder"), plain)) == ["text"]


def test_planted_numbers_and_orders_are_found_again():
    one = found(plan(), published, fades)
    rows = one.numbers["orders"]
    assert [row["verdict"] for row in rows] == ["agrees"] * 5
    assert all(row["p"] <= 0.05 and row["replicates"] == 6 for row in rows)
    cells = {
        (row["size"][-2:], row["batch"], row["arm"], row["kind"]): row
        for row in one.numbers["cells"]
    }
    assert len(cells) == 2 * 2 * 3 * 3
    for (size, batch, arm, kind), row in cells.items():
        if kind == "composition":
            continue
        config = next(
            c for c in plan(replicates=1)
            if str(c.model.d_model) == size and c.train.batch_size == batch
        )  # fmt: skip
        views = 1 if arm == "once" else 4
        per_view = published(arm, kind, config) / np.log(2)
        # a view's own: 3% of luck over six runs, noise of a search over a few probes of 0.03 bits
        assert row["effectivity"]["value"] == pytest.approx(per_view, rel=0.05, abs=0.05)
        assert row["gained"]["value"] == pytest.approx(views * per_view, rel=0.05, abs=0.1)
        if views == 1:  # noise moves the maximum of so small a gain by many steps
            continue
        # the search finds a best probe that is up to three standard deviations of noise too good
        assert row["a"]["value"] == pytest.approx(fades(arm, config), rel=0.15)
        low, high = row["a"]["interval"]
        assert low < row["a"]["value"] < high
        steps = row["threshold"]["value"]
        assert row["threshold_tokens"]["value"] == pytest.approx(steps * batch * 32)
        held = views * per_view * (1 - fades(arm, config) * np.log10(row_lag(one) / 10))
        assert row["held"]["value"] == pytest.approx(held, rel=0.15, abs=0.15)
    words = shown(one)
    assert "**" not in words and "agrees with the published order" in words


def row_lag(one):
    return float(one.tables["retained.csv"].lag.max())


def test_orders_the_other_way_differ_and_none_cannot_be_told():
    other = found(plan(), lambda *a: 2.0 - published(*a), lambda *a: 0.9 - fades(*a))
    verdicts = {row["order"]: row["verdict"] for row in other.numbers["orders"]}
    assert verdicts["duplicate after paraphrase"] == "differs"
    assert verdicts["size of the batch"] == "differs"
    same = [
        found(plan(sizes=(16,)), lambda *a: 1.0, lambda *a: 0.3, draw)
        for draw in range(8)
    ]  # fmt: skip
    told = [row["verdict"] for one in same for row in one.numbers["orders"]]
    # 32 tests at 5%: more than 5 by chance have a probability of 0.5%
    assert len(told) == 32 and sum(v != "cannot tell" for v in told) <= 5


def test_four_replicates_cannot_tell_and_say_so():
    one = found(plan(replicates=4), published, fades)
    assert {row["verdict"] for row in one.numbers["orders"]} == {"cannot tell"}
    assert "4 replicates cannot reach a p of 5%" in shown(one)


def test_what_gained_nothing_has_bits_and_no_share():
    def nothing(arm, kind, config):
        return 0.0

    one = found(plan(replicates=2), nothing, fades)
    parts = one.tables["parts.csv"]
    # 72 parts, each beyond two standard errors of eight facts by chance in 4%: more than 9 in 0.1%
    assert len(parts) == 72 and parts.a.notna().sum() <= 9
    assert (parts.why[parts.a.isna()] != "").all()
    assert all(abs(row["gained"]["value"]) < 0.1 for row in one.numbers["cells"])
    later = one.tables["retained.csv"]
    told = later[later.retained.notna()]
    with_line = parts[parts.a.notna()]
    assert set(zip(told.run_id, told.arm, told.kind, strict=True)) == set(
        zip(with_line.run_id, with_line.arm, with_line.kind, strict=True)
    )
    assert "gained too little" in shown(one)
    assert all(row["verdict"] == "cannot tell" for row in one.numbers["orders"])


def test_an_incomplete_study_says_what_is_missing():
    runs = plan()
    one = found(runs, published, fades, drop=range(12))
    assert one.numbers["missing"] == sorted(run.run_id for run in runs[:12])
    assert one.numbers["finished"] == 12
    assert not any(row["order"] == "size of the model" for row in one.numbers["orders"])
    with pytest.raises(ValueError, match="no finished run to fit"):
        found(runs, published, fades, drop=range(24))
    alone = found(plan(replicates=1), published, fades)
    assert all(row["gained"]["interval"] is None for row in alone.numbers["cells"])


def test_documents_figures_and_residuals_go_together():
    one = found(plan(), published, fades)
    figures = plots.draw(one)
    document = kinds.document(one)
    assert list(document.figures) == list(figures) == ["cost", "held"]
    lines = {line.get_gid() for line in figures["held"].axes[0].lines}
    assert {"duplicate, memorization", "paraphrase, semantic"} <= lines
    assert markdown.render(document)
    (errors,) = kinds.load("acquisition").residuals(one)
    assert len(errors.points) and np.isfinite(errors.points.error).all()
    # planted lines bend once, at ten steps: elsewhere they are straight but for noise
    assert np.abs(errors.points.error).median() < 0.05
