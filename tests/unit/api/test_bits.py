"""capacity.load and capacity.bits: a run's record comes out of its weights, and code lengths of any
causal model are those that its probabilities say."""

import math

import numpy as np
import pytest
import torch

import capacity
from capacity.cli.main import main
from capacity.compose import load

V, S = 16, 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one finished run of random data, and its id."""
    results = tmp_path_factory.mktemp("results")
    tiny = ["data.vocab_size=16", "data.seq_len=4", "data.n_sequences=20", "model.d_model=8"]
    tiny += ["train.steps=120", "train.batch_size=8", "train.warmup_steps=10", "cluster.device=cpu"]
    assert main(["train", *tiny, "--results", str(results)]) == 0
    return results, load(tiny).run_id


def test_a_run_is_a_model_and_tokens_whose_bits_are_those_of_its_record(trained):
    results, run_id = trained
    run = capacity.load(run_id[:5], results=results)
    model, tokens = run
    assert (run.run_id, tuple(tokens.shape), tokens.dtype) == (run_id, (20, S), torch.int64)
    assert sum(p.numel() for p in model.parameters()) == run.record["parameters"]["total"]
    assert sum(w.numel() for w in model.weights.values()) == run.record["parameters"]["total"]
    measured = run.record["measures"]["memorization"]
    for convention in ("strict", "paper"):
        found = capacity.bits(model, tokens, convention=convention, batch_size=7)
        assert found.total == pytest.approx(measured[convention]["bits"], rel=1e-5)
        assert found.ceiling == measured[convention]["ceiling_bits"]
        assert found.memorized.sum() == found.total and len(found.code_length) == 20
        assert found.first == "learned BOS" and found.vocab_size == V
    assert measured["strict"]["bits"] > 100  # it has learned something
    shown = run._repr_html_() + found._repr_html_()
    assert run_id in shown and "paper bits" in shown and f"{found.total:,.1f}" in shown


def test_logits_of_a_run_are_about_the_next_token_and_a_token_too_many_is_refused(trained):
    model, tokens = capacity.load(trained[1], results=trained[0])
    with torch.no_grad():
        logits, nll = model(tokens[:, :-1]), model.nll(tokens)
    theirs = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(20, S - 1)
    torch.testing.assert_close(theirs, nll[:, 1:], rtol=1e-5, atol=1e-6)
    other = torch.nn.Sequential(model)  # any module that gives logits
    plain = capacity.bits(other, tokens, convention="given_first")
    ours = capacity.bits(model, tokens, convention="given_first")
    np.testing.assert_allclose(plain.code_length, ours.code_length, rtol=1e-6)
    assert plain.first == "" and plain.ceiling is None
    with pytest.raises(capacity.ConfigError, match="positions for 3"):
        model(tokens)


class Bigram(torch.nn.Module):
    """p(x | y) from a table, with dropout that must be off; answers as transformers does."""

    def __init__(self, answer=False):
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(6, 6, generator=torch.manual_seed(0)))
        self.drop, self.answer = torch.nn.Dropout(0.5), answer

    def forward(self, tokens):
        logits = self.drop(self.table[tokens])
        return type("Answer", (), {"logits": logits}) if self.answer else logits


@pytest.mark.parametrize("answer", [False, True])
def test_code_lengths_are_sums_of_log_probabilities_by_convention(answer):
    model = Bigram(answer).train()
    tokens = np.array([[1, 2, 3, 0], [5, 5, 0, 1], [2, 1, 4, 4]])
    p = torch.softmax(model.table.detach().double(), -1).numpy()
    follow = -np.log2(p[tokens[:, :-1], tokens[:, 1:]]).sum(1)
    first = -np.log2(p[3, tokens[:, 0]])
    uniform = math.log2(6)

    def found(**options):
        return capacity.bits(model, tokens, **options)

    for convention, code, counted in (
        ("strict", first + follow, 4),
        ("paper", 4 / 3 * follow, 4),
        ("given_first", follow, 3),
    ):
        one = found(convention=convention, start=3)
        np.testing.assert_allclose(one.code_length, code, rtol=1e-6)
        np.testing.assert_allclose(one.memorized, counted * uniform - code, rtol=1e-6, atol=1e-6)
        assert one.bits_per_token == pytest.approx(code.mean() / counted, rel=1e-6)
        assert one.first == "token 3" and model.training  # as it was
    np.testing.assert_allclose(found(convention="paper").code_length, 4 / 3 * follow, rtol=1e-6)
    kept = p[:, [0, 1, 2, 3, 4]] / (1 - p[:, [5]])  # without token 5, which the rows do not hold
    rows = tokens[[0, 2]]
    less = capacity.bits(model, rows, start=5, leave_out=[5])
    want = -np.log2(kept[5, rows[:, 0]]) - np.log2(kept[rows[:, :-1], rows[:, 1:]]).sum(1)
    np.testing.assert_allclose(less.code_length, want, rtol=1e-6)
    assert less.vocab_size == 5


def test_a_model_that_knows_nothing_holds_nothing():
    tokens = torch.randint(0, 8, (50, 10), generator=torch.manual_seed(1))
    none = capacity.bits(lambda seen: torch.zeros(*seen.shape, 8), tokens, convention="paper")
    np.testing.assert_allclose(none.memorized, 0, atol=1e-5)
    assert none.bits_per_token == pytest.approx(3)


ROWS = [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "tokens, options, message",
    [
        (ROWS, {"convention": "stric"}, "convention='stric': .*did you mean strict"),
        (ROWS, {}, r"nothing stands before the first token, .* give start=TOKEN"),
        (ROWS, {"convention": "paper", "batch_size": 0}, "batch_size=0"),
        ([[0, 1, 6]], {"start": 0}, "tokens: 6: the model has tokens 0 to 5"),
        ([[0, -100, 1]], {"start": 0}, "tokens: -100: expected 0 or more"),
        ([[0, 1], [2]], {"start": 0}, "sequences of one length"),
        ([[0.5, 1.0]], {"start": 0}, "whole numbers, found torch.float64"),
        ([[1], [2]], {"start": 0}, "at least one sequence of two tokens"),
        ([1, 2, 3], {"start": 0}, r"found shape \(3,\)"),
        (ROWS, {"start": 9}, "it was given tokens 0 to 9"),
        (ROWS, {"start": -1}, "start=-1: expected a token"),
        (ROWS, {"start": 0, "leave_out": [7]}, "leave_out: 7: the model has tokens 0 to 5"),
        (ROWS, {"start": 0, "leave_out": [2]}, "leave_out: 2: the sequences hold this token"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tokens, options, message):
    with pytest.raises(capacity.ConfigError, match=message) as raised:
        capacity.bits(Bigram(), tokens, **options)
    assert "\n" not in str(raised.value)


def test_wrong_answers_of_a_model_and_a_second_start_are_refused(trained):
    with pytest.raises(capacity.ConfigError, match=r"expected logits of shape \(2, 2, 'V'\)"):
        capacity.bits(lambda seen: torch.zeros(2, 6), ROWS, convention="paper")
    model, tokens = capacity.load(trained[1], results=trained[0])
    with pytest.raises(capacity.ConfigError, match="has a learned BOS"):
        capacity.bits(model, tokens, start=0)
    with pytest.raises(capacity.ConfigError, match="5 tokens a sequence: the run's model has 4"):
        capacity.bits(model, torch.zeros(2, 5, dtype=torch.int64))


def test_a_run_that_is_not_there_or_has_no_weights_is_one_clear_line(trained, monkeypatch):
    results, run_id = trained
    with pytest.raises(capacity.ConfigError, match="no run in .* begins so"):
        capacity.load("ffff0", results=results)
    monkeypatch.setenv("CAPACITY_RESULTS", str(results))  # as for the commands
    weights = results / "runs" / run_id / "weights.safetensors"
    assert capacity.load(run_id).run_id == run_id
    kept = weights.read_bytes()
    weights.unlink()
    try:
        with pytest.raises(capacity.ConfigError, match=r"weights\.safetensors"):
            capacity.load(run_id)
    finally:
        weights.write_bytes(kept)
