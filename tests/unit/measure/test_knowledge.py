"""Bits of knowledge against oracles: models whose every probability follows from a language written
in plain Python."""

import itertools
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracles
from capacity.data import entropy, resolve
from capacity.data.questions import context_of
from capacity.measure import questions
from capacity.measure.questions import Question
from oracles import LINES, measured, oracle

PREFIXES = ["Business", "Business Administration", "Law", "Business Administration and Law"]
# the world is never changed
SAME = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def build(tmp_path):
    return partial(oracles.bios, tmp_path)


VARIANTS = [
    {},
    {"order": "fixed"},
    {"biographies": 2},
    {"order": "pairs", "biographies": 3},
    {"full_names": True},
    {"biographies": 3, "same_sentences": True},
    {"cities": 0, "universities": 0, "biographies": 1},
    {"employers": 0},
    {"years": 0, "cities": 0, "universities": 0, "majors": 0},
]
EVERYTHING = ("name", "gender", *LINES)


# ------------------------------------------------------------------------------------------ oracles


@pytest.mark.parametrize("data", VARIANTS, ids=str)
@pytest.mark.parametrize("context", ["first", "text"])
def test_who_knows_nobody_has_zero_bits(build, data, context):
    """The uniform oracle, which does read the employer off a city: R = 0, in each part."""
    world = build(**data)
    out = measured(world, oracle(world), context=context)
    assert out["p1_nats"] == pytest.approx(math.log(12))
    assert out["p2_nats"] == pytest.approx(out["log2_values"] * math.log(2))
    assert out["bits"] == pytest.approx(0, abs=1e-9) and out["name_bits"] == pytest.approx(
        0, abs=1e-9
    )
    assert {k: a["bits"] for k, a in out["attributes"].items()} == pytest.approx(
        dict.fromkeys(out["attributes"], 0), abs=1e-9
    )
    assert (
        out["context"] == context and out["people_asked"] == 6 and out["bits_se_over_people"] == 0
    )


@pytest.mark.parametrize("data", VARIANTS, ids=str)
@pytest.mark.parametrize("context", ["first", "text"])
def test_who_knows_everybody_reaches_the_ceiling(build, data, context):
    world = build(**data)
    out = measured(world, oracle(world, EVERYTHING), context=context)
    assert out["p1_nats"] == pytest.approx(math.log(6)) and out["p2_nats"] == pytest.approx(
        0, abs=1e-12
    )
    ceiling = 6 * (math.log2(12 / 6) + world.data.attribute_bits)
    assert out["bits"] == pytest.approx(ceiling) and out["ceiling_bits"] == pytest.approx(ceiling)
    assert (
        out["bits_per_parameter"]
        == dict.fromkeys(("total", "paper"), pytest.approx(ceiling / 100))
        == out["ceiling_per_parameter"]
    )
    assert (
        out["fraction_of_ceiling"] == pytest.approx(1)
        and out["accuracy"] == 1
        and out["memorized_people"] == 6
    )
    assert ("gender" in out["attributes"]) == (not data.get("full_names", False))
    assert out["log2_values"] == pytest.approx(world.data.attribute_bits)


@pytest.mark.parametrize("data", [{}, {"biographies": 2}, {"order": "pairs"}], ids=str)
@pytest.mark.parametrize(
    "knows",
    [
        ("major",),
        ("name",),
        ("gender", "birth_date"),
        ("name", "employer", "work_city"),
        ("work_city",),
        ("birth_city", "university"),
    ],
    ids=str,
)
def test_who_knows_some_things_has_exactly_their_bits(build, data, knows):
    world = build(**data)
    out = measured(world, oracle(world, knows))
    sizes = {
        "birth_date": 8,
        "birth_city": 3,
        "university": 2,
        "major": 3,
        "employer": 4,
        "gender": 2,
    }
    wanted = {name: math.log2(size) if name in knows else 0.0 for name, size in sizes.items()}
    assert {name: out["attributes"][name]["bits"] for name in sizes} == pytest.approx(
        wanted, abs=1e-9
    )
    # the city is half the employer's bits; it counts none itself, but whoever knows it should know
    # it when asked
    assert out["attributes"]["work_city"]["bits"] == pytest.approx(
        float("work_city" in knows), abs=1e-9
    )
    assert out["bits"] == pytest.approx(6 * (sum(wanted.values()) + ("name" in knows)), abs=1e-9)
    for name in set(knows) - {"name"}:
        assert out["attributes"][name]["accuracy"] == 1


