"""Bits of knowledge about people: the losses p1, p2, p3 of "Physics of Language Models 3.3" and the
capacity ratio.

For each person the model is asked, in a fresh context that begins with EOS, for the name and for
every attribute:

p1  nats of the full name directly behind EOS, summed over its tokens, averaged over people
p2  nats of the value of an attribute, summed over its tokens, averaged over people and contexts;
    for bioS summed over birth date, birth city, university, major, employer and gender (Definition
    4.3; footnote 12: the city of work follows from the employer and counts no bits)
p3  of bioD: the same for the first chunk of a value

Two contexts for p2, recorded with the result. The paper states none.

first   the attribute's sentence comes first, behind EOS and the full name, with several templates,
        the same for all people. Nothing else can leak. Only templates in which nothing but the
        value can follow are used, as long as there are any. For texts whose order and wording are
        drawn anew.
text    the person's own text up to the value, as in training; the city of work is left out where it
        would come before the employer (it holds 6.31 of the 8.04 bits of the employer), and the
        employer where it would come before the city. For texts of a fixed order or wording.

The gender is scored at the first pronoun, in the second sentence: the raw probability of the
pronoun, not renormalized over {He, She}, which costs a little if anything. A value whose tokens
start those of another value is worth the probability of its tokens minus that of the longer values
that start with it; nothing else is renormalized.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.data import entropy, hashing, resolve
from capacity.data.biographies import BiodWorld, BiosWorld, CorpusWorld
from capacity.data.questions import context_of
from capacity.declare import knowledge as declared
from capacity.measure.questions import (
    Asking,
    Question,
    ask_value,
    gender_question,
    name_question,
    starts,
)

MEASURE = declared.MEASURE
World = BiosWorld | BiodWorld | CorpusWorld


def _summary(nats_TR: list[np.ndarray], hits_TR: list[np.ndarray], bits: float) -> dict:
    """One attribute: means over contexts and people; the spread is over contexts (templates or
    texts)."""
    means = [float(n.mean()) for n in nats_TR]
    p = float(np.mean(means))
    return {
        "entropy_bits": bits,
        "nats": p,
        "nats_sd_over_contexts": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "contexts": len(means),
        "bits": bits - p / math.log(2),
        "accuracy": float(np.mean([h.mean() for h in hits_TR])),
    }


def measure_bios(world: BiosWorld, asking: Asking, parameters: dict[str, int]) -> dict[str, Any]:
    """All numbers of bioS for one member, ready for its record."""
    data, draws = world.data, asking.draws
    asking = dataclasses.replace(asking, context=context_of(data, asking.context))
    person = sample(world, asking.people)
    p1_R, _ = asking.ask(world.pieces, name_question(world, person))
    if asking.context == "text" and data.biographies is not None:
        draws = min(draws, data.biographies)
    by_attribute, total_R, correct = {}, p1_R.copy(), []
    for name in (*data.attribute_sizes, "work_city"):
        if name == "gender":
            asked = [gender_question(world, person, d, asking.context) for d in range(draws)]
            scored = [asking.ask(world.pieces, question) for question in asked]
        elif name in world.attributes:
            scored = [ask_value(world, person, name, d, asking) for d in range(draws)]
        else:
            continue
        nats, hits = [s[0] for s in scored], [s[1] for s in scored]
        bits = (
            math.log2(data.attribute_sizes[name])
            if name in data.attribute_sizes
            else _place_bits(world)
        )
        by_attribute[name] = _summary(nats, hits, bits)
        if name != "work_city":
            total_R += np.mean(nats, axis=0)
            if name != "gender":
                correct.append(np.mean(hits, axis=0))
    p1, p2 = (
        float(p1_R.mean()),
        sum(a["nats"] for name, a in by_attribute.items() if name != "work_city"),
    )
    n, n0, s0 = world.n_people, data.n_names, data.attribute_bits
    held = entropy.knowledge_bits(n, n0, p1, s0, p2)
    out = {
        "p1_nats": p1,
        "p2_nats": p2,
        "attributes": by_attribute,
        "name_bits": n * (math.log2(n0) - p1 / math.log(2)),
        "value_bits": n * (s0 - p2 / math.log(2)),
        "log2_names": math.log2(n0),
        "log2_values": s0,
    }
    return _finish(
        out,
        world,
        asking.context,
        _Answers(
            person, held, entropy.knowledge_ceiling(n, n0, s0), total_R, np.concatenate(correct)
        ),
        parameters,
    )


def _place_bits(world: BiosWorld) -> float:
    """Entropy of the city of work over equally likely employers."""
    _, count = world.headquarters.unique(return_counts=True)
    p = count.double() / count.sum()
    return float(-(p * p.log2()).sum())


def measure_biod(world: BiodWorld, asking: Asking, parameters: dict[str, int]) -> dict[str, Any]:
    """All numbers of bioD for one member (Definition 4.1): each attribute's sentence directly
    behind the name."""
    d = world.data
    person = sample(world, asking.people)
    p1_R, _ = asking.ask(world.pieces, name_question(world, person))
    whole, first_chunk, hits = [], [], []
    for k in range(d.attributes):
        order = torch.full((len(person), 1), k, device=world.device)
        slots = torch.cat([torch.ones_like(order), world.sentences(person, order).flatten(1)], 1)
        begin = starts(world, slots)[:, 5]
        commas = (d.chunks - 1) * (len(world.lexicon.pieces[world.comma]) if world.comma else 0)
        length = torch.full_like(begin, d.chunks * d.length + commas)
        nats, hit = asking.ask(world.pieces, Question(slots, begin, length))
        whole.append(nats)
        hits.append(hit)
        chunk = Question(slots, begin, torch.full_like(begin, d.length))
        first_chunk.append(nats if d.chunks == 1 else asking.ask(world.pieces, chunk)[0])
    p1, p2, p3 = float(p1_R.mean()), float(np.mean(whole)), float(np.mean(first_chunk))
    n, sizes = world.n_people, resolve.BiodResolved(d).sizes
    held = entropy.biod_bits(n, sizes, p1, p2, p3)
    value_bits = d.chunks * math.log2(d.diversity)
    by_attribute = {
        f"ID {k + 1}": _summary([whole[k]], [hits[k]], value_bits) for k in range(d.attributes)
    }
    out = {
        "p1_nats": p1,
        "p2_nats": p2,
        "p3_nats": p3,
        "attributes": by_attribute,
        "name_bits": n * (math.log2(d.n_names) - p1 / math.log(2)),
        "value_bits": n * d.attributes * (value_bits - p2 / math.log(2)),
        "diversity_bits": d.attributes
        * entropy.diversity_bits(d.alphabet, d.length, d.diversity, p3),
        "log2_names": math.log2(d.n_names),
        "log2_values": d.attributes * value_bits,
    }
    total_R = p1_R + np.sum(whole, axis=0)
    return _finish(
        out,
        world,
        "first",
        _Answers(person, held, entropy.biod_ceiling(n, sizes), total_R, np.concatenate(hits)),
        parameters,
    )


def measure_corpus(
    world: CorpusWorld, asking: Asking, parameters: dict[str, int]
) -> dict[str, Any]:
    """Names and values of an imported corpus where they first occur in a person's own texts, with
    all that stands before them; values count log2(different values in the corpus) bits."""
    content, n = world.lexicon.content, world.n_people
    person = sample(world, asking.people)
    names = ["person", *content["values"]]
    nats = {name: [[] for _ in range(len(person))] for name in names}
    hits = {name: [[] for _ in range(len(person))] for name in names}
    for name in names:
        for draw in range(asking.draws):
            rows = []
            for r, i in enumerate(person.tolist()):
                spans = content["spans"][i]
                if draw < len(spans) and spans[draw].get(name) is not None:
                    rows.append((r, content["texts"][i][draw], *spans[draw][name]))
            if rows:
                r, text, begin, length = (
                    torch.tensor(column, device=world.device) for column in zip(*rows, strict=True)
                )
                question = Question(
                    torch.stack([torch.ones_like(text), text], 1), begin + 1, length
                )
                for at, nat, hit in zip(
                    r.tolist(), *asking.ask(world.pieces, question), strict=True
                ):
                    nats[name][at].append(nat)
                    hits[name][at].append(hit)
    by_attribute, total_R, correct = {}, np.zeros(len(person)), []
    for name in names:
        found = [r for r in range(len(person)) if nats[name][r]]
        p_R = np.array([np.mean(nats[name][r]) for r in found])
        right = np.array([np.mean(hits[name][r]) for r in found])
        bits = (
            math.log2(len(content["values"][name]))
            if name != "person"
            else math.log2(world.data.n_names or n)
        )
        by_attribute[name] = _summary([p_R], [right], bits) | {"people": len(found)}
        if name != "person":
            correct.append(right)
        if name != "person" or world.data.n_names is not None:
            total_R[found] += p_R
    p1 = by_attribute.pop("person")["nats"]
    p2 = sum(a["nats"] for a in by_attribute.values())
    name_bits = (
        n * (math.log2(world.data.n_names) - p1 / math.log(2))
        if world.data.n_names is not None
        else 0.0
    )
    held = name_bits + n * (world.lexicon.attribute_bits - p2 / math.log(2))
    out = {
        "p1_nats": p1,
        "p2_nats": p2,
        "attributes": by_attribute,
        "name_bits": name_bits,
        "value_bits": held - name_bits,
        "log2_names": None if world.data.n_names is None else math.log2(world.data.n_names),
        "log2_values": world.lexicon.attribute_bits,
    }
    return _finish(
        out,
        world,
        "text",
        _Answers(person, held, resolve.of(world.data).bits(n), total_R, np.concatenate(correct)),
        parameters,
    )


@dataclass(frozen=True)
class _Answers:
    """What was learned and what could be, in bits; of each person who was asked (index R) the nats
    of all answers; and how often each value of each person was right."""

    person_R: Tensor
    held: float
    ceiling: float
    nats_R: np.ndarray
    correct: np.ndarray


def _finish(
    out: dict[str, Any],
    world: World,
    context: str,
    answers: _Answers,
    parameters: dict[str, int],
) -> dict[str, Any]:
    """Totals, ratios by parameter convention, and their uncertainty where not everybody was
    asked."""
    n, asked, held, ceiling = world.n_people, len(answers.person_R), answers.held, answers.ceiling
    spread = (
        n * float(answers.nats_R.std(ddof=1)) / math.log(2) / math.sqrt(asked)
        if 1 < asked < n
        else 0.0
    )
    if asked == n and world.data.kind != "corpus":
        # both bounds are exact then, up to names whose tokens start those of another name; a corpus
        # may say in front of a name whose it is
        assert held <= ceiling * 1.01 + 1.0, f"{held} bits learned of at most {ceiling}"
    return {
        "version": MEASURE.version,
        "context": context,
        "people": n,
        "people_asked": asked,
        **out,
        "bits": held,
        "bits_se_over_people": spread,
        "ceiling_bits": ceiling,
        "fraction_of_ceiling": held / ceiling,
        "accuracy": float(answers.correct.mean()),
        "memorized_people": n * float(answers.correct.mean()),
        "bits_per_parameter": {name: held / p for name, p in parameters.items()},
        "ceiling_per_parameter": {name: ceiling / p for name, p in parameters.items()},
    }


def sample(world: World, people: int | None) -> Tensor:
    """The people who are asked: all, or so many of them drawn evenly, the same ones in every
    evaluation."""
    n = world.n_people
    if people is None or people >= n:
        return torch.arange(n, device=world.device)
    return (
        hashing.permute(hashing.key(0, "asked"), torch.arange(people, device=world.device), n)
        .sort()
        .values
    )


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "bios": measure_bios,
    "biod": measure_biod,
    "corpus": measure_corpus,
}


def measure(world: World, asking: Asking, parameters: dict[str, int]) -> dict[str, Any]:
    """The measure of a world, see the module's text; parameters: counts by convention."""
    return MEASURE.returns(MEASURES[world.data.kind](world, asking, parameters))
