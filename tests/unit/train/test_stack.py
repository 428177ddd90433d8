"""Stacks: members of different lengths, a step that can be recorded and replayed, compiled steps,
exact resume."""

import json
import shutil
from functools import cache

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

from capacity import records
from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.cost import COMPILE_S, COMPILE_SAVES, GUESSES
from capacity.run.environment import not_compiled
from capacity.train import loop
from capacity.train.loop import Stack
from capacity.train.stack_key import stack_key
from stack_members import CPU, VARIANTS, config, members, run, traced, trained


def weights(results, config):
    return (records.run_dir(results, config.run_id) / "weights.safetensors").read_bytes()


def lines(results, config):
    return [
        {k: v for k, v in line.items() if k != "wall_s"}
        for line in records.read_metrics(results, config.run_id)
    ]


# ------------------------------------------------------------------------------- one step, replayed


@pytest.mark.parametrize(
    "variant, precision", [*((each, "bf16") for each in VARIANTS), ("gpt", "fp32")]
)
def test_a_step_taken_down_once_is_every_step(variant, precision):
    """What a CUDA graph needs: nothing that changes from step to step is read outside of tensors,
    and all is in place."""
    configs = members(variant, precision, lengths=(20, 30, 60))
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    for name in loop.CHANGED:
        assert torch.equal(getattr(plain, name), getattr(replayed, name)), name
    assert not torch.equal(plain.flat_MP, Stack(configs, CPU).start().flat_MP)


def test_a_replayed_step_freezes_what_fails():
    configs = [config(0), config(1, lr=1e30, grad_clip=0.0)]
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    assert (
        replayed.alive_M.tolist() == [True, False]
        and replayed.dead_step_M[1] == plain.dead_step_M[1] > 0
    )
    assert torch.equal(plain.flat_MP, replayed.flat_MP)


# ------------------------------------------------------------------------ members and their company


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_member_equals_its_solo_run_whatever_its_company(variant):
    configs = members(variant, lengths=(30, 45, 60))
    assert len({stack_key(c) for c in configs}) == 1
    _, state = trained(configs, 30)
    for m, c in enumerate(configs):
        stack, solo = trained([c], 30)
        assert torch.allclose(state.flat_MP[m], solo.flat_MP[0], atol=2e-4), m
        assert torch.equal(state.alive_M[m : m + 1], solo.alive_M)


