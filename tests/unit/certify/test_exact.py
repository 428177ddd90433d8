"""Every form of model in operations whose bits are fixed: nearly the numbers of its own arithmetic,
and the same ones in other processes that use the processor otherwise."""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.certify.exact import exactly
from capacity.model.gpt import GPT
from capacity.model.parts.mlp import ACTIVATIONS
from capacity.settings.model import Model
from part_forms import MODELS, S, V, both, built_model, forms

ROOT = Path(__file__).resolve().parents[3]
PLAIN = {
    "rotary": Model(n_layers=2, d_model=12, n_heads=2, position="rotary", norm="rmsnorm"),
    "gated": Model(n_layers=1, d_model=12, n_heads=2, mlp="gated", n_kv_heads=1, tied=False),
    "experts": Model(n_layers=2, d_model=12, n_heads=2, n_experts=3, top_k=2, bias=False),
    "sigmoid": Model(
        n_layers=1, d_model=12, n_heads=2, n_experts=3, top_k=2, router_score="sigmoid"
    ),
    "long": Model(n_layers=1, d_model=12, n_heads=2, norm="layernorm_no_bias"),
}


def tokens(bos, n=3):
    return torch.randint(0, V, (1, n, S + (not bos)), generator=torch.Generator().manual_seed(1))


def drawn(gpt, seed=3):
    """Weights by integers alone: torch's normal numbers differ between vector widths."""
    stream = torch.Generator().manual_seed(seed)
    whole = torch.randint(-1000, 1000, (1, sum(gpt.sizes)), generator=stream)
    return whole.float() / 2000


def exact_logits(model, bos):
    gpt = GPT(model, V, S, bos)
    with exactly("a model"):
        return gpt.logits(drawn(gpt), tokens(bos), torch.float64)


@both
@forms
def test_parts_of_blocks_say_exactly_what_they_say_otherwise(name, bos):
    gpt, flat = built_model(MODELS[name], bos)
    with torch.no_grad():
        want = gpt.logits(flat, tokens(bos), torch.float64)
    with exactly("a model"):
        got = gpt.logits(flat, tokens(bos), torch.float64)
    assert torch.allclose(got, want, atol=2e-4 * float(want.abs().max()))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_forms_likewise(name):
    gpt, flat = built_model(PLAIN[name])
    with torch.no_grad():
        want = gpt.logits(flat, tokens(True), torch.float64)
    with exactly("a model"):
        got = gpt.logits(flat, tokens(True), torch.float64)
    assert torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_likewise(activation):
    x = torch.linspace(-8, 8, 1001)
    with exactly("a model"):
        got = ACTIVATIONS[activation](x)
    assert torch.allclose(got, ACTIVATIONS[activation](x), atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_formats_are_rounded_as_torch_rounds_them(dtype):
    gpt, flat = built_model(PLAIN["rotary"])
    with torch.no_grad():
        want = gpt.logits(flat, tokens(True), dtype)
    with exactly("a model"):
        got = gpt.logits(flat, tokens(True), dtype)
    loose = 1e-3 if dtype == torch.float32 else 0.5
    assert torch.allclose(got, want, atol=loose)


def test_batches_and_threads_change_no_bit():
    gpt, flat = built_model(PLAIN["gated"])
    rows, threads = tokens(True, 5), torch.get_num_threads()
    with exactly("a model"):
        whole = gpt.logits(flat, rows, torch.float64)
        one = torch.cat([gpt.logits(flat, row[None, None], torch.float64) for row in rows[0]], 1)
    torch.set_num_threads(3)
    try:
        with exactly("a model"):
            more = gpt.logits(flat, rows, torch.float64)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole, one)
    assert torch.equal(whole, more)


def test_an_operation_that_nothing_fixes_is_refused_by_its_name():
    words = "run x: nothing fixes the bits of the operation lgamma"
    with pytest.raises(ConfigError, match=words), exactly("run x"):
        torch.lgamma(torch.ones(2))
    with pytest.raises(ConfigError, match="operation std"), exactly("run x"):
        torch.ones(2).std()


def test_whole_numbers_pass_whatever_is_done_with_them():
    with exactly("run x"):
        assert torch.tensor([3, 5]).cumsum(0).tolist() == [3, 8]
        assert torch.tensor([3, 5]).prod().item() == 15


def all_forms() -> dict:
    return MODELS | PLAIN


@functools.cache
def digests() -> str:
    """Of all forms, a line each."""
    out = []
    for name, model in all_forms().items():
        for bos in (True, False):
            content = exact_logits(model, bos).numpy().tobytes()
            out.append(f"{name} {bos} {hashlib.sha256(content).hexdigest()}")
    return "\n".join(out)


OTHERS = {
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    "threads": {"OMP_NUM_THREADS": "3", "MKL_CBWR": "COMPATIBLE"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_instructions_and_threads_change_no_bit(other):
    here = Path(__file__).parent
    code = "import test_exact; print(test_exact.digests())"
    path = os.pathsep.join(map(str, (here, ROOT / "tests/helpers", ROOT)))
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path} | OTHERS[other],
        capture_output=True,
        text=True,
    )
    assert there.returncode == 0, there.stderr
    assert there.stdout.strip() == digests()
