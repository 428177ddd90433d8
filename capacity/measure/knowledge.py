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
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from capacity.data import entropy, hashing, resolve
from capacity.data.biographies import SENTENCE, BiodWorld, BiosWorld, CorpusWorld, Pieces

NAME, VERSION = "knowledge", 1
Scorer = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # tokens int64 [B, T + 1] -> nats and greedy hits of targets [B, T]


@dataclass
class Question:
    """Rows of one kind to be scored: the tokens in front and the asked span, by rendering."""

    slots: Tensor  # pieces [R, S]
    begin: Tensor  # first asked token [R]
    length: Tensor  # asked tokens [R]


def ask(
    pieces: Pieces, question: Question, scorer: Scorer, batch_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nats of the asked spans, summed over tokens, fp64 [R], and whether a greedy reader would say
    them exactly, bool [R]."""
    tokens, length = pieces.join(question.slots)
    end = question.begin + question.length
    assert bool((question.begin > 0).all() and (end <= length).all()), (
        "an asked span lies outside its text"
    )
    first = length.cumsum(0) - length
    nats, hits = (
        torch.empty(len(length), dtype=torch.float64),
        torch.empty(len(length), dtype=torch.bool),
    )
    for rows in end.argsort().split(max(1, batch_tokens // int(end.max()))):
        width = int(end[rows].max())
        at = first[rows, None] + torch.arange(width, device=tokens.device).clamp(
            max=len(tokens) - 1
        )
        batch = tokens[at.clamp(max=len(tokens) - 1)].long()
        target = torch.arange(1, width, device=tokens.device)
        batch[:, 1:][target[None, :] >= end[rows, None]] = (
            0  # behind the span: other texts, which causality hides anyway
        )
        nll, greedy = scorer(batch)
        asked = (target[None, :] >= question.begin[rows, None]) & (
            target[None, :] < end[rows, None]
        )
        nats[rows.cpu()] = torch.where(asked, nll.double(), 0.0).sum(1).cpu()
        hits[rows.cpu()] = (greedy | ~asked).all(1).cpu()
    return nats.numpy(), hits.numpy()


def context_of(data, asked: str) -> str:
    """The context that is used: `asked`, or for auto the one that suits the texts."""
    if asked != "auto":
        return asked
    return (
        "first"
        if data.kind == "bios" and data.biographies is None and data.order == "permute"
        else "text"
    )


def _starts(world, slots_RS: Tensor) -> Tensor:
    """Number of tokens in front of each slot [R, S]."""
    length = world.pieces.length[slots_RS]
    return length.cumsum(1) - length


def name_question(world: BiosWorld | BiodWorld, person_R: Tensor) -> Question:
    """The full name directly behind EOS (and the tag)."""
    first, middle, last = world.names.parts(person_R)
    name = torch.stack(
        [world.names.first[first], world.names.middle[middle], world.names.last_GN[0, last]], 1
    )
    head = (
        world.head(len(person_R)) if isinstance(world, BiosWorld) else torch.ones_like(name[:, :1])
    )
    slots = torch.cat([head, name], 1)
    begin = world.pieces.length[head].sum(1)
    return Question(
        slots, begin, world.pieces.length[name[:, :2]].sum(1) + world.names.last_length_GN[0, last]
    )


def value_question(
    world: BiosWorld,
    person_R: Tensor,
    attribute: str,
    draw: int,
    context: str,
    swap: dict[str, Tensor] | None = None,
) -> Question:
    """The value of an attribute in the draw-th template (context first) or text (context text)."""
    a = world.attributes.index(attribute)
    if context == "first":
        order = torch.full((len(person_R), 1), a, device=world.device)
        template = _template(world, a, draw).expand(len(person_R), len(world.attributes))
    else:
        order, template = world.texts(
            person_R,
            torch.full_like(person_R, draw),
            world.data.biographies,
            world.data.order,
            world.data.same_sentences,
        )
        hidden = {"employer": "work_city", "work_city": "employer"}.get(attribute)
        hidden = world.attributes.index(hidden) if hidden in world.attributes else -1
        keep = (
            torch.arange(order.shape[1], device=world.device)
            <= (order == a).int().argmax(1)[:, None]
        ) & (order != hidden)
        order = torch.where(keep, order, -1).gather(1, (~keep).int().argsort(dim=1, stable=True))
    slots, subject_first, value_length = world.sentences(person_R, order, template, swap)
    row = torch.arange(len(person_R), device=world.device)
    k = (order >= 0).sum(1) - 1
    slots = torch.cat([world.head(len(person_R)), slots.flatten(1)], 1)
    place = 2 + SENTENCE * k + torch.where(subject_first[row, k], 5, 1)
    return Question(slots, _starts(world, slots)[row, place], value_length[row, k])


def gender_question(world: BiosWorld, person_R: Tensor, draw: int, context: str) -> Question:
    """The first pronoun, in the second sentence, without what is glued to it."""
    n = len(world.attributes)
    if context == "first":
        order = torch.tensor([[draw % n, (draw + 1) % n]], device=world.device).expand(
            len(person_R), 2
        )
        template = torch.stack([_template(world, a, draw)[0, a] for a in range(n)]).expand(
            len(person_R), n
        )
    else:
        order, template = world.texts(
            person_R,
            torch.full_like(person_R, draw),
            world.data.biographies,
            world.data.order,
            world.data.same_sentences,
        )
    slots, subject_first, _ = world.sentences(person_R, order[:, :2], template)
    glue = world.template_ATC[order[:, 1], template.gather(1, order[:, 1:2])[:, 0], 2]
    length = world.pronoun_length_G2[glue, world.values("gender", person_R)]
    slots = torch.cat([world.head(len(person_R)), slots.flatten(1)], 1)
    row = torch.arange(len(person_R), device=world.device)
    place = 2 + SENTENCE + torch.where(subject_first[:, 1], 1, 5)
    return Question(slots, _starts(world, slots)[row, place], length)


def _template(world: BiosWorld, a: int, draw: int) -> Tensor:
    """Template of the draw-th scoring of attribute a, [1, A]: spread evenly over the clear ones
    (see BiosWorld)."""
    clear = world.clear[a]
    out = torch.zeros(1, len(world.attributes), dtype=torch.int64, device=world.device)
    step = (
        round(0.618 * len(clear)) or 1
    )  # few draws are far apart in the file, and as many as there are templates meet all
    while math.gcd(step, len(clear)) > 1:
        step += 1
    out[0, a] = clear[draw * step % len(clear)]
    return out


def ask_value(
    world: BiosWorld,
    person_R: Tensor,
    attribute: str,
    draw: int,
    context: str,
    scorer: Scorer,
    batch_tokens: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Nats and greedy hits of exactly this value: the mass of longer values that start with it is
    taken off."""
    question = value_question(world, person_R, attribute, draw, context)
    nats, hits = ask(world.pieces, question, scorer, batch_tokens)
    if attribute == "birth_date":  # years have equally many digits, none starts another
        return nats, hits
    pairs = _extensions(world, attribute)
    values = world.values(attribute, person_R)
    longer = np.zeros(len(nats))
    for v, u in pairs:
        here = (values == v).nonzero()[:, 0]
        if not len(here):
            continue
        other = value_question(
            world, person_R[here], attribute, draw, context, {attribute: torch.full_like(here, u)}
        )
        shorter = question.length[here]
        rest = Question(other.slots, other.begin + shorter, other.length - shorter)
        more, _ = ask(world.pieces, rest, scorer, batch_tokens)
        _, first = ask(
            world.pieces,
            Question(rest.slots, rest.begin, torch.ones_like(shorter)),
            scorer,
            batch_tokens,
        )
        longer[here.cpu().numpy()] += np.exp(-more)
        hits[here.cpu().numpy()] &= ~first
    return nats - np.log1p(-np.minimum(longer, 1 - 1e-15)), hits


def _extensions(world: BiosWorld, attribute: str) -> list[tuple[int, int]]:
    """Pairs (v, u) of values of this world where v starts u and no value of this world lies between
    them."""
    above = {u: v for v, u in world.lexicon.content["extensions"][attribute]}
    size = world.parts[world.attributes.index(attribute)][1].shape[1]
    out = []
    for u in range(size):
        v = above.get(u)
        while v is not None and v >= size:
            v = above.get(v)
        if v is not None:
            out.append((v, u))
    return out


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


def measure_bios(
    world: BiosWorld,
    scorer: Scorer,
    people: int | None,
    draws: int,
    context: str,
    batch_tokens: int,
    parameters: dict[str, int],
) -> dict:
    """All numbers of bioS for one member, ready for its record."""
    data = world.data
    context = context_of(data, context)
    person = sample(world, people)
    p1_R, _ = ask(world.pieces, name_question(world, person), scorer, batch_tokens)
    if context == "text" and data.biographies is not None:
        draws = min(draws, data.biographies)
    by_attribute, total_R, correct = {}, p1_R.copy(), []
    for name in (*data.attribute_sizes, "work_city"):
        if name == "gender":
            asked = [gender_question(world, person, d, context) for d in range(draws)]
            scored = [ask(world.pieces, question, scorer, batch_tokens) for question in asked]
        elif name in world.attributes:
            scored = [
                ask_value(world, person, name, d, context, scorer, batch_tokens)
                for d in range(draws)
            ]
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
        context,
        person,
        held,
        entropy.knowledge_ceiling(n, n0, s0),
        total_R,
        np.concatenate(correct),
        parameters,
    )


