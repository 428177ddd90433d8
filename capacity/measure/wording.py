"""Bits of wording: how much of the order and the templates of people's texts a model has memorized.

A text of bioS is a function of the name, the values, the order of its sentences and a template for
each, all drawn evenly, so that its entropy is known:

    H = log2 N0 + log2 S0 + H_w,    H_w = log2(orders x product of templates)

With fixed wording (`data.biographies`) the choice of wording is as random as the values and can be
memorized as they can. A code of the whole text under the model costs L bits. By the chain rule

    held = H - L = (name and values, `measure.knowledge`) + (H_w - rest)

where the rest is what L has beside the name and the values. Of the wording N people hold

    wording_bits = N k mean(H_w - rest)

for k fixed texts each (one where wording is drawn anew). All that follows from what was drawn costs
0 bits under a perfect model of the language, and more under any other, so that this is a lower
bound. Control: a text whose wording was never shown has no wording to be known, and a perfect model
pays exactly H_w for it; what is held of it is at most 0 but for the noise of people. The first
context of values must be the person's own text (`measure.context` text), or name and values are
taken from elsewhere than the text at hand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.base.scores import NATS
from capacity.data.biographies import BiosWorld
from capacity.data.lexicon import different_texts
from capacity.declare import wording as declared
from capacity.measure.questions import Asking, Question

MEASURE = declared.MEASURE
FRESH = 2**40  # number of an exposure that no training reaches


def entropy(world: BiosWorld) -> float:
    """H_w, bits of the wording of one text."""
    data = world.data
    content = world.lexicon.content
    return math.log2(different_texts(content, data, data.order, data.same_sentences))


def whole(world: BiosWorld, person_R: Tensor, text: int, fresh: bool) -> Question:
    """All tokens of a text of each person behind EOS and tag: that of exposure `text`, or a new one
    that training never shows."""
    exposure_R = torch.full_like(person_R, FRESH + text if fresh else text)
    data = world.data
    biographies = None if fresh else data.biographies
    order, template = world.texts(
        person_R, exposure_R, biographies, data.order, data.same_sentences
    )
    slots, _, _ = world.sentences(person_R, order, template)
    head = world.head(len(person_R))
    begin_R = world.pieces.length[head].sum(1)
    every = torch.cat([head, slots.flatten(1)], 1)
    return Question(every, begin_R, world.pieces.length[every].sum(1) - begin_R)


def measure(
    world: BiosWorld, asking: Asking, scores: dict[str, np.ndarray], parameters: int
) -> dict[str, Any]:
    """All numbers of this measure for one member, ready for its record.

    scores: of the people who were asked, `person`, `trained`, `name_nats` and nats by attribute, in
    the context of their own texts; parameters: by which bits are divided (the paper's count)."""
    data = world.data
    trained = scores["trained"] > 0
    person_R = torch.from_numpy(scores["person"][trained]).long().to(world.device)
    texts = min(asking.draws, data.biographies or asking.draws)
    known_R = scores["name_nats"][trained].astype(float)
    for name in data.attribute_sizes:  # the city of work follows from the employer
        known_R = known_R + scores[NATS + name][trained].astype(float)
    codes = {
        kind: np.mean(
            [
                asking.ask(world.pieces, whole(world, person_R, text, fresh))[0]
                for text in range(texts)
            ],
            axis=0,
        )
        for kind, fresh in (("shown", False), ("fresh", True))
    }
    bits, n = entropy(world), world.n_people
    copies = data.biographies or 1
    out: dict[str, Any] = {
        "version": MEASURE.version,
        "people": len(person_R),
        "texts": texts,
        "fixed_texts": copies if data.biographies else None,
        "entropy_bits_per_text": bits,
        "ceiling_bits": n * copies * bits if data.biographies else 0.0,
    }
    for kind, nats_R in codes.items():
        held_R = bits - (nats_R - known_R) / math.log(2)
        out[kind] = {
            "code_bits_per_text": float(nats_R.mean()) / math.log(2),
            "held_bits_per_text": float(held_R.mean()),
            "held_bits_per_text_se": float(held_R.std(ddof=1)) / math.sqrt(len(held_R)),
        }
    held = out["shown"]["held_bits_per_text"] * n * copies
    out["wording_bits"] = held
    out["wording_bits_per_parameter"] = held / parameters
    return MEASURE.returns(out)
