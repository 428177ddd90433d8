"""Backends of attention: time, error against fp64, equal bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from gpu_run.bench import Bench


def attention(bench: Bench) -> None:
    """Forward and backward of each backend at the shapes of the studies, on views of q, k, v as
    the model has them."""
    import torch

    shapes = {
        (32, 2): (2048, 16),
        (64, 4): (2048, 16),
        (64, 8): (2048, 16),
        (64, 32): (16384, 1),
        (512, 64): (768, 2),
    }
    predicted = {(64, 8): 1360.0}
    if bench.small:
        shapes = {(16, 4): (6, 2)}
    cases = {}
    for dtype in (torch.bfloat16, torch.float32):
        for (T, K), (N, H) in shapes.items():
            if dtype == torch.float32 and (T, K) not in ((64, 8), (512, 64), (16, 4)):
                continue
            name = f"T {T} K {K} {str(dtype).removeprefix('torch.')}"

            def one() -> None:
                cases[name] = compared(bench, name, N, H, T, K, dtype, predicted.get((T, K)))
                bench.book.put(cases=cases)

            bench.case(name, one)


def attention_forms(dtype) -> dict[str, Callable]:
    """By name, functions of q, k, v [N, H, T, K]."""
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from capacity.model.sdpa import library_attention

    def sdpa(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def of(backend):
        def inside(q, k, v):
            with sdpa_kernel(backend):
                return sdpa(q, k, v)

        return inside

    def here(q, k, v):
        return library_attention(q, k, v).transpose(1, 2)

    forms = {
        "here": here,
        "torch's choice": sdpa,
        "flash": of(SDPBackend.FLASH_ATTENTION),
        "efficient": of(SDPBackend.EFFICIENT_ATTENTION),
        "cudnn": of(SDPBackend.CUDNN_ATTENTION),
        "math": of(SDPBackend.MATH),
        "bmm softmax": products(),
    }
    if str(dtype) == "torch.float32":
        named = ("here", "torch's choice", "efficient", "math", "bmm softmax")
        forms = {name: forms[name] for name in named}
    return forms


def products() -> Callable:
    """Attention by two batched products and a softmax, the probabilities kept for the backward
    pass, as on a CPU."""
    import torch

    class Products(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            N, H, T, K = q.shape
            q, k, v = (x.reshape(N * H, T, K) for x in (q, k, v))
            later = torch.full((T, T), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
            scores = torch.baddbmm(later.expand(N * H, T, T), q, k.transpose(1, 2), alpha=K**-0.5)
            p = torch.softmax(scores, -1)
            ctx.save_for_backward(q, k, v, p)
            return torch.bmm(p, v).view(N, H, T, K)

        @staticmethod
        def backward(ctx, dy):
            q, k, v, p = ctx.saved_tensors
            shape = dy.shape
            dy = dy.reshape(q.shape)
            dp = torch.bmm(dy, v.transpose(1, 2))
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype).mul_(shape[-1] ** -0.5)
            found = (
                torch.bmm(ds, k),
                torch.bmm(ds.transpose(1, 2), q),
                torch.bmm(p.transpose(1, 2), dy),
            )
            return tuple(x.view(shape) for x in found)

    return Products.apply


def heads_of(qkv, H: int):
    """q, k, v [N, H, T, K] as views of [N, T, 3 H K], as in the model."""
    N, T, E = qkv.shape
    return qkv.view(N, T, 3 * H, E // (3 * H)).transpose(1, 2).split(H, dim=1)


def forward_backward(form: Callable, qkv, dy, H: int):
    import torch

    leaf = qkv.detach().requires_grad_()
    y = form(*heads_of(leaf, H))
    return y.detach(), torch.autograd.grad(y, leaf, dy)[0]


def compared(
    bench: Bench, name: str, N: int, H: int, T: int, K: int, dtype, predicted: float | None
) -> dict:
    import torch

    torch.manual_seed(0)
    qkv = torch.randn(N, T, 3 * H * K, device=bench.device).to(dtype)
    dy = torch.randn(N, H, T, K, device=bench.device).to(dtype)
    few = min(N, 64)
    exact = forward_backward(
        attention_forms(dtype)["math"], qkv[:few].double(), dy[:few].double(), H
    )
    found: dict = {"sequences": N, "heads": H, "chosen": "unknown"}
    with contextlib.suppress(Exception):
        found["chosen"] = str(
            torch.nn.attention.SDPBackend(
                torch._fused_sdp_choice(*heads_of(qkv, H), is_causal=True)
            )
        )
    for form_name, form in attention_forms(dtype).items():
        try:
            first = forward_backward(form, qkv, dy, H)
            again = [forward_backward(form, qkv, dy, H) for _ in range(5)]
            equal = all(
                torch.equal(a, b) for other in again for a, b in zip(first, other, strict=True)
            )
            errors = [
                float((a[:few].double() - b).norm() / b.norm())
                for a, b in zip(first, exact, strict=True)
            ]
            with torch.no_grad():
                forward = bench.ms(lambda: form(*heads_of(qkv, H)), inner_s=0.03)["median"] * 1e3
            both = (
                bench.ms(lambda: forward_backward(form, qkv, dy, H), inner_s=0.05)["median"] * 1e3
            )
            found[form_name] = {
                "forward_us": forward,
                "both_us": both,
                "errors": errors,
                "equal": equal,
            }
            bench.book.row(
                f"{name} {form_name}",
                both,
                "us",
                predicted if form_name == "here" else None,
                f"forward {forward:.0f}, error {max(errors):.0e}, bits "
                + ("equal" if equal else "DIFFER")
                + f", is {found['chosen'].removeprefix('SDPBackend.').lower()}"
                * (form_name == "torch's choice"),
            )
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            found[form_name] = {"error": f"{type(error).__name__}: {text}"[:600]}
            bench.book.row(f"{name} {form_name}", "refused", note=text.splitlines()[0][:60])
    return found
