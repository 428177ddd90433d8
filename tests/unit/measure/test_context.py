"""Bits held in context, against models whose every probability is known."""

import math

import numpy as np
import pytest
import torch

from capacity import counts, records
from capacity.config import from_dict
from capacity.data import fresh
from capacity.feed.fresh import FreshFeed
from capacity.measure import context
from capacity.model.gpt import GPT
from capacity.settings.model import Model
from settings_trees import tree
from stack_members import CPU, config, run, trained

V, U = 8, 6


class Keeps:
    """A model that knows the first `kept` symbols of u, and gives every other symbol that is asked
    for the probability `else_p` (1/V: it guesses)."""

    vocab_size = V + 1

    def __init__(self, kept, else_p=1 / V):
        self.kept, self.else_p = kept, else_p

    def of_length(self, seq_len):
        return self

    def score(self, flat, tokens, dtype):
        nll = torch.full(tokens.shape, 50.0)  # of what is not asked for: must not count
        half = (tokens.shape[-1] - 1) // 2
        nll[..., half + 1 :] = -math.log(self.else_p)
        nll[..., half + 1 : half + 1 + self.kept] = 0.0
        return nll, nll < 1e-9


def scored(model, **changes):
    # flat weights are not read by the models above
    data = {"kind": "copy", "vocab_size": V, "copy_length": U}
    one = from_dict(tree(data=data, model={"d_model": 8, "n_heads": 2, "position": "none"},
                         measure={"sequences": 50}, **changes))  # fmt: skip
    return context.measure(model, torch.zeros(1), FreshFeed([one], CPU), 0, one, torch.float32), one


@pytest.mark.parametrize("kept", [0, 2, U])
def test_a_model_that_keeps_so_many_symbols_holds_their_bits(kept):
    part, one = scored(Keeps(kept))
    assert part["bits"] == pytest.approx(3.0 * kept, abs=1e-6)  # fp32 of log(1/8), six times
    assert part["ceiling_bits"] == 18.0 and part["bits_se"] == pytest.approx(0.0, abs=1e-6)
    assert part["recall"] == kept / U
    assert part["state_numbers"] == counts.state_numbers(one.model, U + 2) == 2 * (U + 2) * 8
    assert part["bits_per_state_number"] == part["bits"] / part["state_numbers"]
    assert [row["times"] for row in part["lengths"]] == [1, 2, 4]
    # four times the length: it keeps as much, of more, by a state that grew
    longest = part["lengths"][2]
    assert longest["bits"] == pytest.approx(3.0 * kept, abs=1e-5)
    assert longest["ceiling_bits"] == 72.0 and longest["state_numbers"] == 2 * (4 * U + 2) * 8
    assert part["trained"]["minus_held_out"] == pytest.approx(0.0, abs=1e-6)


def test_bits_below_zero_are_not_cut_off():
    part, _ = scored(Keeps(0, else_p=2.0**-5))
    assert part["bits"] == pytest.approx(U * (3 - 5), abs=1e-5)


def test_the_standard_error_is_that_of_the_mean_over_sequences():
    class Lucky(Keeps):
        def score(self, flat, tokens, dtype):
            nll, best = super().score(flat, tokens, dtype)
            nll[..., -1] = tokens[..., 0].float()  # varies by sequence
            return nll, best

    part, one = scored(Lucky(0))
    first = FreshFeed([one], CPU).sequences(0, fresh.HELD_OUT, 0, 50)[0][:, 0].double()
    expected = float(first.std() / math.log(2) / math.sqrt(50))
    assert part["bits_se"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("variant", ["copies", "recall"])
def test_the_loss_is_the_mean_over_what_is_asked_for(variant):
    """And so is its gradient: against all losses, masked."""
    one = config(0, variant)
    stack, state = trained([one], 3)
    feed = stack.feed
    (marked,) = feed.chunk(state.cursor_MC, 3, 1)
    tokens, asked = feed.sequences(0, fresh.TRAINED, 3 * 8, 8)
    assert torch.equal(torch.where(marked < 0, ~marked, marked)[0], tokens)
    assert torch.equal(marked[0] >= 0, asked)
    assert asked.sum(1).tolist() == [one.data.asked] * 8
    flat = state.flat_MP.clone().requires_grad_()
    loss = stack.gpt.loss(flat, marked)
    plain = stack.gpt.nll(flat, tokens[None])[0]
    expected = plain[asked].mean()
    # means of at most 32 fp32 numbers near log 16, in another order
    assert loss[0].item() == pytest.approx(expected.item(), rel=1e-6)
    ours = torch.autograd.grad(loss.sum(), flat)[0]
    theirs = torch.autograd.grad(expected, flat)[0]
    assert torch.allclose(ours, theirs, atol=1e-6 * float(theirs.abs().max()) * 50)
    assert float(ours.abs().max()) > 0


def test_batches_do_not_depend_on_where_reading_began():
    one = config(0, "copies")
    whole = list(FreshFeed([one], CPU).chunk(torch.zeros(1, 4), 0, 60))
    assert len(whole) == 60 and whole[0].shape == (1, 8, 9)
    for step in (1, 37, 59):
        later = next(iter(FreshFeed([one], CPU).chunk(torch.zeros(1, 4), step, 1)))
        assert torch.equal(later, whole[step])


def test_a_longer_sequence_is_read_by_the_same_model():
    model = Model(d_model=8, n_heads=2, position="none", mixer="delta")
    short, long = GPT(model, 9, 5), GPT(model, 9, 20)
    flat = short.init([0])
    assert short.sizes == long.sizes
    tokens = torch.randint(9, (1, 3, 20), generator=torch.Generator().manual_seed(0))
    assert torch.equal(short.of_length(20).nll(flat, tokens), long.nll(flat, tokens))
    # nothing but the past: the first five of twenty as five alone (other sums, of fp32)
    alone = short.nll(flat, tokens[..., :5])
    assert torch.allclose(long.nll(flat, tokens)[..., :5], alone, atol=1e-5)


def test_a_run_holds_copies_in_its_state_and_nothing_in_its_weights(tmp_path):
    """Attention learns to copy three symbols at once; fresh ones are as well known as those of its
    last steps, to five standard errors."""
    one = from_dict(tree(
        data={"kind": "copy", "vocab_size": 4, "copy_length": 3},
        model={"d_model": 16, "n_heads": 2},
        train={"steps": 500, "batch_size": 32, "warmup_steps": 20, "lr": 0.02},
        measure={"sequences": 200, "evaluations": 2},
    ))  # fmt: skip
    assert run([one], tmp_path) == {one.run_id: "finished"}
    record = records.read(tmp_path, one.run_id)
    part = record["measures"]["context"]
    assert 5.5 < part["bits"] <= 6.0 == part["ceiling_bits"]
    t = part["trained"]
    assert abs(t["minus_held_out"]) < 5 * t["minus_held_out_se"] + 1e-9
    assert [row["times"] for row in part["lengths"]] == [1]
    assert record["training"]["exposures_max"] == 1
    logged = [line for line in records.read_metrics(tmp_path, one.run_id) if "context_bits" in line]
    assert np.isclose(logged[-1]["context_bits"], part["bits"])
