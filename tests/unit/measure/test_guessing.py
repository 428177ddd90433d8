"""What guessing answers stands beside every accuracy, and an accuracy that is no better is said to
be none."""

from collections import Counter

import pytest
import torch

import oracles
from capacity.config import from_dict
from capacity.declare import extraction as declared
from capacity.feed.stream import MemberStream
from capacity.measure import extraction
from capacity.model.gpt import GPT

DATA = {
    "kind": "bios",
    "n_people": 40,
    "seq_len": 32,
    "vocabulary": "world",
    "questions": True,
    "first_names": 5,
    "middle_names": 0,
    "last_names": 20,
    "years": 0,
    "cities": 3,
    "universities": 0,
    "majors": 4,
    "employers": 4,
    "templates": 2,
}


def config(people=40, seed=0):
    return from_dict(
        {
            "data": DATA | {"n_people": people},
            "model": {"d_model": 16, "n_heads": 2, "position": "rotary"},
            "train": {"steps": 20, "warmup_steps": 2},
            "extraction": {"mode": "full", "steps": 20, "batch_size": 16, "lr": 0.01},
            "seed": seed,
        }
    )


def world_of(c):
    return MemberStream(c, torch.device("cpu")).world


def by_hand(values, known, asked):
    """Mean over the commonest values of the known of the part of those asked that has them."""
    counts = Counter(values[i] for i in known)
    top = [v for v, n in counts.items() if n == max(counts.values())]
    return sum(sum(values[i] == v for i in asked) / len(asked) for v in top) / len(top)


@pytest.mark.parametrize("people, seed", [(40, 0), (41, 3), (9, 1)])
def test_guessing_is_counted_as_by_hand(people, seed):
    world = world_of(config(people, seed))
    taught, asked = extraction.halves(world, seed)
    found = extraction.guesses(world, taught, asked)
    for name in world.attributes:
        values = world.values(name, torch.arange(people)).tolist()
        listed = {"major": 4, "employer": 4, "birth_city": 3}.get(name)
        if listed:
            assert found["uniform"][name] == 1 / listed
        want = by_hand(values, range(people), asked.tolist())
        assert found["most_frequent"][name] == pytest.approx(want)
        want = by_hand(values, taught.tolist(), asked.tolist())
        assert found["most_frequent_taught"][name] == pytest.approx(want)


def test_a_model_that_knows_frequencies_alone_gets_what_guessing_gets(monkeypatch):
    """Answers that are the commonest value whatever the name: the accuracy is the level of guessing
    to the last digit, and it is said not to exceed it."""
    c = config(seed=3)
    world, asked = world_of(c), []
    made = extraction.questions

    def questions(world, person, attribute):
        asked.append((person, world.attributes[int(attribute[0])]))
        return made(world, person, attribute)

    def commonest(pieces, question, scorer, batch_tokens):
        person, name = asked[-1]
        counts = Counter(world.values(name, torch.arange(c.data.n_people)).tolist())
        best = max(counts, key=lambda v: counts[v])
        return None, (world.values(name, person) == best).numpy()

    monkeypatch.setattr(extraction, "questions", questions)
    monkeypatch.setattr(extraction, "ask", commonest)
    monkeypatch.setattr(extraction, "fine_tune", lambda gpt, flat, *rest: flat)
    gpt = GPT(c.model, c.rows, c.data.seq_len, c.data.bos)
    out = extraction.measure(gpt, gpt.init([c.seed])[0], world, c, torch.float32)
    assert out["version"] == declared.MEASURE.version == 2
    counted = [name for name in world.attributes if name != "work_city"]
    for way in declared.GUESSES:
        by = out[f"attributes_{way}"]
        assert out[f"accuracy_{way}"] == pytest.approx(sum(by[n] for n in counted) / len(counted))
    clear = [n for n in counted if _unique(world, n, c.data.n_people)]
    assert clear  # elsewhere values tie, and guessing has their mean
    for name in clear:
        assert out["attributes"][name] == out["attributes_most_frequent"][name]
    told = declared.lines(out, {})
    assert any("not shown to be more than guessing gets" in line for line in told), told
    assert all(len(line) <= 80 for line in told)


def _unique(world, name, people):
    (_, most), *rest = Counter(world.values(name, torch.arange(people)).tolist()).most_common()
    return all(n < most for _, n in rest)


def test_a_record_of_before_says_that_guessing_was_not_measured():
    old = {
        "version": 1,
        "mode": "full",
        "people_trained": 20,
        "people_tested": 20,
        "accuracy": 0.071,
        "accuracy_trained": 1.0,
        "attributes": {"major": 0.1},
    }
    assert declared.guess(old) is None
    told = declared.lines(old, {})
    assert any("was not measured" in line for line in told)
    assert all(len(line) <= 80 for line in told)


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_knowledge_has_the_levels_of_guessing_beside_its_accuracy(kind, tmp_path):
    if kind == "bios":
        world, n = oracles.bios(tmp_path, n=12), 12
        of = {name: world.values(name, torch.arange(n)).tolist() for name in world.attributes}
        listed, counted = dict(world.sizes), [n for n in world.attributes if n != "work_city"]
        out = oracles.measured(world, oracles.oracle(world))
    else:
        world, n = oracles.biod(), 20
        chunks = world.chunks(torch.arange(n)).tolist()
        of = {f"ID {k + 1}": [tuple(row[k]) for row in chunks] for k in range(3)}
        listed, counted = dict.fromkeys(of, 9), list(of)
        out = oracles.measured(world, oracles.biod_oracle(world, ()))
    for name in counted:
        told = out["attributes"][name]
        (_, most), *_ = Counter(of[name]).most_common()
        assert told["accuracy_most_frequent"] == pytest.approx(most / n)
        assert told["accuracy_uniform"] == pytest.approx(1 / listed[name])
    for key in ("accuracy_most_frequent", "accuracy_uniform"):
        assert out[key] == pytest.approx(
            sum(out["attributes"][name][key] for name in counted) / len(counted)
        )
