"""How far the host runs ahead of a device, told by a device that only counts time."""

import types

import pytest

from capacity.train import pace
from capacity.train.loop import Stack, advance
from capacity.train.pace import RUN_AHEAD_S, WRITES_APART, RunAhead, Saves
from stack_members import CPU, config, members, trained


class Device:
    """A clock, and a queue of work that is done one after the other. A host's launch takes
    `launch_s`, the device's step `step_s`."""

    def __init__(self, step_s, launch_s=1e-5):
        self.step_s, self.launch_s, self.now, self.busy_until = step_s, launch_s, 0.0, 0.0
        self.queued, self.idle, self.waits = 0.0, 0.0, 0  # the longest queue, seconds; all idling

    def monotonic(self):
        return self.now

    def launch(self, *_):
        self.now += self.launch_s
        self.idle += max(0.0, self.now - self.busy_until)
        self.busy_until = max(self.busy_until, self.now) + self.step_s
        self.queued = max(self.queued, self.busy_until - self.now)

    def mark(self):
        reached = self.busy_until

        def synchronize():
            self.waits += 1
            self.now = max(self.now, reached)

        return types.SimpleNamespace(synchronize=synchronize)


@pytest.fixture
def device(monkeypatch):
    def make(*numbers):
        made = Device(*numbers)
        monkeypatch.setattr(pace, "time", made)
        return made

    return make


@pytest.mark.parametrize("step_s", [3e-4, 6e-3, 0.3, 5.0])
def test_what_is_queued_is_bounded_and_the_device_is_never_idle(device, step_s):
    """Two seconds, or two steps where they are longer; without a bound it is nearly all of the
    work. Before the first launch the device has nothing to do."""
    it = device(step_s)
    ahead = RunAhead(it.mark)
    steps = int(max(10 * RUN_AHEAD_S / step_s, 50))
    for _ in range(steps):
        it.launch()
        ahead.step()
    assert it.queued <= max(RUN_AHEAD_S, 2 * step_s) + it.launch_s < 0.2 * steps * step_s
    assert it.idle == pytest.approx(it.launch_s)
    # about a wait per second, once the length of a step is known
    assert it.waits <= 10 * RUN_AHEAD_S * 2 + 20 or it.waits == steps - 1


def test_where_launching_is_slower_than_the_device_nothing_is_waited_for(device):
    it = device(1e-3, 5e-3)
    ahead = RunAhead(it.mark)
    for _ in range(2000):
        it.launch()
        ahead.step()
    assert it.now == pytest.approx(2000 * 5e-3)  # no wait took any time
    assert ahead.most * 5e-3 <= RUN_AHEAD_S / 2


def test_pauses_between_stretches_of_training_are_not_taken_for_steps(device):
    it = device(6e-3)
    ahead = RunAhead(it.mark)
    for stretch in range(30):
        ahead.begin()
        for _ in range(500):
            it.launch()
            ahead.step()
        known = ahead.most
        it.now = it.busy_until + 1000.0  # an evaluation
        assert stretch < 1 or known == pytest.approx(RUN_AHEAD_S / 2 / 6e-3, rel=0.02)
    assert it.queued <= RUN_AHEAD_S + it.launch_s


def test_a_stop_is_served_while_a_long_block_is_launched(device):
    """The stack asks after every launch, so what is queued is all that a signal waits for."""
    it = device(0.01)
    stack = Stack([config(steps=10**6)], CPU)
    state = stack.start()
    stack.ahead = RunAhead(it.mark)
    stack._recorded = state, it.launch
    assert advance(stack, state, 10**6, lambda: it.now >= 5.0)
    assert 5.0 / 0.01 < state.step <= (5.0 + RUN_AHEAD_S) / 0.01 + 1
    before = state.step
    assert not advance(stack, state, 10**6, lambda: False, lambda: it.now >= 9.0)
    assert before < state.step <= (9.0 + RUN_AHEAD_S) / 0.01 + 1


def test_waiting_changes_nothing(device):
    it = device(1e-3)
    configs = members(lengths=(40, 40, 40))
    _, plain = trained(configs, 40)
    stack = Stack(configs, CPU)
    state, marks = stack.start(), []

    def mark():
        it.launch()
        marks.append(state.step)
        return it.mark()

    stack.ahead = RunAhead(mark)
    advance(stack, state, 40, lambda: False)
    assert marks[:3] == [1, 2, 3] and len(marks) >= 4
    assert state.flat_MP.equal(plain.flat_MP) and state.loss_sum_M.equal(plain.loss_sum_M)


def test_on_a_cpu_nothing_is_marked(device):
    it = device(1.0)
    ahead = Stack([config()], CPU).ahead
    for _ in range(10):
        ahead.step()
    assert ahead.mark is None and it.waits == 0


def test_checkpoints_are_apart_by_their_setting_or_by_twenty_times_their_writing(device):
    it = device(1.0)
    saves = Saves(30.0)
    asked = []
    for second in range(1, 2000):
        it.now = max(it.now, float(second))
        if saves.due():
            with saves.writing():
                it.now += 0.5 if second < 500 else 4.0
            asked.append(it.now)
    gaps = [b - a for a, b in zip(asked, asked[1:], strict=False)]
    assert asked[0] == 30.5 and set(gaps[:10]) <= {30.5, 31.0}
    assert min(gaps[-10:]) >= WRITES_APART * 4.0 + 4.0
    assert sum(4.0 for _ in gaps[-10:]) / sum(gaps[-10:]) < 0.05