def _place_bits(world: BiosWorld) -> float:
    """Entropy of the city of work over equally likely employers."""
    _, count = world.headquarters.unique(return_counts=True)
    p = count.double() / count.sum()
    return float(-(p * p.log2()).sum())


def measure_biod(
    world: BiodWorld,
    scorer: Scorer,
    people: int | None,
    draws: int,
    context: str,
    batch_tokens: int,
    parameters: dict[str, int],
) -> dict:
    """All numbers of bioD for one member (Definition 4.1): each attribute's sentence directly
    behind the name."""
    d = world.data
    person = sample(world, people)
    p1_R, _ = ask(world.pieces, name_question(world, person), scorer, batch_tokens)
    whole, first_chunk, hits = [], [], []
    for k in range(d.attributes):
        order = torch.full((len(person), 1), k, device=world.device)
        slots = torch.cat([torch.ones_like(order), world.sentences(person, order).flatten(1)], 1)
        begin = _starts(world, slots)[:, 5]
        commas = (d.chunks - 1) * (len(world.lexicon.pieces[world.comma]) if world.comma else 0)
        length = torch.full_like(begin, d.chunks * d.length + commas)
        nats, hit = ask(world.pieces, Question(slots, begin, length), scorer, batch_tokens)
        whole.append(nats)
        hits.append(hit)
        chunk = Question(slots, begin, torch.full_like(begin, d.length))
        first_chunk.append(
            nats if d.chunks == 1 else ask(world.pieces, chunk, scorer, batch_tokens)[0]
        )
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
        person,
        held,
        entropy.biod_ceiling(n, sizes),
        total_R,
        np.concatenate(hits),
        parameters,
    )


