"""The same stacks in the ways that others train many small models at once: JAX's vmap and jit with
optax, and torch.func.vmap. A peer starts from the stack's own weights, sees its very batches and
learning rates, and has to reach its loss before it is timed."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.models import config
from benchmarks.timing import installed, spread, timed
from capacity.config import Config
from capacity.model.gpt import NORM_EPS
from capacity.train.loop import Stack, advance

# steps after which a peer's loss is compared: two ways that round differently stay within 1e-6 for
# about a dozen, then their distance doubles with every step
AGREED = 8
# of how far the losses moved: fp32 rounds at 6e-8, and Adam's first steps, whose size does not
# depend on the gradient's, magnify what differs where a gradient is next to zero
TOLERANCE = 1e-2
WARMUP = 5  # steps, so that losses move at once

Peer = Callable[[int], np.ndarray]  # so many steps; the loss of each member in the last, nats [M]


class Work:
    """What ours and the peers train: a stack at its start, on one device, and what it reads."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        self.configs, self.device = configs, device
        self.stack = Stack(configs, device)
        self.flat_MP = self.stack.start().flat_MP
        self.vocab, self.heads = configs[0].rows, configs[0].model.n_heads
        self.layers = configs[0].model.n_layers

    def weights(self) -> dict[str, Tensor]:
        """By name, [M, *shape], copied."""
        return {name: w.clone() for name, w in self.stack.gpt.named(self.flat_MP).items()}

    def tokens(self) -> Tensor:
        """All sequences of all members, int64 [rows, S]."""
        return self.stack.feed.tokens.long()

    def rows(self, first: int, steps: int) -> Tensor:
        """Rows of `tokens` of each step, int64 [steps, M, B]."""
        return self.stack.feed.batch_rows(first, steps)

    def learning_rate(self, steps: int) -> np.ndarray:
        """Of the first steps, equal for all members."""
        from capacity.train.optim import LR

        return self.stack.schedule.rows(0, steps)[:, 0, LR]


def ours(work: Work) -> Peer:
    """This tool's own loop, which sums its losses on the device."""
    state = work.stack.start()

    def run(steps: int) -> np.ndarray:
        advance(work.stack, state, state.step + steps - 1, lambda: False)
        state.loss_sum_M.zero_()
        advance(work.stack, state, state.step + 1, lambda: False)
        return state.loss_sum_M.cpu().numpy().copy()  # not a view

    return run


def torch_func(work: Work) -> Peer:
    """torch.func: the loss of one model, its gradient by `grad_and_value`, members by `vmap`;
    clipping by member and torch.optim.AdamW over the stacked tensors."""
    from torch.func import grad_and_value, vmap

    weights = work.weights()
    train, tokens = work.configs[0].train, work.tokens()
    optimizer = torch.optim.AdamW(
        list(weights.values()),
        betas=(train.beta1, train.beta2),
        eps=train.eps,
        weight_decay=train.weight_decay,
    )
    step_of = vmap(grad_and_value(lambda w, t: _torch_loss(w, t, work.layers, work.heads)))
    done = 0

    def run(steps: int) -> np.ndarray:
        nonlocal done
        rows, rates = work.rows(done, steps), work.learning_rate(done + steps)[done:]
        loss_M = torch.zeros(0)
        for rows_MB, rate in zip(rows, rates, strict=True):
            gradients, loss_M = step_of(weights, tokens[rows_MB])
            squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
            scale_M = (train.grad_clip / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1.0)
            for name, w in weights.items():
                w.grad = gradients[name] * scale_M.view(-1, *[1] * (w.dim() - 1))
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            optimizer.step()
        done += steps
        return loss_M.detach().cpu().numpy()

    return run


