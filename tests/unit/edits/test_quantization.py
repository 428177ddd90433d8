"""Post-training quantization: grids and GPTQ against hand-made and independent oracles, stored
bits, real runs, bad settings."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity import records, run_table
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.edits import rounding
from capacity.edits.quantize import Observed, quantize
from capacity.feed.feed import StreamFeed
from capacity.measure import quantization
from capacity.measure.describe import describe
from capacity.model.gpt import GPT
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.settings.quantize import Quantize, Spec, spec_of, specs

CPU = torch.device("cpu")
BITS = (8, 6, 5, 4, 3, 2)
KINDS = (("tensor", None), ("row", None), ("group", 8))


def spec(
    method="rtn",
    bits=4,
    symmetric=False,
    granularity="row",
    group_size=None,
    embeddings=False,
    scales="fp32",
    rest="fp32",
    damping=0.01,
    act_order=False,
):
    own = (damping, act_order) if method == "gptq" else (None, None)
    return Spec(
        method, bits, symmetric, granularity, group_size, embeddings, scales, rest, 64, *own
    )


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(n, width, seed=1):
    """Correlated inputs [n, width] whose spectrum falls from 1 to 0.01."""
    turn = torch.linalg.qr(normal(width, width, seed=seed).double())[0]
    return normal(n, width, seed=seed + 1).double() * torch.logspace(0, -2, width).double() @ turn


# Grids


def test_grids_by_hand():
    w = torch.tensor([[-1.0, 0.1, 0.6, 2.0]])
    # 2 bits, asymmetric: scale 3 / 3, zero point 1, codes 0, 1, 2, 3
    assert rounding.rtn(w, spec(bits=2)).tolist() == [[-1.0, 0.0, 1.0, 2.0]]
    # 3 bits, symmetric: scale 4 / 7, codes -4 .. 3 around the zero point; 2.0 lies half a step
    # above the highest
    assert rounding.rtn(w, spec(bits=3, symmetric=True))[0].tolist() == pytest.approx(
        [k * 4 / 7 for k in (-2, 0, 1, 3)]
    )
    one_sided = torch.tensor([[1.0, 2.0, 3.0]])  # the grid always has a zero
    assert rounding.rtn(one_sided, spec(bits=2)).tolist() == [[1.0, 2.0, 3.0]]
    assert not rounding.rtn(torch.zeros(2, 4), spec(bits=2)).any()


@given(
    st.sampled_from(BITS),
    st.booleans(),
    st.sampled_from(KINDS),
    st.sampled_from(["fp32", "fp16", "bf16"]),
    st.integers(0, 99),
    st.sampled_from([1.0, 1e-4, 1e-7, 50.0]),
)
def test_no_weight_moves_by_more_than_half_a_step_and_a_grid_has_no_more_values_than_codes(
    bits, symmetric, kind, scales, seed, size
):
    w = normal(6, 16, seed=seed) * size
    s = spec(bits=bits, symmetric=symmetric, granularity=kind[0], group_size=kind[1], scales=scales)
    rows = rounding.rows_of(w, s)
    moved = rounding.rtn(w, s)
    step = rounding.fit(rows, bits, symmetric, scales).scale
    assert ((rounding.rows_of(moved, s) - rows).abs() <= step * 0.5 * (1 + 1e-5)).all()
    assert max(len(row.unique()) for row in rounding.rows_of(moved, s)) <= 2**bits
    assert len(step) == s.grids(1, 6, 16)
    stored = step.to(rounding.FLOATS[scales])
    assert torch.equal(
        stored.double(), step
    )  # a scale is a number of the format that it is counted in


def test_a_finer_grid_is_never_coarser_for_its_own_rows():
    w = normal(8, 64)
    for bits in BITS:
        error = [
            float((rounding.rtn(w, spec(bits=bits, granularity=g, group_size=n)) - w).norm())
            for g, n in KINDS
        ]
        assert error[2] < error[1] < error[0]


def test_groups_are_quantized_by_themselves():
    w = normal(5, 24)
    s = spec(bits=3, granularity="group", group_size=8)
    parts = [rounding.rtn(part.clone(), spec(bits=3)) for part in w.split(8, dim=1)]
    assert torch.equal(rounding.rtn(w, s), torch.cat(parts, 1))


# GPTQ


def brain_surgeon(w, hessian, s):
    """The same method in its first form (the paper's equations 2 and 3): after each column the
    others take the optimal update, and its row and column leave the inverse by Gaussian
    elimination. No Cholesky factor, no blocks."""
    w, inverse, out = (
        w.double().clone(),
        torch.linalg.inv(hessian),
        torch.zeros(w.shape, dtype=torch.float64),
    )
    whole = rounding.fit(w, s.bits, s.symmetric, s.scales)
    for c in range(w.shape[1]):
        if s.granularity == "group" and c % s.group_size == 0:
            whole = rounding.fit(w[:, c : c + s.group_size], s.bits, s.symmetric, s.scales)
        out[:, c] = whole.nearest(w[:, c : c + 1])[:, 0]
        w -= ((w[:, c] - out[:, c]) / inverse[c, c])[:, None] * inverse[c]
        inverse = inverse - inverse[:, c : c + 1] @ inverse[c : c + 1] / inverse[c, c]
    return out.float()


@pytest.mark.parametrize("granularity, group", [("row", None), ("group", 8)])
def test_gptq_is_optimal_brain_surgery_in_a_fixed_order(granularity, group):
    w, x = normal(10, 32), inputs(200, 32)
    gram = x.T @ x
    for bits in (4, 3):
        s = spec("gptq", bits, granularity=granularity, group_size=group)
        damped = gram + 0.01 * gram.diagonal().mean() * torch.eye(32).double()
        assert torch.equal(rounding.gptq(w, gram, s), brain_surgeon(w, damped, s))


def test_two_columns_by_hand():
    """The second weight moves to the least-squares optimum beside the rounded first one before it
    is rounded itself."""
    w, gram = (
        torch.tensor([[1.4, 3.0, 0.0]]),
        torch.tensor([[4.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]]).double(),
    )
    s = spec(
        "gptq", 2, damping=1e-12
    )  # scale 1, codes 0 .. 3: 1.4 -> 1, error 0.4, the second 3 + 0.4 x 2 / 2 = 3.4 -> 3
    assert rounding.gptq(w, gram, s).tolist() == [[1.0, 3.0, 0.0]]
    w[0, 1], w[0, 2] = 2.3, 3.0  # 2.3 + 0.4 = 2.7 -> 3, where rounding to nearest says 2
    assert rounding.gptq(w, gram, s).tolist() == [[1.0, 3.0, 3.0]] and rounding.rtn(
        w, spec(bits=2)
    ).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("granularity, group", KINDS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_beats_rounding_on_correlated_inputs_at_every_width(
    granularity, group, symmetric, act_order
):
    w, x = normal(48, 64), inputs(1000, 64)
    gram = x.T @ x
    for bits in BITS:
        kind = {
            "bits": bits,
            "symmetric": symmetric,
            "granularity": granularity,
            "group_size": group,
        }
        best = rounding.gptq(w, gram, spec("gptq", act_order=act_order, **kind))
        nearest = rounding.rtn(w, spec(**kind))
        direct = float((x @ (w.double() - best.double()).T).square().sum())
        assert rounding.output_error(w, best, gram)[0] == pytest.approx(direct, rel=1e-9)
        assert direct < 0.8 * rounding.output_error(w, nearest, gram)[0], bits
        assert (best - w).norm() > (nearest - w).norm()  # it pays with the weights themselves


@given(
    st.sampled_from(BITS), st.booleans(), st.sampled_from(KINDS), st.booleans(), st.integers(0, 99)
)
def test_gptq_is_rounding_where_inputs_do_not_correlate(bits, symmetric, kind, act_order, seed):
    w = normal(7, 16, seed=seed)
    gram = torch.diag(torch.rand(16, generator=torch.Generator().manual_seed(seed)).double())
    gram[3] = 0.0  # an input that is never there
    kind = {
        "bits": bits,
        "symmetric": symmetric,
        "granularity": kind[0],
        "group_size": kind[1],
        "scales": "fp16",
    }
    assert torch.equal(
        rounding.gptq(w, gram, spec("gptq", act_order=act_order, **kind)),
        rounding.rtn(w, spec(**kind)),
    )


@given(
    st.sampled_from([1, 3, 8, 32, 100]),
    st.sampled_from([("row", None), ("tensor", None), ("group", 8)]),
    st.booleans(),
    st.integers(0, 9),
)
def test_blocks_of_columns_change_nothing(columns, kind, act_order, seed):
    w, x = normal(5, 32, seed=seed), inputs(100, 32, seed=seed)
    s = spec("gptq", 3, granularity=kind[0], group_size=kind[1], act_order=act_order)
    assert torch.equal(rounding.gptq(w, x.T @ x, s, columns), rounding.gptq(w, x.T @ x, s, 32))


def test_order_of_inputs_matters_only_without_act_order():
    w, x = normal(6, 16), inputs(200, 16)
    shuffle = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for act_order in (False, True):
        s = spec("gptq", 3, act_order=act_order)
        plain = rounding.gptq(w, x.T @ x, s)
        moved = rounding.gptq(w[:, shuffle], x[:, shuffle].T @ x[:, shuffle], s)
        assert torch.equal(moved, plain[:, shuffle]) == act_order


def test_outputs_do_not_share_anything_but_the_hessian():
    w, x = normal(6, 16), inputs(200, 16)
    s = spec("gptq", 3)
    assert torch.equal(rounding.gptq(w, x.T @ x, s)[2:3], rounding.gptq(w[2:3], x.T @ x, s))


# Stored bits


def test_stored_bits_by_hand():
    kind = {"bits": 4, "scales": "fp16", "rest": "bf16"}
    assert spec(**kind).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * (16 + 4)
    assert spec(symmetric=True, **kind).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * 16
    assert spec(granularity="tensor", **kind).stored_bits(3, 16, 16) == 3 * (16 * 16 * 4 + 20)
    grouped = spec(granularity="group", group_size=32, **kind)
    assert (
        grouped.stored_bits(1, 16, 64) / (16 * 64) == 4.625
    )  # the usual number of int4 in groups of 32
    assert spec(scales="fp32", bits=4).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * (32 + 4)
    assert Spec("bf16", 16).stored_bits(2, 3, 5) == 16 * 30


@pytest.mark.parametrize("method", ["rtn", "gptq"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_a_whole_model_by_hand(method, tied, embeddings):
    """One block of width 8: every tensor is either quantized or skipped, and the bits add up."""
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 4, "n_sequences": 9},
            "model": {"d_model": 8, "n_heads": 2, "tied": tied},
            "train": {"steps": 9, "warmup_steps": 0},
        }
    ).model
    gpt = GPT(model, 16, 4)
    flat = gpt.init([0])[0] * 10
    s = spec(
        method,
        3,
        granularity="group",
        group_size=4,
        embeddings=embeddings,
        scales="fp16",
        rest="bf16",
    )
    after, tensors, stored = quantize(
        gpt, flat, torch.randint(16, (30, 4), generator=torch.Generator().manual_seed(0)), s
    )
    codes = 8 * 24 + 8 * 8 + 8 * 32 + 32 * 8
    tables = (16 * 8 * (1 if tied else 2) + 4 * 8) * embeddings
    rest = len(flat) - codes - tables
    assert stored == (codes + tables) * 3 + (codes + tables) // 4 * (16 + 3) + rest * 16
    before, named = gpt.named(flat[None]), gpt.named(after[None])
    assert set(tensors) == set(before)
    for name, found in tensors.items():
        if found is None:
            assert torch.equal(named[name], before[name].bfloat16().float()), name
            continue
        assert found["storage"] == "int3" and found["maps"] == (3 if "qkv" in name else 1)
        w = (
            named[name][0]
            if name in ("token.weight", "position.weight", "head.weight")
            else named[name][0].T
        )
        assert (
            max(len(group.unique()) for group in w.reshape(-1, 4)) <= 8
            and found["scales"] == w.numel() // 4
        )
        assert 0 < found["weight_error"] < 0.5
        assert ("output_error" in found) == (name not in ("token.weight", "position.weight"))
        if method == "rtn" and "output_error" in found:
            assert found["output_error"] == found["rtn_output_error"]
    assert {
        name for name in ("token.weight", "position.weight", "head.weight") if tensors.get(name)
    } == (
        set()
        if not embeddings
        else {"token.weight", "position.weight"} | ({"head.weight"} if not tied else set())
    )


def test_per_tensor_grids_are_of_single_maps():
    """Queries, keys and values lie in one tensor and are three maps."""
    gpt = GPT(
        from_dict(
            {
                "data": {"vocab_size": 16, "seq_len": 4, "n_sequences": 9},
                "train": {"steps": 9, "warmup_steps": 0},
                "model": {"d_model": 8, "n_heads": 4, "n_kv_heads": 1},
            }
        ).model,
        16,
        4,
    )
    flat = gpt.init([0])[0]
    w = gpt.named(flat[None])["blocks.0.qkv.weight"][0]
    w[:, :8] *= 100
    after, tensors, _ = quantize(
        gpt, flat, torch.zeros(1, 4, dtype=torch.int64), spec(bits=8, granularity="tensor")
    )
    assert tensors["blocks.0.qkv.weight"]["scales"] == 3
    q = gpt.named(after[None])["blocks.0.qkv.weight"][0]
    assert torch.equal(q[:, 8:10], rounding.rtn(w[:, 8:10].T, spec(bits=8, granularity="tensor")).T)
    assert (
        q[:, 8:] != 0
    ).any()  # beside queries a hundred times as large, one scale would leave nothing of them


# Inputs of maps

VARIANTS = {
    "gpt2": {},
    "llama": {
        "mlp": "gated",
        "bias": False,
        "norm": "rmsnorm",
        "tied": False,
        "position": "rotary",
    },
    "no mlp": {"mlp_ratio": 0},
    "experts": {"n_experts": 3, "top_k": 1},
    "gated experts": {"n_experts": 4, "top_k": 2, "mlp": "gated"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_observed_inputs_are_those_of_the_maps(variant):
    """Outputs of the model after the block follow from the same maps; the grams are those of all
    tokens, each expert's of its own."""
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 6, "n_sequences": 9},
            "train": {"steps": 9, "warmup_steps": 0},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 2} | VARIANTS[variant],
        }
    ).model
    gpt = GPT(model, 16, 6)
    flat = gpt.init([0]) * 10
    w, rows = (
        gpt.named(flat),
        torch.randint(16, (20, 6), generator=torch.Generator().manual_seed(0)),
    )
    observed = Observed(gpt)
    parts = observed.inputs(w, rows)
    seen = [
        name
        for name in ("blocks.0.qkv", "blocks.0.up", "blocks.0.experts.up", "blocks.0.experts.down")
        if name + ".weight" in w
    ]
    behind, grams = observed.through(w, "blocks.0.", parts, seen)
    x = gpt._norm(w, "blocks.0.norm1", parts[0][0])[0].double()
    assert torch.allclose(grams["blocks.0.qkv"][0], x.T @ x)
    behind, _ = observed.through(w, "blocks.1.", behind, [])
    assert torch.allclose(
        gpt._norm(w, "norm", behind[0][0]), gpt.hidden(w, rows[None])[0], atol=1e-5
    )
    if model.n_experts:
        up, down = grams["blocks.0.experts.up"], grams["blocks.0.experts.down"]
        assert up.shape == (model.n_experts, 8, 8) and down.shape == (model.n_experts, 32, 32)
        after_attention = parts[0][0] + gpt._attention(w, "blocks.0.", *parts[0])
        h = gpt._norm(w, "blocks.0.norm2", after_attention)[0]
        top = torch.softmax(h @ w["blocks.0.router.weight"][0], -1).topk(model.top_k, -1).indices
        for e in range(model.n_experts):
            mine = h[(top == e).any(-1)]
            assert torch.allclose(up[e], mine.double().T @ mine.double(), atol=1e-4)
            one = {
                name: weight[0, e : e + 1]
                for name, weight in w.items()
                if name.startswith("blocks.0.experts.")
            }
            hidden = gpt._linear(mine[None], one, "blocks.0.experts.up")
            act = (
                torch.nn.functional.gelu(gpt._linear(mine[None], one, "blocks.0.experts.gate"))
                * hidden
                if model.mlp == "gated"
                else (torch.nn.functional.gelu(hidden))
            )
            assert torch.allclose(down[e], act[0].double().T @ act[0].double(), atol=1e-4), (
                "an empty place must not count"
            )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_eight_bits_are_nearly_free_in_every_architecture(variant, method):
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 6, "n_sequences": 9},
            "train": {"steps": 9, "warmup_steps": 0},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 2} | VARIANTS[variant],
        }
    ).model
    gpt = GPT(model, 16, 6)
    flat, rows = (
        gpt.init([0])[0] * 5,
        torch.randint(16, (50, 6), generator=torch.Generator().manual_seed(0)),
    )
    after, tensors, _ = quantize(gpt, flat, rows, spec(method, 8, embeddings=True))
    assert all(
        found["output_error"] < 0.02
        for found in tensors.values()
        if found and "output_error" in found
    )
    if not model.n_experts:  # a router may send a token elsewhere
        moved = gpt.nll(after[None], rows[None]) - gpt.nll(flat[None], rows[None])
        assert moved.abs().mean() < 0.05


