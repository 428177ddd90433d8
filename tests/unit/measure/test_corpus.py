"""What is measured of imported corpora, beside models whose knowledge is known: bits beyond the
frequencies, the guess of the most frequent value, values that were not asked, longer values."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch

from capacity import records, run_table
from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import entropy
from capacity.data.facts import Facts, frequency_bits
from capacity.measure import knowledge
from capacity.measure.describe import describe
from capacity.measure.questions import Asking
from capacity.run.job import Job
from capacity.run.run import execute
from corpora import config, lines, skewed, table, world, write

PLAIN = lines("plain")


def frequencies(world):
    """A model that knows how often each row follows the rows of one place, whoever is asked: here
    rows of a value by how often people have it, and everything else for certain."""
    content = world.lexicon.content
    counts = Counter()
    for texts, spans in zip(content["texts"], content["spans"], strict=True):
        for piece, span in zip(texts, spans, strict=True):
            for name in content["values"]:
                begin, length = span[name]
                assert length == 1
                counts[name, content["pieces"][piece][begin]] += 1
    names = {row: name for name, row in counts}
    totals = Counter()
    for (name, _), n in counts.items():
        totals[name] += n

    def probability(front, row):
        name = names.get(row)
        return 1.0 if name is None else counts[name, row] / totals[name]

    return table(probability)


def knows(world):
    """A model that says every text by heart, and nothing else."""
    starts = set()
    for piece in world.lexicon.pieces[2:]:
        starts |= {(0, *piece[:end]) for end in range(1, len(piece) + 1)}
    return table(lambda front, row: 1.0 if (*front, row) in starts else 1e-30)


def guess(nats):
    def scorer(tokens):
        shape = tokens.shape[0], tokens.shape[1] - 1
        return torch.full(shape, nats), torch.zeros(shape, dtype=torch.bool)

    return scorer


def test_who_knows_only_the_frequencies_has_no_bits(tmp_path):
    w, settings = world(skewed(tmp_path / "s.jsonl"))
    out = knowledge.measure(w, Asking(frequencies(w), draws=4), settings.parameters)
    assert out["bits"] == pytest.approx(0, abs=1e-4)
    shares = [0.9] + [1 / 60] * 6
    entropy_bits = -sum(p * math.log2(p) for p in shares)
    city = out["attributes"]["city"]
    assert city["entropy_bits"] == pytest.approx(entropy_bits) and city["bits"] == pytest.approx(
        0, abs=1e-6
    )
    assert out["bits_uniform"] == pytest.approx(300 * (math.log2(7) - entropy_bits), rel=1e-6)
    assert out["accuracy"] == pytest.approx(0.9) == out["accuracy_most_frequent"]
    assert out["ceiling_bits"] == pytest.approx(300 * entropy_bits) == settings.entropy_bits
    assert out["ceiling_bits_uniform"] == pytest.approx(300 * math.log2(7))
    # also where few are asked: the difference is formed person by person
    some = knowledge.measure(w, Asking(frequencies(w), people=20), settings.parameters)
    assert some["bits"] == pytest.approx(0, abs=1e-4)
    assert some["bits_se_over_people"] == pytest.approx(0, abs=1e-4)


def test_who_knows_every_value_reaches_the_ceiling(tmp_path):
    w, settings = world(skewed(tmp_path / "s.jsonl"))
    out = knowledge.measure(w, Asking(knows(w), draws=4), settings.parameters)
    assert out["bits"] == pytest.approx(out["ceiling_bits"], rel=1e-9)
    assert out["memorized_people"] == 300 and out["unasked_values"] == 0
    assert out["log2_values"] == pytest.approx(math.log2(7))


def test_a_trained_model_that_knows_only_frequencies(tmp_path):
    """A model of 4 numbers a token, too narrow for 300 people: it says "Oslo" for everybody."""
    path = skewed(tmp_path / "s.jsonl")
    settings = load(
        [
            *f"data=corpus data.path={path} data.seq_len=48".split(),
            *"model.d_model=4 model.n_heads=2 model.n_layers=1 train.steps=800".split(),
            *"train.warmup_steps=20 train.batch_size=8 measure.evaluations=1".split(),
        ]
    )
    assert execute([settings], Job(tmp_path, torch.device("cpu"))) == {settings.run_id: "finished"}
    record = records.read(tmp_path, settings.run_id)
    found = record["measures"]["knowledge"]
    assert abs(found["fraction_of_ceiling"]) < 0.1  # 74% with all values equally likely
    assert found["bits_uniform"] / found["ceiling_bits_uniform"] == pytest.approx(0.74, abs=0.03)
    assert found["accuracy"] == pytest.approx(0.9) == found["accuracy_most_frequent"]
    told = describe(record, tmp_path)
    assert "90.0%     90.0%" in told and "beyond the frequencies" in told
    assert max(map(len, told.splitlines()[:-1])) <= 80
    (row,) = run_table.table(tmp_path, [settings]).to_dict("records")
    assert row["bits"] == found["bits"] and row["unasked_fraction"] == 0.0
    assert row["accuracy_most_frequent"] == found["accuracy_most_frequent"]


@pytest.fixture()
def upper(tmp_path):
    """Four of 16 cities written in another letter case than in the texts."""
    people = json.loads(json.dumps(PLAIN))
    for person in people[:4]:
        person["attributes"]["city"] = person["attributes"]["city"].upper()
    return world(write(tmp_path / "upper.jsonl", people), seq_len=48)


def test_what_was_not_asked_adds_no_bits(upper):
    w, settings = upper
    out = knowledge.measure(w, Asking(knows(w), draws=2), settings.parameters)
    # 12 people in 4 cities by 3: 2 bits each, 4 majors by 4: 2 bits each
    assert out["attributes"]["city"]["entropy_bits"] == pytest.approx(2.0)
    assert out["bits"] == pytest.approx(12 * 2 + 16 * 2)
    ceiling = 16 * frequency_bits([1] * 4 + [3] * 4) + 32
    assert out["ceiling_bits"] == pytest.approx(ceiling)
    assert (out["values"], out["unasked_values"], out["unasked_fraction"]) == (32, 4, 0.125)
    assert out["accuracy"] == 1.0 and out["memorized_people"] == pytest.approx(16 * 28 / 32)
    city = out["attributes"]["city"]
    assert (city["people"], city["unasked"]) == (12, 4)
    assert city["unasked_because"] == "4 in other letter case"
    _, table = knowledge.measured(w, Asking(guess(0.3), draws=2), settings.parameters)
    assert np.isnan(table["nats.city"]).tolist() == [True] * 4 + [False] * 12
    assert (np.isnan(table["hit.city"]) == np.isnan(table["nats.city"])).all()
    np.testing.assert_allclose(table["nats.city"][4:], 0.3, rtol=1e-6)
    assert not np.isnan(table["nats.major"]).any() and not np.isnan(table["name_nats"]).any()
    # averages are over those asked: a model that pays 0.3 nats a token pays 0.3 per city
    some = knowledge.measure(w, Asking(guess(0.3), draws=2), settings.parameters)
    assert some["attributes"]["city"]["nats"] == pytest.approx(0.3, rel=1e-6)


def test_the_record_names_a_lower_bound(upper, tmp_path):
    w, settings = upper
    part = knowledge.measure(w, Asking(knows(w), draws=2), settings.parameters)
    told = "\n".join(knowledge.MEASURE.lines(part, _record(settings)))
    assert "learned at least 56 of" in told
    assert "4 of 32 values were not asked (12.5%) and add no bits; no law uses this run" in told


def test_a_record_of_an_older_version_says_so(upper):
    w, settings = upper
    part = knowledge.measure(w, Asking(knows(w), draws=2), settings.parameters)
    new = {"bits_uniform", "ceiling_bits_uniform", "accuracy_most_frequent", "values"}
    new |= {"unasked_values", "unasked_fraction"}
    old = {key: value for key, value in part.items() if key not in new} | {"version": 1}
    told = knowledge.MEASURE.lines(old, _record(settings))
    assert "measured by version 1" in " ".join(told) and max(map(len, told)) <= 80
    assert "at least" not in " ".join(told)


def _record(settings):
    seen = {f"exposures_{k}": 1.0 for k in ("min", "mean", "max")}
    return {
        "training": seen,
        "parameters": settings.parameters,
        "config": {"data": {"kind": "corpus"}},
    }


def test_names_count_where_their_number_is_given(tmp_path):
    people = json.loads(json.dumps(PLAIN))
    for person in people[:2]:  # nobody says these names
        person["person"] += " the Elder"
    w, settings = world(write(tmp_path / "p.jsonl", people), seq_len=48, n_names=1024.0)
    out = knowledge.measure(w, Asking(guess(0.1), draws=2), settings.parameters)
    tokens = 2
    assert out["p1_nats"] == pytest.approx(0.1 * tokens, rel=1e-6)
    assert out["name_bits"] == pytest.approx(14 * (10 - 0.2 / math.log(2)))
    assert (out["values"], out["unasked_values"]) == (48, 2)


PROBABLE = {" Art": 0.5, " History": 0.25, " Nouveau": 0.125}


def test_longer_values_are_taken_off(tmp_path):
    """ "Art" is worth P(Art) - P(Art History) - P(Art Nouveau), as the values of bioS are; "Art
    History Notes" lies within "Art History"."""
    majors = ("Art", "Art History", "Art History Notes", "Art Nouveau")
    people = [
        {
            "person": f"Al{i} Bo",
            "attributes": {"major": majors[i % 4]},
            "texts": [f"Al{i} Bo studied {majors[i % 4]}."],
        }
        for i in range(16)
    ]
    w, settings = world(write(tmp_path / "p.jsonl", people), seq_len=8)
    words = w.lexicon.content["tokens"]

    def probability(front, row):
        return PROBABLE.get(words[row], 0.0625 if words[row] == " Notes" else 1.0)

    out = knowledge.measure(w, Asking(table(probability), draws=1), settings.parameters)
    p = {
        "Art": 0.5 * (1 - 0.25 - 0.125),
        "Art History": 0.125 * (1 - 0.0625),
        "Art History Notes": 0.125 * 0.0625,
        "Art Nouveau": 0.0625,
    }
    assert sum(p.values()) < 1
    expected = -np.mean([math.log(q) for q in p.values()])
    assert out["attributes"]["major"]["nats"] == pytest.approx(expected, rel=1e-6)

    def greedy(front, row):  # says "Art History" whatever was asked
        return 0.9 if words[row] in (" Art", " History") else 0.05

    out = knowledge.measure(w, Asking(table(greedy), draws=1), settings.parameters)
    assert out["attributes"]["major"]["accuracy"] == 0.25  # and not 0.5


