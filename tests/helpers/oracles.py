"""Oracles for the measure of knowledge: worlds of a few people, and models whose every probability
follows from a language that is written out in plain Python."""

import itertools
import math
import re
from functools import lru_cache

import torch

from capacity.config import from_dict
from capacity.data import lexicons
from capacity.data.biographies import BiodWorld, BiosWorld
from capacity.measure import knowledge
from capacity.measure.questions import Asking

CPU = torch.device("cpu")
MONTHS = ("January", "February")
LISTS = {
    "first_name": ["Ann", "Bo", "Cy"],
    "last_name": ["Fox", "Gil", "Hay", "Ivy"],
    "middle_name": ["-"],
    "city": ["Reno, NV", "Mesa, AZ", "Erie, PA"],
    "university": ["Arden College", "Bexley"],
    "field": ["Law", "Civil Law", "Art"],
    "company": ["Orbo; Rome, NY", "Zenro; Ames, IA", "Tarn Oil; Rome, NY", "Quill; Ames, IA"],
}
SIZES = {
    "city": "cities",
    "university": "universities",
    "field": "majors",
    "company": "employers",
    "first_name": "first_names",
    "last_name": "last_names",
}
FILES = {"birth_city": "city", "university": "university", "major": "field"}
LINES = {
    "birth_date": ["{subject} was born on {value}.", "{subject}'s birthday is {value}"],
    "birth_city": ["{subject} was born in {value}.", "{subject} came from {value}!"],
    "university": ["{subject} went to {value}.", "{subject} attended {value}, then left."],
    "major": ["{subject} studied {value}.", "{subject}'s field, {value}, was hard."],
    "employer": ["{subject} works for {value}.", "{subject} has {value} as employer."],
    "work_city": ["{subject} works in {value}.", "{subject}'s office is in {value} now."],
}


def bios(folder, n=6, lines=LINES, seed=1, changed=None, **data):
    """A world of few people over short lists, its vocabulary one token per word; its files go to
    `folder`."""
    lists = LISTS | (changed or {})
    for name, words in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(words))
    (folder / "t.txt").write_text(
        "".join(f"[{name}]\n" + "\n".join(some) + "\n" for name, some in lines.items())
    )
    sizes = {setting: len(lists[name]) for name, setting in SIZES.items()}
    tree = {
        "kind": "bios",
        "n_people": n,
        "seq_len": 8,
        "pools_dir": str(folder),
        "templates_file": str(folder / "t.txt"),
        "vocabulary": "world",
        "middle_names": 0,
        "months": 2,
        "days": 2,
        "years": 2,
    }
    config = from_dict({"data": tree | sizes | data, "train": {"steps": 999}})
    world = BiosWorld(config.data, lexicons.of(config.data), n, seed, CPU)
    world.words = Words(world, lists, lines)
    return world


class Words:
    """People and tokens of a world, from its lists and the numbers that were drawn; none of its
    pieces is used."""

    def __init__(self, world, lists, lines):
        self.world, self.lines = world, {name: lines[name] for name in world.attributes}
        self.row = {text: row for row, text in enumerate(world.lexicon.content["tokens"])}
        companies = [line.split("; ") for line in lists["company"]]
        self.place = [place for _, place in companies]
        self.values = {name: lists[file] for name, file in FILES.items()} | {
            "employer": [name for name, _ in companies],
            "work_city": sorted(set(self.place)),
            "gender": ["He", "She"],
            "birth_date": [
                f"{m} {d}, {y}" for m, d, y in itertools.product(MONTHS, (1, 2), (1900, 1901))
            ],
        }
        self.names = [
            f"{a} {b}" for a, b in itertools.product(lists["first_name"], lists["last_name"])
        ]
        everybody = torch.arange(world.n_people)
        first, _, last = world.names.parts(everybody)
        self.people = [
            f"{lists['first_name'][f]} {lists['last_name'][w]}"
            for f, w in zip(first.tolist(), last.tolist(), strict=False)
        ]
        self.own = {
            name: [self.values[name][v] for v in world.values(name, everybody).tolist()]
            for name in (*world.attributes, "gender")
            if name != "work_city"
        }
        if "employer" in self.own:
            self.own["work_city"] = [
                self.place[self.values["employer"].index(e)] for e in self.own["employer"]
            ]

    @lru_cache(None)
    def tokens(self, text):
        """GPT-2's splitting pattern for plain words; in a full vocabulary every part is a token."""
        return tuple(
            self.row[part]
            for part in re.findall(r"'s| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+", text)
        )

    def text(self, rows):
        return "".join(self.world.lexicon.content["tokens"][row] for row in rows)