def _torch_loss(w: Mapping[str, Tensor], tokens_BT: Tensor, layers: int, heads: int) -> Tensor:
    """Mean cross-entropy of one member in nats."""
    B, T = tokens_BT.shape
    D = w["bos"].shape[0]
    first = w["bos"].expand(B, 1, D)
    later_TT = torch.full((T, T), -math.inf).triu(1)
    x = torch.cat([first, F.embedding(tokens_BT[:, :-1], w["token.weight"])], 1)
    x = x + w["position.weight"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (D,), w[name + ".weight"], w[name + ".bias"], NORM_EPS)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[name + ".weight"] + w[name + ".bias"]

    for layer in range(layers):
        at = f"blocks.{layer}."
        qkv = linear(norm(x, at + "norm1"), at + "qkv").view(B, T, 3, heads, D // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # not the library's kernel: for vmap it has no rule, and runs member by member
        y = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(D // heads) + later_TT, -1) @ v
        x = x + linear(y.transpose(1, 2).reshape(B, T, D), at + "out")
        x = x + linear(F.gelu(linear(norm(x, at + "norm2"), at + "up")), at + "down")
    logits = norm(x, "norm") @ w["token.weight"].T
    return F.cross_entropy(logits.view(B * T, -1), tokens_BT.reshape(-1))


def jax_optax(work: Work) -> Peer:
    """JAX: the loss of one model, members by `vmap`, one jitted step with optax's clipping and
    AdamW; weights and moments are donated."""
    jax, optax = importlib.import_module("jax"), importlib.import_module("optax")
    jnp = importlib.import_module("jax.numpy")
    train = work.configs[0].train
    rates = jnp.asarray(work.learning_rate(10**5))
    optimizer = optax.chain(
        optax.clip_by_global_norm(train.grad_clip),
        optax.adamw(
            lambda step: rates[step],
            b1=train.beta1,
            b2=train.beta2,
            eps=train.eps,
            weight_decay=train.weight_decay,
        ),
    )
    weights = {name: jnp.asarray(w.numpy()) for name, w in work.weights().items()}
    state = jax.vmap(optimizer.init)(weights)
    tokens = jnp.asarray(work.tokens().numpy())

    def loss(w: Mapping[str, Any], tokens_BT: Any) -> Any:
        return _jax_loss(w, tokens_BT, work.layers, work.heads, jax)

    def member(w: Any, state: Any, rows_B: Any, tokens: Any) -> tuple[Any, Any, Any]:
        value, gradient = jax.value_and_grad(loss)(w, tokens[rows_B])
        change, state = optimizer.update(gradient, state, w)
        return optax.apply_updates(w, change), state, value

    step = jax.jit(jax.vmap(member, in_axes=(0, 0, 0, None)), donate_argnums=(0, 1))
    done = 0

    def run(steps: int) -> np.ndarray:
        nonlocal done, weights, state
        rows = jnp.asarray(work.rows(done, steps).numpy())
        value = None
        for i in range(steps):
            weights, state, value = step(weights, state, rows[i], tokens)
        done += steps
        return np.asarray(value)  # waits

    return run


def _jax_loss(w: Mapping[str, Any], tokens_BT: Any, layers: int, heads: int, jax: Any) -> Any:
    """As `_torch_loss`."""
    jnp, nn = jax.numpy, jax.nn
    B, T = tokens_BT.shape
    D = w["bos"].shape[0]
    first = jnp.broadcast_to(w["bos"], (B, 1, D))
    x = jnp.concatenate([first, w["token.weight"][tokens_BT[:, :-1]]], 1) + w["position.weight"]
    later = jnp.triu(jnp.full((T, T), -jnp.inf), 1)

    def norm(x: Any, name: str) -> Any:
        z = nn.standardize(x, epsilon=NORM_EPS)
        return z * w[name + ".weight"] + w[name + ".bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ w[name + ".weight"] + w[name + ".bias"]

    for layer in range(layers):
        at = f"blocks.{layer}."
        qkv = linear(norm(x, at + "norm1"), at + "qkv").reshape(B, T, 3, heads, D // heads)
        q, k, v = jnp.transpose(qkv, (2, 0, 3, 1, 4))
        scores = q @ jnp.swapaxes(k, 2, 3) / math.sqrt(D // heads) + later
        y = nn.softmax(scores) @ v
        x = x + linear(jnp.swapaxes(y, 1, 2).reshape(B, T, D), at + "out")
        h = nn.gelu(linear(norm(x, at + "norm2"), at + "up"), approximate=False)
        x = x + linear(h, at + "down")
    logits = norm(x, "norm") @ w["token.weight"].T
    right = jnp.take_along_axis(logits, tokens_BT[..., None], -1)[..., 0]
    return (nn.logsumexp(logits, -1) - right).mean()


def stack(
    shape: tuple[int, int, int], vocab: int, length: int, batch: int, members: int
) -> list[Config]:
    """Runs of one shape that train from the first steps on."""
    runs = [config(shape, vocab, length, batch, seed, "fp32") for seed in range(members)]
    train = dataclasses.replace(runs[0].train, warmup_steps=WARMUP)
    return [dataclasses.replace(run, train=train) for run in runs]


PEERS = {"torch.func.vmap": ("torch", torch_func), "JAX vmap, jit, optax": ("optax", jax_optax)}


def agree(one: Peer, other: Peer, steps: int = AGREED) -> float:
    """Largest relative difference of the losses of two ways after one step and so many more; it
    counts as the same work where that is within TOLERANCE of how far training moved the losses,
    else AssertionError."""
    begin, _ = one(1), other(1)
    a, b = one(steps), other(steps)
    moved, apart = np.abs(a / begin - 1.0).min(), float(np.abs(b / a - 1.0).max())
    same = apart <= TOLERANCE * moved
    assert same, f"losses {a} and {b} after {steps} steps, from {begin}"
    return apart


def peers(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Model-steps per second here over those of each peer on the same stack, batches and threads,
    the ways taking turns; of the CPU only, where JAX is as it comes."""
    from benchmarks.training import PLAIN

    if device.type != "cpu":
        print("  measured on a CPU only: JAX for GPUs is another installation")
        return None
    found: dict[str, dict] = {}
    ways = {name: make for name, (package, make) in PEERS.items() if installed(package)}
    for name in PEERS.keys() - ways.keys():
        print(f"  {name}: not installed (pip install 'capacity[bench]')")
    print(f"  {'model-steps/s':46s}   here  {'':22s}    peer   here / peer (low to high)")
    for name, (*shape, vocab, length, batch, members) in PLAIN.items():
        work = Work(stack((shape[0], shape[1], shape[2]), vocab, length, batch, members), device)
        found[name] = {}
        for peer, make in ways.items():
            here, there = ours(work), make(work)
            apart = agree(here, there)
            counts = [max(3, int(0.5 / (timed(device, lambda: w(3)) / 3))) for w in (here, there)]
            pairs = [
                tuple(
                    members * n / timed(device, lambda: way(n))
                    for way, n in zip((here, there), counts, strict=True)
                )
                for _ in range(repeats)
            ]
            row = {
                "here": spread([a for a, _ in pairs]),
                "there": spread([b for _, b in pairs]),
                "ratio": spread([a / b for a, b in pairs]),
                "losses_apart": apart,
            }
            found[name][peer] = row
            ratio, rates = row["ratio"], (row["here"]["median"], row["there"]["median"])
            print(
                f"  {name:46s}{rates[0]:7,.1f}  {peer:22s}{rates[1]:8,.1f}"
                f"   {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                flush=True,
            )
    return found