def test_the_city_of_work_has_the_entropy_of_its_employers(build):
    world = build(changed={"company": ["Orbo; Rome, NY", "Zenro; Ames, IA", "Tarn Oil; Rome, NY"]})
    entropy_bits = measured(world, oracle(world))["attributes"]["work_city"]["entropy_bits"]
    assert entropy_bits == pytest.approx(-(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3)))


@pytest.mark.parametrize("data", [{}, {"biographies": 2}], ids=str)
def test_values_that_start_other_values_are_worth_their_own_probability(build, data):
    """Majors and employers with prefixes, of unequal probability: -ln of what the model would say
    before it stops."""
    companies = ["Disney; Rome, NY", "Disney+; Ames, IA", "Tarn; Rome, NY", "Tarn Oil; Ames, IA"]
    world = build(n=9, changed={"field": PREFIXES, "company": companies}, **data)
    weights = {"major": (0.1, 0.2, 0.3, 0.4), "employer": (0.4, 0.35, 0.05, 0.2)}
    out = measured(world, oracle(world, weights=weights))
    for name, q in weights.items():
        wanted = np.mean(
            [-math.log(q[world.words.values[name].index(v)]) for v in world.words.own[name]]
        )
        assert out["attributes"][name]["nats"] == pytest.approx(wanted, abs=1e-9)
        best = world.words.values[name][int(np.argmax(q))]
        if (
            name == "employer"
        ):  # of majors, the greedy path Business, Administration, and, Law is the likeliest too
            best = "Disney"
        assert out["attributes"][name]["accuracy"] == pytest.approx(
            np.mean([v == best for v in world.words.own[name]])
        )


def test_a_longer_value_is_taken_off_even_if_one_between_is_not_in_this_world(build):
    """Of the pool Business < Business Administration < Business Administration and Law the world
    has the ends only."""
    majors = ["Business", "Business Administration and Law", "Art", "Business Administration"]
    world = build(n=12, changed={"field": majors}, majors=3, vocabulary="pools", seed=2)
    world.words.values["major"] = majors[:3]
    out = measured(world, oracle(world, weights={"major": (0.2, 0.5, 0.3)}))
    wanted = [
        -math.log({"Business": 0.2, "Business Administration and Law": 0.5, "Art": 0.3}[v])
        for v in world.words.own["major"]
    ]
    assert set(world.words.own["major"]) == set(majors[:3])
    assert out["attributes"]["major"]["nats"] == pytest.approx(np.mean(wanted), abs=1e-9)


# ----------------------------------------------------------------------------------------- contexts


