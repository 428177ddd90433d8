"""Questions about people as rows of tokens with an asked span, and how a model is asked them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capacity.data.biographies import SENTENCE, BiodWorld, BiosWorld, Pieces

Scorer = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # tokens int64 [B, T + 1] -> nats and greedy hits of targets [B, T]


@dataclass
class Question:
    """Rows of one kind to be scored: the tokens in front and the asked span, by rendering."""

    slots: Tensor  # pieces [R, S]
    begin: Tensor  # first asked token [R]
    length: Tensor  # asked tokens [R]


@dataclass(frozen=True)
class Asking:
    """How people are asked: by which model, how many of them (None: all), in how many templates or
    texts per attribute, in which context (auto, first or text), and tokens scored at once."""

    scorer: Scorer
    people: int | None = None
    draws: int = 1
    context: str = "auto"
    batch_tokens: int = 4096

    def ask(self, pieces: Pieces, question: Question) -> tuple[np.ndarray, np.ndarray]:
        """`ask` by this scorer."""
        return ask(pieces, question, self.scorer, self.batch_tokens)


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


def starts(world: BiosWorld | BiodWorld, slots_RS: Tensor) -> Tensor:
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
    return Question(slots, starts(world, slots)[row, place], value_length[row, k])


def id_question(
    world: BiodWorld, person_R: Tensor, k: int, tokens: int, context: str, draw: int
) -> Question:
    """The first tokens of the value of attribute k of bioD: directly behind the name (context
    first), or in the person's draw-th text (context text)."""
    if context == "first":
        order = torch.full((len(person_R), 1), k, device=world.device)
    else:
        order = world.order(person_R, torch.full_like(person_R, draw))
    slots = torch.cat(
        [torch.ones_like(order[:, :1]), world.sentences(person_R, order).flatten(1)], 1
    )
    place_R = 5 + (4 + 2 * world.data.chunks) * (order == k).int().argmax(1)
    row = torch.arange(len(person_R), device=world.device)
    begin = starts(world, slots)[row, place_R]
    return Question(slots, begin, torch.full_like(begin, tokens))


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
    return Question(slots, starts(world, slots)[row, place], length)


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
    world: BiosWorld, person_R: Tensor, attribute: str, draw: int, asking: Asking
) -> tuple[np.ndarray, np.ndarray]:
    """Nats and greedy hits of exactly this value: the mass of longer values that start with it is
    taken off."""
    context = asking.context
    question = value_question(world, person_R, attribute, draw, context)
    nats, hits = asking.ask(world.pieces, question)
    if attribute == "birth_date":  # years have equally many digits, none starts another
        return nats, hits
    pairs = extensions(world, attribute)
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
        more, _ = asking.ask(world.pieces, rest)
        _, first = asking.ask(
            world.pieces, Question(rest.slots, rest.begin, torch.ones_like(shorter))
        )
        longer[here.cpu().numpy()] += np.exp(-more)
        hits[here.cpu().numpy()] &= ~first
    return nats - np.log1p(-np.minimum(longer, 1 - 1e-15)), hits


def extensions(world: BiosWorld, attribute: str) -> list[tuple[int, int]]:
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
