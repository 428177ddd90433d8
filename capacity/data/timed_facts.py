"""New facts in several wordings, shown at set steps (standard library only): what is said of whom,
in which words, when, and what is asked.

A fact is (subject, place of the subject); subjects are pairs of names, places and words are those
of the grammar. Each of T wordings of a relation says the same of any fact; the value ends it, so
that a causal model is asked for it behind all that tells. After Chang et al. (arXiv 2406.11813,
sections 3.1 and 3.2), who show passages about invented people to a model in training,

    duplicate    in the same wording at every view
    paraphrase   in another wording at every view
    once         at the first view only
    never        controls: asked as often

and ask, for the nats of the value's tokens,

    memorization  in the wording of the first view
    semantic      in wordings that the fact is never shown in (mean over them)
    composition   for the region of the subject, which follows from the place alone: the training
                  set says of known subjects place and region and of every place its region, of the
                  new ones only the place

Held-out wordings go round: fact i lacks wordings i, i + 1, ... modulo T, so that each is shown of
other facts. Each subject's value is drawn uniformly, and so is each place's region.

Probes lie spacing / 12 steps apart (or the next smaller divisor of the spacing), from just before
the first view to `WINDOW` steps behind the last one, then at growing distances. Facts begin in turn
at whole multiples of that, so that a probe stands just before each view.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError

if TYPE_CHECKING:
    from capacity.settings.data import TextData

ARMS = ("duplicate", "paraphrase", "once", "never")
KINDS = ("memorization", "semantic", "composition")
PLACES, REGIONS = 64, 8  # log2: 6 and 3 bits, few enough that small models learn the lists
RELATIONS = ("place", "region of a place", "region")  # of a subject, of a place, of a subject
MOST_WORDINGS = 16
# updates in which a view acts: 5 / (1 - beta1) of Adam's beta1 = 0.9, behind which 1% of its first
# moment is left (arXiv 2406.11813, section 3.2, takes t_w = 50)
WINDOW = 50
CLOSE = 12  # probes per spacing
PER_OCTAVE = 4  # probes per doubling of the time since the last window


@dataclass(frozen=True)
class Said:
    """A text, and where its value stands in it (characters, with the space before)."""

    text: str
    value: tuple[int, int]


@dataclass(frozen=True)
class Fact:
    """A new fact: its arm, its texts by view, and what is asked, by kind."""

    arm: str
    views: tuple[Said, ...]
    asked: dict[str, tuple[Said, ...]]


@dataclass(frozen=True)
class Facts:
    """New facts, arm by arm, and what the training set says besides."""

    new: tuple[Fact, ...]
    known: tuple[Said, ...]


def kinds(data: TextData) -> tuple[str, ...]:
    """What is asked."""
    return KINDS if data.known_facts else KINDS[:2]


def known_rows(data: TextData) -> int:
    """Rows of the training set about known subjects and places."""
    if not data.known_facts:
        return 0
    return data.fact_wordings * (2 * data.known_facts + PLACES)


def of(data: TextData) -> Facts:
    """The facts of a run: of data.split_seed alone."""
    names = ("facts", "fact_views", "fact_wordings", "held_out_wordings", "known_facts")
    return _of(*(getattr(data, name) for name in (*names, "split_seed")))


@lru_cache(maxsize=8)
def _of(n: int, views: int, wordings: int, held_out: int, known: int, seed: int) -> Facts:
    import random

    from capacity.data.grammar import Grammar

    grammar, rng = Grammar(), random.Random(f"timed facts {seed}")
    names, places = grammar.words["name"], grammar.words["place"]
    places, regions = places[REGIONS : REGIONS + PLACES], places[:REGIONS]
    region = {place: regions[int(rng.random() * REGIONS)] for place in places}
    lives = {}
    while len(lives) < known + n * len(ARMS):  # one by one: the first are the same of any number
        first, last, place = (rng.random() for _ in range(3))
        pair = names[int(first * len(names))], names[int(last * len(names))]
        if pair[0] != pair[1]:
            lives.setdefault(" ".join(pair), places[int(place * PLACES)])
    subjects = list(lives)

    def says(relation: int, wording: int, subject: str, value: str) -> Said:
        return _said(grammar.words, relation, wording, subject, value)

    new = []
    for j, subject in enumerate(subjects[known:]):
        arm, i = ARMS[j // n], j % n
        order = [(i + k) % wordings for k in range(wordings)]
        held, shown = order[:held_out], order[held_out:]
        place = lives[subject]
        seen = {"duplicate": shown[:1] * views, "paraphrase": shown[:views], "once": shown[:1]}
        asked = {
            "memorization": (says(0, shown[0], subject, place),),
            "semantic": tuple(says(0, t, subject, place) for t in held),
        }
        if known:
            asked["composition"] = tuple(says(2, t, subject, region[place]) for t in held)
        texts = tuple(says(0, t, subject, place) for t in seen.get(arm, []))
        new.append(Fact(arm, texts, asked))
    told = [
        says(relation, t, subject, value)
        for subject in subjects[:known]  # the same ones whatever is new
        for relation, value in ((0, lives[subject]), (2, region[lives[subject]]))
        for t in range(wordings)
    ]
    if known:
        told += [says(1, t, place, region[place]) for place in places for t in range(wordings)]
    return Facts(tuple(new), tuple(told))


def _said(
    words: dict[str, list[str]], relation: int, wording: int, subject: str, value: str
) -> Said:
    """Four forms of the grammar, each with words of its own by relation and wording."""
    at = relation * MOST_WORDINGS + wording
    verb, noun, adverb = words["verb"][at], words["noun"][at], words["adverb"][at]
    before = (
        f"{subject} {verb}s at",
        f"The {noun} of {subject} {verb}s",
        f"{subject} {adverb}ly {verb}s",
        f"{subject} {verb}s the {noun} at",
    )[wording % 4]
    return Said(f"{before} {value}.", (len(before), len(before) + 1 + len(value)))


# --- when


def spacing_of_probes(data: TextData) -> int:
    """Steps from one probe to the next while facts are shown: a divisor of the spacing of views."""
    most = max(1, data.view_spacing // CLOSE)
    return next(d for d in range(most, 0, -1) if data.view_spacing % d == 0)


def last_step(data: TextData, steps: int) -> int:
    """Updates after which every fact has been seen for the last time."""
    assert data.last_view is not None, "facts are shown at set steps"
    return round(data.last_view * steps)


def steps_of_views(data: TextData, steps: int) -> list[list[int]]:
    """Of every new fact the steps (from 0, rising) that show it, of controls those that show the
    duplicate in their place."""
    apart = spacing_of_probes(data)
    places = data.view_spacing // apart
    first = last_step(data, steps) - 1 - (data.fact_views - 1) * data.view_spacing
    out = []
    for j in range(len(ARMS) * data.facts):
        arm, i = ARMS[j // data.facts], j % data.facts
        turn = i if arm == "never" else j
        begin = first - (turn % places) * apart
        views = 1 if arm == "once" else data.fact_views
        out.append([begin + k * data.view_spacing for k in range(views)])
    return out


def probe_steps(data: TextData, steps: int) -> tuple[int, ...]:
    """Numbers of updates after which all facts are asked, rising."""
    apart, last = spacing_of_probes(data), last_step(data, steps)
    first = min(views[0] for views in steps_of_views(data, steps))
    close = range(first, min(last + WINDOW, steps) + 1, apart)
    lags = math.floor(PER_OCTAVE * math.log2(max(1, (steps - last) / WINDOW)))
    later = (last + round(WINDOW * 2 ** (k / PER_OCTAVE)) for k in range(lags + 1))
    return tuple(sorted({*close, steps, *(step for step in later if step <= steps)}))


def check(data: TextData, steps: int, batch_size: int) -> None:
    """ConfigError in one line for facts that cannot be said, or do not fit into the training."""
    if not data.facts and not data.known_facts:
        return
    named = "facts" if data.facts else "known_facts"
    given = f"data.{named}={getattr(data, named)}"
    for name, other, allowed in (
        (f"source={data.source}", data.source != "grammar", "source=grammar, whose words say them"),
        (f"canaries={data.canaries}", data.canaries > 0, "canaries=0"),
        (f"trained_on={data.trained_on}", data.trained_on != "members", "trained_on=members"),
        ("tiers or data.zipf", bool(data.tiers or data.zipf), "tiers=[] data.zipf=0"),
    ):
        if other:
            raise ConfigError(f"{given}: does not go with data.{name}; give data.{allowed}")
    if data.facts:
        _check_views(data, steps, batch_size)


def _check_views(data: TextData, steps: int, batch_size: int) -> None:
    """The same of new facts."""
    given = f"data.facts={data.facts}"
    shown = data.fact_wordings - data.held_out_wordings
    if data.fact_views > shown:
        raise ConfigError(
            f"data.fact_views={data.fact_views}: a fact shown in another wording at each view "
            f"needs as many, and of data.fact_wordings={data.fact_wordings} less "
            f"data.held_out_wordings={data.held_out_wordings} there are {shown}; give at most "
            f"{max(2, shown)} views, or more wordings"
        )
    if data.last_view is None:
        raise ConfigError(
            f"{given}: are shown at set steps; give data.last_view, the part of training after "
            "which none is shown"
        )
    last = last_step(data, steps)
    needed = data.view_spacing * data.fact_views
    if not needed <= last or last + WINDOW > steps:
        raise ConfigError(
            f"data.last_view={data.last_view:g}: is step {last} of {steps}, but "
            f"{data.fact_views} views every data.view_spacing={data.view_spacing} steps need "
            f"{needed} before it, and what a view leaves shows in {WINDOW} after it"
        )
    views = steps_of_views(data, steps)[: 3 * data.facts]
    at_once = max(Counter(step for mine in views for step in mine).values())
    if at_once > batch_size:
        raise ConfigError(
            f"{given}: {at_once} of them would meet in a batch of {batch_size}; give fewer, a "
            "larger train.batch_size or a larger data.view_spacing"
        )