def test_the_stream_of_biographies_is_where_it_was():
    config = load(
        [
            "data=bios_pocket",
            "data.n_people=60",
            "model.d_model=8",
            "model.n_heads=2",
            "train.steps=20",
            "train.warmup_steps=2",
            "train.batch_size=4",
        ]
    )
    feed, other = StreamFeed([config], CPU), StreamFeed([config], CPU)
    cursor, second = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)
    first = torch.cat([tokens[0] for tokens in feed.chunk(cursor, 0, 3)])
    list(other.chunk(second, 0, 3))
    assert torch.equal(feed.first_rows(0, 12), first)  # what was trained on first
    assert feed.exposures(0, 3) == other.exposures(0, 3)


# Runs


@pytest.fixture(scope="module")
def memorizer(tmp_path_factory):
    """A model of 3K parameters that holds most of its data, measured in all ways by settings of its
    own: (results, settings, record)."""
    results = tmp_path_factory.mktemp("quantized") / "results"
    settings = [
        "data.vocab_size=64",
        "data.seq_len=8",
        "data.n_sequences=250",
        "data.load=null",
        "model.d_model=16",
        "model.n_heads=4",
        "train.steps=1500",
        "train.batch_size=50",
        "train.warmup_steps=50",
        "cluster.device=cpu",
        "quantize=row",
        "quantize.granularity=[row,group]",
        "quantize.group_size=[8]",
    ]
    config = load(settings)
    assert execute([config], Job(results, CPU)) == {config.run_id: "finished"}
    return results, settings, records.read(results, config.run_id)


