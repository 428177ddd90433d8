"""What a certificate codes of people whose names are not given: whole texts that training shows
again and again, or the set of all people, names and values.

The entropy of both is exact. N names are a sample of N0 without replacement, so that in their
order they have log2 N0! / (N0 - N)! bits and as a set log2 C(N0, N): less than the N log2 N0 of a
record, which counts each name alone. Values, orders and templates are drawn evenly and
independently (`measure.wording`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.certify import people
from capacity.certify.grammar import Grammar, Phrase, Reading, Template, chained
from capacity.certify.message import Message
from capacity.certify.persons import People, nothing
from capacity.config import Config
from capacity.data.biographies import EMPTY, EOS, BiodWorld, BiosWorld
from capacity.data.lexicon import different_texts
from capacity.measure.questions import name_question
from capacity.settings.data import BiodData, BiosData
from capacity.train.loop import Stack

Drawn = list[tuple[np.ndarray, int]]  # whole numbers, and below which one they were drawn


def texts(config: Config, stack: Stack) -> Message:
    """Every fixed text of every person, person by person."""
    data = config.data
    _check_fixed(data)
    world = stack.feed.members[0].world
    grammar = of_world(world)
    person_R, copy_R = _each_text(world)
    slots, drawn, wording = _rendered(world, person_R, copy_R)
    head = len(grammar.head)
    flat, length = world.pieces.join(slots)
    rows = [tuple(row[head:].tolist()) for row in flat.split(length.tolist())]
    most = head + max(map(len, rows))
    if most > data.seq_len:
        raise ConfigError(
            f"--texts: a text of {most} tokens has no place in windows of data.seq_len="
            f"{data.seq_len}, so that the model has never seen it whole; certify runs with "
            f"data.seq_len={most} or more"
        )
    for row, reading in zip(rows, drawn, strict=True):
        if grammar.readings(row) != [reading]:
            raise ConfigError(
                f"--texts: {_words(world, row)!r} can be read as other people or wording of the "
                "same lists, which would not come back; certify runs whose texts say what was drawn"
            )
    # as many places as a text may have, and none that the model has not
    places = min(grammar.longest, data.seq_len - head) + 1
    tokens = np.zeros((len(rows), places), np.int64)
    for row, text in zip(tokens, rows, strict=True):
        row[: len(text)] = text
    n, copies = world.n_people, len(rows) // world.n_people
    names, values = name_bits(world), _value_bits(world)
    worded, orders = _wording_bits(world, copies)
    each = f"{copies:,} texts" if copies > 1 else "a text"
    return Message(
        "texts",
        tokens,
        np.ones(tokens.shape, bool),
        names + n * (values + worded),
        f"log2 N0! / (N0 - N)! of the names, N {n:,} of N0 {world.data.n_names:,}; of each person "
        f"values {values:,.2f}, orders and templates of {each} {worded:,.2f}",
        config.rows,
        words=list(world.lexicon.content["tokens"]),
        symbols=tuple(_people_symbols(world, person_R[copy_R == 0]) + wording),
        noun="texts of people",
        grammar=grammar,
        name_bits=names,
        orders=(math.lgamma(n + 1) / math.log(2)) + orders,
    )


def everybody(config: Config, stack: Stack) -> Message:
    """All people, the name and every value that `people.questions` asks for."""
    world = stack.feed.members[0].world
    asked = people.questions(world)
    grammar = of_world(world)
    person_R = torch.arange(world.n_people, device=world.device)
    names = _names(world, person_R)
    values = [[tuple(row) for row in _values(question)] for question in asked]
    layout = People(nothing, grammar)
    rows = np.stack([layout.row(list(person)) for person in zip(names, *values, strict=True)])
    for lists, column in zip(layout.lists, (names, *values), strict=True):
        for value in column:
            if sum(end == len(value) for _, end in lists.matches(value)) != 1:
                raise ConfigError(
                    f"--set: {_words(world, value)!r} stands for several entries of the lists, "
                    "which would not come back; certify in order, with names given"
                )
    n, value_bits = world.n_people, sum(q.bits for q in asked)
    sizes = ", ".join(f"{q.attribute} {2**q.bits:,.0f}" for q in asked)
    return Message(
        "people",
        rows,
        np.ones(rows.shape, bool),
        name_bits(world) + n * value_bits,
        f"log2 N0! / (N0 - N)! of the names, N {n:,} of N0 {world.data.n_names:,}; log2 of the "
        f"number of values of each attribute ({sizes}), of each person {value_bits:,.2f}",
        config.rows,
        words=list(world.lexicon.content["tokens"]),
        attributes=[q.attribute for q in asked],
        symbols=(_name_symbols(world, person_R), *(q.index for q in asked)),
        noun="people",
        grammar=grammar,
        name_bits=name_bits(world),
    )


def name_bits(world: BiosWorld | BiodWorld) -> float:
    """log2 N0! / (N0 - N)!, of N different names in their order."""
    n0, n = world.data.n_names, world.n_people
    return sum(math.log2(n0 - i) for i in range(n))


def _check_fixed(data: object) -> None:
    """ConfigError where no text is shown twice."""
    if isinstance(data, BiosData) and data.biographies is None:
        raise ConfigError(
            "--texts: data.biographies is empty: wording is drawn anew at every exposure, and no "
            "text is fixed; certify runs with data.biographies=1 or more, or without --texts: "
            "values, names given"
        )
    if isinstance(data, BiodData) and data.order != "fixed" and data.attributes > 1:
        raise ConfigError(
            f"--texts: data.order={data.order}: the order is drawn anew at every exposure, and no "
            "text is fixed; certify runs with data.order=fixed, or without --texts: values, names "
            "given"
        )


def _each_text(world: BiosWorld | BiodWorld) -> tuple[Tensor, Tensor]:
    """Person and number of every fixed text."""
    copies = (world.data.biographies or 1) if isinstance(world, BiosWorld) else 1
    person_R = torch.arange(world.n_people, device=world.device)
    return (
        person_R.repeat_interleave(copies),
        torch.arange(copies, device=world.device).repeat(world.n_people),
    )


def _rendered(
    world: BiosWorld | BiodWorld, person_R: Tensor, copy_R: Tensor
) -> tuple[Tensor, list[Reading], Drawn]:
    """Pieces of texts behind their head, what each was drawn as, and orders and templates."""
    first, middle, last = (part.tolist() for part in world.names.parts(person_R))
    names = list(zip(first, middle, last, strict=True))
    slots = world.render(person_R, copy_R)
    if isinstance(world, BiodWorld):
        chunks_RKC = world.chunks(person_R)
        values = [[_biod_choice(world, row) for row in one] for one in chunks_RKC.tolist()]
        same = (0,) * world.data.attributes
        people_R = zip(names, values, strict=True)
        return slots, [Reading(name, None, 0, same, tuple(one)) for name, one in people_R], []
    data = world.data
    order_RK, template_RA = world.texts(
        person_R, copy_R, data.biographies, data.order, data.same_sentences
    )
    table = {tuple(row): i for i, row in enumerate(world.orders[data.order].tolist())}
    orders = np.array([table[tuple(row)] for row in order_RK.tolist()])
    gender: list[int | None] = [None] * len(person_R)
    if len(world.attributes) > 1 and not data.full_names:
        gender = world.values("gender", person_R).tolist()
    values = [
        [_bios_choice(world, a, v) for v in world.values(name, person_R).tolist()]
        for a, name in enumerate(world.attributes)
    ]
    drawn = [
        Reading(name, spoken, order, tuple(templates), tuple(chosen))
        for name, spoken, order, templates, chosen in zip(
            names,
            gender,
            orders.tolist(),
            template_RA.tolist(),
            zip(*values, strict=True),
            strict=True,
        )
    ]
    wording = [(orders, len(table))]
    wording += [
        (template_RA[:, a].cpu().numpy(), int(n)) for a, n in enumerate(world.n_templates_A)
    ]
    return slots, drawn, wording


def _wording_bits(world: BiosWorld | BiodWorld, copies: int) -> tuple[float, float]:
    """Bits of the wording of so many texts of a person in the order of their numbers, and how many
    of those, of all people, tell that order."""
    if isinstance(world, BiodWorld):
        return 0.0, 0.0
    data, content = world.data, world.lexicon.content
    all_texts = different_texts(content, data, data.order, False)
    if not data.same_sentences:  # each drawn alone; equal ones have no order
        person_R, copy_R = _each_text(world)
        order_RK, template_RA = world.texts(person_R, copy_R, copies, data.order, False)
        key_RX = torch.cat([person_R[:, None], order_RK, template_RA], 1).cpu().numpy()
        _, equal = np.unique(key_RX, axis=0, return_counts=True)
        ties = sum(math.lgamma(c + 1) for c in equal.tolist())
        orders = world.n_people * math.lgamma(copies + 1) - ties
        return copies * math.log2(all_texts), orders / math.log(2)
    orders = different_texts(content, data, data.order, True)
    bits = math.log2(all_texts // orders) + sum(math.log2(orders - i) for i in range(copies))
    return bits, world.n_people * math.lgamma(copies + 1) / math.log(2)


def _value_bits(world: BiosWorld | BiodWorld) -> float:
    """Bits of all values of a person."""
    if isinstance(world, BiosWorld):
        return world.data.attribute_bits
    return world.data.attributes * world.data.chunks * math.log2(world.data.diversity)


def _name_symbols(world: BiosWorld | BiodWorld, person_R: Tensor) -> tuple[np.ndarray, int]:
    first, middle, last = world.names.parts(person_R)
    _, middles, lasts = world.names.sizes
    return ((first * middles + middle) * lasts + last).cpu().numpy(), world.data.n_names


def _people_symbols(world: BiosWorld | BiodWorld, person_R: Tensor) -> Drawn:
    """Everything that was drawn of people but their wording."""
    if isinstance(world, BiosWorld):
        values = [
            (world.values(name, person_R).cpu().numpy(), size)
            for name, size in world.data.attribute_sizes.items()
        ]
    else:
        values = [(world.chunks(person_R).reshape(-1).cpu().numpy(), world.data.diversity)]
    return [_name_symbols(world, person_R), *values]


def _names(world: BiosWorld | BiodWorld, person_R: Tensor) -> list[tuple[int, ...]]:
    rows, begin = people.cut(world, name_question(world, person_R))
    return [tuple(row[first:]) for row, first in zip(rows, begin.tolist(), strict=True)]


def _values(asked: people.Values) -> list[list[int]]:
    return [row[begin:] for row, begin in zip(asked.rows, asked.begin.tolist(), strict=True)]


def _words(world: BiosWorld | BiodWorld, row: tuple[int, ...]) -> str:
    return world.lexicon.text(row).strip()


def of_world(world: BiosWorld | BiodWorld) -> Grammar:
    """The grammar of a world's texts."""
    if isinstance(world, BiosWorld):
        return _of_bios(world)
    return _of_biod(world)


