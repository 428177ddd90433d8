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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.data import entropy, hashing, lexicons, resolve
from capacity.data.biographies import BiodWorld, BiosWorld, CorpusWorld
from capacity.data.facts import Attribute, Facts
from capacity.data.questions import context_of
from capacity.declare import knowledge as declared
from capacity.measure import corpus
from capacity.measure import people as by_person
from capacity.measure import tiers as by_tier
from capacity.measure.questions import Asking

MEASURE = declared.MEASURE
SIMILAR_SHOWN = 3  # pairs of similar names that a record quotes
World = BiosWorld | BiodWorld | CorpusWorld
Classes = by_tier.Classes


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


def _guessing(value_R: Tensor, listed: int) -> dict[str, float]:
    """What guessing answers of one attribute: any of the `listed` values alike, or always the one
    that most of those asked have. value_R: their values, int64 [R] or rows [R, C]."""
    _, count = value_R.unique(dim=0, return_counts=True)
    return {
        "accuracy_uniform": 1 / listed,
        "accuracy_most_frequent": int(count.max()) / len(value_R),
    }


def _mean_guessing(attributes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The same of all questions, of which each of these attributes has equally many."""
    return {
        key: float(np.mean([a[key] for a in attributes]))
        for key in ("accuracy_uniform", "accuracy_most_frequent")
    }


def measure_bios(
    world: BiosWorld, asking: Asking, parameters: dict[str, int], classes: Classes | None = None
) -> tuple[dict[str, Any], by_person.Table]:
    """All numbers of bioS for one member, ready for its record, and by person."""
    data = world.data
    person = sample(world, asking.people)
    answers = by_person.ask_bios(world, person, asking)
    p1_R = answers.name_R
    by_attribute, total_R, correct = {}, p1_R.copy(), []
    for name, (nats, hits) in answers.values.items():
        bits = data.value_bits(name) if name in data.attribute_sizes else _place_bits(world)
        listed = data.attribute_sizes.get(name) or len(world.headquarters.unique())
        by_attribute[name] = _summary(nats, hits, bits) | _guessing(
            world.values(name, person), listed
        )
        if name != "work_city":
            total_R += np.mean(nats, axis=0)
            if name != "gender":
                correct.append(np.mean(hits, axis=0))
    p1, p2 = (
        float(p1_R.mean()),
        sum(a["nats"] for name, a in by_attribute.items() if name != "work_city"),
    )
    n, n0, s0 = world.n_people, data.n_names, data.attribute_bits
    counted = [a for name, a in by_attribute.items() if name not in ("gender", "work_city")]
    held = entropy.knowledge_bits(n, n0, p1, s0, p2)
    out = {
        "p1_nats": p1,
        "p2_nats": p2,
        "attributes": by_attribute,
        "name_bits": n * (math.log2(n0) - p1 / math.log(2)),
        "value_bits": n * (s0 - p2 / math.log(2)),
        "log2_names": math.log2(n0),
        "log2_values": s0,
        **_mean_guessing(counted),
    }
    return _finish(
        out,
        world,
        context_of(data, asking.context),
        _Answers(
            person,
            held,
            entropy.knowledge_ceiling(n, n0, s0),
            total_R,
            np.concatenate(correct),
            np.mean(correct, axis=0),
            math.log2(n0) + s0,
        ),
        parameters,
        classes,
    ), answers.table()


def _place_bits(world: BiosWorld) -> float:
    """Entropy of the city of work over employers as they are drawn."""
    place, city_V = world.headquarters.unique(return_inverse=True)
    p = torch.zeros(len(place), dtype=torch.float64, device=world.device)
    p = p.index_add_(0, city_V, world.chances("employer"))
    p = p[p > 0]
    return float(-(p * p.log2()).sum())


def measure_biod(
    world: BiodWorld, asking: Asking, parameters: dict[str, int], classes: Classes | None = None
) -> tuple[dict[str, Any], by_person.Table]:
    """All numbers of bioD for one member (Definition 4.1), and by person."""
    d = world.data
    person = sample(world, asking.people)
    answers = by_person.ask_biod(world, person, asking)
    p1_R = answers.name_R
    by_context = [nats for nats, _ in answers.values.values()]
    whole = [np.mean(nats, axis=0) for nats in by_context]
    hits = [np.mean(hit, axis=0) for _, hit in answers.values.values()]
    first_chunk = by_context if d.chunks == 1 else by_person.first_chunks(world, person, asking)
    p1, p2, p3 = float(p1_R.mean()), float(np.mean(whole)), float(np.mean(first_chunk))
    n, sizes = world.n_people, resolve.BiodResolved(d).sizes
    held = entropy.biod_bits(n, sizes, p1, p2, p3)
    value_bits, chunks_RKC = d.chunks * math.log2(d.diversity), world.chunks(person)
    by_attribute = {
        name: _summary(nats, hit, value_bits) | _guessing(chunks_RKC[:, k], d.diversity**d.chunks)
        for k, (name, (nats, hit)) in enumerate(answers.values.items())
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
        **_mean_guessing(list(by_attribute.values())),
    }
    total_R = p1_R + np.sum(whole, axis=0)
    possible = math.log2(d.n_names) + d.attributes * value_bits
    return _finish(
        out,
        world,
        context_of(d, asking.context),
        _Answers(
            person,
            held,
            entropy.biod_ceiling(n, sizes),
            total_R,
            np.concatenate(hits),
            np.mean(hits, axis=0),
            possible,
        ),
        parameters,
        classes,
    ), answers.table()


def measure_corpus(
    world: CorpusWorld,
    asking: Asking,
    parameters: dict[str, int],
    classes: Classes | None = None,
) -> tuple[dict[str, Any], by_person.Table]:
    """Names and values of an imported corpus where a person's own texts state them, with all that
    stands in front of them; and by person.

    Bits are those beyond the frequencies of the values (`data/facts.py`); `bits_uniform` counts
    log2(different values) instead. What no text states is not asked and adds none, so that both are
    lower bounds then; averages are over those asked.
    """
    resolved, n, n_names = resolve.CorpusResolved(world.data), world.n_people, world.data.n_names
    facts = lexicons.facts(world.lexicon, world.data)
    person = sample(world, asking.people)
    people = person.tolist()
    answers = corpus.answers(world, facts, person, asking)
    named, bits_R = answers.pop(None), np.zeros(len(people))
    table = by_person.of_names(person, named.who, named.nats)
    p1 = float(named.nats.mean()) if named.who else None
    by_attribute, values, uniform, correct = {}, 0.0, 0.0, []
    right_R, asked_R = np.zeros(len(people)), np.zeros(len(people))
    guessed: dict[str, list[np.ndarray]] = {"accuracy_uniform": [], "accuracy_most_frequent": []}
    for name, about in facts.attributes.items():
        answered = answers[name]
        if not answered.who:  # of the people who were drawn nobody states it
            continue
        code_bits = np.array([about.code_bits(people[r]) for r in answered.who])
        own = code_bits - answered.nats / math.log(2)
        bits_R[answered.who] += own
        values += about.stating * float(own.mean())
        by_attribute[name] = _of_corpus(facts, about, answered, float(own.mean()))
        uniform += about.stating * by_attribute[name]["bits_uniform"]
        by_person.add(table, name, answered.who, answered.nats, answered.correct)
        correct.append(answered.correct)
        right_R[answered.who] += answered.correct
        asked_R[answered.who] += 1
        for key, each in guessed.items():
            each.append(np.full(len(answered.who), by_attribute[name][key]))
    name_bits = 0.0
    if n_names is not None and p1 is not None:
        bits_R[named.who] += math.log2(n_names) - named.nats / math.log(2)
        name_bits = sum(facts.named_N) * (math.log2(n_names) - p1 / math.log(2))
    if not by_attribute:
        raise ConfigError(
            f"measure.people={asking.people}: of the people drawn nobody's texts state a value; "
            "ask more people"
        )
    asked_for = facts.asked_for(n_names is not None)
    unasked = facts.unasked(n_names is not None) + sum(
        about.stating for name, about in facts.attributes.items() if name not in by_attribute
    )
    if n_names is not None and p1 is None:
        unasked += sum(facts.named_N)
    out = {
        "p1_nats": p1,
        "p2_nats": sum(a["nats"] for a in by_attribute.values()),
        "attributes": by_attribute,
        "name_bits": name_bits,
        "value_bits": values,
        "log2_names": None if n_names is None else math.log2(n_names),
        "log2_values": sum(a["uniform_entropy_bits"] for a in by_attribute.values()),
        "bits_uniform": name_bits + uniform,
        "ceiling_bits_uniform": resolved.uniform_bits(n),
        **{key: float(np.concatenate(each).mean()) for key, each in guessed.items()},
        "values": asked_for,
        "unasked_values": unasked,
        "unasked_fraction": unasked / asked_for,
        "similar_names": len(facts.similar),
    }
    if facts.similar:
        shown = [f"{one!r} and {two!r}" for one, two in facts.similar[:SIMILAR_SHOWN]]
        out["similar_names_examples"] = ", ".join(shown)
    right = np.concatenate(correct)
    having = sum(about.having for about in facts.attributes.values())
    stating = sum(facts.attributes[name].stating for name in by_attribute)
    # a lower bound as well: what was not asked counts as not known
    memorized = n * float(right.mean()) * stating / having
    measured = _finish(
        out,
        world,
        "text",
        _Answers(
            person,
            name_bits + values,
            resolved.bits(n),
            -bits_R * math.log(2),
            right,
            np.where(asked_R > 0, right_R / np.maximum(asked_R, 1), math.nan),
        ),
        parameters,
        classes,
    )
    return measured | {"memorized_people": memorized}, table


def _of_corpus(
    facts: Facts, about: Attribute, answers: corpus.Answers, bits: float
) -> dict[str, Any]:
    """One attribute of a corpus, which of those asked have `bits` beyond the frequencies on
    average."""
    out = _summary([answers.nats], [answers.correct], about.bits)
    out |= {
        "bits": bits,
        "contexts": answers.texts,
        "uniform_entropy_bits": about.uniform_bits,
        "bits_uniform": about.uniform_bits - out["nats"] / math.log(2),
        "accuracy_uniform": 1 / max(1, len(about.counts)),
        "accuracy_most_frequent": about.most_frequent,
        "people": len(answers.who),
        "unasked": about.having - about.stating,
        "shown_before": facts.shown[about.name] / about.stated_texts,
    }
    if why := facts.missed.get(about.name):
        out["unasked_because"] = ", ".join(f"{n} {words}" for words, n in sorted(why.items()))
    return out


@dataclass(frozen=True)
class _Answers:
    """What was learned and what could be, in bits; of each person who was asked (index R) the nats
    of all answers; how often each value of each person was right, and its mean by person (NaN where
    none was asked for); bits of a person of whom nothing is lost."""

    person_R: Tensor
    held: float
    ceiling: float
    nats_R: np.ndarray
    correct: np.ndarray
    correct_R: np.ndarray
    possible: float = 0.0

    @property
    def bits_R(self) -> np.ndarray:
        """Bits of name and values of each person who was asked."""
        return self.possible - self.nats_R / math.log(2)


def _finish(
    out: dict[str, Any],
    world: World,
    context: str,
    answers: _Answers,
    parameters: dict[str, int],
    classes: Classes | None,
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
    if classes is not None:
        out["tiers"] = by_tier.measure(
            classes, world, answers.person_R, answers.bits_R, answers.correct_R
        )
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


MEASURES: dict[str, Callable[..., tuple[dict[str, Any], by_person.Table]]] = {
    "bios": measure_bios,
    "mixed": measure_bios,
    "biod": measure_biod,
    "corpus": measure_corpus,
}


def measure(
    world: World, asking: Asking, parameters: dict[str, int], classes: Classes | None = None
) -> dict[str, Any]:
    """The measure of a world, see the module's text; parameters: counts by convention; classes:
    where people are seen at different rates."""
    return measured(world, asking, parameters, classes)[0]


def measured(
    world: World, asking: Asking, parameters: dict[str, int], classes: Classes | None = None
) -> tuple[dict[str, Any], by_person.Table]:
    """The same, and the answers of each person who was asked (`measure/people.py`)."""
    part, table = MEASURES[world.data.kind](world, asking, parameters, classes)
    return MEASURE.returns(part), table