def by_variant(record):
    return {spec_of(row): row for row in record["measures"]["quantization"]["rows"]}


def kept(record, method, bits, granularity="row"):
    return next(
        row["fraction_of_unquantized"]
        for row in record["measures"]["quantization"]["rows"]
        if (row["method"], row["bits"], row["granularity"]) == (method, bits, granularity)
    )


def test_eight_bits_keep_what_was_learned_two_bits_do_not_and_gptq_holds_more(memorizer):
    record = memorizer[2]
    assert record["measures"]["memorization"]["strict"]["fraction_of_ceiling"] > 0.6
    for granularity in ("row", "group"):
        assert (
            kept(record, "rtn", 8, granularity) >= 0.99
            and kept(record, "gptq", 8, granularity) >= 0.99
        )
        assert kept(record, "rtn", 2, granularity) < 0.3
        for bits in (4, 3):
            assert kept(record, "gptq", bits, granularity) >= kept(
                record, "rtn", bits, granularity
            ), (granularity, bits)
    assert kept(record, "bf16", 16, None) >= 0.99


def test_rows_of_a_record(memorizer):
    results, settings, record = memorizer
    config = load(settings)
    measured, P = record["measures"]["quantization"], record["parameters"]["total"]
    assert measured["arithmetic"] == "fp32 on dequantized weights"
    assert (
        measured["unquantized"]["held_bits"] == record["measures"]["memorization"]["strict"]["bits"]
    )
    assert (
        list(by_variant(record)) == specs(config.quantize)
        and len(measured["rows"]) == 1 + 2 * 2 * 6
    )
    shapes = measured["shapes"]
    for row in [measured["unquantized"], *measured["rows"]]:
        assert row["held_bits"] <= row["stored_bits"]
        assert row["bits_per_stored_bit"] == row["held_bits"] / row["stored_bits"] <= 1
        assert (
            row["bits_per_parameter"]["total"] == row["held_bits"] / P
            and row["stored_bits_per_weight"] == row["stored_bits"] / P
        )
    for row in measured["rows"]:
        assert {*row["quantized"], *row["skipped"]} == set(shapes) and not {*row["quantized"]} & {
            *row["skipped"]
        }
        if row["method"] != "bf16":
            assert row["calibration_tokens"] == 128 * 8 and "token.weight" in row["skipped"]
            numbers = [
                sum(torch.tensor(shapes[name]).prod() for name in row[part])
                for part in ("quantized", "skipped")
            ]
            scales = sum(found["scales"] for found in row["quantized"].values())
            assert (
                row["stored_bits"]
                == numbers[0] * row["bits"] + scales * (16 + row["bits"]) + numbers[1] * 16
            )
    assert max(map(len, describe(record, results).splitlines()[:-1])) <= 80


