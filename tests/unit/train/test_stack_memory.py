"""Stacks without room: halves, and batches in parts."""

import weakref

import pytest
import torch

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.hardware import tells_no_memory
from capacity.config import from_dict
from capacity.cost import micro_batches, stack_bytes
from capacity.run.environment import out_of_memory
from capacity.train import loop
from capacity.train.loop import Stack, advance
from stack_members import CPU, VARIANTS, config, members, run, trained


@pytest.mark.parametrize("most, sizes", [(3, [5, 3, 2]), (1, [5, 3, 2, 1, 1, 1, 2, 1, 1])])
def test_a_stack_without_room_goes_on_in_halves(tmp_path, monkeypatch, most, sizes):
    configs = [config(seed, steps=20) for seed in range(5)]
    started, notes, real = [], [], Stack.start

    def start(self, given=None):
        started.append(len(self.configs))
        if len(self.configs) > most:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 GiB\nmore words"
            )
        return real(self, given)

    monkeypatch.setattr(Stack, "start", start)
    outcome = run(
        configs,
        tmp_path,
        report=lambda e: notes.append(e["text"]) if e["event"] == "note" else None,
    )
    assert set(outcome.values()) == {"finished"} and len(outcome) == 5
    assert started == sizes
    assert (
        "5 runs in one stack: OutOfMemoryError: CUDA out of memory" in notes[0]
        and "3 at a time" in notes[0]
    )
    assert "\n" not in "".join(notes)


def broken_off(error):
    """What a recording raises that `error` broke off: the end of a CUDA graph's capture has an
    error of its own, and torch's context manager raises that one."""

    class Capture:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            raise RuntimeError("CUDA error: operation failed due to a previous error")

    with Capture():
        raise error


def wrapped(error):
    """As a library that has its own errors raises them."""
    try:
        raise error
    except Exception as inner:
        raise ValueError("the step failed") from inner


def alone(error):
    raise error


SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    torch.AcceleratorError("CUDA error: out of memory", 2),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9"),
    MemoryError(),
]


@pytest.mark.parametrize("how", [alone, wrapped, broken_off])
@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:40])
def test_short_memory_is_known_by_any_name_wherever_it_stands(error, how):
    with pytest.raises(Exception) as raised:
        how(error)
    assert out_of_memory(raised.value) is error
    assert tells_no_memory(f"{type(error).__name__}: {error}")  # as its record has it


@pytest.mark.parametrize("how", [alone, wrapped, broken_off])
def test_other_errors_are_not_taken_for_short_memory(how):
    quoted = torch._inductor.exc.CppCompileError(["g++"], "cc1plus: out of memory")
    errors = [RuntimeError("CUDA error: an illegal memory access was encountered"), quoted]
    for error in errors:
        with pytest.raises(Exception) as raised:
            how(error)
        assert out_of_memory(raised.value) is None


def test_a_recording_without_room_goes_on_in_halves(tmp_path, monkeypatch):
    """On a device a step is recorded before the first one; there memory is short most often. What
    is noted is why, not how the recording ended."""
    configs, notes, sizes, real = [config(seed, steps=20) for seed in range(4)], [], [], loop.plain

    def record(stack, state):
        sizes.append(len(stack.configs))
        if len(stack.configs) > 2:
            broken_off(SHORT[2])
        return real(stack, state)

    monkeypatch.setattr(loop, "plain", record)
    outcome = run(configs, tmp_path, report=lambda e: notes.append(e.get("text")))
    assert set(outcome.values()) == {"finished"} and sizes == [4, 2, 2]
    assert any("CUBLAS_STATUS_ALLOC_FAILED" in note for note in notes if note)


