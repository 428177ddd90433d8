"""Training a stack of runs: the static parts, the state, and the inner loop that never waits for
the device.

Every member of a stack has its own data, seed, size of data set, optimizer numbers and length of
training; architecture, vocabulary, context and batch are shared (`stack_key`), so that all shapes
are static. A step is one fixed sequence of operations that changes the state in place; on a GPU it
is recorded once as a CUDA graph and replayed, because the launches of a tiny model's step cost more
than its arithmetic.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from capacity.base.hardware import has_compiler
from capacity.config import Config
from capacity.cost import worth_compiling
from capacity.data import hashing
from capacity.feed.feed import CURSOR, FEEDS
from capacity.model.gpt import GPT
from capacity.model.kernels import dispatch
from capacity.model.numerics import DTYPES, allow_tf32, sum_in_fp32, to_bf16
from capacity.settings.fresh import FreshData
from capacity.train.loss_scale import new_scaling, rescale, scale_of
from capacity.train.one_pass import OnePass
from capacity.train.optim import (
    COLUMNS,
    STEP,
    Gradient,
    Hyper,
    Muon,
    Schedule,
    Tables,
    Weights,
    adamw,
)
from capacity.train.pace import RunAhead, cuda_mark
from capacity.train.stack_key import stack_key

if TYPE_CHECKING:
    from capacity.train.ranks import Ranks

BLOCK = 1024  # most steps whose numbers are prepared at once


@dataclass
class State:
    """All that changes during training; saved and restored exactly by `train.checkpoint`."""

    step: int  # updates done
    flat_MP: Tensor  # fp32 master weights
    m_MP: Tensor  # first moments
    v_MP: Tensor  # second moments
    alive_M: Tensor  # bool: not failed
    # int64: 1-based step whose loss or gradient was not finite; minus the step of divergence; 0
    dead_step_M: Tensor
    # fp32: sum of batch losses (nats per token) since the member's last log point
    loss_sum_M: Tensor
    scaling_M3: Tensor  # fp32: see train.loss_scale; used where precision is fp16
    logged: list[int]  # by member, the step of its last log point
    # int64, on the CPU: where each member's stream of biographies stands (see feed.stream)
    cursor_MC: Tensor
    # how the steps were made, see `run.order`; None where that is not known
    order: dict[str, Any] | None = None
    # by member, from which step on they were made otherwise than before, in words
    changes: list[list[str]] = field(default_factory=list)

    def select(self, members: list[int]) -> State:
        """The state of some members only, copied."""
        rows = {name: getattr(self, name)[members] for name in (*CHANGED, "cursor_MC")}
        return State(
            step=self.step,
            logged=[self.logged[m] for m in members],
            order=self.order,
            changes=[list(self.changes[m]) for m in members],
            **rows,
        )


CHANGED = (
    "flat_MP",
    "m_MP",
    "v_MP",
    "alive_M",
    "dead_step_M",
    "loss_sum_M",
    "scaling_M3",
)  # tensors of the state that a step changes


class Stack:
    """The static parts of M runs that train together, on one device."""

    def __init__(
        self,
        configs: list[Config],
        device: torch.device,
        parts: int = 1,
        ranks: Ranks | None = None,
    ) -> None:
        """parts: in which a batch is computed, one after the other, to save memory; ranks: the
        processes that share them, see `train.ranks` (None: this one alone, as if there were no
        such thing)."""
        assert len({stack_key(c) for c in configs}) == 1, (
            "runs of different shapes cannot share a stack"
        )
        self.configs, self.device, self.parts, self.ranks = configs, device, parts, ranks
        first = configs[0]
        train = first.train
        self.dtype, self.scaled, self.weights = (
            DTYPES[train.precision],
            train.precision == "fp16",
            train.weights,
        )
        allow_tf32(train.precision == "tf32")
        sum_in_fp32()
        self.gpt = GPT(
            first.model,
            first.rows,
            first.data.seq_len,
            first.data.bos,
            train.precision == "tf32",
            train.qat,
            train.qat_embeddings,
            train.qat_only,
        )
        if isinstance(first.data, FreshData):
            self.gpt.asked = first.data.asked
        self.rounding_M1 = torch.tensor(
            [[hashing.key(c.seed, "rounding of weights")] for c in configs], device=device
        )
        self.hyper = Hyper.of([c.train for c in configs], device)
        self.schedule = Schedule([c.train for c in configs], [c.steps for c in configs])
        self.is_compiled = compiles(configs, device)
        self.loss = compiled(self.gpt.loss) if self.is_compiled else self.gpt.loss
        self.shifts = self.gpt.shifts()
        self.decay_P = self.gpt.decay_mask().to(device)
        self.tables = Tables.of([c.train for c in configs], self.gpt.table_mask().to(device))
        self.update = adamw
        if train.optimizer == "muon":
            self.update = Muon(self.gpt.matrices(), sum(self.gpt.sizes), device)
        self.gpt.kernels = dispatch.wants_kernels(first.cluster.kernels)
        self.one_pass: OnePass | None = None
        # an update that is shared by ranks is of a part of the columns, by torch's operations; so
        # is one of tables with a pace of their own
        alone = ranks is None and self.tables is None
        if self.gpt.kernels and train.optimizer == "adamw" and alone:
            copies = self.dtype == torch.bfloat16 and self.gpt.takes_a_copy
            self.update = self.one_pass = OnePass(self.weights, self.rounding_M1, copies)
        self.feed = FEEDS[first.data.kind](configs, device)
        self.ahead = RunAhead(cuda_mark if device.type == "cuda" else None)
        self._recorded: tuple[State, Callable] | None = None

    def start(self, given: Mapping[int, Tensor] | None = None) -> State:
        """The state before the first step. given: weights [P] of the members that do not begin at
        random."""
        flat = self.gpt.init([c.seed for c in self.configs])
        for m, flat_P in (given or {}).items():
            flat[m] = flat_P
        flat = flat.to(self.device)
        m = len(self.configs)
        if self.weights != "fp32":
            flat = to_bf16(flat, "bf16_nearest", self.rounding_M1, self.rounding_M1)
        return State(
            0,
            flat,
            torch.zeros_like(flat),
            torch.zeros_like(flat),
            torch.ones(m, dtype=torch.bool, device=self.device),
            torch.zeros(m, dtype=torch.int64, device=self.device),
            torch.zeros(m, device=self.device),
            new_scaling(m, self.device),
            [0] * m,
            torch.zeros(m, CURSOR, dtype=torch.int64),
            changes=[[] for _ in range(m)],
        )

    def stepper(self, state: State) -> Callable[[Tensor, Tensor], None]:
        """A function of tokens and schedule row that makes one step of this state in place."""
        if self._recorded is None or self._recorded[0] is not state:
            self.feed.rest()  # recording allows no other thread's work
            if self.one_pass is not None:
                self.one_pass.renew(state.flat_MP)
            if self.ranks is not None:
                made = partial(self.ranks.step, self, state)
            else:
                made = (record if self.device.type == "cuda" else plain)(self, state)
            self._recorded = state, made
        return self._recorded[1]


def compiles(configs: list[Config], device: torch.device) -> bool:
    """Whether this stack is compiled, by cluster.compile of its first run."""
    wanted = configs[0].cluster.compile
    return (
        wanted == "always"
        or wanted == "auto"
        and worth_compiling(configs, device.type)
        and (device.type == "cuda" or has_compiler())
    )


_names = itertools.count()


def compiled(loss: Callable, backend: str | Callable = "inductor") -> Callable:
    """The loss of a stack, a method of its model, as a program.

    torch.compile keeps programs by code object, and behind eight of one
    (torch._dynamo.config.recompile_limit) it goes on uncompiled with a warning, so each stack's has
    a code object of its own. Its program is for these shapes: a member that leaves costs the others
    another one.
    """
    assert isinstance(loss, MethodType)
    function = loss.__func__
    own = FunctionType(
        function.__code__.replace(co_name=f"loss_{next(_names)}"),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return torch.compile(MethodType(own, loss.__self__), dynamic=False, backend=backend)


def _never() -> bool:
    return False


def advance(
    stack: Stack,
    state: State,
    until: int,
    stop: Callable[[], bool],
    pause: Callable[[], bool] = _never,
) -> bool:
    """Train in place up to step `until` (an exact number of updates), or up to the step at which
    stop() turns true, or pause(), which is asked behind a step only: a pause never keeps a run from
    going on. Returns whether it was stopped.

    The feed and the schedule prepare many steps at once and the host otherwise only launches work,
    for about two seconds more than the device has done (`pace`); nothing is fetched. Where this
    returns early, the next call goes on with the same numbers.
    """
    one_step = stack.stepper(state)
    if stack.one_pass is not None:
        stack.one_pass.renew(state.flat_MP)
    stack.ahead.begin()
    while state.step < until:
        if stop():
            return True
        most = min(until - state.step, BLOCK)
        now = torch.from_numpy(stack.schedule.rows(state.step, most)).to(stack.device)
        # a feed may give fewer steps at once than asked for
        chunk = stack.feed.chunk(state.cursor_MC, state.step, most)
        for now_MC, tokens_MBT in zip(now, chunk, strict=False):
            one_step(tokens_MBT, now_MC)
            state.step += 1
            stack.ahead.step()
            if stop():
                return True
            if pause():
                return False
    return False


def settle(stack: Stack) -> None:
    """Wait until the device has done all that was launched."""
    if stack.device.type == "cuda":
        torch.cuda.synchronize(stack.device)


def step(stack: Stack, state: State, tokens_MBT: Tensor, now_MC: Tensor) -> None:
    """One update of all tensors of the state, in place. No number that changes with the step is
    read on the host, so the operations are the same every time. tokens: int64 [M, B, T] (or T + 1,
    see `GPT`); now: a row of the schedule."""
    scale_M, skipped_M = scale_of(state.scaling_M3) if stack.scaled else None, None
    read_MP = state.flat_MP if stack.one_pass is None else stack.one_pass.weights(state.flat_MP)
    loss_M, grad_MP = gradient(stack, read_MP, tokens_MBT, scale_M)
    uneven = [grad_MP[:, at].clone() for at in stack.shifts]  # of loads, no gradient of the loss
    for at in stack.shifts:
        grad_MP[:, at].zero_()
    if stack.scaled:
        skipped_M = rescale(state.scaling_M3, grad_MP, loss_M)
    alive_M = stack.update(
        Weights(state.flat_MP, state.m_MP, state.v_MP, stack.decay_P, stack.tables),
        Gradient(grad_MP, loss_M, skipped_M),
        stack.hyper,
        now_MC,
        state.alive_M,
    )
    conclude(stack, state, loss_M, alive_M, now_MC)
    pace_M1 = stack.gpt.model.router_shift * alive_M[:, None]
    for at, sign in zip(stack.shifts, uneven, strict=True):
        state.flat_MP[:, at].sub_(pace_M1 * sign.sign())


def conclude(stack: Stack, state: State, loss_M: Tensor, alive_M: Tensor, now_MC: Tensor) -> None:
    """What follows an update: weights in their format, who is still alive, sums of losses."""
    if stack.weights != "fp32" and stack.one_pass is None:
        state.flat_MP.copy_(
            to_bf16(state.flat_MP, stack.weights, stack.rounding_M1, now_MC[:, STEP, None].long())
        )
    died_M = state.alive_M & ~alive_M
    state.dead_step_M.copy_(torch.where(died_M, now_MC[:, STEP].long(), state.dead_step_M))
    state.alive_M.copy_(alive_M)
    state.loss_sum_M.add_(loss_M)


def gradient(
    stack: Stack, flat_MP: Tensor, tokens_MBT: Tensor, scale_M: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of each member over its batch, fp32 [M], and its gradient [M, P]; in parts these are
    sums of those of the parts, each weighted with its share of the batch. The backward pass begins
    with `scale` and its result is divided by it."""
    leaf = flat_MP.detach().requires_grad_()  # shares storage with the master weights

    if stack.parts == 1:
        return of_part(stack, leaf, tokens_MBT, 1.0, scale_M)
    total_M, total_MP = (
        torch.zeros(shape, device=leaf.device) for shape in (leaf.shape[:1], leaf.shape)
    )
    for part_MBT in tokens_MBT.tensor_split(stack.parts, dim=1):
        share = part_MBT.shape[1] / tokens_MBT.shape[1]
        loss_M, grad_MP = of_part(stack, leaf, part_MBT, share, scale_M)
        total_MP += grad_MP
        total_M += loss_M
    return total_M, total_MP