def test_measuring_again_gives_the_same_rows_and_other_settings_add_rows(memorizer, here, capfd):
    results, settings, record = memorizer
    run_id = record["run_id"]
    weights = (records.run_dir(results, run_id) / "weights.safetensors").read_bytes()
    spoiled = copy.deepcopy(record)
    for row in spoiled["measures"]["quantization"]["rows"]:
        row["held_bits"] = 1.0
    records.write(results, spoiled)
    assert main(["measure", run_id, "--results", str(results)]) == 0
    assert records.read(results, run_id) == record
    more = [
        "quantize.methods=[rtn,fp16]",
        "quantize.bits=[4]",
        "quantize.embeddings=[true]",
        "quantize.symmetric=[true]",
    ]
    assert main(["measure", run_id, *more, "--results", str(results)]) == 0
    assert "rtn 4       sym group 8 +emb" in capfd.readouterr().out
    now = records.read(results, run_id)
    assert len(by_variant(now)) == len(by_variant(record)) + 3
    assert {s: row for s, row in by_variant(now).items() if s in by_variant(record)} == by_variant(
        record
    )
    assert (
        main(["measure", run_id, "--results", str(results)]) == 0
        and records.read(results, run_id) == now
    )
    assert (
        main(["train", *settings, *more, "--results", str(results)]) == 0
    )  # finished, and has these rows
    assert "measuring it again" not in capfd.readouterr().err
    assert main(["train", *settings, "quantize.bits=[7]", "--results", str(results)]) == 0
    assert "measuring it again" in capfd.readouterr().err
    assert (records.run_dir(results, run_id) / "weights.safetensors").read_bytes() == weights

    table = run_table.quantized_table(results, [load(settings), load(settings + ["seed=1"])])
    again = records.read(results, run_id)["measures"]["quantization"]
    assert len(table) == 1 + len(again["rows"]) and set(table["run_id"]) == {run_id}
    assert table["held_bits"].tolist() == [again["unquantized"]["held_bits"]] + [
        row["held_bits"] for row in again["rows"]
    ]
    assert table["method"][0] == "none" and table["stored_bits_per_weight"][0] == 32
    assert len(run_table.table(results, [load(settings)])) == 1
    records.write(results, record)


