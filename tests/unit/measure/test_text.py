"""What is measured of sequences of text, against plain loops and definitions: scores, membership,
canaries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.scores import read_scores
from capacity.cli.main import main
from capacity.compose import load
from capacity.feed import split
from capacity.fitting import membership
from capacity.measure import sequence_scores as sequences
from small_text import SMALL, run


def columns_of(logits, tokens):
    return sequences.columns(
        sequences.of_tokens(logits.flatten(0, 1).clone(), tokens.flatten()).view(*tokens.shape, 3)
    )


def test_columns_agree_with_plain_loops():
    torch.manual_seed(0)
    B, S, V = 5, 11, 7
    logits = torch.randn(B, S, V) * 2
    tokens = torch.randint(0, V, (B, S))
    tokens[0] = logits[0].argmax(-1)
    tokens[1, 4:] = logits[1, 4:].argmax(-1)
    tokens[1, 3] = logits[1, 3].argmin(-1)
    logits[3, 2, tokens[3, 2]] = logits[3, 5, 0] = logits[3, 5, tokens[3, 5]] = (
        9.0  # the second time the target is one of two equals
    )
    found = dict(zip(sequences.COLUMNS, columns_of(logits, tokens), strict=True))
    for b in range(B):
        log_p = torch.log_softmax(logits[b].double(), -1)
        at = [float(log_p[t, tokens[b, t]]) for t in range(S)]
        z = []
        for t in range(S):
            p = log_p[t].exp()
            mu = float((p * log_p[t]).sum())
            z.append((at[t] - mu) / math.sqrt(float((p * (log_p[t] - mu) ** 2).sum())))
        right = [int(logits[b, t].argmax()) == int(tokens[b, t]) for t in range(S)]
        tail = next((i for i, r in enumerate(reversed(right)) if not r), S)
        k = math.ceil(0.2 * S)
        expected = {
            "loss": -sum(at),
            "min_k": sum(sorted(at)[:k]) / k,
            "min_k_plus": sum(sorted(z)[:k]) / k,
            "suffix_loss": -sum(at[S // 2 :]),
            "correct": sum(right) / S,
            "tail": tail,
        }
        assert {name: float(found[name][b]) for name in expected} == pytest.approx(
            expected, rel=1e-4, abs=1e-4
        )
    assert found["tail"][0] == S and found["tail"][1] == 7


def test_uniform_and_certain_predictions_have_finite_scores():
    tokens = torch.zeros(1, 4, dtype=torch.long)
    for logits in (
        torch.zeros(1, 4, 9),
        torch.full((1, 4, 9), -1e4).index_fill(2, torch.tensor([0]), 0.0),
    ):
        found = columns_of(logits, tokens)
        assert all(torch.isfinite(column).all() for column in found)


def test_discoverable_suffixes_by_their_definition():
    from capacity.fitting.verbatim import discoverable

    p_z = np.array([1.0, 0.5, 0.4, 1e-3, 1e-20, 0.0])
    with np.errstate(divide="ignore"):
        nats = -np.log(p_z)
    assert discoverable(nats, 1).tolist() == [True, True, False, False, False, False]
    assert discoverable(nats, 2).tolist() == [True, True, True, False, False, False]
    assert discoverable(nats, 693).tolist() == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]  # 1 - 0.999^693 = 0.5001
    assert discoverable(nats, 692).tolist()[3] is False
    assert discoverable(nats, 10**20).tolist() == [True, True, True, True, True, False]
    assert discoverable(nats, 6 * 10**19).tolist() == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]  # ln 2 / 1e-20 are needed
    assert discoverable(nats, 1, 0.3).tolist()[2] is True


def test_recall_is_the_ratio_of_two_plain_passes(here):
    from capacity.train.loop import Stack

    config = load([*SMALL])
    stack = Stack([config], torch.device("cpu"))
    flat = stack.start().flat_MP
    tokens = stack.feed.member_tokens(0)[:9]
    prefix = tokens[0, :6]
    found = sequences.recall(
        stack.gpt, flat[0], tokens, sequences.Prefix(prefix), torch.float32, 40
    )
    for row, ratio in zip(tokens.long(), found, strict=True):
        whole = stack.gpt.nll(flat, torch.cat([prefix.long(), row[:10]])[None, None])[0, 0]
        assert ratio == pytest.approx(
            float(whole[6:].sum() / stack.gpt.nll(flat, row[None, None, :10])[0, 0].sum()), rel=1e-5
        )
    table = sequences.scores(stack.gpt, flat[0], tokens, torch.float32, 40)
    halves = [
        sequences.recall(
            stack.gpt, flat[0], tokens, sequences.Prefix(tokens[0, :8], alone), torch.float32, 40
        )
        for alone in (None, table["loss"] - table["suffix_loss"])
    ]
    assert halves[0] == pytest.approx(halves[1], rel=1e-5)


# Membership


def test_auc_of_known_cases():
    assert membership.auc(np.array([1.0, 2, 3]), np.array([0.0, -1])) == 1.0
    assert membership.auc(np.array([1.0, 1, 1]), np.array([1.0, 1])) == 0.5
    assert membership.auc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    dice = np.random.default_rng(0)
    for delta in (0.0, 0.5, 2.0):
        a, b = dice.normal(delta, 1, 40000), dice.normal(0, 1, 40000)
        phi = 0.5 * (1 + math.erf(delta / 2))  # Phi(delta / sqrt 2)
        assert membership.auc(a, b) == pytest.approx(phi, abs=0.01)
        assert membership.auc(-a, -b) == pytest.approx(1 - membership.auc(a, b), abs=1e-9)
        best = math.erf(delta / (2 * math.sqrt(2)))  # 2 Phi(delta / 2) - 1
        assert membership.advantage(a, b) == pytest.approx(best, abs=0.015)
        assert membership.f1_median(a, b) == pytest.approx(
            0.5 * (1 + best), abs=0.01
        )  # the median lies between the two


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
def test_statistics_are_what_their_definitions_say(a, b):
    members, others = np.array(a, float), np.array(b, float)
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    assert membership.auc(members, others) == pytest.approx(sum(pairs) / len(pairs))
    cuts = [*sorted({*a, *b}), math.inf]
    best = max(sum(x >= c for x in a) / len(a) - sum(y >= c for y in b) / len(b) for c in cuts)
    assert membership.advantage(members, others) == pytest.approx(best)
    assert 0.0 <= membership.f1_median(members, others) <= 1.0
    assert membership.f1_median(members, members) == pytest.approx(0.5)


def test_rates_at_small_false_positive_rates_need_enough_non_members():
    members = np.linspace(0.0, 2.0, 5000)
    assert membership.tpr_at(members, np.linspace(0, 1, 999), 0.01) is None
    assert membership.tpr_at(members, np.linspace(0, 1, 1000), 0.01) == pytest.approx(0.5, abs=0.01)
    assert membership.tpr_at(members, np.zeros(1000), 0.01) == pytest.approx(1.0, abs=0.001)
    assert membership.tpr_at(np.zeros(10), np.zeros(1000), 0.01) == 0.0  # ties do not pass


def test_lira_between_gaussians_reaches_its_analytic_auc():
    """Two Gaussians of unit variance, means apart by delta: Phi(delta / sqrt 2)."""
    dice, n, K, delta = np.random.default_rng(1), 4000, 64, 1.5
    hard = dice.normal(
        0, 3, n
    )  # sequences differ in how hard they are, which a plain loss attack confuses
    seen = dice.random((K + 1, n)) < 0.5
    losses = hard + dice.normal(0, 1, (K + 1, n)) - delta * seen
    target, mask = losses[0], seen[0]
    expected = 0.5 * (1 + math.erf(delta / 2))
    for online, shared in ((True, True), (True, False), (False, True)):
        score = membership.lira(target, losses[1:], seen[1:], online, shared)
        assert membership.auc(score[mask], score[~mask]) == pytest.approx(expected, abs=0.03)
    assert membership.auc(-target[mask], -target[~mask]) < expected - 0.15
    same = membership.lira(target, np.zeros((8, n)), np.tile(np.arange(8)[:, None] % 2 == 0, n))
    assert np.allclose(same, 0.0)
    with pytest.raises(ValueError, match="a sequence has 0 shadow models that saw it"):
        membership.lira(target, losses[1:], np.zeros((K, n), bool))


def test_rmia_is_monotone_bounded_and_a_coin_for_a_model_without_members():
    dice, n = np.random.default_rng(2), 3000
    losses = dice.normal(2, 0.3, (8, n))
    target = dice.normal(2, 0.3, n)
    score = membership.rmia(target, losses, np.arange(n))
    assert score.min() >= 0 and score.max() <= 1 and score.mean() == pytest.approx(0.5, abs=0.02)
    lower = membership.rmia(target - 0.1, losses, np.arange(n))  # all alike: ranks stay
    assert np.allclose(lower, score)
    one = target.copy()
    one[7] -= 0.5
    assert membership.rmia(one, losses, np.arange(n))[7] > score[7]


def test_a_bag_of_words_finds_a_broken_split_and_no_other():
    dice = np.random.default_rng(3)
    tokens = dice.integers(0, 50, (4000, 16))
    assert membership.bag_of_words_auc(tokens[:2000], tokens[2000:], 50) == pytest.approx(
        0.5, abs=0.04
    )
    late = np.where(dice.random((2000, 16)) < 0.1, 3, tokens[2000:])  # one word more frequent
    assert membership.bag_of_words_auc(tokens[:2000], late, 50) > 0.7


def test_a_run_of_text_is_measured_and_its_scores_are_kept(here):
    config = load([*SMALL, "train.steps=300", "train.lr=0.02"])
    assert run(config, here) == "finished"
    record, table = (
        records.read(here, config.run_id),
        read_scores(records.run_dir(here, config.run_id)),
    )
    m = record["measures"]["text"]
    assert (m["n_members"], m["n_held_out"]) == (60, 100) and m["tokens_per_parameter"][
        "total"
    ] == 60 * 16 / config.parameters["total"]
    assert m["members"]["loss_bits_per_token"] < m["held_out"]["loss_bits_per_token"] - 0.5
    assert m["membership"]["loss"]["auc"] > 0.9 and m["membership"]["loss"]["tpr_at_0.01"] is None
    seen = table["seen"].astype(bool)
    assert (
        membership.auc(-table["loss"][seen], -table["loss"][~seen])
        == m["membership"]["loss"]["auc"]
    )
    assert m["bits"] == pytest.approx(
        60 * 16 * 8 - table["loss"][seen].sum() / math.log(2), rel=1e-5
    )
    assert main(["measure", config.run_id, "--results", str(here)]) == 0
    assert records.read(here, config.run_id)["measures"] == record["measures"]


# Canaries


def test_canaries_stand_in_the_training_set_as_often_as_asked(here):
    config = load(
        [
            *SMALL,
            "data.canaries=3",
            "data.repeats=[0,1,5]",
            "train.steps=null",
            "train.exposures=10",
        ]
    )
    dealt = split.of(config)
    table = dealt.trained_tokens
    assert len(table) == config.trained_items == 60 + 3 * 6
    counts = [int((table == canary).all(1).sum()) for canary in dealt.canaries]
    assert counts == [0, 0, 0, 1, 1, 1, 5, 5, 5] == dealt.repeats.tolist()
    assert (
        not any((table == c).all(1).any() for c in dealt.candidates) and dealt.canaries.min() >= 1
    )
    assert (
        load(SMALL).run_id == load([*SMALL, "data.repeats=[0,9]"]).run_id
    )  # levels of no canaries are no part of a run
    with pytest.raises(
        ConfigError, match="data.repeats=.*expected a list of different whole numbers"
    ):
        load([*SMALL, "data.repeats=[1,1]"])


def test_exposure_of_planted_ranks():
    from capacity.fitting.verbatim import exposure

    candidates = np.arange(1.0, 1024.0)  # 1,023 candidates and the canary itself
    assert exposure(np.array([0.5, 1.5, 1023.5, 1.0]), candidates).tolist() == pytest.approx(
        [10, 9, 0, 9]
    )
    ranks = np.random.default_rng(0).random(200000) * 1024
    assert exposure(ranks, candidates).mean() == pytest.approx(math.log2(math.e), abs=0.02)


@pytest.mark.slow
def test_exposure_grows_with_repeats(here):
    config = load(
        [
            *SMALL,
            "data.n_sequences=200",
            "data.canaries=8",
            "data.repeats=[0,1,8,64]",
            "model.d_model=16",
            "train.steps=1500",
            "train.lr=0.02",
            "train.batch_size=16",
        ]
    )
    assert run(config, here) == "finished"
    levels = records.read(here, config.run_id)["measures"]["text"]["canaries"]
    found = {level["repeats"]: level for level in levels}
    assert (
        found[64]["exposure"] >= found[8]["exposure"] > found[0]["exposure"]
        and found[64]["exposure"] > 11
    )
    assert found[0]["exposure"] == pytest.approx(
        math.log2(math.e), abs=3 * found[0]["exposure_se"] + 0.5
    )
    assert found[64]["extractable"] > 0.9 and found[0]["extractable"] == 0.0
    assert main(["measure", config.run_id, "--results", str(here)]) == 0


def test_what_chance_does_to_a_bag_of_words_is_measured_and_not_assumed():
    dice = np.random.default_rng(0)
    independent = dice.integers(1, 200, (1500, 16))
    sd = membership.bag_of_words_sd(independent[:500], independent[500:], 200)
    assert (
        0.8 < sd / membership.auc_se(500, 1000) < 2.5
    )  # folds share their classifiers, so more than that of independent scores
    found = [
        membership.bag_of_words_auc(part[:500], part[500:], 200)
        for part in dice.integers(1, 200, (30, 1500, 16))
    ]
    assert 0.6 < np.std(found) / sd < 1.6 and max(np.abs(np.array(found) - 0.5)) < 4 * sd
    many = dice.integers(1, 200, (40000, 16))  # a part is split, and scaled
    assert (
        0.5
        < membership.bag_of_words_sd(many[:20000], many[20000:], 200, draws=10)
        / membership.auc_se(20000, 20000)
        < 3
    )
