"""Canaries at set steps: that they are seen when they should be, that probes and resumed runs
agree, and how forgetting is fitted."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import records
from capacity.analysis.text import forgetting, tables_forgetting
from capacity.analysis.text.plots import forgetting_figures
from capacity.base.errors import ConfigError
from capacity.base.table import text
from capacity.compose import load
from capacity.feed import canary_schedule as views
from capacity.feed import split
from capacity.feed.feed import TableFeed
from capacity.run.job import Job
from capacity.run.run import execute

SMALL = [
    "data=text_pocket",
    "data.documents=400",
    "data.seq_len=16",
    "data.n_held_out=100",
    "data.tokens_per_parameter=null",
    "data.n_sequences=60",
    "model.d_model=8",
    "model.n_heads=2",
    "train.steps=90",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
    "data.canaries=3",
    "data.repeats=[0,1,4,8]",
    "data.last_view=0.5",
    "data.view_spacing=4",
]


def run(config, folder, stop=lambda: False):
    return execute([config], Job(folder, torch.device("cpu"), stop=stop))[config.run_id]


@settings(max_examples=30, deadline=None)
@given(
    spacing=st.integers(1, 9),
    canaries=st.integers(1, 6),
    last=st.floats(0.3, 0.9),
    batch=st.integers(4, 12),
    steps=st.integers(60, 200),
)
def test_every_canary_is_seen_as_often_as_its_level_says_and_never_after(
    spacing, canaries, last, batch, steps
):
    try:
        config = load(
            [
                *SMALL,
                f"data.view_spacing={spacing}",
                f"data.canaries={canaries}",
                f"data.last_view={last}",
                f"train.batch_size={batch}",
                f"train.steps={steps}",
            ]
        )
    except ConfigError as error:
        assert "data.last_view" in str(error) or "would meet" in str(error)
        return
    feed = TableFeed([config], torch.device("cpu"))
    rows = torch.cat(
        [feed.batch_rows(first, min(17, steps - first)) for first in range(0, steps, 17)]
    )[:, 0].numpy()  # in any pieces
    assert (rows == feed.batch_rows(0, steps)[:, 0].numpy()).all()
    dealt = split.of(config)
    assert (feed.canaries(0).numpy() == dealt.canaries).all() and len(feed.member_tokens(0)) == 60
    for j, repeats in enumerate(dealt.repeats):
        seen = np.flatnonzero((rows == 60 + j).any(1)) + 1  # updates count from 1
        assert len(seen) == repeats and (rows == 60 + j).sum() == repeats
        if repeats:
            assert seen[-1] == views.last_updates(config)[j] <= views.last_step(config)
            assert (np.diff(seen) == spacing).all() and seen[0] > min(views.probe_steps(config))
    counted = np.bincount(rows[rows < 60], minlength=60)
    assert feed.exposures(0, steps) == {
        "min": counted.min(),
        "mean": pytest.approx(counted.mean()),
        "max": counted.max(),
    }


@pytest.mark.parametrize("kind", ["random", "pool"])
def test_probes_are_in_the_record_and_survive_a_stop(tmp_path, kind):
    config = load([*SMALL, f"data.canary_text={kind}", "cluster.checkpoint_seconds=1000"])
    assert run(config, tmp_path / "a") == "finished"
    calls = iter(range(10**6))
    assert run(config, tmp_path / "b", lambda: next(calls) > 60) == "interrupted"
    assert run(config, tmp_path / "b") == "finished"
    found = [
        records.read(tmp_path / name, config.run_id)["measures"]["text"]["views"] for name in "ab"
    ]
    assert found[0] == found[1]
    assert tuple(found[0]["step"]) == views.probe_steps(config)
    assert np.array(found[0]["loss_bits_per_token"]).shape == (len(found[0]["step"]), 12)
    assert found[0]["views"] == [0] * 3 + [1] * 3 + [4] * 3 + [8] * 3
    table = forgetting.memory(found[0], 16)
    assert set(table.views) == {1, 4, 8} and table.lag.min() == 0 and table.lag.max() == 45 + 3
    assert table[(table.views == 8) & (table.lag < 4)].bits.mean() > max(
        0, table[(table.views == 1) & (table.lag < 4)].bits.mean()
    )


def test_passages_of_the_pool_are_nobody_elses():
    for trained_on in ("members", "reference", "others", "half"):
        config = load(
            [*SMALL, "data.canary_text=pool", f"data.trained_on={trained_on}"]
            + ["data.n_reference=80"] * (trained_on in ("reference", "others"))
        )
        dealt = split.of(config)
        used = dealt.pool.tokens_NS[np.concatenate([dealt.trained, dealt.scored])]
        assert len(dealt.canaries) == 12
        assert not (used[:, None] == dealt.canaries[None]).all(-1).any()


def test_settings_that_cannot_be_are_told_in_one_line():
    for more, words in (
        (["data.canaries=0"], "data.canaries"),
        (["data.last_view=0.3"], "need more than 32"),
        (["data.last_view=0.999"], "one after it"),
        (["data.canaries=40"], "would meet in a batch of 8"),
        (["data.repeats=[0]"], "data.repeats"),
        (["data.repeats=[1,4]"], "with 0 among them"),
        (["data.canaries=3000", "data.canary_text=pool"], ""),
    ):
        with pytest.raises(ConfigError) as error:
            config = load([*SMALL, *more])
            split.of(config)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_memory_is_the_difference_to_controls_and_to_before():
    lost = {
        "step": [10, 50, 51, 60],
        "views": [0, 0, 2, 2],
        "last_update": [50, 49, 50, 49],
        "loss_bits_per_token": [[5, 7, 6, 9], [4, 6, 3, 4], [4, 6, 3, 4], [3, 5, 5, 8]],
    }
    table = forgetting.memory(lost, 10).set_index(["canary", "lag"]).bits
    # at first the controls' mean is 6, canary 2 has 6 and canary 3 has 9; later 5: gains of 2 and 1
    # against 0 and -3
    assert (
        table[2, 0] == pytest.approx(20)
        and table[3, 1] == pytest.approx(40)
        and table[2, 10] == pytest.approx(-10)
        and table[3, 11] == pytest.approx(-10)
    )


@pytest.mark.parametrize(
    "form,truth",
    [
        ("power", (40.0, 6.0, 0.7)),
        ("exponential", (40.0, 90.0, 6.0)),
        ("logarithmic", (40.0, 3.0, 4.0)),
    ],
)
def test_planted_forgetting_is_found_and_its_form_told_apart(form, truth):
    lag = np.unique(np.round(np.geomspace(1, 3000, 40)))
    bits = forgetting.value(form, lag, *truth) + np.random.default_rng(1).normal(0, 0.3, len(lag))
    assert forgetting.fit(form, lag, bits) == pytest.approx(truth, rel=0.35)
    errors = {
        f: np.mean((forgetting.value(f, lag, *forgetting.fit(f, lag, bits)) - bits) ** 2)
        for f in forgetting.FORMS
    }
    assert min(errors, key=errors.get) == form
    half = forgetting.half_life(form, *truth)
    assert forgetting.value(form, half, *truth) == pytest.approx(truth[0] / 2)


def planted(form, *, seeds=3, noise=0.15):
    """Runs and probes of canaries whose bits at first are 8 views^0.4 (P/1000)^0.5 and whose
    half-life is 100 (batch/16)."""
    dice, runs, found = np.random.default_rng(2), [], {}
    steps = np.array(views._probe_steps(6000, 1500, 16, 64))
    seen = np.repeat([0, 1, 4, 16, 64], 12)
    last = 1500 - np.arange(60) % 16
    for size in (1000, 4000):
        for batch in (16, 64):
            for seed in range(seeds):
                first = 8 * seen**0.4 * (size / 1000) ** 0.5 * (seen > 0)
                lag = np.maximum(steps[:, None] - last, 0)
                half = 100 * batch / 16
                fade = (
                    np.exp(-lag / half * np.log(2))
                    if form == "exponential"
                    else (1 + lag / (half / (2 ** (1 / 0.6) - 1))) ** -0.6
                )
                bits = np.where(steps[:, None] >= last, first * fade, 0.0)
                loss = (
                    6 - bits / 32 + dice.normal(0, 0.3, 60) + dice.normal(0, noise / 32, bits.shape)
                )
                name = f"{size}-{batch}-{seed}"
                runs.append(
                    {
                        "run_id": name,
                        "model": str(size),
                        "parameters_total": size,
                        "seq_len": 32,
                        "train.batch_size": batch,
                        "data.canary_text": "random",
                        "data.last_view": 0.25,
                        "data.view_spacing": 16,
                    }
                )
                found[name] = {
                    "step": steps.tolist(),
                    "loss_bits_per_token": loss.tolist(),
                    "views": seen.tolist(),
                    "last_update": last.tolist(),
                }
    return pd.DataFrame(runs), found


@pytest.mark.parametrize("form", ["exponential", "power"])
def test_a_planted_study_of_forgetting_is_read_off(form):
    runs, found = planted(form)
    told = forgetting.analyse(runs, found, n_boot=200)
    assert len(told["cells"]) == 16 and told["strong"] == 16
    assert max(told["forms"], key=lambda f: told["forms"][f]["best_tail"]) == form
    assert max(told["forms"], key=lambda f: told["forms"][f]["best_rmse"]) == form
    first, half = told["first_bits"]["random"], told["half_life"]["random"]
    assert first["views"]["exponent"] == pytest.approx(0.4, abs=0.03) and first["parameters"][
        "exponent"
    ] == pytest.approx(0.5, abs=0.03)
    low, high = half["batch"][
        "interval"
    ]  # a power law has lost some by the end of a spacing, and more where it falls faster: 0.92
    assert (
        low < 1.0 < high + 0.1
        and half["batch"]["exponent"] == pytest.approx(1.0, abs=0.15)
        and half["views"]["exponent"] == pytest.approx(0, abs=0.1)
    )
    cell = next(
        c for c in told["cells"] if c["model"] == "4000" and c["batch"] == 64 and c["views"] == 64
    )
    assert cell["errors"][form]["half_life"] == pytest.approx(400, rel=0.15) and cell["half_life"][
        "value"
    ] == pytest.approx(400, rel=0.2)
    for table in tables_forgetting.forgetting(told):
        assert max(map(len, text(table))) <= 80


def test_canaries_that_leave_nothing_ask_for_no_form():
    runs, found = planted("power", seeds=1)
    for seen in found.values():
        seen["loss_bits_per_token"] = (
            6 + np.random.default_rng(3).normal(0, 0.01, np.shape(seen["loss_bits_per_token"]))
        ).tolist()
    told = forgetting.analyse(runs, found, n_boot=100)
    assert told["strong"] <= 1 and all(
        "reason" in law for laws in (told["first_bits"], told["half_life"]) for law in laws.values()
    )


def test_the_figure_needs_no_middle_shape_at_every_batch():
    """A study of which some runs are missing: the middle size of all has no run at the batch that
    most shapes have."""
    cells = [
        {
            "model": model,
            "parameters": size,
            "batch": batch,
            "text": "random",
            "point": 0.25,
            "views": 4,
            "lags": [0, 3],
            "bits": [2.0, 1.0],
        }
        for model, size, batch in (("a", 1000, 16), ("b", 4000, 64), ("c", 9000, 16))
    ]
    figures = forgetting_figures(cells)
    assert {name: figure.axes[0].get_title(loc="left") for name, figure in figures.items()} == {
        "forgetting_random": "random tokens, seen 4 times",
        "forgetting_random_views": "random tokens, c, batch 16",
    }