def asked(world, question):
    """Of each row the text in front of the asked span and the span itself."""
    tokens, length = world.pieces.join(question.slots)
    return [
        (world.words.text(row[:b].tolist()), world.words.text(row[b : b + n].tolist()))
        for row, b, n in zip(
            tokens.split(length.tolist()),
            question.begin.tolist(),
            question.length.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("data", [*VARIANTS[:6], {"odd": True, "biographies": 4}], ids=str)
@pytest.mark.parametrize("context", ["first", "text"])
def test_a_value_is_asked_where_nothing_tells_it(build, data, context):
    """Behind EOS and this person's own text; never the employer behind its city or the city behind
    its employer."""
    odd = {
        name: [f"On the {name} side, {{value}} is where {{subject}} is.", *some]
        for name, some in LINES.items()
    }
    data = dict(data)
    world = build(n=12, lines=odd if data.pop("odd", False) else LINES, **data)
    w, person = world.words, torch.arange(12)
    tokens, length = world.pieces.join(
        torch.cat([world.render(person, torch.full_like(person, e)) for e in range(3)])
    )
    rendered = [w.text(row.tolist()) for row in tokens.split(length.tolist())]
    for draw, name in itertools.product(range(3), world.attributes):
        for i, (before, span) in enumerate(
            asked(world, questions.value_question(world, person, name, draw, context))
        ):
            assert before.startswith("<|endoftext|>") and span == " " + w.own[name][i]
            assert w.people[i] in before or (context == "text" and " side," in before)
            if name == "employer":
                assert not any(place in before for place in w.place)
            if name == "work_city":
                assert not any(" " + employer in before for employer in w.values["employer"])
            if context == "first":
                assert before.count(w.people[i]) == 1 and not re.search(r" (He|She)\b", before)
            elif name not in ("employer", "work_city"):
                assert rendered[12 * draw + i].startswith(before + span)
    for draw in range(3) if not world.data.full_names else ():
        for i, (before, span) in enumerate(
            asked(world, questions.gender_question(world, person, draw, context))
        ):
            assert span == " " + w.own["gender"][i] and not re.search(r" (He|She)\b", before)
            assert (
                before.count("<|endoftext|>") == 1
                and sum(before.count(" " + p) for p in w.people) == 1
            )


def test_draws_go_over_the_templates_evenly(build):
    lines = LINES | {
        "major": [f"{{subject}} has {word} as {{value}}." for word in "abcdefghij"]
        + ["The {value} has {subject}."]
    }
    world = build(lines=lines)
    for draws in (5, 10, 20):
        shown = [
            asked(world, questions.value_question(world, torch.tensor([0]), "major", d, "first"))[
                0
            ][0]
            for d in range(draws)
        ]
        count = [shown.count(text) for text in set(shown)]
        assert len(count) == min(draws, 10) and max(count) == min(count)


@pytest.mark.parametrize(
    "data, context",
    [
        ({}, "first"),
        ({"order": "fixed"}, "text"),
        ({"order": "pairs"}, "text"),
        ({"biographies": 1}, "text"),
        ({"full_names": True}, "first"),
    ],
    ids=str,
)
def test_the_context_follows_from_the_data(build, data, context):
    world = build(**data)
    assert context_of(world.data, "auto") == context
    assert context_of(world.data, "text") == "text" and context_of(world.data, "first") == "first"


@pytest.mark.parametrize("size", [None, 60, 56])
def test_the_gender_is_asked_by_tokens_that_tell_it(build, size):
    """With a small vocabulary He and She may begin with the same token, which tells nothing."""
    world = build(n=12, vocab_size=size)
    person = torch.arange(12)
    question = questions.gender_question(world, person, 0, "first")
    tokens, length = world.pieces.join(question.slots)
    spans = [
        tuple(row[b : b + n].tolist())
        for row, b, n in zip(
            tokens.split(length.tolist()),
            question.begin.tolist(),
            question.length.tolist(),
            strict=True,
        )
    ]
    gender = world.words.own["gender"]
    assert set(gender) == {"He", "She"}
    assert not {s for s, g in zip(spans, gender, strict=True) if g == "He"} & {
        s for s, g in zip(spans, gender, strict=True) if g == "She"
    }


# ------------------------------------------------------------------------------------- planted bugs


def table(rows, seed, scale=2.0):
    """Next-token log-probabilities by position and last token; a model that is right about
    nothing."""
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(
        scale * torch.randn(7, rows, rows, generator=generator, dtype=torch.float64), 2
    )


def of_table(logs):
    def scorer(batch):
        place = torch.arange(batch.shape[1] - 1) % 7
        return (
            -logs[place, batch[:, :-1], batch[:, 1:]],
            logs[place, batch[:, :-1]].argmax(2) == batch[:, 1:],
        )

    return scorer


def by_hand(world, logs):
    """p1 and p2 of a table model in context `first`, both templates of every attribute: sums in
    plain Python."""
    w, p1, p2, parts = world.words, 0.0, 0.0, {}

    def nats(before, span):
        tokens, n = [0, *w.tokens(before), *w.tokens(span)], len(w.tokens(span))
        some = [
            -float(logs[(t - 1) % 7, tokens[t - 1], tokens[t]])
            for t in range(len(tokens) - n, len(tokens))
        ]
        return sum(some), len(some)

    for i, name in enumerate(w.people):
        p1 += nats("", " " + name)[0] / len(w.people)
        asked = [a for a in world.data.attribute_sizes if a != "gender"]
        for a, line in [(b, line) for b in asked for line in w.lines[b]]:
            before = " " + line.partition("{value}")[0].replace("{subject}", name).rstrip(" ")
            value, n = nats(before, " " + w.own[a][i])
            p2 += value / len(w.people) / 2
            parts.setdefault(a, []).append((value, n))
    return p1, p2, parts


@pytest.mark.parametrize("seed", range(4))
def test_a_table_model_gives_what_is_summed_by_hand(build, seed, monkeypatch):
    """To 1e-9; and the averaging bug, a missing EOS and padding are seen."""
    world = build(
        full_names=True, changed={"field": ["Law", "Art", "Bio"]}
    )  # no gender and no prefixes to take off
    logs = table(resolve.of(world.data).rows, seed)
    p1, p2, parts = by_hand(world, logs)
    out = measured(world, of_table(logs))
    assert out["p1_nats"] == pytest.approx(p1, abs=1e-9) and out["p2_nats"] == pytest.approx(
        p2, abs=1e-9
    )
    assert {a: out["attributes"][a]["nats"] for a in parts} == pytest.approx(
        {a: np.mean([v for v, _ in some]) for a, some in parts.items()}
    )
    assert out["bits"] == pytest.approx(
        entropy.knowledge_bits(6, 12, p1, world.data.attribute_bits, p2)
    )
    for batch_tokens in (1, 30, 200):  # how rows are cut into batches and padded shows nowhere
        again = measured(world, of_table(logs), batch_tokens=batch_tokens)
        assert again["p1_nats"] == pytest.approx(p1, abs=1e-9) and again[
            "p2_nats"
        ] == pytest.approx(p2, abs=1e-9)
    right = questions.ask
    averaged = sum(np.mean([v / n for v, n in some]) for some in parts.values())
    monkeypatch.setattr(
        questions,
        "ask",
        lambda pieces, q, *rest: (
            right(pieces, q, *rest)[0] / q.length.numpy(),
            right(pieces, q, *rest)[1],
        ),
    )
    assert (
        measured(world, of_table(logs))["p2_nats"] == pytest.approx(averaged) and averaged < p2 - 1
    )
    monkeypatch.setattr(
        questions,
        "ask",
        lambda pieces, q, *rest: right(
            pieces, Question(q.slots[:, 1:], q.begin - 1, q.length), *rest
        ),
    )
    with pytest.raises(AssertionError):  # the first token of a name has nothing in front of it
        measured(world, of_table(logs))
    question = questions.value_question(world, torch.arange(6), "major", 0, "first")
    assert (
        np.abs(
            questions.ask(world.pieces, question, of_table(logs), 10**6)[0]
            - right(world.pieces, question, of_table(logs), 10**6)[0]
        ).max()
        > 0.1
    )


def test_a_city_in_front_would_give_half_the_employer_away(build):
    """What must not be asked: behind the city's sentence the uniform oracle has H(headquarters)
    bits for nothing."""
    world = build(n=9)
    person, names = torch.arange(9), list(world.attributes)
    order = torch.tensor([[names.index("work_city"), names.index("employer")]]).expand(9, 2)
    slots, _, length = world.sentences(person, order, torch.zeros(9, 6, dtype=torch.int64))
    slots = torch.cat([world.head(9), slots.flatten(1)], 1)
    begin = (world.pieces.length[slots].cumsum(1) - world.pieces.length[slots])[:, 2 + 9 + 5]
    question = Question(slots, begin, length[:, 1])
    assert all(
        place in before
        for (before, _), place in zip(
            asked(world, question), world.words.own["work_city"], strict=True
        )
    )
    leaked, _ = questions.ask(world.pieces, question, oracle(world), 10**6)
    assert 2 - leaked.mean() / math.log(2) == pytest.approx(1.0)
    assert measured(world, oracle(world))["attributes"]["employer"]["bits"] == pytest.approx(
        0, abs=1e-9
    )


# --------------------------------------------------------------------------------------- invariants


@SAME
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 3.0, 12.0]))
def test_no_table_has_more_than_the_ceiling(build, seed, scale):
    world = build(n=8, changed={"field": PREFIXES})
    out = measured(world, of_table(table(resolve.of(world.data).rows, seed, scale)))
    assert out["bits"] <= out["ceiling_bits"] + 1e-9 and all(
        a["nats"] >= 0 for a in out["attributes"].values()
    )
    assert out["bits"] == pytest.approx(out["name_bits"] + out["value_bits"])