def measure_corpus(
    world: CorpusWorld,
    scorer: Scorer,
    people: int | None,
    draws: int,
    context: str,
    batch_tokens: int,
    parameters: dict[str, int],
) -> dict:
    """Names and values of an imported corpus where they first occur in a person's own texts, with
    all that stands before them; values count log2(different values in the corpus) bits."""
    content, n = world.lexicon.content, world.n_people
    person = sample(world, people)
    names = ["person", *content["values"]]
    nats = {name: [[] for _ in range(len(person))] for name in names}
    hits = {name: [[] for _ in range(len(person))] for name in names}
    for name in names:
        for draw in range(draws):
            rows = []
            for r, i in enumerate(person.tolist()):
                spans = content["spans"][i]
                if draw < len(spans) and spans[draw].get(name) is not None:
                    rows.append((r, content["texts"][i][draw], *spans[draw][name]))
            if rows:
                r, text, begin, length = (
                    torch.tensor(column, device=world.device) for column in zip(*rows)
                )
                question = Question(
                    torch.stack([torch.ones_like(text), text], 1), begin + 1, length
                )
                for at, nat, hit in zip(
                    r.tolist(), *ask(world.pieces, question, scorer, batch_tokens)
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
        person,
        held,
        resolve.of(world.data).bits(n),
        total_R,
        np.concatenate(correct),
        parameters,
    )


def _finish(
    out: dict,
    world,
    context: str,
    person: Tensor,
    held: float,
    ceiling: float,
    total_R: np.ndarray,
    correct: np.ndarray,
    parameters: dict[str, int],
) -> dict:
    """Totals, ratios by parameter convention, and their uncertainty where not everybody was
    asked."""
    n, asked = world.n_people, len(person)
    spread = (
        n * float(total_R.std(ddof=1)) / math.log(2) / math.sqrt(asked) if 1 < asked < n else 0.0
    )
    if asked == n and world.data.kind != "corpus":
        # both bounds are exact then, up to names whose tokens start those of another name; a corpus
        # may say in front of a name whose it is
        assert held <= ceiling * 1.01 + 1.0, f"{held} bits learned of at most {ceiling}"
    return {
        "version": VERSION,
        "context": context,
        "people": n,
        "people_asked": asked,
        **out,
        "bits": held,
        "bits_se_over_people": spread,
        "ceiling_bits": ceiling,
        "fraction_of_ceiling": held / ceiling,
        "accuracy": float(correct.mean()),
        "memorized_people": n * float(correct.mean()),
        "bits_per_parameter": {name: held / p for name, p in parameters.items()},
        "ceiling_per_parameter": {name: ceiling / p for name, p in parameters.items()},
    }


def sample(world, people: int | None) -> Tensor:
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


MEASURES = {"bios": measure_bios, "biod": measure_biod, "corpus": measure_corpus}


def measure(
    world,
    scorer: Scorer,
    people: int | None,
    draws: int,
    context: str,
    batch_tokens: int,
    parameters: dict[str, int],
) -> dict:
    """The measure of a world, see the module's text. people: how many are asked (None: all); draws:
    templates or texts per attribute; context: auto, first or text; parameters: counts by
    convention."""
    return MEASURES[world.data.kind](
        world, scorer, people, draws, context, batch_tokens, parameters
    )
