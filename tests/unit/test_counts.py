"""Closed formulas against published counts, against the built model, and against each other."""

import math

import numpy as np
import pytest

from capacity import counts
from capacity.model.gpt import GPT
from capacity.settings.model import Model
from capacity.settings.train import Train

# Morris et al., arXiv 2505.24832, Table 1: (layers, width) -> parameters at V = 2048, S = 64.
TABLE_1 = {
    (1, 32): 80_352,
    (1, 64): 185_280,
    (1, 128): 468_864,
    (1, 256): 1_330_944,
    (2, 32): 93_056,
    (2, 64): 235_264,
    (2, 128): 667_136,
    (2, 256): 2_120_704,
    (4, 32): 118_464,
    (4, 64): 335_232,
    (4, 128): 1_063_680,
    (4, 256): 3_700_224,
    (8, 32): 169_280,
    (8, 64): 535_168,
    (8, 128): 1_856_768,
    (8, 256): 6_859_264,
}


@pytest.mark.parametrize("shape, expected", TABLE_1.items())
def test_paper_convention_reproduces_table_1(shape, expected):
    assert (
        counts.parameters(Model(n_layers=shape[0], d_model=shape[1]), 2048, 64)["paper"] == expected
    )


def test_printed_digits_and_gpt2_sizes():
    assert (
        f"{counts.parameters(Model(n_layers=1, d_model=32), 2048, 64)['paper']:.2e}" == "8.04e+04"
    )
    assert (
        counts.parameters(Model(n_layers=12, d_model=768, n_heads=12), 50_257, 64)["paper"]
        == 123_702_528
    )
    assert (
        counts.parameters(Model(n_layers=48, d_model=1600, n_heads=25), 50_257, 64)["paper"]
        == 1_556_075_200
    )


@pytest.mark.parametrize(
    "vocab, length, layers, width, total",
    [
        (256, 32, 1, 32, 22_016),
        (256, 32, 1, 16, 7_936),
        (64, 16, 1, 32, 15_360),
        (64, 16, 2, 16, 7_888),
    ],
)
def test_the_bos_vector_is_the_difference_between_total_and_paper(
    vocab, length, layers, width, total
):
    p = counts.parameters(Model(n_layers=layers, d_model=width), vocab, length)
    assert p["total"] == total and p["paper"] == total - width
    assert p["non_embedding"] == total - width - vocab * width - length * width


# Physics of Language Models 3.3, arXiv 2404.05405, appendix A: layers, heads of 64 -> millions of
# parameters, V = 3275.
P_33 = {
    (2, 2): "0.8160",
    (3, 2): "1.0143",
    (7, 2): "1.8074",
    (6, 4): "5.5775",
    (6, 6): "11.905",
    (16, 4): "13.475",
    (2, 20): "43.549",
    (16, 8): "52.116",
    (3, 20): "63.227",
    (4, 20): "82.904",
    (12, 12): "87.571",
    (6, 20): "122.259",
    (20, 16): "255.280",
    (25, 20): "496.131",
    (28, 20): "555.163",
    (12, 32): "611.011",
}


def form_33(layers, heads, **changes):
    """GPT2-l-h and its variants: heads of 64, rotary positions, tied, biases."""
    return Model(n_layers=layers, d_model=64 * heads, n_heads=heads, position="rotary", **changes)


@pytest.mark.parametrize("shape, printed", P_33.items())
def test_gpt2_l_h_has_the_printed_parameters(shape, printed):
    p = counts.parameters(form_33(*shape), 3275, 512, bos=False)
    assert f"{p['total'] / 1e6:.{len(printed.split('.')[1])}f}" == printed
    d = 64 * shape[1]
    assert (
        p["total"]
        == p["paper"]
        == p["active"]
        == 3275 * d + shape[0] * (12 * d * d + 13 * d) + 2 * d
    )
    assert (
        counts.parameters(form_33(*shape), 50_257, 512, bos=False, used_rows=3275)["paper"]
        == p["total"]
    )
    if shape in [(2, 2), (7, 2), (6, 4)]:
        built = GPT(form_33(*shape), 3275, 512, bos=False)
        assert (
            built.init([0]).shape == (1, p["total"])
            and f"{sum(built.sizes) / 1e6:.{len(printed) - 2}f}" == printed
        )


