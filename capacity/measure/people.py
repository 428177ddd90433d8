"""People one by one: how each of them was answered for, and whether it can be told from these
answers who was trained on.

The numbers of single people go to scores.safetensors beside the record, a row for each who was
asked, those held out behind the trained ones:

    person       index in the data, int32; those held out follow the trained people and those of the
                 other stream, so that no two have one name
    trained      1, of those held out 0, uint8
    tier         from 1 on, the most seen first; 0 without tiers and of those held out, uint8; of
                 people that are halved also of those left out the one that they would be in
    exposures    whole texts of the person in all steps, counted, int32
    name_nats    nats of the name behind EOS, summed over its tokens, float32
    nats.A       nats of the value of attribute A, summed over its tokens, mean over contexts,
                 float32
    hit.A        part of the contexts in which greedy decoding writes exactly this value, float32

    frequency_nats   with held-out people: nats of the values by `frequencies`, float32
    row              of people that are halved (data.trained_on=half): index in their set, int32

NaN where a person of a corpus was not asked. Means of the columns over trained people are the
record's p1, p2 and accuracies, to the rounding of float32.

Held-out people are further ones of the same lists, drawn by the same hashes: values of their own,
names of the same keyed permutation. A model that has seen none of the data cannot tell the two
apart: an AUC of 0.5 is guessing. A model that knows which values were shown, and nobody's, can.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.base.scores import FOLLOWS, HIT, NATS, people_totals
from capacity.data.biographies import BiodWorld, BiosWorld
from capacity.data.questions import context_of
from capacity.data.tiers import Tiers
from capacity.declare import people as declared
from capacity.fitting import separation
from capacity.measure.questions import (
    Asking,
    Question,
    ask_value,
    gender_question,
    id_question,
    name_question,
)

MEASURE = declared.MEASURE
Table = dict[str, np.ndarray]
Scored = tuple[list[np.ndarray], list[np.ndarray]]  # nats and exact answers [R], by context


@dataclass(frozen=True)
class Answers:
    """Of people who were asked: nats of the name, fp64 [R]; by attribute nats and exact answers in
    each context."""

    person_R: Tensor
    name_R: np.ndarray
    values: dict[str, Scored]

    def table(self) -> Table:
        """person and the columns of answers."""
        out = {"person": self.person_R.cpu().numpy().astype(np.int32), "name_nats": self.name_R}
        for name, (nats, hits) in self.values.items():
            out[NATS + name], out[HIT + name] = np.mean(nats, axis=0), np.mean(hits, axis=0)
        return {k: c if k == "person" else c.astype(np.float32) for k, c in out.items()}


def ask_bios(world: BiosWorld, person_R: Tensor, asking: Asking) -> Answers:
    """The name and every value of these people of bioS, trained or not."""
    data, draws = world.data, asking.draws
    asking = dataclasses.replace(asking, context=context_of(data, asking.context))
    named_R, _ = asking.ask(world.pieces, name_question(world, person_R))
    if asking.context == "text" and data.biographies is not None:
        draws = min(draws, data.biographies)
    values: dict[str, Scored] = {}
    for name in (*data.attribute_sizes, *FOLLOWS):
        if name == "gender":
            asked = [gender_question(world, person_R, d, asking.context) for d in range(draws)]
            scored = [asking.ask(world.pieces, question) for question in asked]
        elif name in world.attributes:
            scored = [ask_value(world, person_R, name, d, asking) for d in range(draws)]
        else:
            continue
        values[name] = [s[0] for s in scored], [s[1] for s in scored]
    return Answers(person_R, named_R, values)


def ask_biod(world: BiodWorld, person_R: Tensor, asking: Asking) -> Answers:
    """The same of bioD; contexts: of `context_of`, texts in the order of their exposures."""
    d = world.data
    named_R, _ = asking.ask(world.pieces, name_question(world, person_R))
    commas = (d.chunks - 1) * (len(world.lexicon.pieces[world.comma]) if world.comma else 0)
    asked = _about_ids(world, person_R, d.chunks * d.length + commas, asking)
    values: dict[str, Scored] = {}
    for k, questions in enumerate(asked):
        scored = [asking.ask(world.pieces, question) for question in questions]
        values[f"ID {k + 1}"] = [nats for nats, _ in scored], [hits for _, hits in scored]
    return Answers(person_R, named_R, values)


def first_chunks(world: BiodWorld, person_R: Tensor, asking: Asking) -> list[list[np.ndarray]]:
    """By attribute and context, nats of the first chunk of a value of bioD, fp64 [R] each."""
    return [
        [asking.ask(world.pieces, question)[0] for question in questions]
        for questions in _about_ids(world, person_R, world.data.length, asking)
    ]


def _about_ids(
    world: BiodWorld, person_R: Tensor, tokens: int, asking: Asking
) -> Iterator[list[Question]]:
    """By attribute, the first tokens of its value in every context that is asked."""
    d = world.data
    context = context_of(d, asking.context)
    again = context == "text" and d.order == "permute" and d.attributes > 1
    for k in range(d.attributes):
        draws = range(asking.draws if again else 1)
        yield [id_question(world, person_R, k, tokens, context, draw) for draw in draws]


def of_names(person_R: Tensor, who: list[int], nats: np.ndarray) -> Table:
    """The table of people of a corpus, with the names of those asked; who: places among them."""
    named = np.full(len(person_R), math.nan, np.float32)
    named[who] = nats
    return {"person": person_R.cpu().numpy().astype(np.int32), "name_nats": named}


def add(table: Table, name: str, who: list[int], nats: np.ndarray, hits: np.ndarray) -> None:
    """Add one attribute of people of a corpus to their table."""
    for prefix, answers in ((NATS, nats), (HIT, hits)):
        table[prefix + name] = np.full(len(table["person"]), math.nan, np.float32)
        table[prefix + name][who] = answers


def held_out(world: BiosWorld | BiodWorld, count: int, asking: Asking) -> Table:
    """Columns of answers of `count` people behind all that are trained on."""
    first = world.n_people + (world.data.other_people if isinstance(world, BiosWorld) else 0)
    person_R = torch.arange(first, first + count, device=world.device)
    if isinstance(world, BiosWorld):
        return ask_bios(world, person_R, asking).table()
    return ask_biod(world, person_R, asking).table()


def frequencies(world: BiosWorld | BiodWorld, person_R: Tensor, count_N: Tensor) -> np.ndarray:
    """Nats of all values that count bits, fp32 [R], of a guesser who knows how often each value was
    shown and of nobody which: q = (shown + e) / (all shown + V e) of an attribute of V values, with
    e the mean exposures of a person (Laplace's rule of succession, a person the unit).

    count_N: exposures of the trained people. The guesser of `measure/tiers.py` knows no other
    values than were shown; here some have values that never were.
    """
    everybody = torch.cat([torch.arange(world.n_people, device=world.device), person_R])
    weight_N = count_N.double()
    mean = float(weight_N.mean()) or 1.0
    nats_R = torch.zeros(len(person_R), dtype=torch.float64, device=world.device)
    for rows, values in _values(world, everybody):
        _, code = rows.unique(dim=0, return_inverse=True)
        shown = torch.zeros(int(code.max()) + 1, dtype=torch.float64, device=world.device)
        shown.index_add_(0, code[: world.n_people], weight_N)
        q = (shown + mean) / (shown.sum() + values * mean)
        nats_R -= q[code[world.n_people :]].log()
    return nats_R.cpu().numpy().astype(np.float32)


def _values(world: BiosWorld | BiodWorld, person_R: Tensor) -> Iterator[tuple[Tensor, float]]:
    """Of each attribute that counts bits, everybody's value, int64 [R] or rows [R, C], and how many
    values there are."""
    if isinstance(world, BiosWorld):
        for name, size in world.data.attribute_sizes.items():
            yield world.values(name, person_R), float(size)
    else:
        chunks_RKC, d = world.chunks(person_R), world.data
        for k in range(d.attributes):
            yield chunks_RKC[:, k], float(d.diversity) ** d.chunks


def scores(trained: Table, others: Table | None, tier_N: Tensor | None, count_N: Tensor) -> Table:
    """All columns but that of frequencies; tier_N, count_N: tier, if there are any, and exposures
    of all trained people."""
    person = trained["person"]
    tier = np.zeros(len(person)) if tier_N is None else tier_N.cpu().numpy()[person]
    more = len(others["person"]) if others else 0

    def behind(column: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
        return np.concatenate([column, np.zeros(more)]).astype(dtype)

    out = {
        "person": person,
        "trained": behind(np.ones(len(person)), np.uint8),
        "tier": behind(tier, np.uint8),
        "exposures": behind(count_N.cpu().numpy()[person], np.int32),
    }
    for name, column in trained.items():
        if others and name == "person":
            out[name] = np.concatenate([column, others[name]])
        elif name != "person":
            out[name] = np.concatenate([column, others[name]]) if others else column
    return out


def of_set(table: Table, tier_N: Tensor | None, world: BiosWorld) -> Table:
    """Columns that people have who are halved: row of the set, and tier also of those left out, who
    follow the trained ones in the same order of tiers. table: of `scores`."""
    person_R = torch.from_numpy(table["person"]).long().to(world.device)
    row_R = world.names.index(person_R) - world.names.skip
    out: Table = {"row": row_R.cpu().numpy().astype(np.int32)}
    if tier_N is not None:
        out["tier"] = tier_N.cpu().numpy()[table["person"] % len(tier_N)].astype(np.uint8)
    return out


def measure(table: Table, tiers: Tiers | None) -> dict[str, Any]:
    """How well trained people are told from held-out ones by the nats of name and values together,
    of the name alone, and without a model by frequencies; all, and by tier against all that are
    held out, or those of the same tier where these have one."""
    name_N, values_N, right_N = people_totals(table)
    seen = table["trained"] == 1

    def side(mask: np.ndarray) -> dict[str, float | None]:
        columns = {"name_nats": name_N, "value_nats": values_N, "accuracy": right_N}
        out: dict[str, float | None] = {}
        for name, column in columns.items():
            some = column[mask]
            out[name] = float(some.mean()) if len(some) else None
            spread = float(some.std(ddof=1)) / math.sqrt(len(some)) if len(some) > 1 else None
            out[f"{name}_se"] = spread
        return out

    def told_apart(mask: np.ndarray, others: np.ndarray) -> dict[str, dict]:
        attacks = {
            "nats": -(name_N + values_N),
            "name_nats": -name_N,
            "frequency_nats": -table["frequency_nats"].astype(np.float64),
        }
        return {
            name: separation.statistics(score[mask], score[others])
            for name, score in attacks.items()
        }

    out: dict[str, Any] = {
        "version": MEASURE.version,
        "n_trained": int(seen.sum()),
        "n_held_out": int((~seen).sum()),
        "trained": side(seen),
        "held_out": side(~seen),
        "membership": told_apart(seen, ~seen),
    }
    if tiers is not None:
        out["tiers"] = []
        for tier in tiers.tiers:
            mine = seen & (table["tier"] == tier.number)
            one: dict[str, Any] = {"tier": tier.number, "n_trained": int(mine.sum())}
            one |= side(mine)
            if mine.any():
                same = ~seen & (table["tier"] == tier.number)  # where left-out people have tiers
                one["membership"] = told_apart(mine, same if same.any() else ~seen)
            out["tiers"].append(one)
    return MEASURE.returns(out)
