"""The memorization measure against oracles whose score is known exactly."""

import math

import numpy as np
import pytest
import torch

from capacity import counts
from capacity.data import uniform
from capacity.measure import memorization as bits
from capacity.model.gpt import GPT
from capacity.settings.model import Model


class Oracle:
    """Stands where a model stands: probabilities come from a function of the prefix."""

    def __init__(self, vocab_size, next_token):
        self.vocab_size, self.next_token = vocab_size, next_token

    def nll(self, flat, tokens, dtype):
        out = torch.zeros(tokens.shape, dtype=torch.float64)
        for i, row in enumerate(tokens[0].tolist()):
            for t, token in enumerate(row):
                out[0, i, t] = -math.log(self.next_token(tuple(row[:t]))[token])
        return out


def uniform_guess(vocab_size):
    return Oracle(vocab_size, lambda prefix: np.full(vocab_size, 1 / vocab_size))


def knows_the_set(table, vocab_size):
    """The best possible predictor of a member drawn from the set: next-token shares among members
    with this prefix."""
    rows = [tuple(r) for r in table.tolist()]

    def next_token(prefix):
        following = [r[len(prefix)] for r in rows if r[: len(prefix)] == prefix]
        return np.bincount(following, minlength=vocab_size) / len(following)

    return Oracle(vocab_size, next_token)


def score(oracle, table, parameters=None):
    return bits.measure(
        oracle,
        torch.zeros(1),
        torch.from_numpy(table),
        torch.float32,
        64,
        parameters or {"total": 1000, "paper": 1000},
    )


@pytest.mark.parametrize("vocab, length, n", [(16, 6, 40), (3, 4, 30), (256, 8, 20)])
def test_uniform_predictor_holds_nothing(vocab, length, n):
    result = score(uniform_guess(vocab), uniform.tokens(0, n, length, vocab))
    for convention in bits.CONVENTIONS:
        assert result[convention]["bits"] == pytest.approx(0.0, abs=1e-9)
        assert result[convention]["bits_per_parameter"]["total"] == pytest.approx(0.0, abs=1e-9)
    assert result["loss_bits_per_token"] == pytest.approx(math.log2(vocab))


@pytest.mark.parametrize(
    "vocab, length, n", [(16, 6, 40), (3, 3, 60), (256, 8, 20)]
)  # (3, 3, 60) has many copies
def test_a_table_that_knows_the_set_scores_exactly_the_ceiling(vocab, length, n):
    table = uniform.tokens(1, n, length, vocab)
    result = score(knows_the_set(table, vocab), table)
    for convention in bits.CONVENTIONS:
        assert result[convention]["bits"] == pytest.approx(
            result[convention]["ceiling_bits"], abs=1e-9
        )
        assert result[convention]["fraction_of_ceiling"] == pytest.approx(1.0)


def test_closed_ceilings_agree_with_the_data():
    table = uniform.tokens(2, 250, 32, 256)
    exact = bits.ceilings(table, 256)
    assert bits.distinct(table) == 250
    assert exact["strict"] == pytest.approx(
        counts.uniform_ceiling_bits(250, 32, 256, "strict"), abs=1e-6
    )
    draws = [bits.ceilings(uniform.tokens(seed, 250, 32, 256), 256)["paper"] for seed in range(60)]
    assert np.mean(draws) == pytest.approx(
        counts.uniform_ceiling_bits(250, 32, 256, "paper"), rel=3e-4
    )


def test_no_predictor_beats_the_ceiling():
    """Random perturbations of the perfect table only lose, in both conventions."""
    table = uniform.tokens(3, 25, 5, 4)
    best = bits.ceilings(table, 4)
    perfect = knows_the_set(table, 4)
    rng = np.random.default_rng(0)
    for strength in (0.01, 0.1, 0.5):
        noise = {}

        def blurred(prefix):
            share = noise.setdefault(prefix, rng.dirichlet(np.ones(4)))
            return (1 - strength) * perfect.next_token(prefix) + strength * share

        held = score(Oracle(4, blurred), table)
        assert all(held[c]["bits"] < best[c] for c in bits.CONVENTIONS)


def test_paper_is_excl_times_s_over_s_minus_one_and_ignores_the_first_token():
    rng = np.random.default_rng(0)
    code = np.stack([rng.uniform(0, 9, 50), rng.uniform(10, 200, 50)], axis=1)
    held = bits.memorized(code, 32, 256)
    excluded = 50 * 31 * 8 - code[:, 1].sum()
    assert held["paper"] == pytest.approx(32 / 31 * excluded)
    assert held["strict"] == pytest.approx(50 * 32 * 8 - code.sum())
    code[:, 0] = 0
    assert bits.memorized(code, 32, 256)["paper"] == pytest.approx(held["paper"])


def test_a_worse_than_uniform_model_scores_below_zero_and_clipping_is_per_sequence():
    code = np.array([[8.0, 300.0], [8.0, 100.0]])
    assert bits.memorized(code, 32, 256)["strict"] == pytest.approx(2 * 256 - 416)
    assert bits.clipped(code, 32, 256) == pytest.approx(256 - 108)


def test_conventions_by_hand_for_every_parameter_count():
    table = uniform.tokens(0, 9, 4, 8)
    result = score(knows_the_set(table, 8), table, {"total": 100, "paper": 50})
    for convention in bits.CONVENTIONS:
        held = result[convention]
        assert held["bits_per_parameter"] == {
            "total": held["bits"] / 100,
            "paper": held["bits"] / 50,
        }
    assert result["entropy_bits"] == 9 * 4 * 3


def test_real_model_in_batches_equals_one_pass():
    gpt = GPT(Model(n_layers=1, d_model=8), 16, 5)
    flat = gpt.init([0])[0] * 10
    table = torch.from_numpy(uniform.tokens(0, 33, 5, 16).astype(np.int32))
    small = bits.code_lengths(gpt, flat, table, torch.float32, 7)
    large = bits.code_lengths(gpt, flat, table, torch.float32, 10_000)
    assert small.shape == (33, 2) and np.allclose(small, large, atol=1e-5)
    by_hand = gpt.nll(flat[None], table.long()[None])[0].double() / math.log(2)
    assert np.allclose(large[:, 0], by_hand[:, 0]) and np.allclose(large.sum(1), by_hand.sum(1))