class Model:
    """The next-token probabilities of a language: expand(state) lists (probability, tokens, next
    state)."""

    def __init__(self, expand, rest=0.0, rows=0):
        self.expand, self.rest, self.rows = lru_cache(None)(expand), rest, rows
        self.beliefs = {(): {((0,), None): 1.0}}
        self.following = {}

    def belief(self, prefix):
        if prefix not in self.beliefs:
            out = {}
            for (tokens, state), weight in self.belief(prefix[:-1]).items():
                if tokens[0] == prefix[-1]:
                    for p, some, after in (
                        [(1.0, tokens[1:], state)] if tokens[1:] else self.expand(state)
                    ):
                        out[some, after] = out.get((some, after), 0.0) + weight * p
            self.beliefs[prefix] = out
        return self.beliefs[prefix]

    def next(self, prefix):
        if prefix not in self.following:
            out, belief = {}, self.belief(prefix)
            for (tokens, _), weight in belief.items():
                out[tokens[0]] = out.get(tokens[0], 0.0) + weight / sum(belief.values())
            self.following[prefix] = out
        return self.following[prefix]

    def __call__(self, batch):
        nats = torch.empty(batch[:, 1:].shape, dtype=torch.float64)
        hits = torch.empty(batch[:, 1:].shape, dtype=torch.bool)
        for b, row in enumerate(batch.tolist()):
            for t in range(1, len(row)):
                p = self.next(tuple(row[:t]))
                here = p.get(row[t], 0.0) * (1 - self.rest) + (
                    self.rest / self.rows if self.rest else 0.0
                )
                nats[b, t - 1] = -math.log(here) if here > 0 else math.inf
                hits[b, t - 1] = bool(p) and row[t] == min(p, key=lambda token: (-p[token], token))
        return nats, hits


def oracle(world, knows=(), weights=None, rest=0.0):
    """Knows the language of biographies, and of the people of a world what is listed; everything
    else is chance.

    It takes an employer from a city that it has read, as far as that tells. weights: attribute ->
    those of its values.
    """
    w = world.words
    names = w.people if "name" in knows else w.names

    def values(name, who, told):
        if who in w.people and name in knows:
            return {w.own[name][w.people.index(who)]: 1.0}
        chance = dict(
            zip(w.values[name], (weights or {}).get(name, itertools.repeat(1.0)), strict=False)
        )
        if name == "employer" and told:
            chance = {
                e: p for e, p in chance.items() if told in (e, w.place[w.values[name].index(e)])
            }
        if name == "work_city":
            some = values("employer", who, told)
            chance = {
                c: sum(p for e, p in some.items() if w.place[w.values["employer"].index(e)] == c)
                for c in chance
            }
        return {v: p / sum(chance.values()) for v, p in chance.items() if p}

    def expand(state):
        who, left, gender, told = state or (None, frozenset(w.lines), None, None)
        out = []
        for name in sorted(left):
            for line, person in itertools.product(w.lines[name], names if who is None else [who]):
                for (v, p), (g, q) in itertools.product(
                    values(name, person, told).items(),
                    [(gender, 1.0)]
                    if who is None or gender
                    else values("gender", person, None).items(),
                ):
                    subject = person if who is None or world.data.full_names else g
                    heard = v if name in ("employer", "work_city") and told is None else told
                    p_all = (
                        p * q / len(left) / len(w.lines[name]) / (len(names) if who is None else 1)
                    )
                    out.append(
                        (
                            p_all,
                            w.tokens(
                                " " + line.replace("{subject}", subject).replace("{value}", v)
                            ),
                            (person, left - {name}, g, heard),
                        )
                    )
        return out or [(1.0, (0,), None)]

    return Model(expand, rest, len(w.row))


def measured(world, scorer, draws=2, context="auto", people=None, batch_tokens=10**6):
    asking = Asking(scorer, people, draws, context, batch_tokens)
    return knowledge.measure(world, asking, {"total": 100, "paper": 100})


def biod(**data):
    tree = {
        "kind": "biod",
        "n_people": 20,
        "seq_len": 8,
        "first_names": 5,
        "middle_names": 2,
        "last_names": 4,
        "attributes": 3,
        "chunks": 2,
        "diversity": 3,
        "length": 2,
        "alphabet": 4,
    }
    config = from_dict({"data": tree | data, "train": {"steps": 999}})
    return BiodWorld(config.data, lexicons.of(config.data), 20, 7, CPU)


def biod_oracle(world, knows):
    """Knows the form; of `knows`: name, sets (the D strings of each attribute), values."""
    d, content = world.data, world.lexicon.content
    rows, first = content["pieces"], content["first_symbol"]
    parts = world.names.parts(torch.arange(20 if "name" in knows else d.n_names))
    people = list(zip(*(part.tolist() for part in parts), strict=False))
    own = world.chunks(torch.arange(20)).tolist()
    sets = [
        [tuple(first + s for s in string) for string in some] for some in world.symbols_KDL.tolist()
    ]

    def expand(state):
        if state is None:
            return [
                (
                    1 / len(people) / d.attributes,
                    tuple(
                        rows[content["first"][f]]
                        + rows[content["middle"][m]]
                        + rows[content["last"]["'s"]["pieces"][w]]
                        + rows[content["heads"][k]]
                    ),
                    (i, k, 0),
                )
                for i, (f, m, w) in enumerate(people)
                for k in range(d.attributes)
            ]
        i, k, c = state
        if c == d.chunks:
            return [(1.0, tuple(rows[content["stop"]]) + (0,), None)]
        if "values" in knows:
            options = [sets[k][own[i][k][c]]]
        elif "sets" in knows:
            options = sets[k]
        else:
            options = list(itertools.product(range(first, first + d.alphabet), repeat=d.length))
        comma = tuple(rows[world.comma]) if c and world.comma else ()
        return [(1 / len(options), comma + tuple(some), (i, k, c + 1)) for some in options]

    return Model(expand)
