"""Number formats of training: TF32, fp16 with a loss scale, bf16 weights, and weights of few values
(quantization-aware training)."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity import records
from capacity.config import from_dict
from capacity.measure import quantization
from capacity.measure import registry as tasks
from capacity.model import numerics
from capacity.model import qat as aware
from capacity.model.gpt import GPT
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.settings.quantize import LEVELS
from capacity.train import loop
from capacity.train import loss_scale as scaling
from stacks import trained

CPU = torch.device("cpu")
ROTARY = {"n_layers": 1, "d_model": 8, "n_heads": 2, "position": "rotary"}
MODELS = {
    "gpt": {"n_layers": 1, "d_model": 8, "n_heads": 2},
    "untied": {**ROTARY, "tied": False, "bias": False, "mlp": "gated"},
    "moe": {**ROTARY, "n_experts": 2, "capacity_factor": 8.0},
}


def config(seed=0, model="gpt", n=20, **train):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": n},
            "model": MODELS[model],
            "seed": seed,
            "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5, "lr": 0.02} | train,
        }
    )


def gpt_of(c, **changes):
    return GPT(
        c.model,
        16,
        8,
        True,
        c.train.precision == "tf32",
        c.train.qat,
        c.train.qat_embeddings,
        **changes,
    )


def batch(members=1, seed=0):
    return torch.randint(0, 16, (members, 6, 8), generator=torch.Generator().manual_seed(seed))


def gradient(gpt, flat, dtype=torch.float32):
    leaf = flat.clone().requires_grad_()
    return torch.autograd.grad(gpt.loss(leaf, batch(len(flat)), dtype).sum(), leaf)[0]


# TF32


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_tf32_is_the_nearest_number_with_ten_bits_of_mantissa(x):
    found = float(numerics.tf32(torch.tensor([x]))[0])
    if x == 0 or abs(x) < 1e-37:
        return
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 10)
    exact = (
        math.copysign(math.floor(abs(x) / step + 0.5), x) * step
    )  # halves away from zero, in fp64 without rounding
    assert found == exact


def test_operands_of_all_products_are_tf32_forward_and_backward(monkeypatch):
    """But inside of attention, whose probabilities are the kernel's."""
    c, seen = config(precision="tf32"), []
    gpt, bmm = gpt_of(c), torch.bmm

    def watched(a, b, **more):
        seen.append((a.detach(), b.detach()))
        return bmm(a, b, **more)

    monkeypatch.setattr(torch, "bmm", watched)
    flat = gpt.init([0]) * 5
    gpt.logits(flat, batch())
    here = [
        (a, b) for a, b in seen if a.shape[-1] in (8, 32) and b.dim() == 3 and a.shape[0] == 1
    ]  # not those of attention
    assert len(here) == 5 and all(torch.equal(numerics.tf32(t), t) for pair in here for t in pair)
    x, w = torch.randn(1, 5, 8).requires_grad_(), torch.randn(1, 8, 3).requires_grad_()
    g = torch.randn(1, 5, 3)
    dx, dw = torch.autograd.grad(gpt._product(x, w), (x, w), g)
    r = numerics.tf32
    assert torch.equal(dx, bmm(r(g), r(w).transpose(1, 2))) and torch.equal(
        dw, bmm(r(x).transpose(1, 2), r(g))
    )


@pytest.mark.parametrize("model", MODELS)
def test_tf32_is_near_fp32_and_not_it(model):
    c = config(model=model, precision="tf32")
    gpt, exact = gpt_of(c), gpt_of(c).in_fp32()
    flat = gpt.init([0]) * 5
    one, two = gradient(gpt, flat), gradient(exact, flat)
    assert torch.equal(two, gradient(gpt_of(config(model=model)), flat))
    assert not torch.equal(one, two) and float((one - two).norm() / two.norm()) < 1e-2


# Weights in bf16