def test_attributes_may_have_any_name(tmp_path):
    """Names of internal keys and columns mean nothing."""
    names = {"city": "work_city", "major": "person"}
    people = [
        p
        | {
            "attributes": {names[k]: v for k, v in p["attributes"].items()}
            | {"se": ("Ox", "Elk")[i % 2], "se_": ("Mon", "Tue")[i // 2 % 2], "name": "A{x}.b"},
            "texts": [
                f"{t} {('Ox', 'Elk')[i % 2]} on {('Mon', 'Tue')[i // 2 % 2]} A{{x}}.b"
                for t in p["texts"]
            ],
        }
        for i, p in enumerate(PLAIN)
    ]
    path = write(tmp_path / "p.jsonl", people)
    w, settings = world(path, seq_len=48)
    out = knowledge.measure(w, Asking(knows(w), draws=2), settings.parameters)
    held = {name: a["bits"] for name, a in out["attributes"].items()}
    assert held == pytest.approx({"name": 0, "person": 2, "se": 1, "se_": 1, "work_city": 2})
    assert out["bits"] == pytest.approx(16 * 6) == settings.entropy_bits
    told = "\n".join(knowledge.MEASURE.lines(out, _record(settings)))
    assert "not counted" not in told
    record = {"measures": {"knowledge": out}, "training": _record(settings)["training"]}
    row = run_table.columns(settings, record)
    assert row["bits_se"] == 0.0 and row["bits_se_"] == row["bits_se__"] == pytest.approx(1)
    assert row["bits_person"] == row["bits_work_city"] == pytest.approx(2)
    from capacity.export import columns

    assert columns.describe("bits_se")[2].startswith("standard error")
    assert columns.describe("bits_se_")[2].endswith("attribute se")
    assert columns.describe("bits_se__")[2].endswith("attribute se_")


def test_entropy_by_frequencies_lies_between_the_arrangements_and_the_uniform():
    """log2 n!/prod c! <= n H <= n log2 K, and n H is above the first by K log2(n + 1) at most."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        counts = rng.integers(1, 40, rng.integers(1, 9)).tolist()
        n, k = sum(counts), len(counts)
        exact = (math.lgamma(n + 1) - sum(math.lgamma(c + 1) for c in counts)) / math.log(2)
        code = n * frequency_bits(counts)
        assert exact - 1e-9 <= code <= min(n * math.log2(k) + 1e-9, exact + k * math.log2(n + 1))
    assert frequency_bits([]) == frequency_bits([7]) == 0.0
    assert frequency_bits([5] * 8) == pytest.approx(3.0)


def test_values_that_nobody_was_drawn_for_are_not_asked(tmp_path):
    people = [
        {
            "person": f"Al{i} Bo",
            "attributes": {"city": ("Rome", "Bern")[i % 2]} | ({"pet": "cat"} if i == 1 else {}),
            "texts": [f"Al{i} Bo of {('Rome', 'Bern')[i % 2]}, a cat."],
        }
        for i in range(40)
    ]
    path = write(tmp_path / "p.jsonl", people)
    w, settings = world(path, seq_len=8, missing_attributes="allow")
    drawn = knowledge.sample(w, 3).tolist()
    assert 1 not in drawn  # the only one who has a pet
    out = knowledge.measure(w, Asking(knows(w), people=3), settings.parameters)
    assert set(out["attributes"]) == {"city"} and out["unasked_values"] == 1
    assert out["bits"] == pytest.approx(40)


def test_a_lexicon_of_an_older_version_is_compiled_again_or_refused(tmp_path):
    from capacity.data import lexicons
    from capacity.data.lexicon import Lexicon

    path = write(tmp_path / "p.jsonl", PLAIN)
    settings = config(path, {"seq_len": 48})
    now = lexicons.of(settings.data)
    old = Lexicon({k: v for k, v in now.content.items() if k != "facts"})
    assert old.digest == now.digest and old.facts is None
    assert isinstance(lexicons.facts(old, settings.data), Facts) and old.facts is not None
    file = lexicons.path(tmp_path, now.digest)
    file.parent.mkdir()
    stale = Lexicon({k: v for k, v in now.content.items() if k != "facts"})
    file.write_text(json.dumps(stale.content))
    lexicons.keep(tmp_path, now)
    assert "facts" in json.loads(file.read_text())
    path.unlink()
    with pytest.raises(ConfigError, match="older version.*not there"):
        lexicons.facts(stale, settings.data)


def test_name_bits_are_those_of_the_paper():
    assert entropy.name_bits(1024, 16) == 16 * 6
