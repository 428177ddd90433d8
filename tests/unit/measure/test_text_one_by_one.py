"""What the measure of text says since version 2: canaries one by one, and a prefix of ReCaLL that
the run was not trained on."""

import numpy as np
import pytest
import torch

from capacity.compose import load
from capacity.feed import split
from capacity.fitting import membership, separation
from capacity.measure import sequence_scores as sequences
from capacity.measure import text
from capacity.model.gpt import GPT

SMALL = [
    "data=text_pocket",
    "data.documents=400",
    "data.seq_len=16",
    "data.n_held_out=60",
    "data.tokens_per_parameter=null",
    "data.n_sequences=60",
    "model.d_model=8",
    "model.n_heads=2",
    "train.steps=40",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
]


def measured(config):
    """An untrained model is enough: what is asked is which sequences are used."""
    gpt = GPT(config.model, config.rows, config.data.seq_len, True)
    flat = gpt.init([config.seed])[0]
    part, table = text.measure(gpt, flat, config, torch.float32)
    return gpt, flat, part, table


@pytest.mark.parametrize("trained_on", ["members", "half"])
def test_the_prefix_of_recall_was_not_trained_on(here, trained_on):
    """Half of the shadow models are trained on the first held-out sequence."""
    first_is_seen = set()
    for seed in range(4):
        config = load([*SMALL, f"data.trained_on={trained_on}", f"seed={seed}"])
        dealt = split.of(config)
        gpt, flat, part, table = measured(config)
        row = part["recall_prefix"]["row"]
        assert row not in dealt.trained
        place = int(np.flatnonzero(dealt.scored == row)[0])
        assert dealt.seen[:place].all() and not dealt.seen[place]
        tokens = torch.from_numpy(dealt.pool.tokens_NS[dealt.scored])
        prefix = sequences.Prefix(torch.from_numpy(dealt.pool.tokens_NS[row][:8]))
        expected = sequences.recall(gpt, flat, tokens, prefix, torch.float32, 4096)
        assert table["recall"] == pytest.approx(expected, rel=1e-5)
        others = ~dealt.seen & (np.arange(len(dealt.seen)) != place)
        told = separation.statistics(table["recall"][dealt.seen], table["recall"][others])
        assert part["membership"]["recall"]["auc"] == pytest.approx(told["auc"])
        first_is_seen.add(bool(dealt.seen[0]))
        assert membership.recall_prefix(table["seen"].astype(bool)) == place
    assert first_is_seen == ({False} if trained_on == "members" else {False, True})


def test_canaries_are_told_one_by_one(here):
    config = load([*SMALL, "data.canaries=5", "data.repeats=[0,1,4]"])
    gpt, flat, part, _ = measured(config)
    dealt, S = split.of(config), config.data.seq_len
    mine, others = (
        sequences.scores(gpt, flat, torch.from_numpy(tokens), torch.float32, 4096)
        for tokens in (dealt.canaries, dealt.candidates)
    )
    assert part["version"] == 2
    for i, level in enumerate(part["canaries"]):
        at = slice(5 * i, 5 * i + 5)
        ahead = (others["loss"][:, None] <= mine["loss"][at]).sum(axis=0)
        assert level["exposures"] == pytest.approx(np.log2(4097 / (1 + ahead)))
        assert level["exposure"] == pytest.approx(np.mean(level["exposures"]))
        assert level["losses"] == pytest.approx(mine["loss"][at] / (S * np.log(2)), rel=1e-6)
        assert level["loss_bits_per_token"] == pytest.approx(np.mean(level["losses"]))
        assert level["extracted"] == (mine["tail"][at] >= S - S // 2).astype(int).tolist()
        assert level["extractable"] == pytest.approx(np.mean(level["extracted"]))