def test_a_member_of_a_stack_has_the_rows_of_its_weights(here, tiny):
    configs = [
        load(tiny + [f"seed={seed}", "quantize=row", "quantize.bits=[4]", *other])
        for seed, other in (
            (0, []),
            (1, ["quantize.methods=[gptq]", "quantize.symmetric=[true]"]),
            (2, ["quantize=none"]),
        )
    ]
    execute(configs, Job(here, CPU))
    assert [
        len(records.read(here, c.run_id)["measures"].get("quantization", {"rows": []})["rows"])
        for c in configs
    ] == [3, 1, 0]
    for config in configs:
        before = records.read(here, config.run_id)
        assert main(["measure", config.run_id, "--results", str(here)]) == 0
        assert records.read(here, config.run_id) == before


@pytest.mark.parametrize(
    "data, name",
    [
        (["data=bios_pocket", "data.n_people=60"], "knowledge"),
        (
            [
                "data=text_pocket",
                "data.n_sequences=40",
                "data.tokens_per_parameter=null",
                "data.n_held_out=20",
                "data.documents=200",
            ],
            "text",
        ),
    ],
)
def test_people_and_text(here, capfd, data, name):
    args = [
        *data,
        "model.n_layers=1",
        "model.d_model=8",
        "model.n_heads=2",
        "train.exposures=null",
        "train.steps=60",
        "train.batch_size=8",
        "train.warmup_steps=5",
        "cluster.device=cpu",
        "train.precision=bf16",
        "quantize=row",
        "quantize.bits=[8,2]",
        "quantize.embeddings=[true]",
        "quantize.calibration=20",
    ]
    assert main(["train", *args]) == 0
    config = load(args)
    record = records.read(here / "results", config.run_id)
    rows = {(row["method"], row["bits"]): row for row in record["measures"]["quantization"]["rows"]}
    whole = record["measures"]["quantization"]["unquantized"]
    assert whole["held_bits"] == pytest.approx(
        record["measures"][name]["bits"], rel=0.05
    )  # evaluated in bf16 there, in fp32 here
    assert rows["rtn", 8]["held_bits"] == pytest.approx(whole["held_bits"], rel=0.05)
    assert rows["gptq", 2]["calibration_tokens"] == 20 * config.data.seq_len
    assert ("accuracy" in whole) == (name == "knowledge")
    assert len(json.dumps(record)) < 200_000