def test_exact_counts_of_3_3():
    assert counts.parameters(form_33(2, 2), 3275, 512, bos=False)["total"] == 816_000
    assert counts.parameters(form_33(12, 12), 3275, 512, bos=False)["total"] == 87_571_200
    gpt2_small = counts.parameters(form_33(12, 12), 50_257, 512, bos=False, used_rows=3275)
    assert (
        round(gpt2_small["total"], -6) == 124_000_000
        and round(gpt2_small["paper"], -6) == 88_000_000
    )  # appendix A


LLAMA = {"norm": "rmsnorm", "mlp": "gated", "activation": "silu", "bias": False, "tied": False}
# heads, changes, per-layer parameters by width (section 7 and appendix B; lower-order terms
# derived)
PER_LAYER = {
    "gpt2": (4, {}, lambda d: 12 * d * d + 13 * d),
    "quarter": (4, {"mlp_ratio": 1.0}, lambda d: 6 * d * d + 10 * d),
    "no mlp": (4, {"mlp_ratio": 0.0}, lambda d: 4 * d * d + 6 * d),
    "llama": (3, LLAMA | {"mlp_ratio": 8 / 3}, lambda d: 12 * d * d + 2 * d),
    "mistral, 4 groups": (
        4,
        LLAMA | {"mlp_ratio": 3.5, "n_kv_heads": 1},
        lambda d: 13 * d * d + 2 * d,
    ),
    "mistral, 2 groups": (
        2,
        LLAMA | {"mlp_ratio": 3.5, "n_kv_heads": 1},
        lambda d: 13.5 * d * d + 2 * d,
    ),
    "mistral, 1 group": (3, LLAMA | {"mlp_ratio": 3.5}, lambda d: 14.5 * d * d + 2 * d),
    "moe": (
        2,
        {"mlp_ratio": 1.0, "n_experts": 32},
        lambda d: 68 * d * d + 8 * d + 32 * 2 * d + 32 * d,
    ),
    "bias-free layernorm": (2, {"norm": "layernorm_no_bias"}, lambda d: 12 * d * d + 11 * d),
}


@pytest.mark.parametrize("name", PER_LAYER)
def test_parameters_per_layer(name):
    heads, changes, expected = PER_LAYER[name]
    one, two = (form_33(layers, heads, **changes) for layers in (1, 2))
    for key in ("total", "paper", "non_embedding"):
        assert counts.parameters(two, 100, 8)[key] - counts.parameters(one, 100, 8)[
            key
        ] == expected(64 * heads)
    assert sum(GPT(two, 100, 8).sizes) - sum(GPT(one, 100, 8).sizes) == expected(64 * heads)


def test_untied_models_have_two_tables_of_used_rows():
    model = form_33(2, 3, **LLAMA, mlp_ratio=8 / 3)
    d = 192
    p = counts.parameters(model, 4000, 512, bos=False, used_rows=3275)
    assert p["paper"] == 2 * 3275 * d + 2 * (12 * d * d + 2 * d) + d
    assert p["total"] - p["paper"] == 2 * 725 * d
    assert p["non_embedding"] == 2 * (12 * d * d + 2 * d) + d


def test_active_parameters_are_those_that_a_token_visits():
    d = 256
    for top_k in (1, 2):
        model = form_33(3, 4, mlp_ratio=1.0, n_experts=32, top_k=top_k)
        p = counts.parameters(model, 3275, 512, bos=False)
        assert p["total"] - p["active"] == 3 * (32 - top_k) * (2 * d * d + 2 * d)
    model = form_33(1, 32, mlp_ratio=1.0, n_experts=32, bias=False)
    d = 2048
    p = counts.parameters(model, 3275, 512, bos=False)
    rest = p["non_embedding"] - 68 * d * d  # norms and router
    assert (p["non_embedding"] - rest) / (p["active"] - 3275 * d - rest) == pytest.approx(
        68 / 6
    )  # section 9


