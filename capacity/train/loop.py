"""Training a stack of runs: the static parts, the state, and the inner loop that never waits for the device.

Every member of a stack has its own data, seed, size of data set and optimizer numbers; architecture, vocabulary, context,
batch, schedule and precision are shared (`stack_key`), so that all shapes are static.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import torch
from torch import Tensor

from capacity.config import Config
from capacity.data.feed import CURSOR, FEEDS
from capacity.model.gpt import GPT
from capacity.train.keys import stack_key
from capacity.train.optim import Hyper, adamw, lr_factor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class State:
    """All that changes during training; saved and restored exactly by `train.checkpoint`."""

    step: int  # updates done
    flat_MP: Tensor  # fp32 master weights
    m_MP: Tensor  # first moments
    v_MP: Tensor  # second moments
    alive_M: Tensor  # bool: not failed
    dead_step_M: Tensor  # int64: 1-based step whose loss or gradient was not finite; minus the step of divergence; 0
    loss_sum_M: Tensor  # fp32: sum of batch losses (nats per token) since the last log point
    loss_steps: int  # batches in loss_sum_M
    cursor_MC: Tensor  # int64, on the CPU: where each member's stream of biographies stands (see data.feed)


class Stack:
    """The static parts of M runs that train together, on one device."""

    def __init__(self, configs: list[Config], device: torch.device):
        assert len({stack_key(c) for c in configs}) == 1, "runs of different shapes cannot share a stack"
        self.configs, self.device = configs, device
        first = configs[0]
        self.train, self.steps = first.train, first.steps
        self.dtype = DTYPES[first.train.precision]
        self.gpt = GPT(first.model, first.data.rows, first.data.seq_len, first.data.bos)
        self.hyper = Hyper.of([c.train for c in configs], device)
        self.decay_P = self.gpt.decay_mask().to(device)
        self.feed = FEEDS[first.data.kind](configs, device)

    def start(self) -> State:
        """The state before the first step."""
        flat = self.gpt.init([c.seed for c in self.configs]).to(self.device)
        m = len(self.configs)
        return State(0, flat, torch.zeros_like(flat), torch.zeros_like(flat),
                     torch.ones(m, dtype=torch.bool, device=self.device),
                     torch.zeros(m, dtype=torch.int64, device=self.device), torch.zeros(m, device=self.device), 0,
                     torch.zeros(m, CURSOR, dtype=torch.int64))


def advance(stack: Stack, state: State, until: int, stop: Callable[[], bool]) -> None:
    """Train in place up to step `until` (an exact number of updates), or up to the step at which stop() turns true.

    The feed prepares many steps at once and the host otherwise only launches work; nothing is fetched.
    """
    while state.step < until and not stop():
        for tokens in stack.feed.chunk(state.cursor_MC, state.step, until - state.step):
            _step(stack, state, tokens)
            if stop():
                return


def _step(stack: Stack, state: State, tokens_MBT: Tensor) -> None:
    leaf = state.flat_MP.detach().requires_grad_()  # shares storage with the master weights
    loss_M = stack.gpt.loss(leaf, tokens_MBT, stack.dtype)
    (grad_MP,) = torch.autograd.grad(loss_M.sum(), leaf)
    loss_M = loss_M.detach()
    factor = lr_factor(state.step, stack.steps, stack.train.warmup_steps, stack.train.final_lr_fraction)
    was_alive_M = state.alive_M
    state.alive_M = adamw(state.flat_MP, grad_MP, state.m_MP, state.v_MP, stack.decay_P, stack.hyper, was_alive_M, loss_M,
                          factor, state.step)
    state.step += 1
    state.dead_step_M = torch.where(was_alive_M & ~state.alive_M, state.step, state.dead_step_M)
    state.loss_sum_M += loss_M
    state.loss_steps += 1
