"""Causal attention by the library's kernels, in parts that they can take and so that bits repeat:
what a GPU runs.

`F.scaled_dot_product_attention` picks its kernel itself, and what it picks differs between
versions of torch. Here it is named (`kernel_name`), because three things depend on it. cuDNN's
kernels are left out until a device has shown what they gain: torch runs their backward pass in no
fixed order.

- Memory. Flash and the efficient kernel keep O(T) of it, the plain form O(T^2).
- Limits. Grids of both end at 65,535 sequences, and flash's backward pass counts the entries of
  its sums of dq in 32 bits, so a larger batch is cut along its sequences (`parts`).
- Bits. Both add up dq by atomics over blocks of keys, in an order that differs from run to run
  beyond one block (128 positions), unless torch's switch for deterministic algorithms is on, which
  makes one program go over all blocks of a head (`_in_one_order`). It has to be on for these
  kernels alone: for a whole training it would also refuse or slow down what is in order as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

aten = torch.ops.aten


class Limits(NamedTuple):
    """Most sequences of a call, and most entries N H round128(T) max(32, K) of flash's sums."""

    sequences: int
    entries: int


# pytorch issues 146704 and 142228 (grids), TabPFN pull request 1184 (an illegal access beyond 2^31)
LIMITS = Limits(2**16 - 1, 2**31 - 1)
AMPERE = (8, 0)  # the first GPUs whose half precision flash has kernels for, and which know bf16
FLASH_HEAD = 256  # its largest head
BIAS_MULTIPLE = 16  # entries that rows of the efficient kernel's mask begin at multiples of
LSE_MULTIPLE = 32  # and rows of its log-sum-exp