def _of_bios(world: BiosWorld) -> Grammar:
    data, names = world.data, world.names
    templates, used = [], set()
    for a in range(len(world.attributes)):
        some = []
        for row in world.template_ATC[a, : int(world.n_templates_A[a])].tolist():
            before, subject_first, subject, between, value, after = row
            used.add(subject)
            some.append(
                Template(
                    people.piece(world, before),
                    bool(subject_first),
                    names.glues[subject],
                    people.piece(world, between),
                    world.value_glues[a][value],
                    people.piece(world, after),
                )
            )
        templates.append(some)
    spoken = len(world.attributes) > 1 and not data.full_names
    head = [EOS] + ([world.tag] if data.tag == "main" else [])
    asked = [world.attributes.index(name) for name in people.asked_of(world)]
    return Grammar(
        head=chained([people.piece(world, p) for p in head]),
        glue=names.glues[0],
        names={names.glues[g]: _name_phrase(world, g) for g in sorted(used | {0})},
        attributes=list(world.attributes),
        values=[
            {glue: _value_phrase(world, a, g) for g, glue in enumerate(world.value_glues[a])}
            for a in range(len(world.attributes))
        ],
        templates=templates,
        pronouns={
            names.glues[g]: [people.piece(world, p) for p in world.pronoun_G2[g].tolist()]
            for g in sorted(used)
            if spoken
        },
        orders=world.orders[data.order].tolist(),
        full_names=data.full_names,
        follows=[
            (world.attributes.index("work_city"), world.attributes.index("employer"), where)
            for where in [world.headquarters.tolist()]
            if "work_city" in world.attributes
        ],
        asked=[(a, world.clear[a][0]) for a in asked],
    )


