"""The forward pass of any model here with the same bits on every machine.

`Exact` stands between the model's own code and torch: what IEEE 754 or plain data movement fixes
passes, sums, products of matrices and elementary functions are computed by `functions`, and any
other operation is refused by name. So a certificate of a part that is added later is exact or is
refused, but never wrong.

Operations are those that torch's dispatcher sees below autograd, where `linear` has become a
product and a sum. Numbers in short formats are rounded from fp64 as torch rounds them, to the
nearest, which is exact too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from capacity.base.errors import ConfigError
from capacity.certify import functions as f
from capacity.model import rotary

# data movement, comparisons, choices and single roundings: the same on every machine
PLAIN = frozenset(
    """
    view _unsafe_view reshape alias expand permute transpose t slice select split split_with_sizes
    unbind unsqueeze squeeze cat stack clone copy _to_copy detach index index_select gather scatter
    embedding where masked_fill constant_pad_nd full zeros ones empty new_zeros new_ones new_empty
    new_full zeros_like ones_like full_like empty_like triu tril flip roll unfold as_strided repeat
    lift_fresh fill zero scalar_tensor index_put masked_scatter diagonal view_as_real chunk
    eq ne lt gt le ge isnan isinf isfinite logical_not logical_and logical_or
    amax amin max min argmax argmin maximum minimum clamp clamp_min clamp_max
    mul div neg abs sqrt round floor ceil trunc sign relu threshold empty_strided
    _local_scalar_dense equal
    """.split()
)
SUMS = frozenset("add sub rsub".split())  # of two numbers, where none of them is scaled first


class Exact(TorchDispatchMode):
    """Within it, torch on the CPU computes what it would compute on any other machine.

    ConfigError for an operation whose bits nothing fixes; what: what is computed, for its words."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        own = name.removesuffix("_") if not name.endswith("__") else name
        in_place = own != name
        if not _floats(args, kwargs) or own in PLAIN and kwargs.get("rounding_mode") is None:
            return func(*args, **kwargs)
        if own in SUMS and kwargs.get("alpha", 1) == 1 and (own != "rsub" or len(args) == 2):
            return func(*args, **kwargs)
        if own not in COMPUTED or "out" in kwargs:
            raise ConfigError(
                f"{self.what}: nothing fixes the bits of the operation {own}, which its forward "
                "pass has, so that another machine might decode other data; it has no certificate"
            )
        out = COMPUTED[own](*args, **kwargs)
        return args[0].copy_(out) if in_place else out


@contextmanager
def exactly(what: str) -> Iterator[None]:
    """`Exact` without gradients, and without tables that were computed outside of it."""
    rotary.forget()
    try:
        with torch.no_grad(), Exact(what):
            yield
    finally:
        rotary.forget()