@pytest.mark.parametrize("knows", [(), ("name", "major"), EVERYTHING], ids=str)
def test_bits_fall_as_a_model_gets_vaguer(build, knows):
    world = build(n=8, changed={"field": PREFIXES})
    bits = [
        measured(world, oracle(world, knows, rest=rest))["bits"] for rest in (0.0, 1e-3, 0.03, 0.3)
    ]
    assert (
        sorted(bits, reverse=True) == bits
        and bits[0] <= measured(world, oracle(world))["ceiling_bits"] + 1e-9
    )


def test_asking_some_people_estimates_everybody(build):
    """The same people every time; the error of the estimate is reported, and known values need no
    more than a few."""
    world = build(n=12)
    few = measured(world, oracle(world, EVERYTHING), people=5)
    assert (
        few["people_asked"] == 5
        and few["people"] == 12
        and few["fraction_of_ceiling"] == pytest.approx(1)
    )
    logs = table(resolve.of(world.data).rows, 3)
    everybody, some = measured(world, of_table(logs)), measured(world, of_table(logs), people=8)
    assert some["bits_se_over_people"] > 0 == everybody["bits_se_over_people"]
    assert abs(some["bits"] - everybody["bits"]) < 5 * some["bits_se_over_people"]
    assert (
        measured(world, of_table(logs), people=8) == some
        and measured(world, of_table(logs), people=12) == everybody
    )


