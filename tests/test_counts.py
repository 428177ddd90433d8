"""Closed formulas against published counts, against the built model, and against each other."""

import math

import numpy as np
import pytest

from capacity import counts
from capacity.config import Model
from capacity.model.gpt import GPT

# Morris et al., arXiv 2505.24832, Table 1: (layers, width) -> parameters at V = 2048, S = 64.
TABLE_1 = {(1, 32): 80_352, (1, 64): 185_280, (1, 128): 468_864, (1, 256): 1_330_944,
           (2, 32): 93_056, (2, 64): 235_264, (2, 128): 667_136, (2, 256): 2_120_704,
           (4, 32): 118_464, (4, 64): 335_232, (4, 128): 1_063_680, (4, 256): 3_700_224,
           (8, 32): 169_280, (8, 64): 535_168, (8, 128): 1_856_768, (8, 256): 6_859_264}


@pytest.mark.parametrize("shape, expected", TABLE_1.items())
def test_paper_convention_reproduces_table_1(shape, expected):
    assert counts.parameters(Model(n_layers=shape[0], d_model=shape[1]), 2048, 64)["paper"] == expected


def test_printed_digits_and_gpt2_sizes():
    assert f"{counts.parameters(Model(n_layers=1, d_model=32), 2048, 64)['paper']:.2e}" == "8.04e+04"
    assert counts.parameters(Model(n_layers=12, d_model=768, n_heads=12), 50_257, 64)["paper"] == 123_702_528
    assert counts.parameters(Model(n_layers=48, d_model=1600, n_heads=25), 50_257, 64)["paper"] == 1_556_075_200


@pytest.mark.parametrize("vocab, length, layers, width, total",
                         [(256, 32, 1, 32, 22_016), (256, 32, 1, 16, 7_936), (64, 16, 1, 32, 15_360), (64, 16, 2, 16, 7_888)])
def test_the_bos_vector_is_the_difference_between_total_and_paper(vocab, length, layers, width, total):
    p = counts.parameters(Model(n_layers=layers, d_model=width), vocab, length)
    assert p["total"] == total and p["paper"] == total - width
    assert p["non_embedding"] == total - width - vocab * width - length * width


@pytest.mark.parametrize("position", ["learned", "rotary"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mlp_ratio", [4.0, 1.0, 2.5])
def test_built_models_have_the_planned_count(position, tied, bias, mlp_ratio):
    model = Model(n_layers=3, d_model=16, n_heads=4, position=position, tied=tied, bias=bias, mlp_ratio=mlp_ratio)
    assert GPT(model, 37, 11).init([0]).shape == (1, counts.parameters(model, 37, 11)["total"])


def test_flops_are_six_per_matrix_weight_and_token_plus_attention():
    model = Model(n_layers=2, d_model=8, n_heads=2)
    matrices = 2 * 12 * 8 * 8 + 50 * 8
    assert 3 * counts.forward_flops_per_token(model, 50, 16) == 6 * matrices + 12 * 2 * 16 * 8


@pytest.mark.parametrize("rate, expected", [(0.1, 0.098), (0.5, 0.453), (1, 0.827), (2, 1.411), (4, 2.192), (8, 3.092), (16, 4.046)])
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
    # the row S = 4 of the published length ablation, printed 1.73e5: only this convention reaches it
    assert counts.uniform_ceiling_bits(4096, 4, 2048, "paper") == pytest.approx(1.725e5, rel=1e-3)
    with pytest.raises(ValueError, match="strict or paper"):
        counts.uniform_ceiling_bits(10, 4, 16, "excl")