def _floats(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether numbers with a fraction take part, or are asked for."""
    dtype = kwargs.get("dtype")
    if dtype is not None and dtype.is_floating_point:
        return True
    return any(
        x.is_floating_point()
        for arg in args
        for x in (arg if isinstance(arg, (list, tuple)) else (arg,))
        if isinstance(x, Tensor)
    ) or any(isinstance(x, float) for x in args)


COMPUTED: dict[str, Callable[..., Any]] = {}


def _computes(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        COMPUTED.update(dict.fromkeys(names, function))
        return function

    return register


def _each(name: str, function: Callable[[Tensor], Tensor]) -> None:
    """An elementwise function of one tensor, computed in fp64 and rounded to the tensor's type."""
    COMPUTED[name] = lambda x: function(x.double()).to(x.dtype)


for _name, _function in {
    "exp": f.exp,
    "exp2": lambda x: f.exp(x / f.PER_LN2),
    "log": f.log,
    "sigmoid": f.sigmoid,
    "tanh": f.tanh,
    "silu": lambda x: x * f.sigmoid(x),
    "erf": f.erf,
    "cos": lambda x: f.cos_sin(x)[0],
    "sin": lambda x: f.cos_sin(x)[1],
    "rsqrt": lambda x: 1 / x.sqrt(),
    "reciprocal": lambda x: 1 / x,
    "square": lambda x: x * x,
}.items():
    _each(_name, _function)


@_computes("gelu")
def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), or its form with tanh (Hendrycks and Gimpel, arXiv 1606.08415, section 2)."""
    wide = x.double()
    if approximate == "none":
        phi = 1 + f.erf(wide * math.sqrt(0.5))
    else:
        cube = wide * wide * wide
        phi = 1 + f.tanh((wide + cube * 0.044715) * math.sqrt(2 / math.pi))
    return (wide * phi * 0.5).to(x.dtype)


@_computes("softplus")
def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    wide = x.double() * beta
    return torch.where(wide > threshold, wide / beta, f.softplus(wide) / beta).to(x.dtype)


@_computes("pow")
def _pow(x: Any, exponent: Any) -> Tensor:
    """Whole powers by products, roots by the root, all others as e^(y ln x) of x >= 0."""
    if isinstance(exponent, Tensor):
        base = torch.full_like(exponent, x) if not isinstance(x, Tensor) else x
        return f.exp(exponent.double() * f.log(base.double())).to(exponent.dtype)
    wide = x.double()
    if float(exponent) in (-2.0, -1.0, 1.0, 2.0, 3.0):
        out = wide
        for _ in range(int(abs(exponent)) - 1):
            out = out * wide
        out = 1 / out if exponent < 0 else out
    elif abs(exponent) == 0.5:
        out = wide.sqrt() if exponent > 0 else 1 / wide.sqrt()
    else:
        out = f.exp(f.log(wide) * exponent)
    return out.to(x.dtype)


@_computes("log_sigmoid_forward")
def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return (-f.softplus(-x.double())).to(x.dtype), x


# x + alpha y, the product rounded before the sum
COMPUTED["add"] = lambda x, y, alpha=1: torch.add(x, torch.mul(y, alpha))
COMPUTED["sub"] = lambda x, y, alpha=1: torch.sub(x, torch.mul(y, alpha))
COMPUTED["rsub"] = lambda x, y, alpha=1: torch.sub(y, torch.mul(x, alpha))
COMPUTED["addcmul"] = lambda x, a, b, value=1: x + (a * b if value == 1 else a * b * value)
COMPUTED["addcdiv"] = lambda x, a, b, value=1: x + (a / b if value == 1 else a / b * value)
COMPUTED["lerp"] = lambda a, b, weight: a + (b - a) * weight


@_computes("arange")
def _arange(*bounds: float, dtype: torch.dtype | None = None, **kept: Any) -> Tensor:
    """Whole numbers first, then the format; steps of a fraction are refused by `int`."""
    assert all(float(b).is_integer() for b in bounds), bounds
    kept = {name: value for name, value in kept.items() if name in ("device", "pin_memory")}
    return torch.arange(*(int(b) for b in bounds), dtype=torch.int64, **kept).to(
        dtype or torch.get_default_dtype()
    )


@_computes("sum")
def _sum(
    x: Tensor,
    dim: list[int] | None = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    dims = dim or list(range(x.dim()))
    return f.total(x.double(), dims, keepdim).to(dtype or x.dtype)


@_computes("mean")
def _mean(
    x: Tensor,
    dim: list[int] | None = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    dims = dim or list(range(x.dim()))
    n = math.prod(x.shape[d] for d in dims)
    return (f.total(x.double(), dims, keepdim) / n).to(dtype or x.dtype)


@_computes("cumsum")
def _cumsum(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    return f.running_total(x.double(), dim).to(dtype or x.dtype)


@_computes("linalg_vector_norm")
def _vector_norm(
    x: Tensor,
    order: float = 2,
    dim: list[int] | None = None,
    keepdim: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    if order != 2:
        raise ConfigError(f"norms of order {order} are not computed exactly")
    dims = dim or list(range(x.dim()))
    wide = x.double()
    return f.total(wide * wide, dims, keepdim).sqrt().to(dtype or x.dtype)


@_computes("bmm", "mm", "matmul", "mv", "dot")
def _product(a: Tensor, b: Tensor) -> Tensor:
    left = a[None] if a.dim() == 1 else a
    right = b[:, None] if b.dim() == 1 else b
    out = f.product(left.double(), right.double()).to(a.dtype)
    out = out.squeeze(-1) if b.dim() == 1 else out
    return out.squeeze(0) if a.dim() == 1 else out


@_computes("baddbmm", "addmm", "addmv")
def _added_product(x: Tensor, a: Tensor, b: Tensor, beta: float = 1, alpha: float = 1) -> Tensor:
    out = _product(a.double(), b.double())
    out = out if alpha == 1 else out * alpha
    return (out if beta == 0 else out + (x if beta == 1 else x * beta).double()).to(a.dtype)


@_computes("_softmax", "softmax")
def _softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    return f.softmax(x.double(), dim).to(torch.float32 if half_to_float else x.dtype)


@_computes("logsumexp")
def _logsumexp(x: Tensor, dim: list[int], keepdim: bool = False) -> Tensor:
    wide = x.double()
    most = wide.amax(dim, keepdim=True)
    out = f.log(f.total(f.exp(wide - most), dim, keepdim=True)) + most
    for d in sorted((d % x.dim() for d in dim), reverse=True) if not keepdim else ():
        out = out.squeeze(d)
    return out.to(x.dtype)


def _norm(
    x: Tensor, shape: list[int], eps: float | None, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    wide, dims = x.double(), list(range(-len(shape), 0))
    n = math.prod(shape)
    mean = f.total(wide, dims, keepdim=True) / n if centred else torch.zeros_like(wide[..., :1])
    apart = wide - mean
    square = f.total(apart * apart, dims, keepdim=True) / n
    scale = 1 / (square + (torch.finfo(x.dtype).eps if eps is None else eps)).sqrt()
    return apart * scale, mean, scale


@_computes("native_layer_norm")
def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    out, mean, scale = _norm(x, shape, eps, centred=True)
    out = out if weight is None else out * weight
    out = out if bias is None else out + bias
    return out.to(x.dtype), mean.to(x.dtype), scale.to(x.dtype)


@_computes("_fused_rms_norm")
def _rms_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    out, _, scale = _norm(x, shape, eps, centred=False)
    return (out if weight is None else out * weight).to(x.dtype), scale.to(x.dtype)


@_computes("rms_norm")
def _whole_rms_norm(
    x: Tensor, shape: list[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    return _rms_norm(x, shape, weight, eps)[0]


@_computes("_scaled_dot_product_flash_attention_for_cpu")
def _attention(  # noqa: PLR0913  the operation's arguments
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of [..., T, K] by its scores; zeros for their sums, which nothing here reads."""
    assert dropout_p == 0.0
    factor = scale if scale is not None else 1 / math.sqrt(q.shape[-1])
    scores = f.product(q.double() * factor, k.double().transpose(-2, -1))
    if is_causal:
        shape = scores.shape[-2:]
        later = torch.ones(shape, dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    y = f.product(f.softmax(scores, -1), v.double()).to(q.dtype)
    return y, torch.zeros_like(scores[..., 0])


@_computes("elu")
def _elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    wide = x.double()
    low = (f.exp(wide.clamp(max=0) * input_scale) - 1) * alpha
    return (torch.where(wide > 0, wide, low) * scale).to(x.dtype)


@_computes("scatter_add")
def _scatter_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Summands in so many places, counted from the largest of all, that their sums are exact."""
    bits = 52 - max(1, source.shape[dim]).bit_length()
    both = torch.cat([x.double().flatten(), source.double().flatten()])
    rounded, exponent = f.whole(both, 0, bits)
    start, rest = rounded.split([x.numel(), source.numel()])
    summed = start.view(x.shape).scatter_add(dim, index, rest.view(source.shape))
    return f.times_power(summed, exponent).to(x.dtype)


@_computes("linalg_solve_triangular")
def _solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """a x = b by substitution, a row of x after the other."""
    if not left:  # x a = b is a^T x^T = b^T
        swapped = (x.transpose(-2, -1) for x in (a, b))
        return _solve_triangular(*swapped, upper=not upper, unitriangular=unitriangular).transpose(
            -2, -1
        )
    wide, n = a.double(), a.shape[-1]
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = b.double().expand(*shape, *b.shape[-2:]).clone()
    for i in reversed(range(n)) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        row = x[..., i : i + 1, :]
        if x[..., known, :].shape[-2]:
            row = row - f.product(
                wide[..., i : i + 1, known].expand(*shape, 1, -1), x[..., known, :]
            )
        x[..., i : i + 1, :] = row if unitriangular else row / wide[..., i : i + 1, i : i + 1]
    return x.to(b.dtype)


@_computes("sort")
def _sort(
    x: Tensor, dim: int = -1, descending: bool = False, stable: bool | None = None
) -> tuple[Tensor, Tensor]:
    return torch.sort(x, dim=dim, descending=descending, stable=True)


@_computes("topk")
def _topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """By a stable sort, so that of equal numbers the first ones are taken."""
    value, place = torch.sort(x, dim=dim, descending=largest, stable=True)
    return value.narrow(dim, 0, k), place.narrow(dim, 0, k)
