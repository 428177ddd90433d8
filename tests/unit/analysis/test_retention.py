"""What lasts of what was seen in a window: planted curves of recognition and recall are found, what
is not there is not told, and the control before the window is a guess."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.items import analysis, orders, plots, retention
from capacity.compose import load_many
from capacity.data import canaries
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal

N, STEPS = 40, (5, 20, 30, 60, 80, 120, 200)
FIRST, END = 20, 60  # updates of the window
PINS = ["data=text_pocket", "data.documents=400", "data.tokens_per_parameter=null"]
PINS += ["data.n_sequences=200", "data.n_held_out=100", "model=gpt", "model.n_layers=1"]
PINS += ["data.canaries=4", "train.steps=200", "train.batch_size=16", "train.warmup_steps=5"]
PINS += ["data.canary_text=pool", "data.repeats=[0,3,10]", "data.canary_noise=[0,1]"]
PINS += [f"data.view_windows=[{FIRST / 200}-{END / 200}]"]


def plan(*more, replicates=6):
    return load_many(
        [
            [[Given(t, "test") for t in (*PINS, *more, f"seed={s}", f"data.split_seed={s}")]]
            for s in range(replicates)
        ]
    )


def fall(step, share):
    """1 behind the window, `share` at the end, straight over the logarithm of the updates."""
    if step < END:
        return 0.0
    return 1 - (1 - share) * np.log(step / END) / np.log(STEPS[-1] / END)


def found(runs, recalled=0.2, bits=(0.8, 0.4), part=0.5, steps=STEPS):
    """recalled: part of recall that is kept; bits: of text and of random tokens; part: recalled
    behind the window after 10 views."""
    out = {}
    for run in runs:
        rng, listed = np.random.default_rng(run.seed), []
        for arm in canaries.arms(run.data, run.steps):
            kept = bits[0] if arm.noise == 0 else bits[1]
            spread = rng.normal(size=(len(run.data.repeats), N))
            for i, level in enumerate(run.data.repeats):
                held = [30 * level / 10 * fall(s, kept) for s in steps]
                written = [round(N * part * level / 10 * fall(s, recalled)) for s in steps]
                tails = [np.where(np.arange(N) < w, 16, 0).tolist() for w in written]
                lengths = [(200 + 20 * spread[i] - h).tolist() for h in held]
                listed.append(
                    {
                        "group": len(listed) + 1,
                        "kind": 1,
                        "length": arm.length,
                        "noise": arm.noise,
                        "replaced": 0,
                        "window_first": arm.window.first,
                        "window_end": arm.window.end,
                        "spacing": None,
                        "repeats": level,
                        "canaries": N,
                        "exposure": 2.0,
                        "held_bits": 0.0,
                        "auc": None,
                        "extractable": 0.0,
                        "bits": lengths[-1],
                        "tails": tails[-1],
                        "bits_at": lengths,
                        "tails_at": tails,
                        "first_update": [FIRST + 1 if level else None] * N,
                    }
                )
        out[run.run_id] = listed
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    at = {run.run_id: list(steps) for run in runs}
    return analysis.analysed(runs, rows, out, "study", at)


def told(one):
    return {(row["axis"], row["outcome"]): row for row in one.numbers["orders"]}


def test_planted_curves_are_found_and_orders_agree():
    one = found(plan())
    rows = {(r["noise_share"], r["repeats"]): r for r in one.numbers["retention"]}
    assert set(rows) == {(noise, level) for noise in (0.0, 1.0) for level in (3, 10)}
    text = rows[0.0, 10]
    assert text["before"]["recognition"]["value"] == pytest.approx(0.5, abs=0.05)
    assert text["first"]["lag"] == 0 and text["last"]["lag"] == STEPS[-1] - END
    assert text["first"]["recalled"]["value"] == pytest.approx(0.5)
    assert text["last"]["recalled"]["value"] == pytest.approx(0.1)
    kept = {
        (noise, level): row["last"]["bits"]["value"] / row["first"]["bits"]["value"]
        for (noise, level), row in rows.items()
    }
    assert kept[0.0, 10] == pytest.approx(0.8, abs=0.1)
    assert kept[1.0, 10] == pytest.approx(0.4, abs=0.1)
    verdicts = told(one)
    for key in [
        ("time after the last view", "recognition"),
        ("time after the last view", "recalled"),
        (orders.ROBUST, "kept"),
        ("random tokens", "kept"),
    ]:
        assert verdicts[key]["verdict"] == "agrees", key
    said = " ".join(terminal.render(kinds.document(one)).split())
    assert "the part of recognition that is kept beside that of recall is higher" in said
    assert max(map(len, terminal.render(kinds.document(one)).splitlines())) <= 80
    assert markdown.render(kinds.document(one))
    assert set(plots.draw(one)) == set(kinds.document(one).figures) == {"held", "retention"}
    assert one.numbers["earlier"] == []  # what is shown no more is no forecast


def test_snapshots_within_the_window_say_nothing():
    """Some canaries are seen by then, others are not."""
    lasting = found(plan(replicates=2)).tables["retention.csv"]
    assert set(lasting.step) == {5, 20, 60, 80, 120, 200}
    assert (lasting[lasting.step == 80].lag == 20).all()


def test_what_is_kept_alike_is_not_told_apart():
    one = found(plan(), bits=(0.6, 0.6))
    assert told(one)["random tokens", "kept"]["verdict"] == "cannot tell"


def test_without_recall_nothing_is_said_of_its_loss():
    one = found(plan(), part=0.0)
    assert (orders.ROBUST, "kept") not in told(one)
    assert retention.robustness(one.tables["retention.csv"]).empty


def test_few_replicates_cannot_tell():
    assert told(found(plan(replicates=3)))[orders.ROBUST, "kept"]["verdict"] == "cannot tell"


def test_starts_are_one_system_whatever_each_begins_with():
    """Of replicates that each begin with weights of their own, and those from scratch."""
    from capacity.analysis.items import reading
    from capacity.study import load_study

    known = reading.described(load_study("items/retention@pocket", []).runs)
    assert set(known.system) == {"from scratch", "from a trained model"}
    assert known.groupby("system").replicate.nunique().tolist() == [6, 6]


def test_what_is_kept_by_spacing_is_read_at_steps_that_all_spacings_share():
    """Windows end with updates 60 and 70; the closer views lose more. A snapshot between these ends
    is behind one window alone, and is not asked."""
    rows = []
    for replicate in range(6):
        for spacing, end, share in ((1, 60, 0.4), (4, 70, 0.8)):
            for step in (30, 60, 65, 80, 200):
                lag = step - end
                bits = {65: 99.0, 80: 10.0, 200: 10.0 * share}.get(step, 20.0)
                rows.append(
                    {"system": "", "replicate": replicate, "run_id": f"r{replicate}", "step": step}
                    | {"lag": lag, "spacing": spacing, "noise_share": 0.0, "bits": bits}
                    | {"recognition": 0.9, "recalled": 0.0}
                )
    found = pd.DataFrame(rows)
    each = retention.spacings(found)
    assert each.groupby("spacing").kept.mean().to_dict() == pytest.approx({1: 0.4, 4: 0.8})
    told = {row["axis"]: row for row in orders.of_retention(found)}["steps between views"]
    assert told["verdict"] == "shown" and told["slope"] > 0 and told["p"] == 2 / 64
    assert retention.spacings(found.assign(spacing=np.nan)).empty