def test_flops_follow_the_variants():
    """The difference to the plain form, per layer and token: 2 per multiply-add."""

    def flops(**changes):
        return counts.forward_flops_per_token(form_33(2, 4, **changes), 100, 16) / (2 * 2)

    d = 256
    assert flops(mlp_ratio=0.0) == flops() - 8 * d * d
    assert flops(mlp="gated") == flops() + 4 * d * d
    assert flops(n_kv_heads=1) == flops() - 1.5 * d * d
    assert flops(n_experts=32) == flops() + 32 * d  # one MLP and the router
    assert flops(n_experts=32, top_k=2) == flops() + 8 * d * d + 32 * d
    assert flops(norm="rmsnorm", activation="relu2", document_mask=True, rotary_base=5e5) == flops()


def test_memory_follows_the_variants():
    def memory(**changes):
        return counts.memory_bytes(form_33(2, 4, **changes), 100, 16, Train(batch_size=512))

    assert memory(mlp_ratio=0.0) < memory(mlp_ratio=1.0) < memory() < memory(mlp="gated")
    assert memory(n_kv_heads=1) < memory()
    assert memory(n_experts=4) < memory(n_experts=8) and memory(n_experts=8) < memory(
        n_experts=8, top_k=2
    )


def test_a_stack_of_64_with_the_published_vocabulary_fits_an_80_gb_card():
    """GPT2-2-2 on windows of 512 tokens, batch 12, bf16: no logits of a whole batch exist at once,
    which alone would be five times 5.2 GB."""

    def stack(precision):
        train = Train(batch_size=12, precision=precision)
        return counts.memory_bytes(form_33(2, 2), 3275, 512, train, members=64, device="cuda")

    assert 5e9 < stack("bf16") < stack("fp32") < 40e9


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mlp_ratio", [4.0, 1.0, 2.5])
def test_built_models_have_the_planned_count(position, tied, bias, mlp_ratio):
    model = Model(
        n_layers=3,
        d_model=16,
        n_heads=4,
        position=position,
        tied=tied,
        bias=bias,
        mlp_ratio=mlp_ratio,
    )
    assert GPT(model, 37, 11).init([0]).shape == (1, counts.parameters(model, 37, 11)["total"])


def test_flops_are_six_per_matrix_weight_and_token_plus_attention():
    model = Model(n_layers=2, d_model=8, n_heads=2)
    matrices = 2 * 12 * 8 * 8 + 50 * 8
    assert 3 * counts.forward_flops_per_token(model, 50, 16) == 6 * matrices + 12 * 2 * 16 * 8


@pytest.mark.parametrize(
    "rate, expected",
    [(0.1, 0.098), (0.5, 0.453), (1, 0.827), (2, 1.411), (4, 2.192), (8, 3.092), (16, 4.046)],
)
def test_expected_log2_sharers(rate, expected):
    assert counts.expected_log2_sharers(rate) == pytest.approx(expected, abs=6e-4)
    draws = np.random.default_rng(0).poisson(rate, 200_000)
    assert counts.expected_log2_sharers(rate) == pytest.approx(np.log2(1 + draws).mean(), abs=0.01)


def test_expected_log2_sharers_tends_to_the_logarithm():
    assert counts.expected_log2_sharers(0.0) == 0.0
    assert counts.expected_log2_sharers(1e5) == pytest.approx(math.log2(1e5), rel=1e-4)


def test_ceilings_of_known_cases():
    assert counts.uniform_ceiling_bits(250, 32, 256, "strict") == pytest.approx(62_008.6, abs=0.1)
    assert counts.uniform_ceiling_bits(350, 32, 256, "strict") == pytest.approx(86_642.1, abs=0.1)
    assert counts.uniform_ceiling_bits(500, 32, 256, "strict") == pytest.approx(123_517.1, abs=0.1)
    assert counts.uniform_ceiling_bits(250, 32, 256, "paper") == pytest.approx(63_791, rel=1e-4)
    # the row S = 4 of the published length ablation, printed 1.73e5: only this convention reaches
    # it
    assert counts.uniform_ceiling_bits(4096, 4, 2048, "paper") == pytest.approx(1.725e5, rel=1e-3)
    with pytest.raises(ValueError, match="strict or paper"):
        counts.uniform_ceiling_bits(10, 4, 16, "excl")
