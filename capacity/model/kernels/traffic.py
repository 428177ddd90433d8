"""What the kernels read, write and compute, by formula: bytes of device memory, where a tensor
that many programs read again counts once (it stays in the level-2 cache), and floating-point
operations of their tiles, padding included."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

LEAST = 16  # rows and columns of a tile of a product


class Traffic(NamedTuple):
    """Of one operation."""

    bytes: float
    flop: float
    launches: int


def claimed(name: str, arguments: tuple[Any, ...]) -> Traffic:
    """Of an operation of `capacity_kernels` by its name and arguments. KeyError for others."""
    return CLAIMS[name](*arguments)


def _size(*tensors: Tensor | None) -> float:
    return float(sum(x.numel() * x.element_size() for x in tensors if x is not None))


def padded(n: int) -> int:
    """The next power of two, but no less than a tile of a product has."""
    return max(LEAST, 1 << (n - 1).bit_length())


def _head(x: Tensor, table: Tensor, target: Tensor, *_: Any) -> Traffic:
    """Reads hidden states, table and targets, writes losses, logarithms and a gradient; two
    products."""
    (M, N, D), V = x.shape, table.shape[1]
    moved = 2 * _size(x) + _size(table, target) + 8.0 * M * N
    return Traffic(moved, 4.0 * M * N * V * padded(D), 1)


def _head_backward(x: Tensor, table: Tensor, target: Tensor, lse: Tensor, *_: Any) -> Traffic:
    """Reads the same and the logarithms, writes a gradient of the table; two products."""
    (M, N, D), V = x.shape, table.shape[1]
    moved = _size(x, target, lse) + 2 * _size(table)
    return Traffic(moved, 4.0 * M * N * V * padded(D), 1)


def _scores(q: Tensor, products: int) -> float:
    N, H, T, K = q.shape
    return 2.0 * products * N * H * padded(T) ** 2 * padded(K)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Traffic:
    return Traffic(2 * _size(q) + _size(k, v), _scores(q, 2), 1)


def _attention_backward(dy: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Traffic:
    """Scores again, dp, and the three gradients."""
    return Traffic(_size(dy) + 2 * _size(q, k, v), _scores(q, 5), 1)


def _packed_attention_backward(dy: Tensor, qkv: Tensor, heads: int) -> Traffic:
    q = qkv[:, :, :heads].transpose(1, 2)
    return Traffic(_size(dy) + 2 * _size(qkv), _scores(q, 5), 1)


def _adamw(*arguments: Any) -> Traffic:
    """Reads and writes weights and moments, reads gradient and decay, writes the copy."""
    flat, m, v, decay, copy, grad = arguments[:6]
    return Traffic(2 * _size(flat, m, v) + _size(decay, copy, grad), 0.0, 1)


CLAIMS = {
    "head": _head,
    "head_backward": _head_backward,
    "attention": _attention,
    "attention_backward": _attention_backward,
    "packed_attention_backward": _packed_attention_backward,
    "adamw": _adamw,
}
