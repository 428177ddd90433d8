"""Kernels compiled for an H200 (compute capability 9.0) without one: triton brings the assembler.
What the interpreter takes need not be what the compiler takes; here it is, with tiles that fit the
shared memory of a program. `test_kernels.py` runs this file in a process of its own."""

import math

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from capacity.model.kernels import adamw, attention, head

SHARED = 227 * 1024  # bytes that a program may have there: CUDA C++ programming guide, 9.0
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def compiled(kernel, constants, types, **options):
    """types: of arguments by name; pointers to fp32 and whole numbers of 32 bits where absent."""
    constants = dict(constants)
    warps = constants.pop("num_warps", 4)
    signature, places = {}, {}
    for parameter in kernel.params:
        name = parameter.name
        if parameter.is_constexpr:
            signature[name], places[(parameter.num,)] = "constexpr", constants.pop(name)
        else:
            signature[name] = types.get(name, "*fp32" if name.endswith("_ptr") else "i32")
    assert not constants, f"the kernel has no {sorted(constants)}"
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    found = triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps} | options
    )
    assert found.asm["cubin"][:4] == b"\x7fELF"
    assert found.metadata.shared <= SHARED
    return found


@pytest.fixture(autouse=True)
def _afresh(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(("dtype", "D"), [(torch.bfloat16, 200), (torch.float32, 32)])
def test_head(dtype, D):
    of_x = dict.fromkeys(("x_ptr", "table_ptr", "dx_ptr", "out_ptr"), "*" + NAMES[dtype])
    types = of_x | {"target_ptr": "*i64", "scale": "fp32"}
    tiles = head.blocks(dtype, D) | {"IN_TF32": dtype == torch.float32}
    tiles["PRECISION"] = "tf32" if tiles["IN_TF32"] else "ieee"
    compiled(head._tokens, tiles | {"V": 2048}, types)
    compiled(head._vocabulary, tiles | {"PER_PART": 32}, types)


@pytest.mark.parametrize(("dtype", "T", "K"), [(torch.bfloat16, 64, 8), (torch.float32, 32, 4)])
def test_attention(dtype, T, K):
    pointers = ("q", "k", "v", "y", "dy", "dq", "dk", "dv")
    types = {name + "_ptr": "*" + NAMES[dtype] for name in pointers} | {"root": "fp32"}
    tiles = attention.tiles(torch.empty(2, 6, T, K, dtype=dtype, device="meta"), 3)
    assert tiles["BT"] == T and tiles["GROUPS"] == min(3, 128 // (K * dtype.itemsize))
    for kernel in (attention._forward, attention._backward):
        compiled(kernel, tiles, types)


def test_adamw():
    types = dict.fromkeys(("alive_ptr", "skipped_ptr", "lives_ptr"), "*u8")
    types |= {"key_ptr": "*i64", "copy_ptr": "*bf16", "grad_ptr": "*bf16"}
    constants = {
        "COLUMNS": 5,
        "STEP": 0,
        "SHRINK": 2,
        "ROOT": 3,
        "UPDATE": 4,
        "SKIPS": True,
        "COPIES": True,
    }
    found = compiled(adamw._update, constants | {"ROUNDING": 2, "BLOCK": adamw.BLOCK}, types)
    # a correctly rounded root and quotient, as torch has them, not the fast ones
    assert "sqrt.rn.f32" in found.asm["ptx"] and "div.rn.f32" in found.asm["ptx"]
    assert math.log2(adamw.BLOCK).is_integer()
