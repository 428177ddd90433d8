"""Stored and said: ranks by hand, a probe of planted features, scores beside those of one value at
a time, and settings that cannot be."""

import math

import numpy as np
import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.declare import inside as declared
from capacity.feed.stream import MemberStream
from capacity.fitting import softmax
from capacity.measure import extraction, inside
from capacity.measure.questions import Asking, ask_value
from capacity.model.gpt import GPT

DATA = {
    "kind": "bios",
    "n_people": 48,
    "seq_len": 48,
    "vocabulary": "world",
    "questions": True,
    "first_names": 5,
    "middle_names": 0,
    "last_names": 30,
    "years": 0,
    "cities": 3,
    "universities": 30,
    "majors": 4,
    "employers": 5,
    "templates": 2,
}


def config(people=16, data=None, mode="none", **others):
    return from_dict(
        {
            "data": DATA | (data or {}),
            "model": {"d_model": 16, "n_heads": 2, "n_layers": 2, "position": "rotary"},
            "train": {"steps": 20, "warmup_steps": 2} | others.get("train", {}),
            "extraction": {"mode": mode, "steps": 4, "batch_size": 8},
            "measure": {"inside": people},
        }
    )


def prepared(c):
    gpt = GPT(c.model, c.rows, c.data.seq_len, c.data.bos)
    flat = gpt.init([c.seed])[0]
    flat = flat + 0.3 * torch.randn(len(flat), generator=torch.Generator().manual_seed(1))
    return gpt, flat, MemberStream(c, torch.device("cpu")).world


def test_ranks_by_hand():
    scores = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]]))
    found = inside.ranks(np.concatenate([scores, scores[:1]]), np.array([0, 2, 3]))
    # all below; three ties of three others; two above and one tie
    assert found.k_R.tolist() == [1.0, 0.5, pytest.approx(0.5 / 3)]
    assert found.bits_R == pytest.approx([1.0, 0.0, -1.0])
    assert (inside.ranks(scores * 7, np.array([1, 0])).k_R == [2 / 3, 0.5]).all()


def test_softmax_regression_is_at_its_minimum_and_a_strong_penalty_gives_every_class_alike():
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(60, 3)), rng.integers(0, 4, 60)
    w = softmax.fit(x, label, 5, 0.05)  # nobody has class 4

    def loss(w):
        log_p = softmax.log_posterior(w, x)
        return -log_p[np.arange(60), label].mean() + 0.025 * (w**2).sum()

    assert all(
        loss(w + step) > loss(w) for step in 0.05 * rng.normal(size=(20, 4, 5))
    )  # convex: no other minimum
    assert np.isfinite(softmax.log_posterior(w, x)).all()
    assert softmax.log_posterior(softmax.fit(x, label, 5, 1e6), x) == pytest.approx(
        -math.log(5), abs=1e-4
    )
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        softmax.fit(x, label, 3, 0.1)


def test_a_probe_finds_what_is_planted_in_the_layer_where_it_is_and_nothing_in_noise():
    rng = np.random.default_rng(1)
    value = rng.integers(0, 6, 160)
    code = rng.normal(size=(6, 8))
    planted, noise = code[value] + 0.1 * rng.normal(size=(160, 8)), rng.normal(size=(160, 8))
    score, probes = inside.crossed([noise, planted, noise], value, 6)
    assert [probe.layer for probe in probes] == [1, 1]
    found = inside.ranks(score, value)
    assert found.k_R.mean() == 1.0 and found.bits_R.mean() > 0.9 * math.log2(6)
    nothing = inside.ranks(inside.crossed([noise, noise], value, 6)[0], value)
    # K of a guess: mean 0.5, variance (D + 1) / (12 (D - 1)) for ranks without ties
    assert abs(nothing.k_R.mean() - 0.5) < 4 * math.sqrt(7 / 60 / 160)
    assert nothing.bits_R.mean() < 0.1