def test_more_bits_than_are_stored_are_impossible():
    assert (
        quantization._numbers(
            {"held_bits": 99.0}, {"held_bits": 100.0}, 100, {"total": 50}, "memorization"
        )["bits_per_stored_bit"]
        == 0.99
    )
    with pytest.raises(AssertionError, match="stored in 100 bits"):
        quantization._numbers(
            {"held_bits": 101.0}, {"held_bits": 100.0}, 100, {"total": 50}, "knowledge"
        )
    quantization._numbers(
        {"held_bits": 101.0}, {"held_bits": 100.0}, 100, {"total": 50}, "text"
    )  # language, not memory


# Settings


def test_variants_of_the_settings():
    assert specs(Quantize()) == []
    assert specs(
        Quantize(
            methods=("gptq", "bf16"), bits=(2, 8), granularity=("group", "row"), group_size=(8, 16)
        )
    ) == [
        Spec("bf16", 16),
        *(
            Spec("gptq", b, False, g, n, False, "fp16", "bf16", 128, 0.01, False)
            for g, n in (("group", 8), ("group", 16), ("row", None))
            for b in (8, 2)
        ),
    ]
    assert len(specs(load(["quantize=all"]).quantize)) == 146


@pytest.mark.parametrize(
    "settings, text",
    [
        (
            "quantize.bits=[3.5]",
            "quantize.bits=[3.5]: expected a list of different whole numbers from 2 to 8",
        ),
        ("quantize.bits=4", "expected a list of different whole numbers"),
        ("quantize.bits=[16]", "from 2 to 8"),
        ("quantize.bits=[4,4]", "different"),
        ("quantize.methods=[awq]", "different ones of bf16, fp16, rtn, gptq"),
        ("quantize.methods=[gtpq]", "did you mean gptq"),
        ("quantize.symmetric=[1]", "truth values"),
        ("quantize.symmetric=true", "truth values"),
        ("quantize.granularity=[channel]", "tensor, row, group"),
        ("quantize.calibration=0", "quantize.calibration=0"),
        ("quantize.damping=0", "quantize.damping"),
        ("quantize.methods=[rtn] quantize.bits=[]", "quantize.bits=[]"),
        ("quantize.scales=int8", "one of bf16, fp16, fp32"),
        (
            "quantize=row quantize.granularity=[group] quantize.group_size=[48]",
            "quantize.group_size=[48]: 48 does not divide model.d_model=32; allowed: 1, 2, 4, 8, "
            "16, 32",
        ),
        (
            "quantize=row quantize.granularity=[group] quantize.group_size=[16] "
            "model.mlp_ratio=0.25",
            "16 does not divide the MLP's width=8",
        ),
        ("quantize=int4", "allowed: all, ladder, none, row"),
    ],
)
def test_bad_settings_end_in_one_line(here, capfd, settings, text):
    assert main(["train", "data.n_sequences=40", "data.load=null", *settings.split()]) == 2
    error = capfd.readouterr().err
    assert error.startswith("capacity: error: ") and error.count("\n") == 1 and text in error, error


