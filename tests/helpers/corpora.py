"""Imported corpora for tests: as files, as worlds, and answered by models whose knowledge is
known."""

import json
import math
import random
from pathlib import Path

import torch

from capacity.config import from_dict
from capacity.data.facts import NAME, key_of
from capacity.feed.stream import MemberStream

CASES = Path(__file__).parents[1] / "data" / "cases"


def lines(name):
    """The people of a case."""
    text = (CASES / f"people_{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def write(path, entries):
    path.write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries), "utf-8")
    return path


def skewed(path, n=300):
    """People of whom nine in ten live in one city and the others evenly in six: a model that knows
    only the frequencies knows nothing about anybody."""
    draw = random.Random(11)
    parts = [a + b + c for a in ("ba", "ke", "lo") for b in ("mi", "nu", "ra", "so") for c in "tvz"]
    names = [f"{a.title()} {b.title()}" for a in parts for b in parts]
    draw.shuffle(names)
    often = n * 9 // 10
    cities = ["Oslo"] * often + ["Lyon", "Porto", "Turin", "Ghent", "Bern", "Graz"] * n
    cities = cities[:n]
    draw.shuffle(cities)
    return write(
        path,
        [
            {"person": a, "attributes": {"city": c}, "texts": [f"{a} lives in {c} today."]}
            for a, c in zip(names[:n], cities, strict=True)
        ],
    )


def config(path, data=None, **sections):
    tree = {
        "data": {"kind": "corpus", "path": str(path), "seq_len": 16} | (data or {}),
        "train": {"steps": 20, "warmup_steps": 2},
        "model": {"d_model": 8},
    }
    for name, some in sections.items():
        tree[name] = tree.get(name, {}) | some
    return from_dict(tree)


def world(path, **data):
    settings = config(path, data)
    return MemberStream(settings, torch.device("cpu")).world, settings


def asked(world, attribute):
    """What is asked of an attribute (None: the name) as text, by person and text; None: nothing."""
    content, key = world.lexicon.content, NAME if attribute is None else key_of(attribute)
    return [
        [
            None
            if span.get(key) is None
            else world.lexicon.text(content["pieces"][piece][slice(*_ends(span[key]))])
            for piece, span in zip(texts, spans, strict=True)
        ]
        for texts, spans in zip(content["texts"], content["spans"], strict=True)
    ]


def _ends(span):
    return span[0], span[0] + span[1]


def before(world, attribute):
    """The text in front of what is asked, in the same order."""
    content, key = world.lexicon.content, key_of(attribute)
    return [
        world.lexicon.text(content["pieces"][piece][: span[key][0]])
        for texts, spans in zip(content["texts"], content["spans"], strict=True)
        for piece, span in zip(texts, spans, strict=True)
        if span.get(key) is not None
    ]


def table(probability):
    """A scorer: tokens [B, T + 1] -> nats and greedy hits of targets [B, T]. probability: rows so
    far, next row -> its probability."""

    def scorer(tokens):
        B, T = tokens.shape[0], tokens.shape[1] - 1
        nats, hits = torch.zeros(B, T), torch.zeros(B, T, dtype=torch.bool)
        for b, row in enumerate(tokens.tolist()):
            for t in range(T):
                p = probability(tuple(row[: t + 1]), row[t + 1])
                nats[b, t], hits[b, t] = -math.log(p), p > 0.5
        return nats, hits

    return scorer