def test_a_probe_on_top_of_what_is_said_adds_what_is_not_said_and_else_changes_little():
    rng = np.random.default_rng(4)
    value, x = rng.integers(0, 4, 200), rng.normal(size=(200, 3))
    x[:, 0] = value % 2 + 0.1 * x[:, 0]  # the state knows one bit, what is said the other one
    said = np.where(np.arange(4) // 2 == value[:, None] // 2, 5.0, 0.0) * 3
    alone = inside.ranks(said, value)
    added = inside.ranks(inside.crossed([x], value, 4, said)[0], value)
    assert alone.k_R.mean() == pytest.approx(5 / 6) and added.k_R.mean() == 1.0
    told = inside.ranks(said + 0.01 * rng.normal(size=said.shape), value)
    nothing = inside.crossed([rng.normal(size=(200, 3))], value, 4, said)[0]
    assert abs(inside.ranks(nothing, value).k_R.mean() - told.k_R.mean()) < 0.1


def test_no_value_of_those_evaluated_reaches_their_probe():
    rng = np.random.default_rng(2)
    value, x = rng.integers(0, 4, 40), rng.normal(size=(40, 5))
    other = value.copy()
    other[0::2] = (value[0::2] + 1) % 4
    before, after = (inside.crossed([x], label, 4)[0] for label in (value, other))
    assert (before[0::2] == after[0::2]).all() and (before[1::2] != after[1::2]).any()


def test_a_temperature_that_was_planted_is_found_and_moves_no_rank():
    rng = np.random.default_rng(3)
    log_p = rng.normal(size=(4000, 5)) * 2
    value = (log_p + rng.gumbel(size=log_p.shape)).argmax(1)
    told = inside.calibrated(3 * log_p, value)
    assert 3 * log_p[0, 0] / told[0, 0] == pytest.approx(3, rel=0.1)
    assert (inside.ranks(told, value).k_R == inside.ranks(3 * log_p, value).k_R).all()
    assert inside.ranks(told, value).bits_R.mean() > inside.ranks(3 * log_p, value).bits_R.mean()


@pytest.mark.parametrize("biographies", [None, 2], ids=["first", "text"])
def test_the_score_of_the_own_value_is_that_of_asking_for_it(biographies):
    c = config(data={"biographies": biographies})
    gpt, flat, world = prepared(c)
    context = "first" if biographies is None else "text"
    person, scorer = torch.arange(10), inside._scorer(gpt, flat, torch.float32)
    asking = Asking(scorer=scorer, context=context)
    for name in ("birth_city", "university", "major", "employer"):
        one = inside._Asker(world, name, 500, [])
        score, length = one.biography(person, context, scorer)
        own = one.true(person)
        nats, _ = ask_value(world, person, name, 0, asking)
        assert -score[np.arange(10), own] == pytest.approx(nats, abs=1e-4)
        assert (length >= 1).all() and sum(one.counted) > score.size


def test_all_answers_of_a_question_are_scored_by_the_chain_rule():
    c = config()
    gpt, flat, world = prepared(c)
    one = inside._Asker(world, "employer", 100, [])
    score, _ = one.question(torch.arange(3), inside._scorer(gpt, flat, torch.float32))
    a = world.attributes.index("employer")
    for person in range(3):
        for value in range(5):
            asked = extraction.questions(
                world, torch.tensor([person]), torch.tensor([a]), torch.tensor([value])
            )
            tokens, _ = world.pieces.join(asked.slots)
            log_p = gpt.logits(flat[None], tokens[None, None].long())[0, 0].log_softmax(-1)
            begin, end = int(asked.begin), int(asked.begin + asked.length)
            by_hand = sum(float(log_p[i - 1, tokens[i]]) for i in range(begin, end))
            assert score[person, value] == pytest.approx(by_hand, abs=1e-4)


def test_states_are_what_the_first_token_of_the_answer_is_predicted_from():
    c = config()
    gpt, flat, world = prepared(c)
    person = torch.arange(6)
    layers = inside._Asker(world, "major", 40, []).states(gpt, flat, person, torch.float32)
    assert len(layers) == 2 and layers[0].shape == (6, 16)
    table = gpt.named(flat[None])["token.weight"][0].double().numpy()
    asked = extraction.questions(world, person, torch.full((6,), world.attributes.index("major")))
    tokens, length = world.pieces.join(asked.slots)
    for i, row in enumerate(tokens.split(length.tolist())):
        logits = gpt.logits(flat[None], row[None, None].long())[0, 0]
        expected = logits[int(asked.begin[i]) - 1].numpy()
        assert layers[-1][i] @ table.T == pytest.approx(expected, abs=1e-3)


def test_people_are_those_no_fine_tuning_asks_and_a_record_says_all_scores():
    c = config(mode="full")
    gpt, flat, world = prepared(c)
    asked, never = inside.people(world, c)
    taught, others = extraction.halves(world, c.seed)
    assert len(set(asked.tolist())) == 16 and set(asked.tolist()) <= set(others.tolist())
    assert never.tolist() == list(range(48, 64)) and not set(asked.tolist()) & set(taught.tolist())
    tuned = extraction.tuned_weights(gpt, flat, world, c, torch.float32)
    out = inside.measure(gpt, flat, tuned, world, c, torch.float32)
    assert out["scores"].keys() == declared.SCORES.keys() and out["asked"] == "tuned"
    assert out["attributes"]["employer"]["values"] == 5 and "birth_date" not in out["attributes"]
    for name, one in out["scores"].items():
        by_attribute = [a[name] for a in out["attributes"].values()]
        assert one["k"] == pytest.approx(np.mean(by_attribute)) and 0 <= one["k"] <= 1
    assert out["scores"]["question"]["k"] == out["scores"]["question_calibrated"]["k"]
    again = inside.measure(gpt, flat, tuned, world, c, torch.float32)
    assert again == out
    for line in declared.lines(out, {}):
        assert len(line) <= 78


def test_what_is_asked_is_no_part_of_a_run():
    assert config().run_id == config(people=0).run_id == config(mode="full").run_id


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": {"questions": False}}, "data.questions=true"),
        ({"people": 7}, "even number of at least 8"),
        ({"people": 50}, "48 people are there; give at most 48"),
        ({"people": 26, "mode": "full"}, "24 people the fine-tuning does not ask"),
        ({"data": {"last_names": 10, "n_people": 44}}, "44 of 50 names are taken; give at most 6"),
        (
            {"data": {"cities": 0, "universities": 0, "majors": 0, "employers": 1, "years": 200}},
            "no attribute of this data has a list of 2 to 1,024 values",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(settings, said):
    with pytest.raises(ConfigError, match="measure.inside=") as caught:
        config(**settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)