def test_a_group_that_is_not_asked_for_need_not_fit():
    load(["quantize.group_size=[48]"])
    load(["quantize=row", "quantize.group_size=[48]"])
    with pytest.raises(ConfigError, match="48 does not divide"):
        load(["quantize=row", "quantize.granularity=[row,group]", "quantize.group_size=[8,48]"])


@pytest.mark.parametrize(
    "settings, text",
    [
        ("model.d_model=8", "a finished run keeps its settings"),
        ("seed=1", "a finished run keeps its settings"),
        ("quantize.bits=[3.5]", "whole numbers"),
        ("quantize.bits=[4],[3]", "several values"),
        ("+quantize.bits=[4]", "expected quantize.bits=value"),
        ("quantize.bit=[4]", "did you mean quantize.bits?"),
        ("quantize=row quantize.granularity=[group] quantize.group_size=[48]", "does not divide"),
        ("cluster.device=cpu", "a finished run keeps its settings"),
        ("quantize", "no finished run"),
    ],
)
def test_bad_settings_of_measure_end_in_one_line_and_change_nothing(
    memorizer, capfd, settings, text
):
    results, _, record = memorizer
    assert main(["measure", record["run_id"], *settings.split(), "--results", str(results)]) == 2
    error = capfd.readouterr().err
    assert error.startswith("capacity: error: ") and error.count("\n") == 1 and text in error, error
    assert records.read(results, record["run_id"]) == record


def test_weights_of_another_model_are_refused(memorizer, capfd, tmp_path):
    results, settings, record = memorizer
    other = load(settings + ["model.d_model=8", "train.steps=60", "quantize=none"])
    execute([other], Job(tmp_path, CPU))
    name = "weights.safetensors"
    wrong = records.run_dir(tmp_path, other.run_id) / name
    wrong.write_bytes((records.run_dir(results, record["run_id"]) / name).read_bytes())
    assert main(["measure", other.run_id, "quantize=row", "--results", str(tmp_path)]) == 2
    assert f"these are the weights of run {record['run_id']}" in capfd.readouterr().err


def test_a_record_with_a_broken_row_is_refused(memorizer):
    record = copy.deepcopy(memorizer[2])
    records.validate(record)
    record["measures"]["quantization"]["rows"][3]["stored_bits"] = 12.5
    with pytest.raises(ValueError, match="stored_bits"):
        records.validate(record)