# --------------------------------------------------------------------------------------------- bioD


@pytest.mark.parametrize(
    "data", [{}, {"separator": "none"}, {"chunks": 1}, {"length": 1, "diversity": 4}], ids=str
)
@pytest.mark.parametrize("knows", [(), ("sets",), ("name",), ("name", "values")], ids=str)
def test_the_oracles_of_biod(data, knows):
    """Whoever knows the sets but nobody has exactly K D log2(T^L / D^2); who knows everything has
    the ceiling."""
    world = oracles.biod(**data)
    d = world.data
    out = measured(world, oracles.biod_oracle(world, knows), draws=1)
    chunk = (
        0.0
        if "values" in knows
        else math.log(d.diversity)
        if "sets" in knows
        else d.length * math.log(d.alphabet)
    )
    nats = [math.log(20 if "name" in knows else 40), d.chunks * chunk, chunk]
    assert [out[name] for name in ("p1_nats", "p2_nats", "p3_nats")] == pytest.approx(
        nats, abs=1e-9
    )
    sizes = entropy.BiodSizes(40, d.attributes, d.chunks, d.diversity, d.length, d.alphabet)
    assert out["bits"] == pytest.approx(entropy.biod_bits(20, sizes, *nats), abs=1e-9)
    assert out["bits"] == pytest.approx(
        out["name_bits"] + out["value_bits"] + out["diversity_bits"]
    )
    assert out["ceiling_bits"] == pytest.approx(entropy.biod_ceiling(20, sizes))
    assert out["bits"] <= out["ceiling_bits"] + 1e-9
    if knows == ("sets",):
        alone = d.attributes * d.diversity * math.log2(d.alphabet**d.length / d.diversity**2)
        assert out["bits"] == pytest.approx(alone, abs=1e-9)
    if "values" in knows:
        assert (
            out["fraction_of_ceiling"] == pytest.approx(1)
            and out["accuracy"] == 1
            and out["memorized_people"] == 20
        )