def test_members_of_different_lengths_end_as_alone(tmp_path):
    """One ends early, one fails on the way; each is on record as soon as it has ended, with the
    lines of a solo run."""
    configs = [*members(lengths=(30, 47, 60)), config(3, lr=1e30, grad_clip=0.0)]
    seen = []

    def report(event):
        if event["event"] == "progress":
            seen.append(
                (
                    event["step"],
                    event["runs"],
                    sum(
                        (tmp_path / "stack" / "runs" / c.run_id / "record.json").exists()
                        for c in configs
                    ),
                )
            )

    assert list(run(configs, tmp_path / "stack", report=report).values()).count("failed") == 1
    assert [len(runs) for step, runs, _ in seen if step in (1, 20, 31, 48)] == [4, 3, 2, 1]
    assert [n for step, _, n in seen if step in (1, 20, 31, 48)] == [0, 1, 2, 3]
    for c in configs[:3]:
        run([c], tmp_path / "alone")
        ours, theirs = lines(tmp_path / "stack", c), lines(tmp_path / "alone", c)
        assert [line["step"] for line in ours] == [line["step"] for line in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys() and all(
                a[k] == pytest.approx(b[k], rel=0.02, abs=0.02) for k in a
            )
        a, b = (records.read(tmp_path / where, c.run_id) for where in ("stack", "alone"))
        assert (
            a["training"]["exposures_max"] == b["training"]["exposures_max"]
            and a["training"]["stack"] == 4
        )
        assert a["measures"]["memorization"]["strict"]["bits"] == pytest.approx(
            b["measures"]["memorization"]["strict"]["bits"], rel=0.03
        )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Where a stack of members of different lengths ended that nothing had interrupted, by
    variant."""

    @cache
    def folder(variant):
        results = tmp_path_factory.mktemp("plain")
        outcome = run(members(variant, lengths=(30, 47, 60)), results)
        assert set(outcome.values()) == {"finished"}
        return results

    return folder


@pytest.mark.parametrize(
    "variant, stop_after",
    [*(("gpt", step) for step in (1, 12, 29, 30, 31, 46, 59)), ("people", 12), ("people", 31)],
)
def test_an_interrupted_stack_of_different_lengths_ends_bit_identical(
    tmp_path, uninterrupted, variant, stop_after
):
    configs, plain = members(variant, lengths=(30, 47, 60)), uninterrupted(variant)
    looks = iter(range(10**9))
    outcome = run(configs, tmp_path / "cut", stop=lambda: next(looks) >= 2 * stop_after)
    assert "interrupted" in outcome.values()
    assert set(run(configs, tmp_path / "cut").values()) == {"finished"}
    for c in configs:
        assert weights(tmp_path / "cut", c) == weights(plain, c)
        assert lines(tmp_path / "cut", c) == lines(plain, c)
        a, b = (records.read(where, c.run_id) for where in (tmp_path / "cut", plain))
        assert (
            a["measures"] == b["measures"]
            and a["training"]["exposures_max"] == b["training"]["exposures_max"]
        )


def test_a_crash_while_records_are_written_changes_nothing(tmp_path, monkeypatch):
    """A member has ended, its record is being written, the process dies: the others go on in the
    company they have now."""
    from capacity.run import record as module

    configs = members(lengths=(30, 47, 60))
    run(configs, tmp_path / "plain")

    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    monkeypatch.setattr(module, "finished", killed)
    with pytest.raises(Killed):
        run(configs, tmp_path / "cut")
    monkeypatch.undo()
    assert set(run(configs, tmp_path / "cut").values()) == {"finished"}
    for c in configs[1:]:
        assert weights(tmp_path / "cut", c) == weights(tmp_path / "plain", c)


def test_a_checkpoint_of_another_version_is_refused_and_kept(tmp_path):
    """Its fields may mean something else; nothing is trained over it without being told."""
    looks = iter(range(10**9))
    assert set(run([config()], tmp_path, stop=lambda: next(looks) >= 20).values()) == {
        "interrupted"
    }
    path = records.run_dir(tmp_path, config().run_id) / "checkpoint.safetensors"
    meta = json.loads(safe_open(path, "pt").metadata()["capacity"])
    old = save(
        load(path.read_bytes()),
        metadata={"capacity": json.dumps({k: v for k, v in meta.items() if k != "logged"})},
    )
    path.write_bytes(old)
    with pytest.raises(ConfigError, match="not a checkpoint .*logged.*remove it"):
        run([config()], tmp_path)
    assert path.read_bytes() == old


# ------------------------------------------------------------------------------------------ compile


@pytest.mark.slow
@pytest.mark.long
def test_a_compiled_step_does_what_the_plain_one_does(tmp_path):
    """Where a compiler builds what torch writes; elsewhere the tests of compilers show what
    happens."""
    plain = [config(0, "rotary"), config(1, "rotary", lr=0.003)]
    fast = [
        from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "compile": "always"}})
        for c in plain
    ]
    assert [c.run_id for c in fast] == [c.run_id for c in plain]
    if not any(map(shutil.which, ("g++", "clang++"))):
        return
    _, a = trained(plain, 12)
    try:
        _, b = trained(fast, 12)
    except Exception as error:
        # some compilers, or some instruction sets, do not build it: a person is told in one line
        assert not_compiled(error) is not None
        with pytest.raises(ConfigError, match="cluster.compile=always: torch.compile fails"):
            run(fast, tmp_path)
        return
    assert torch.allclose(a.flat_MP, b.flat_MP, atol=2e-4) and torch.allclose(
        a.loss_sum_M, b.loss_sum_M, rtol=1e-4
    )


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    c = config()
    fast = from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "compile": "always"}})
    with pytest.raises(ConfigError, match="cluster.compile=always: no C.. compiler"):
        run([fast], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compiling_is_weighed_against_the_length_of_training(monkeypatch):
    """auto: only where the time saved pays for the time that it takes, and where there is a
    compiler."""

    def stack(compile, steps, members=1):
        made = [config(seed, steps=steps).as_dict() for seed in range(members)]
        return [from_dict({**c, "cluster": {**c["cluster"], "compile": compile}}) for c in made]

    monkeypatch.setattr(loop, "has_compiler", lambda: True)
    long = 2 * int(
        COMPILE_S / COMPILE_SAVES / GUESSES["cuda"].step_s
    )  # the device whose steps are shorter
    assert [loop.compiles(stack(c, long), CPU) for c in ("never", "auto", "always")] == [
        False,
        True,
        True,
    ]
    assert [loop.compiles(stack(c, 100), CPU) for c in ("never", "auto", "always")] == [
        False,
        False,
        True,
    ]
    monkeypatch.setattr(loop, "has_compiler", lambda: False)
    assert not loop.compiles(stack("auto", long), CPU) and loop.compiles(
        stack("auto", long), torch.device("cuda")
    )