def _of_biod(world: BiodWorld) -> Grammar:
    d = world.data
    comma = [people.piece(world, world.comma)] if world.comma != EMPTY else [()]
    stop = people.piece(world, world.stop) if world.stop != EMPTY else ()
    templates, values = [], []
    for k, lists in enumerate(people.strings(world, comma)):
        head = people.piece(world, int(world.heads[k]))
        templates.append([Template((), True, "", head, "", stop)])
        values.append({"": Phrase(lists, [len(piece) for piece in lists[-1]])})
    pronoun = people.piece(world, world.pronoun) if world.pronoun != EMPTY else ()
    return Grammar(
        head=people.piece(world, EOS),
        glue="",
        names={"": _name_phrase(world, 0)},
        attributes=[f"ID {k + 1}" for k in range(d.attributes)],
        values=values,
        templates=templates,
        pronouns={"": [pronoun]},
        orders=[list(range(d.attributes))],
        full_names=False,
        follows=[],
        asked=[(k, 0) for k in range(d.attributes)],
    )


def _name_phrase(world: BiosWorld | BiodWorld, g: int) -> Phrase:
    names = world.names
    parts = [names.first.tolist(), names.middle.tolist(), names.last_GN[g].tolist()]
    return Phrase(
        [[people.piece(world, p) for p in part] for part in parts],
        names.last_length_GN[g].tolist(),
    )


def _value_phrase(world: BiosWorld, a: int, g: int) -> Phrase:
    (lead1, lead2), last_GN, length_GN = world.parts[a]
    parts = [lead1.tolist(), lead2.tolist(), last_GN[g].tolist()]
    return Phrase([[people.piece(world, p) for p in part] for part in parts], length_GN[g].tolist())


def _bios_choice(world: BiosWorld, a: int, value: int) -> tuple[int, ...]:
    """Pieces of a value (`BiosWorld.value_slots`)."""
    (_, lead2), last_GN, _ = world.parts[a]
    n3, n2 = last_GN.shape[1], len(lead2)
    return value // (n3 * n2), value // n3 % n2, value % n3


def _biod_choice(world: BiodWorld, chunks: list[int]) -> tuple[int, ...]:
    """Pieces of a value: strings, and between two of them the separator, of which there is one."""
    return tuple(x for chunk in chunks for x in (0, chunk))[1:]