def parts(n: int, heads: int, length: int, size: int, limits: Limits = LIMITS) -> list[int]:
    """How many of n sequences of `heads` heads [length, size] go into each call: the fewest calls
    within the limits, as even as can be. ValueError where one sequence is beyond them."""
    of_one = heads * -(-length // 128) * 128 * max(32, size)
    if of_one > limits.entries:
        raise ValueError(
            f"attention of {heads} heads, {length} positions and {size} values per head has "
            f"{of_one:,} entries per sequence; a kernel's limit is {limits.entries:,}"
        )
    calls = max(1, -(-n // min(limits.sequences, limits.entries // of_one)))
    return [n // calls + (i < n % calls) for i in range(calls)]


def kernel_name(
    dtype: torch.dtype, size: int, masked: bool, capability: tuple[int, int]
) -> str | None:
    """The kernel for heads of so many values on a GPU of this compute capability: flash, efficient,
    or None for the plain form, of two products and a softmax. The length has no part in it."""
    half = dtype in (torch.float16, torch.bfloat16)
    if half and not masked and size <= FLASH_HEAD and capability >= AMPERE:
        return "flash"  # smaller heads than a multiple of 8 are filled up with zeros
    if dtype == torch.float32 and size % 4 == 0:
        return "efficient"
    if half and size % 8 == 0 and (dtype == torch.float16 or capability >= AMPERE):
        return "efficient"
    return None


class Kernel(NamedTuple):
    """forward(q, k, v, bias, scale) -> y, log-sum-exp; backward(dy, q, k, v, bias, y, log-sum-exp,
    scale) -> dq, dk, dv; all [n, H, T, K] but bias [n, H, T, T] or None. It takes heads of
    multiples of `size`; its log-sum-exp has rows of multiples of `lse`."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    size: int = 1
    lse: int = 1


def _flash(q: Tensor, k: Tensor, v: Tensor, bias: None, scale: float) -> tuple[Tensor, Tensor]:
    out = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True, scale=scale)
    return out[0], out[1]


def _flash_backward(  # noqa: PLR0913  the operation's arguments
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: None, y: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    T, unread = q.shape[2], _unread(q)
    return aten._scaled_dot_product_flash_attention_backward(
        dy, q, k, v, y, lse, None, None, T, T, 0.0, True, unread, unread, scale=scale
    )


def _efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    out = aten._scaled_dot_product_efficient_attention(
        q, k, v, bias, True, 0.0, bias is None, scale=scale
    )
    return out[0], out[1]


def _efficient_backward(  # noqa: PLR0913  as above
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    y: Tensor,
    lse: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    unread, asked = _unread(q), [True, True, True, False]
    return aten._scaled_dot_product_efficient_attention_backward(
        dy, q, k, v, bias, y, lse, unread, unread, 0.0, asked, bias is None, scale=scale
    )[:3]


def _cpu(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, bias is None, attn_mask=bias, scale=scale
    )


def _cpu_backward(  # noqa: PLR0913  as above
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    y: Tensor,
    lse: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention_for_cpu_backward(
        dy, q, k, v, y, lse, 0.0, bias is None, attn_mask=bias, scale=scale
    )


def _unread(q: Tensor) -> Tensor:
    """In the place of the state of random numbers, which only dropout reads."""
    return torch.empty((), dtype=torch.int64, device=q.device)


KERNELS = {
    "flash": Kernel(_flash, _flash_backward, size=8),
    "efficient": Kernel(_efficient, _efficient_backward, lse=LSE_MULTIPLE),
    "cpu": Kernel(_cpu, _cpu_backward),  # tests of the parts run on it, and the pretend GPU's
}


def name_for(q: Tensor, masked: bool) -> str | None:
    """Of KERNELS, the one for queries [N, H, T, K]; None: the plain form."""
    if q.device.type != "cuda":
        return "cpu"
    return kernel_name(q.dtype, q.shape[-1], masked, _capability(q.device))


def _capability(device: torch.device) -> tuple[int, int]:
    """Of a GPU. A compiler that traces cannot ask for it: it is told that of the first GPUs with
    flash, so that stacks on older ones must not be compiled."""
    if torch.compiler.is_compiling():
        return AMPERE
    return torch.cuda.get_device_capability(device)


@contextlib.contextmanager
def _in_one_order() -> Iterator[None]:
    """Kernels add up in one order. Only strictly: a switch that warns leaves flash as it is. New
    memory, which torch would also fill, is written by the kernels."""
    memory: Any = torch.utils.deterministic  # whose attributes come from its class
    mode, fill = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fill


def attend(
    kernel: Kernel, qkv: tuple[Tensor, ...], mask_NTT: Tensor | None, limits: Limits = LIMITS
) -> tuple[Tensor, Tensor]:
    """y [N, T, H, K] and the log-sum-exp of each row of scores, from q, k and v [N, H, T, K]."""
    scale = qkv[0].shape[-1] ** -0.5
    found = [
        kernel.forward(*(_filled(x, kernel) for x in some), _bias(mask, some[0]), scale)
        for *some, mask in _split((*qkv, mask_NTT), parts(*qkv[0].shape, limits=limits))
    ]
    lse = _joined([sums for _, sums in found]).contiguous()
    return _joined([_rows(y, qkv[0]) for y, _ in found]), lse


def attend_backward(  # noqa: PLR0913  the operation's arguments
    kernel: Kernel,
    dy_NHTK: Tensor,
    qkv: tuple[Tensor, ...],
    mask_NTT: Tensor | None,
    y_NTHK: Tensor,
    lse: Tensor,
    limits: Limits = LIMITS,
) -> tuple[Tensor, ...]:
    """Gradients of q, k and v, each [N, T, H, K]."""
    scale, found = qkv[0].shape[-1] ** -0.5, []
    whole = (dy_NHTK, *qkv, y_NTHK.transpose(1, 2), lse, mask_NTT)
    for *some, sums, mask in _split(whole, parts(*qkv[0].shape, limits=limits)):
        dy, q, k, v, y = (_filled(x, kernel) for x in some)
        bias = _bias(mask, some[0])
        with _in_one_order():
            found.append(kernel.backward(dy, q, k, v, bias, y, sums, scale))
    return tuple(_joined([_rows(x, qkv[0]) for x in of]) for of in zip(*found, strict=True))


def _split(tensors: tuple[Tensor | None, ...], sizes: list[int]) -> Iterator[tuple[Any, ...]]:
    if len(sizes) == 1:
        return iter([tensors])
    pieces = ([None] * len(sizes) if x is None else x.split(sizes) for x in tensors)
    return zip(*pieces, strict=True)


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _filled(x: Tensor, kernel: Kernel) -> Tensor:
    """Heads filled up with zeros, which change no product."""
    more = -x.shape[-1] % kernel.size
    return F.pad(x, (0, more)) if more else x


def _rows(x_nHTK: Tensor, like: Tensor) -> Tensor:
    """[n, T, H, K], without what heads were filled up with, as the next product reads it."""
    return x_nHTK.transpose(1, 2)[..., : like.shape[-1]].contiguous()


def _bias(mask_nTT: Tensor | None, q: Tensor) -> Tensor | None:
    """0 where a query may look, else -inf, for all heads."""
    if mask_nTT is None:
        return None
    n, T, _ = mask_nTT.shape
    wide = q.new_zeros(n, 1, T, -(-T // BIAS_MULTIPLE) * BIAS_MULTIPLE)
    bias = wide[..., :T].masked_fill_(~mask_nTT[:, None], -math.inf)
    return bias.expand(n, q.shape[1], T, T)


# Operations of their own: what a compiler traces may not turn a switch of the process.
_library = torch.library.Library("capacity", "FRAGMENT")
_library.define("causal(Tensor q, Tensor k, Tensor v, Tensor? mask) -> (Tensor, Tensor)")
_library.define(
    "causal_backward(Tensor dy, Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor y, Tensor lse) "
    "-> (Tensor, Tensor, Tensor)"
)


def _causal(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    return attend(_kernel(q, mask), (q, k, v), mask)


def _causal_backward(  # noqa: PLR0913  as above
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, y: Tensor, lse: Tensor
) -> tuple[Tensor, ...]:
    return attend_backward(_kernel(q, mask), dy, (q, k, v), mask, y, lse)


def _kernel(q: Tensor, mask: Tensor | None) -> Kernel:
    name = name_for(q, mask is not None)
    assert name is not None
    return KERNELS[name]


for _device in ("CPU", "CUDA"):
    _library.impl("causal", _causal, _device)
    _library.impl("causal_backward", _causal_backward, _device)


@torch.library.register_fake("capacity::causal", lib=_library)
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    N, H, T, K = q.shape
    wide = -(-T // _kernel(q, mask).lse) * _kernel(q, mask).lse
    return q.new_empty(N, T, H, K), q.new_empty(N, H, wide, dtype=torch.float32)


@torch.library.register_fake("capacity::causal_backward", lib=_library)
def _(  # noqa: PLR0913  as above
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, y: Tensor, lse: Tensor
) -> tuple[Tensor, ...]:
    N, H, T, K = q.shape
    return tuple(q.new_empty(N, T, H, K) for _ in range(3))


class _Causal(torch.autograd.Function):
    """y [N, T, H, K] of q, k and v [N, H, T, K]; first derivatives only."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        y, lse = torch.ops.capacity.causal(q, k, v, mask)
        ctx.save_for_backward(q, k, v, mask, y, lse)
        return y

    @staticmethod
    def backward(ctx: Any, dy_NTHK: Tensor):
        q, k, v, mask, y, lse = ctx.saved_tensors
        dy = dy_NTHK.transpose(1, 2)
        found = torch.ops.capacity.causal_backward(dy, q, k, v, mask, y, lse)
        return *(x.transpose(1, 2) for x in found), None


def library_attention(q: Tensor, k: Tensor, v: Tensor, mask_NTT: Tensor | None = None) -> Tensor:
    """As `attention.causal_attention` with as many heads of k and v as of q: [N, T, H, K] of q, k
    and v [N, H, T, K]. The plain form where no kernel is for it (`kernel_name`)."""
    if q.numel() and name_for(q, mask_NTT is not None) is not None:
        return _Causal.apply(q, k, v, mask_NTT)
    mask = None if mask_NTT is None else mask_NTT[:, None]
    with sdpa_kernel(SDPBackend.MATH):
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return y.transpose(1, 2)