def of_part(
    stack: Stack, leaf: Tensor, tokens_MBT: Tensor, share: float, scale_M: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Loss [M] and gradient [M, P] of a part of a batch, weighted with its share; leaf: the
    weights."""
    loss_M = stack.loss(leaf, tokens_MBT, stack.dtype)
    if share != 1.0:
        loss_M = loss_M * share
    if scale_M is None:
        return loss_M.detach(), torch.autograd.grad(loss_M.sum(), leaf)[0]
    grad_MP = torch.autograd.grad((loss_M * scale_M).sum(), leaf)[0]
    return loss_M.detach(), grad_MP.div_(scale_M[:, None])


def plain(stack: Stack, state: State) -> Callable[[Tensor, Tensor], None]:
    """The step as it stands."""
    return lambda tokens_MBT, now_MC: step(stack, state, tokens_MBT, now_MC)


def record(stack: Stack, state: State) -> Callable[[Tensor, Tensor], None]:
    """The step as a CUDA graph over these very tensors: forward, backward and optimizer in one
    launch."""
    M, T = len(stack.configs), stack.gpt.seq_len + (not stack.gpt.bos)
    tokens = torch.zeros(
        M, stack.configs[0].train.batch_size, T, dtype=torch.int64, device=stack.device
    )
    now = torch.zeros(M, COLUMNS, device=stack.device)
    tensors = [getattr(state, name) for name in CHANGED]
    kept = [t.clone() for t in tensors]
    side = (
        torch.cuda.Stream()
    )  # library handles and lazy work come up in steps whose effect is undone, as capture demands
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(stack, state, tokens, now)
    torch.cuda.current_stream().wait_stream(side)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            step(stack, state, tokens, now)
    finally:
        torch.cuda.set_stream(stream)  # a recording that fails leaves its own behind
    for tensor, before in zip(tensors, kept, strict=True):
        tensor.copy_(before)

    def replay(tokens_MBT: Tensor, now_MC: Tensor) -> None:
        tokens.copy_(tokens_MBT)
        now.copy_(now_MC)
        graph.replay()

    return replay
