"""What experts may have beside the published form: shared ones, rounds, other scores, shifts for an
even load, a z-loss, few values of their own."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.config import from_dict
from capacity.model.gpt import GPT
from capacity.model.moe import mixture, z_loss
from capacity.train.loop import Stack, gradient
from part_forms import PLAIN, D, S, V, built_model, tokens
from stack_members import CPU, trained

MOE = dataclasses.replace(PLAIN, n_layers=1, n_experts=4, top_k=2, eval_capacity_factor=9.0)
GATED = dataclasses.replace(MOE, mlp="gated", activation="silu", bias=False, norm="rmsnorm")
FF = 4 * D


def layer(model):
    """Weights of the block of one member, states, what its experts add to them, and the model."""
    gpt, flat = built_model(model)
    w = gpt.named(flat)
    x = torch.randn(1, 3 * S, D, generator=torch.Generator().manual_seed(1))
    y = gpt.blocks[0][-1].forward(w, "blocks.0.", x, gpt.context(tokens()))
    return {name.removeprefix("blocks.0."): one[0] for name, one in w.items()}, x, y[0], gpt


def theirs_of(w, at, gate_up, down):
    """An MLP of theirs, [out, in]."""
    return {
        gate_up: torch.cat([w[at + "gate.weight"], w[at + "up.weight"]], -1).mT,
        down: w[at + "down.weight"].mT,
    }


def test_shared_experts_and_shifted_sigmoids_are_the_layer_of_transformers():
    """DeepSeek-V3, with the experts of one group."""
    transformers = pytest.importorskip("transformers")
    deepseek = pytest.importorskip("transformers.models.deepseek_v3.modeling_deepseek_v3")
    model = dataclasses.replace(GATED, n_shared=2, router_score="sigmoid", router_shift=0.1)
    gpt, flat = built_model(model)
    gpt.named(flat)["blocks.0.router.shift"][0] = torch.tensor([0.3, -0.4, 0.0, 0.2])
    w, x, _, _ = layer(model)
    y = gpt.blocks[0][-1].forward(gpt.named(flat), "blocks.0.", x, gpt.context(tokens()))[0]
    config = transformers.DeepseekV3Config(
        hidden_size=D,
        n_routed_experts=4,
        num_local_experts=4,
        n_shared_experts=2,
        num_experts_per_tok=2,
        moe_intermediate_size=FF,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
        hidden_act="silu",
    )
    theirs = deepseek.DeepseekV3MoE(config).eval()
    state = {
        "gate.weight": w["router.weight"].T,
        "gate.e_score_correction_bias": torch.tensor([0.3, -0.4, 0.0, 0.2]),
        **theirs_of(w, "experts.", "experts.gate_up_proj", "experts.down_proj"),
        "shared_experts.gate_proj.weight": w["shared.gate.weight"].T,
        "shared_experts.up_proj.weight": w["shared.up.weight"].T,
        "shared_experts.down_proj.weight": w["shared.down.weight"].T,
    }
    theirs.load_state_dict(state)
    h = F.rms_norm(x, (D,), w["norm2.weight"], 1e-5)
    with torch.no_grad():
        assert torch.allclose(y, theirs(h)[0], atol=2e-5)


def test_experts_are_the_layer_of_transformers():
    """OLMoE, with gates that sum to 1."""
    transformers = pytest.importorskip("transformers")
    olmoe = pytest.importorskip("transformers.models.olmoe.modeling_olmoe")
    w, x, y, _ = layer(GATED)
    config = transformers.OlmoeConfig(
        hidden_size=D,
        intermediate_size=FF,
        num_experts=4,
        num_local_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
    )
    theirs = olmoe.OlmoeSparseMoeBlock(config).eval()
    state = {"gate.weight": w["router.weight"].T}
    theirs.load_state_dict(
        state | theirs_of(w, "experts.", "experts.gate_up_proj", "experts.down_proj")
    )
    h = F.rms_norm(x, (D,), w["norm2.weight"], 1e-5)
    with torch.no_grad():
        assert torch.allclose(y, theirs(h)[0], atol=2e-5)


def mlp(w, at, h, x=slice(None)):
    up = h @ w[at + "up.weight"][x] + w[at + "up.bias"][x]
    return F.gelu(up) @ w[at + "down.weight"][x] + w[at + "down.bias"][x]


def test_rounds_go_on_from_what_the_ones_before_gave():
    """One token after the other, straight from the definition."""
    model = dataclasses.replace(MOE, expert_rounds=3, n_shared=1)
    w, x, y, _ = layer(model)
    for t in range(0, 3 * S, 5):
        h = F.layer_norm(x[0, t], (D,), w["norm2.weight"], w["norm2.bias"])
        state = h
        for router in ("router", "rounds.1.router", "rounds.2.router"):
            p = torch.softmax(state @ w[router + ".weight"], -1)
            best = p.topk(2)
            gates = best.values / best.values.sum()
            state = state + sum(
                g * mlp(w, "experts.", state, i)
                for g, i in zip(gates, best.indices.tolist(), strict=True)
            )
        assert torch.allclose(y[t], state - h + mlp(w, "shared.", h), atol=2e-5)


def test_counts_by_hand():
    one, shared = 2 * D * FF + FF + D, 2 * (2 * D * FF) + 2 * FF + D
    plain = counts.parameters(MOE, V, S)
    for more, total, idle, flops in (
        ({"n_shared": 2}, shared, 2 * one, 2 * 2 * 2 * D * FF),
        ({"expert_rounds": 2}, 4 * D, 0, 2 * (4 * D + 2 * 2 * D * FF)),
        ({"router_shift": 0.1}, 4, 2 * one, 0),
        ({"expert_rounds": 2, "router_shift": 0.1, "top_k": 1}, 4 * D + 8, 2 * one, 2 * 4 * D),
    ):
        model = dataclasses.replace(MOE, **more)
        found = counts.parameters(model, V, S)
        assert found["total"] - plain["total"] == total, more
        assert found["total"] - found["active"] == idle, more
        ours = counts.forward_flops_per_token(model, V, S)
        assert ours - counts.forward_flops_per_token(MOE, V, S) == flops, more


def test_experts_of_a_quarter_of_the_width_are_as_many_parameters():
    """Fine-grained experts: but for router and biases total and active stay."""
    model = dataclasses.replace(MOE, bias=False)
    fine = dataclasses.replace(model, mlp_ratio=1.0, n_experts=16, top_k=8)
    coarse, cut = (counts.parameters(m, V, S) for m in (model, fine))
    assert cut["total"] - coarse["total"] == cut["active"] - coarse["active"] == 12 * D


def test_silent_experts_leave_the_shared_ones_which_are_a_dense_mlp():
    gpt, flat = built_model(dataclasses.replace(MOE, n_shared=2))
    named = gpt.named(flat)
    for name, one in named.items():
        if "experts.down" in name:
            one.zero_()
    dense = GPT(dataclasses.replace(PLAIN, n_layers=1, mlp_ratio=8.0), V, S)
    rest = torch.cat(
        [
            named.get(
                w.name.replace("0.up", "0.shared.up").replace("0.down", "0.shared.down")
            ).flatten(1)
            for w in dense.layout
        ],
        1,
    )
    assert torch.allclose(gpt.logits(flat, tokens()), dense.logits(rest, tokens()), atol=1e-6)


# Balance


def test_a_shift_chooses_and_does_not_weigh():
    h, router = torch.randn(1, 50, D), torch.randn(1, D, 4)
    weight = torch.randn(4, D, D)
    shift = torch.tensor([[50.0, 0.0, 0.0, -50.0]])
    y, _ = mixture(h, router, lambda x: x @ weight, 1, 9.0, shift_MX=shift)
    p = torch.softmax(h @ router, -1)
    assert torch.allclose(y, p[..., :1] * (h @ weight[0]), atol=1e-4)


def config(seed=0, model=None, **train):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 30},
            "model": {"d_model": 8, "n_heads": 2, "n_experts": 4, "balance_weight": 0} | model,
            "seed": seed,
            "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5} | train,
        }
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("rate", [0.5, 0.001])
def test_every_step_moves_shifts_toward_an_even_load(rate, precision):
    """By the sign of an expert's load, whatever optimizer, clipping, decay and scale of losses do
    to all other weights."""
    train = {"precision": precision, "grad_clip": 1e-3, "weight_decay": 0.5, "lr": 0.1}
    one = config(model={"router_shift": rate}, **train)
    stack = Stack([one], CPU)
    state = stack.start()
    (at,) = stack.shifts
    (batch,) = stack.feed.chunk(state.cursor_MC, 0, 1)
    _, grad = gradient(stack, state.flat_MP, batch)
    gpt, w = stack.gpt, stack.gpt.named(state.flat_MP)
    x = gpt._embed(w, batch)
    x = x + gpt.blocks[0][0].forward(w, "blocks.0.", x, gpt.context(batch))
    p = gpt._norm(w, "blocks.0.norm2", x) @ w["blocks.0.router.weight"]
    load = torch.bincount(p.argmax(-1)[0], minlength=4)
    sign = torch.sign(load - 16.0)
    if precision == "fp32":
        assert torch.equal(grad[0, at], sign)
    _, after = trained([one], 1)
    assert torch.allclose(after.flat_MP[0, at], -rate * sign)
    assert not after.m_MP[0, at].any() and not after.v_MP[0, at].any()


def test_shifts_even_out_a_load_that_the_router_does_not():
    """Gradients stopped, so that nothing but the shifts moves."""
    even = []
    for rate in (0.0, 0.01):
        one = config(model={"router_shift": rate, "init_std": 0.3}, lr=1e-12)
        stack, state = trained([one], 50)
        (batch,) = stack.feed.chunk(state.cursor_MC, 50, 1)
        gpt, w = stack.gpt, stack.gpt.named(state.flat_MP)
        c = gpt.context(batch)
        x = gpt._embed(w, batch)
        x = x + gpt.blocks[0][0].forward(w, "blocks.0.", x, c)
        p = torch.softmax(gpt._norm(w, "blocks.0.norm2", x) @ w["blocks.0.router.weight"], -1)
        chosen = (p + w.get("blocks.0.router.shift", torch.zeros(1, 4))[:, None]).argmax(-1)
        even.append(torch.bincount(chosen[0], minlength=4).max().item() / chosen.numel())
    assert even[1] < 0.45 < even[0]


def test_the_z_loss_is_added_in_training_with_its_weight():
    h, router = torch.randn(2, 20, D), torch.randn(2, D, 4)
    logits = torch.einsum("mnd,mdx->mnx", h, router)
    assert torch.allclose(z_loss(h, router), logits.exp().sum(-1).log().square().mean(1), atol=1e-5)
    gpt, flat = built_model(MOE)
    with_z = GPT(dataclasses.replace(MOE, router_z=0.5), V, S)
    w, batch = gpt.named(flat), tokens()
    x = gpt._embed(w, batch)
    x = x + gpt.blocks[0][0].forward(w, "blocks.0.", x, gpt.context(batch))
    z = z_loss(gpt._norm(w, "blocks.0.norm2", x), w["blocks.0.router.weight"])
    found = with_z.loss(flat, batch) - gpt.loss(flat, batch)
    assert torch.allclose(found, 0.5 * z, atol=1e-5)
    assert torch.equal(with_z.nll(flat, batch), gpt.nll(flat, batch))


# Few values


def test_experts_alone_have_three_values():
    """MoTE: shared experts, attention and routers keep theirs."""
    one = config(model={"n_shared": 1}, qat="ternary", qat_only="experts")
    stack, state = trained([one], 2)
    gpt = stack.gpt
    used = gpt.named(gpt.used(state.flat_MP[0])[None])
    for name, w in used.items():
        if ".experts." in name and name.endswith("weight"):
            assert max(len(c.unique()) for c in w[0].mT.flatten(0, -2)) <= 3, name
        else:
            assert torch.equal(w, w.bfloat16().float()), name
            assert len(w.unique()) > 3 or name.endswith("bias") or "norm" in name, name
