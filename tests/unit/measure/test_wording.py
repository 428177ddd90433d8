"""The wording of people's texts: its entropy against all texts there are, codes by oracles that
know exactly what there is to know, and what runs of fixed and of new wording hold of it."""

import itertools
import math

import numpy as np
import pytest
import torch

from capacity import compose, records
from capacity.base.errors import ConfigError
from capacity.declare import registry as declared
from capacity.measure import people, wording
from capacity.measure.questions import Asking
from capacity.run.job import Job
from capacity.run.run import execute
from small_worlds import make

CPU = torch.device("cpu")
SMALL = {"cities": 4, "universities": 4, "majors": 4, "employers": 4, "templates": 2, "years": 2}
SMALL |= {"first_names": 6, "middle_names": 3, "last_names": 10}
RUN = [
    "data=bios_pocket",
    "data.n_people=40",
    *(f"data.{name}={size}" for name, size in SMALL.items() if name != "templates"),
    "data.seq_len=80",
    "model=pocket",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "train=pocket_bios",
    "train.exposures=150",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "measure.evaluations=2",
    "measure.wording=true",
    "measure.context=text",
    "cluster.device=cpu",
]


def texts_of(world, person):
    """The tokens of every text that a person can have."""
    orders, counts = world.orders[world.data.order], world.n_templates_A.tolist()
    templates = torch.tensor(list(itertools.product(*(range(n) for n in counts))))
    order = orders.repeat_interleave(len(templates), 0)
    template = templates.repeat(len(orders), 1)
    slots, _, _ = world.sentences(torch.full((len(order),), person), order, template)
    head = world.head(len(order))
    flat, length = world.pieces.join(torch.cat([head, slots.flatten(1)], 1))
    return [tuple(one.tolist()) for one in flat.split(length.tolist())]


class Oracle:
    """Knows of every person all texts that there can be, and nothing about which one it is: the
    probability of a token is the share of the texts that go on with it."""

    def __init__(self, world, people, shown=None):
        self.counts = {}
        for person in people:
            texts = texts_of(world, person) if shown is None else shown[person]
            for text in set(texts):
                for end in range(1, len(text) + 1):
                    self.counts[text[:end]] = self.counts.get(text[:end], 0) + 1

    def __call__(self, tokens):
        nats = torch.zeros(len(tokens), tokens.shape[1] - 1, dtype=torch.float64)
        for row, text in enumerate(tokens.tolist()):
            for end in range(1, len(text)):
                seen = self.counts.get(tuple(text[: end + 1]))
                if seen:
                    nats[row, end - 1] = -math.log(seen / self.counts[tuple(text[:end])])
        return nats, torch.zeros_like(nats, dtype=torch.bool)


@pytest.fixture(scope="module")
def world():
    return make(n=40, seed=5, biographies=1, order="pairs", seq_len=200, **SMALL)


def scores(world, person_R, asking):
    """The columns that the measure reads, of these people."""
    table = people.ask_bios(world, person_R, asking).table()
    return table | {"trained": np.ones(len(person_R), np.uint8)}


def test_the_entropy_is_log2_of_all_different_texts(world):
    for person in (0, 7):
        texts = texts_of(world, person)
        assert len(set(texts)) == len(texts) == round(2 ** wording.entropy(world))


def test_who_knows_people_but_not_their_wording_pays_its_entropy_for_the_whole_text(world):
    """One person at a time: the oracle's texts are then those of one name and one set of values, so
    that all it pays for is wording."""
    for person in (0, 3, 11):
        asking = Asking(Oracle(world, [person]), draws=1, context="text", batch_tokens=4096)
        one = torch.tensor([person])
        for fresh in (False, True):
            nats, _ = asking.ask(world.pieces, wording.whole(world, one, 0, fresh))
            assert nats[0] / math.log(2) == pytest.approx(wording.entropy(world), abs=1e-9)


def test_who_knows_the_shown_texts_holds_all_wording_and_none_of_new_ones(world):
    person_R = torch.arange(world.n_people)
    shown = {}
    for person in range(world.n_people):
        question = wording.whole(world, torch.tensor([person]), 0, False)
        flat, _ = world.pieces.join(question.slots)
        shown[person] = [tuple(flat.tolist())]
    asking = Asking(Oracle(world, range(40), shown), draws=1, context="text", batch_tokens=4096)
    out = wording.measure(world, asking, scores(world, person_R, asking), 1000)
    # names of one beginning are told apart by their tokens; wording costs nothing
    assert out["shown"]["held_bits_per_text"] == pytest.approx(wording.entropy(world), abs=0.01)
    assert out["wording_bits"] == pytest.approx(out["ceiling_bits"], rel=1e-3)
    assert out["wording_bits_per_parameter"] == pytest.approx(out["wording_bits"] / 1000)


def test_new_texts_are_not_the_shown_ones(world):
    person_R = torch.arange(world.n_people)
    a, b = (wording.whole(world, person_R, 0, fresh).slots for fresh in (False, True))
    assert float((a == b).all(1).float().mean()) < 0.2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one fixed text a person, and one of new texts at every exposure."""
    results = tmp_path_factory.mktemp("wording")
    configs = [compose.load([*RUN, f"data.biographies={n}"]) for n in (1, "null")]
    outcome = execute([configs[0]], Job(results, CPU)) | execute([configs[1]], Job(results, CPU))
    assert set(outcome.values()) == {"finished"}
    return [records.read(results, config.run_id) for config in configs]


def test_fixed_wording_is_held_and_new_wording_is_not(trained):
    fixed, new = (record["measures"]["wording"] for record in trained)
    shown, fresh = fixed["shown"], fixed["fresh"]
    gap = shown["held_bits_per_text"] - fresh["held_bits_per_text"]
    assert gap > 4 * math.hypot(shown["held_bits_per_text_se"], fresh["held_bits_per_text_se"])
    assert fixed["wording_bits"] <= fixed["ceiling_bits"]
    # control: none of what was never fixed is known, but for the noise of people
    assert new["shown"]["held_bits_per_text"] < 4 * new["shown"]["held_bits_per_text_se"]
    assert new["fixed_texts"] is None and new["ceiling_bits"] == 0


def test_total_is_what_knowledge_and_wording_hold_together(trained):
    """The chain rule: the code of whole texts and that of name and values in them."""
    for record in trained[:1]:
        knowledge, one = record["measures"]["knowledge"], record["measures"]["wording"]
        people_bits = knowledge["log2_names"] + knowledge["log2_values"]
        total = people_bits + one["entropy_bits_per_text"] - one["shown"]["code_bits_per_text"]
        assert 40 * total == pytest.approx(knowledge["bits"] + one["wording_bits"], rel=1e-4)


def test_a_person_reads_it(trained):
    measure = declared.MEASURES["wording"]
    text = "\n".join(measure.describe(trained[0]["measures"]["wording"], trained[0]))
    assert "texts that never were (control)" in text and "per parameter" in text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["data=biod_pocket", "measure.wording=true"], "has no wording of known entropy"),
        (["data=bios_pocket", "measure.wording=true"], "give measure.context=text"),
        (
            ["data=bios_pocket", "measure.wording=true", "data.biographies=1", "data.seq_len=48"],
            "a whole text (measure.wording)",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(settings, says):
    with pytest.raises(ConfigError) as error:
        compose.check_questions(compose.load(["data.n_people=200", "train.steps=500", *settings]))
    assert says in str(error.value)