def test_a_stack_without_room_is_gone_before_its_halves_begin(tmp_path, monkeypatch):
    """Its tensors would take the room that they need."""
    begun, real = [], Stack.start

    def start(self, given=None):
        left = [one for one in begun if one() is not None]
        assert not left or len(begun) != 1, "the whole stack is still there"
        begun.append(weakref.ref(self))
        return real(self, given)

    def step(stack, state, *args):
        if len(stack.configs) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step_of(stack, state, *args)

    step_of = loop.step
    monkeypatch.setattr(Stack, "start", start)
    monkeypatch.setattr(loop, "step", step)
    configs = [config(seed, steps=20) for seed in range(4)]
    assert set(run(configs, tmp_path).values()) == {"finished"} and len(begun) == 3


def test_one_run_without_room_is_a_failure_that_says_so(tmp_path, monkeypatch):
    def start(self, given=None):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stack, "start", start)
    assert set(run([config()], tmp_path).values()) == {"failed"}
    assert "out of memory" in records.read(tmp_path, config().run_id)["error"]["reason"]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "moe"])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_trains_as_the_whole(variant, parts):
    """To rounding, which training amplifies; a part may be smaller than the others."""
    _, whole = trained(members(variant), 12)
    stack = Stack(members(variant), CPU, parts)
    state = stack.start()
    advance(stack, state, 12, lambda: False)
    assert torch.allclose(state.flat_MP, whole.flat_MP, atol=1e-4)
    assert torch.allclose(state.loss_sum_M, whole.loss_sum_M, rtol=1e-5)


def test_one_run_without_room_computes_its_batch_in_parts(tmp_path, monkeypatch):
    notes, tried, real = [], [], Stack.start

    def start(self, given=None):
        tried.append(self.parts)
        if self.parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, given)

    monkeypatch.setattr(Stack, "start", start)
    asked = [config(steps=20)]
    assert set(
        run(
            asked,
            tmp_path,
            report=lambda e: notes.append(e["text"]) if e["event"] == "note" else None,
        ).values()
    ) == {"finished"}
    assert tried == [1, 2, 4] and "going on with the batch of 8 in 4 parts" in notes[1]
    tried.clear()
    experts = [config(variant="moe", steps=20)]
    assert set(run(experts, tmp_path).values()) == {"failed"} and tried == [1]


def test_parts_follow_from_memory_or_are_given():
    c = config()
    whole = stack_bytes(c, 3, "cpu")
    assert micro_batches(c, 3, "cpu", whole) == 1 and micro_batches(c, 3, "cpu", 0.0) == 8
    parts = micro_batches(c, 3, "cpu", 0.6 * whole)
    assert stack_bytes(c, 3, "cpu", parts) <= 0.6 * whole < stack_bytes(c, 3, "cpu", parts // 2)
    assert micro_batches(config(variant="moe"), 3, "cpu", 0.0) == 1
    given = from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "micro_batches": 5}})
    assert micro_batches(given, 3, "cpu", 1e12) == 5 and given.run_id == c.run_id
    for changes, words in (
        ({"micro_batches": 9}, "more parts than the rows of a batch, train.batch_size=8"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], **changes}})
    moe = config(variant="moe").as_dict()
    with pytest.raises(ConfigError, match="the places of experts depend on the whole batch"):
        from_dict({**moe, "cluster": {**moe["cluster"], "micro_batches": 2}})


def test_a_stack_that_runs_out_of_room_on_the_way_keeps_what_is_done(tmp_path, monkeypatch):
    """One member has finished and is on record when the others run out of memory: it is not trained
    again."""
    configs, real, calls = members(lengths=(20, 60, 60)), loop.step, []

    def step(stack, state, *args):
        calls.append(len(stack.configs))
        if len(stack.configs) == 2 and state.step == 40 and stack.parts == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(stack, state, *args)

    monkeypatch.setattr(loop, "step", step)
    assert set(run(configs, tmp_path).values()) == {"finished"}
    assert (
        calls.count(3) == 20 and calls.count(1) == 2 * 40
    )  # each of the two went on from its checkpoint at step 20