@given(
    st.lists(
        st.floats(-(2.0**14), 2.0**14, width=32).filter(lambda x: abs(x) > 1e-30),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2**40),
)
def test_a_stochastically_rounded_weight_is_one_of_its_two_neighbours(values, step):
    x = torch.tensor([values])
    found = numerics.to_bf16(x, "bf16_stochastic", torch.tensor([[7]]), torch.tensor([[step]]))
    assert torch.equal(found.bfloat16().float(), found)
    cut = (x.view(torch.int32) & ~0xFFFF).view(torch.float32)
    up = ((x.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)
    assert ((found == cut) | (found == up)).all()


def test_stochastic_rounding_has_no_bias_and_draws_anew_at_every_step_place_and_member():
    x = torch.tensor([[1.0 + 0.3 * 2**-7, -(1.0 + 0.9 * 2**-7)]]).repeat(2, 2000)
    base = torch.tensor([[1], [2]])
    draws = torch.stack(
        [numerics.to_bf16(x, "bf16_stochastic", base, torch.full((2, 1), t)) for t in range(20)]
    )
    for place, (part, sign) in enumerate(((0.3, 1), (0.9, -1))):
        share = ((draws[..., place::2] * sign - 1) * 2**7).mean()
        assert abs(share - part) < 5 * math.sqrt(part * (1 - part) / 80000)
    flips = draws[..., ::2] > 1  # 20 steps x 2 members x 2000 places, 30% each
    for a, b in (
        (flips[:-1], flips[1:]),
        (flips[:, 0], flips[:, 1]),
        (flips[..., :-1], flips[..., 1:]),
    ):
        assert abs((a & b).float().mean() - 0.09) < 0.012


def test_small_updates_survive_stochastic_rounding_and_not_rounding_to_nearest():
    """A weight of 1 and updates of a twentieth of bf16's step, 2^-7, down from it."""
    ends = {}
    for rounding in ("bf16_stochastic", "bf16_nearest"):
        w = torch.ones(1, 400)
        for t in range(200):
            w = numerics.to_bf16(
                w + 0.05 * 2**-7, rounding, torch.tensor([[5]]), torch.tensor([[t]])
            )
        ends[rounding] = float(w.mean())
    assert (
        ends["bf16_nearest"] == 1.0
        and abs(ends["bf16_stochastic"] - (1 + 10 * 2**-7)) < 0.4 * 2**-7
    )


def test_weights_are_bf16_after_every_step_in_a_stack_as_alone():
    members = [config(seed=s, n=20 + 5 * s, weights="bf16_stochastic") for s in (0, 1)]
    _, both = trained(members, 9, CPU)
    assert torch.equal(both.flat_MP.bfloat16().float(), both.flat_MP)
    for m, c in enumerate(members):
        _, alone = trained([c], 9, CPU)
        assert torch.equal(alone.flat_MP[0], both.flat_MP[m])
    _, exact = trained([config()], 9, CPU)
    assert not torch.equal(exact.flat_MP[0], both.flat_MP[0]) and torch.allclose(
        exact.flat_MP[0], both.flat_MP[0], atol=0.02
    )


# fp16


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sums_are_fp32_and_a_gradient_is_a_number_of_the_format(precision):
    """As the help of train.precision says. A device may not sum in the format, which torch allows
    by default; parts of a batch are summed in fp32."""
    matmul = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = True
    matmul.allow_fp16_reduced_precision_reduction = True
    configs = [config(seed, precision=precision) for seed in (0, 1)]
    for parts in (1, 2):
        stack = loop.Stack(configs, CPU, parts)
        state = stack.start()
        assert not matmul.allow_bf16_reduced_precision_reduction
        assert not matmul.allow_fp16_reduced_precision_reduction
        loss_M, grad_MP = loop.gradient(stack, state.flat_MP, batch(2))
        assert loss_M.dtype == grad_MP.dtype == state.m_MP.dtype == torch.float32
        in_format = grad_MP.to(stack.dtype).float()
        assert torch.equal(grad_MP, in_format) == (parts == 1) and grad_MP.any()


def test_scaling_saves_gradients_that_fp16_would_lose():
    """Weights at which the loss is small: unscaled gradients of 1e-8 vanish in fp16."""
    c = config(precision="fp16")
    stack, state = trained([c], 1, CPU)
    fine = trained([config()], 60, CPU)[1].flat_MP
    exact = gradient(gpt_of(config()), fine)
    tokens = batch()
    errors = {}
    for scale in (2.0**-12, 1.0, 2.0**12):
        _, found = loop.gradient(stack, fine, tokens, torch.tensor([scale]))
        errors[scale] = float((found - exact).norm() / exact.norm())
    assert errors[2.0**12] < 0.02 and errors[2.0**-12] > 5 * errors[2.0**12]


def test_an_overflow_skips_the_step_of_its_member_and_halves_its_scale():
    stack, state = trained(
        [config(seed=0, precision="fp16"), config(seed=1, precision="fp16")], 5, CPU
    )
    state.scaling_M3[0, scaling.SCALE] = 2.0**60
    before = {name: getattr(state, name).clone() for name in ("flat_MP", "m_MP", "v_MP")}
    loop.advance(stack, state, 6, lambda: False)
    for name, tensor in before.items():
        now = getattr(state, name)
        assert torch.equal(now[0], tensor[0]) and not torch.equal(now[1], tensor[1])
    assert state.scaling_M3.tolist() == [[2.0**59, 0.0, 1.0], [scaling.START, 6.0, 0.0]]
    assert state.alive_M.tolist() == [True, True]


def test_scales_grow_after_patience_and_a_member_without_room_below_dies():
    numbers = torch.tensor(
        [[8.0, scaling.PATIENCE - 1, 3.0], [1.0, 5.0, 0.0], [8.0, 7.0, 0.0], [8.0, 7.0, 0.0]]
    )
    grad = torch.tensor([[1.0, 2.0], [math.inf, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
    loss = torch.tensor([1.0, 1.0, 1.0, math.inf])
    skipped = scaling.rescale(numbers, grad, loss)
    assert skipped.tolist() == [
        False,
        False,
        True,
        False,
    ]  # a loss that is not finite is nobody's overflow
    assert numbers.tolist() == [[16.0, 0.0, 3.0], [1.0, 6.0, 0.0], [4.0, 0.0, 1.0], [8.0, 8.0, 0.0]]
    assert grad[2].tolist() == [0.0, 0.0] and not torch.isfinite(grad[1]).all()


def test_a_member_whose_fp16_loss_is_not_finite_ends_and_the_other_goes_on():
    members = [
        config(seed=0, precision="fp16"),
        config(seed=1, precision="fp16", lr=1e30, grad_clip=0.0),
    ]
    _, state = trained(members, 20, CPU)
    assert state.alive_M.tolist() == [True, False] and torch.isfinite(state.flat_MP[0]).all()


# Weights of few values


def channels(gpt, flat):
    """(name, weights with channels as rows [n, N]) of every quantized tensor of a member's row."""
    for name, t in gpt.named(flat[None]).items():
        if name in gpt.qat.channels:
            yield name, t[0].movedim(gpt.qat.channels[name], -1).flatten(0, -2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("qat", LEVELS)
def test_a_channel_has_no_more_values_than_its_code(qat, model):
    c = config(model=model, qat=qat, qat_embeddings=True)
    gpt = gpt_of(c)
    used = gpt.used(gpt.init([3])[0])
    names = []
    for name, rows in channels(gpt, used):
        names.append(name)
        for row in rows:
            values = row.unique()
            assert len(values) <= LEVELS[qat]
            if qat == "ternary":
                assert len(values.abs().unique()) <= 2 and len(values[values > 0]) <= 1
    tables = (
        {"token.weight"}
        | ({"position.weight"} if model == "gpt" else set())
        | ({"head.weight"} if model == "untied" else set())
    )
    maps = {
        w.name
        for w in gpt.layout
        if w.name.endswith(tuple(f"{kind}.weight" for kind in ("qkv", "out", "up", "down", "gate")))
    }
    assert set(names) == tables | maps
    rest = torch.cat([t.reshape(-1) for n, t in gpt.named(used[None]).items() if n not in names])
    assert torch.equal(rest.bfloat16().float(), rest)
    few = gpt_of(config(model=model, qat=qat))
    assert set(few.qat.channels) == maps


@pytest.mark.parametrize("levels", [2, 3, 4, 8, 16])
def test_the_scale_leaves_the_least_error_that_a_search_finds(levels):
    """Within what eight scales and one least-squares step miss: 10% of the error of the best of
    4,000."""
    rows = torch.randn(6, 40, generator=torch.Generator().manual_seed(levels)).double()
    found = (aware.rounded(rows.float(), levels, -1).double() - rows).square().sum(1)
    k = torch.arange(levels).double() - (levels - 1) / 2
    scales = torch.linspace(0.02, 6, 4000).double()
    best = torch.stack(
        [((rows[..., None] - scale * k).abs().amin(-1) ** 2).sum(1) for scale in scales]
    ).amin(0)
    assert (found <= best * (1.0005 if levels == 2 else 1.1)).all() and (found >= best * 0.99).all()


def test_codes_lie_evenly_around_zero():
    w = torch.tensor([[-3.0, -1.0, 1.0, 3.0]])
    assert torch.equal(aware.rounded(w, 4, -1), w) and torch.equal(
        aware.rounded(torch.zeros(1, 4), 4, -1).abs() < 1e-6, torch.ones(1, 4) > 0
    )
    assert aware.rounded(torch.tensor([[-1.0, 2.0, 3.0]]), 2, -1).tolist() == [[-2.0, 2.0, 2.0]]
    assert aware.rounded(torch.tensor([[-4.0, 0.5, 4.0]]), 3, -1).tolist() == [[-4.0, 0.0, 4.0]]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("qat", ["int4", "ternary", "binary"])
def test_the_gradient_is_that_of_the_used_weights_passed_straight_through(qat, model):
    gpt, plain = (
        gpt_of(config(model=model, qat=qat, qat_embeddings=True)),
        gpt_of(config(model=model)),
    )
    flat = gpt.init([0]) * 3
    assert torch.equal(gradient(gpt, flat), gradient(plain, gpt.used(flat[0])[None]))


def test_members_of_a_quantized_stack_equal_their_solo_runs_and_learn():
    members = [config(seed=s, n=20 + 5 * s, qat="int3", qat_embeddings=True) for s in (0, 1)]
    stack, both = trained(members, 60, CPU)
    for m, c in enumerate(members):
        alone_stack, alone = trained([c], 60, CPU)
        assert torch.equal(alone.flat_MP[0], both.flat_MP[m])
        held = tasks.headline(stack, both.flat_MP[m], m)["held_bits"]
        fresh = tasks.headline(alone_stack, alone_stack.start().flat_MP[0], 0)["held_bits"]
        assert (
            held > fresh + 100
            and held == tasks.headline(alone_stack, alone.flat_MP[0], 0)["held_bits"]
        )


def test_what_is_measured_is_the_quantized_model():
    c = config(qat="binary", qat_embeddings=True)
    stack, state = trained([c], 30, CPU)
    plain, _ = trained([config()], 1, CPU)
    used = stack.gpt.used(state.flat_MP[0])
    assert tasks.headline(stack, state.flat_MP[0], 0) == tasks.headline(plain, used, 0)
    assert tasks.headline(plain, state.flat_MP[0], 0) != tasks.headline(plain, used, 0)


def test_stored_bits_by_hand():
    """gpt: token 16 x 8, bos 8, position 8 x 8, one block of d = 8; 1,128 weights; maps [8, 24],
    [8, 8], [8, 32], [32, 8]."""
    P = config().parameters["total"]
    maps, tables = 8 * 24 + 8 * 8 + 8 * 32 + 32 * 8, 16 * 8 + 8 * 8
    c = config(qat="int4", qat_embeddings=True)
    found = quantization.storage(gpt_of(c), c.train)
    assert found["bits"] == 4 * (maps + tables) + 16 * (24 + 8 + 32 + 8 + 16 + 8) + 16 * (
        P - maps - tables
    )
    c = config(qat="ternary")  # 8 trits are 13 bits (3^8 = 6,561), 32 are 51
    found = quantization.storage(gpt_of(c), c.train)
    assert found["bits"] == (24 + 8 + 32) * (13 + 16) + 8 * (51 + 16) + 16 * (P - maps)
    assert found["bits_per_weight"] == found["bits"] / P and set(found["skipped"]) >= {
        "token.weight",
        "bos",
        "norm.weight",
    }
    for train, bits in (
        ({}, 32),
        ({"precision": "tf32"}, 32),
        ({"precision": "bf16"}, 16),
        ({"precision": "fp16"}, 16),
        ({"weights": "bf16_stochastic"}, 16),
    ):
        c = config(**train)
        assert quantization.storage(gpt_of(c), c.train)["bits_per_weight"] == bits
    c = config(model="moe", precision="bf16")
    router = 8 * 2
    assert (
        quantization.storage(gpt_of(c), c.train)["bits"] == 16 * c.parameters["total"] + 16 * router
    )


@pytest.mark.parametrize(
    "train",
    [{"qat": "int2"}, {"precision": "fp16"}, {"weights": "bf16_stochastic"}, {"precision": "tf32"}],
    ids="-".join,
)
def test_an_interrupted_run_in_a_format_ends_bit_identical_and_says_what_it_was(tmp_path, train):
    c = config(**train)
    report = {
        "results": tmp_path / "a",
        "device": CPU,
        "study": None,
        "report": lambda event: None,
        "stop": lambda: False,
    }
    assert set(execute([c], Job(**report)).values()) == {"finished"}
    looks = itertools.count()
    cut = report | {"results": tmp_path / "b"}
    assert set(execute([c], Job(**cut | {"stop": lambda: next(looks) >= 60})).values()) == {
        "interrupted"
    }
    assert set(execute([c], Job(**cut)).values()) == {"finished"}
    files = [
        (records.run_dir(tmp_path / x, c.run_id) / "weights.safetensors").read_bytes() for x in "ab"
    ]
    assert files[0] == files[1]
    record = records.read(tmp_path / "b", c.run_id)
    training, held = record["training"], record["measures"]["memorization"]["strict"]["bits"]
    assert (training["precision"], training["master_weights"], training["qat"]) == (
        c.train.precision,
        c.train.weights,
        c.train.qat,
    )
    assert record["storage"]["bits"] >= held and ("steps_skipped" in training) == (
        c.train.precision == "fp16"
    )


def test_the_bound_is_checked():
    with pytest.raises(
        AssertionError, match="101.0 bits held by weights that are stored in 100 bits"
    ):
        quantization.check_bound("memorization", 101.0, 100)
    quantization.check_bound("text", 101.0, 100)


def test_spellings_of_one_run_have_one_identity_and_formats_do_not_share_a_stack():
    assert config(qat_embeddings=True).run_id == config().run_id
    made = [
        config(),
        config(qat="int4"),
        config(qat="int4", qat_embeddings=True),
        config(weights="bf16_nearest"),
        config(precision="fp16"),
    ]
    assert len({c.run_id for c in made}) == 5
    with pytest.raises(AssertionError, match="different shapes"):
        loop.Stack([made[0], made[1]], CPU)
