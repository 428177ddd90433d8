"""Canaries at set steps: when each is seen, which rows of the batches they take, and when the model
is asked about them.

With data.last_view = f a canary of level r is seen r times, every data.view_spacing steps, the last
time in about step f x steps, and never again: what follows is forgetting (after Tirumala et al.,
arXiv 2205.10770, section 5, and Chang et al., arXiv 2406.11813, who put passages into batches at
known steps). Canaries start in turn, so that a step holds few of them.

With data.view_windows they are seen at the steps of `data.canaries`, each view a copy of its own;
nothing is asked about them in between (but by measure.snapshots).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from capacity.data import canaries as kinds
from capacity.data import timed_facts
from capacity.feed.batches import order
from capacity.settings.data import TextData, text_data

if TYPE_CHECKING:
    from capacity.config import Config

PER_OCTAVE = 2  # probes per doubling of the time since the last view
CLOSE = (
    16  # probes per spacing around the last view, so that every canary is scored soon after its own
)


def timed(config: Config) -> bool:
    """Whether the run sees canaries at set steps only."""
    return probed(config) or (isinstance(config.data, TextData) and bool(config.data.view_windows))


def probed(config: Config) -> bool:
    """Whether all canaries are scored at the steps of `probe_steps`: those of data.last_view."""
    return isinstance(config.data, TextData) and config.data.last_view is not None


def last_step(config: Config) -> int:
    """Updates after which every canary has been seen for the last time."""
    last_view = text_data(config.data).last_view
    assert last_view is not None, "canaries are shuffled into the training set"
    return round(last_view * config.steps)


def last_updates(config: Config) -> np.ndarray:
    """int64, by canary: the number (from 1) of the update that holds its last view; of a control,
    which is never seen, that of a canary in its place."""
    data = text_data(config.data)
    return last_step(config) - np.arange(data.canaries * len(data.repeats)) % data.view_spacing


def probe_steps(config: Config) -> tuple[int, ...]:
    """Numbers of updates after which all canaries are scored, rising: before any view, with 1, 2,
    4, ... views still to come, closely while one after the other is seen for the last time, and
    then at growing distances."""
    if not probed(config):
        return ()
    data = text_data(config.data)
    if data.facts:
        return timed_facts.probe_steps(data, config.steps)
    return _probe_steps(config.steps, last_step(config), data.view_spacing, max(data.repeats))


@lru_cache(maxsize=64)
def _probe_steps(steps: int, last: int, spacing: int, most: int) -> tuple[int, ...]:
    before = {last - spacing * most} | {
        last - spacing * 2**i for i in range(int(math.log2(most)) + 1)
    }
    close = range(last - spacing, last + spacing + 1, max(1, spacing // CLOSE))
    lags = {
        round(2 ** (i / PER_OCTAVE))
        for i in range(1 + int(PER_OCTAVE * math.log2(max(1, steps - last))))
    }
    return tuple(
        sorted(
            before
            | {last, steps}
            | {last + lag for lag in lags}
            | {step for step in close if step < steps}
        )
    )


@lru_cache(maxsize=64)
def _schedule(
    last: int, spacing: int, canaries: int, repeats: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every view: step (from 0, rising), canary, and its place among the views of that step."""
    views = [
        (last - 1 - j % spacing - k * spacing, j)
        for j in range(canaries * len(repeats))
        for k in range(repeats[j // canaries])
    ]
    step, canary = np.array(sorted(views), np.int64).reshape(-1, 2).T
    return step, canary, np.arange(len(step)) - np.searchsorted(step, step)


@lru_cache(maxsize=64)
def _in_windows(data: TextData, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    step, _, copy = np.array(kinds.schedule(data, steps), np.int64).reshape(-1, 3).T
    return step, copy, np.arange(len(step)) - np.searchsorted(step, step)


@lru_cache(maxsize=64)
def _of_facts(data: TextData, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shown = timed_facts.steps_of_views(data, steps)[: 3 * data.facts]  # but controls
    views = sorted((s, n) for n, s in enumerate(step for mine in shown for step in mine))
    step, view = np.array(views, np.int64).reshape(-1, 2).T
    return step, view, np.arange(len(step)) - np.searchsorted(step, step)


def schedule(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every view: step (from 0, rising), row behind the training set (the canary, or the copy of
    a view in a window), and its place among the views of that step; int64 each."""
    data = text_data(config.data)
    if data.facts:
        return _of_facts(data, config.steps)
    if data.view_windows:
        return _in_windows(data, config.steps)
    return _schedule(last_step(config), data.view_spacing, data.canaries, data.repeats)


def insert(rows: np.ndarray, config: Config, first_step: int, first_canary: int) -> None:
    """Put canaries in the place of the last rows of their steps; rows: int64 [n steps, batch] from
    first_step on, changed."""
    step, canary, place = schedule(config)
    chosen = slice(*np.searchsorted(step, [first_step, first_step + len(rows)]))
    rows[step[chosen] - first_step, -1 - place[chosen]] = first_canary + canary[chosen]


def exposures(config: Config, steps: int) -> dict[str, float]:
    """Fewest, mean and most times that a sequence of the training set was seen in `steps` steps,
    without those whose places canaries took."""
    n, batch = config.trained_items, config.train.batch_size
    whole, part = divmod(steps * batch, n)
    counts = np.full(n, whole, np.int64)
    counts[order(config.seed, n, 1, whole * n, part).reshape(-1)] += 1
    step, _, place = schedule(config)
    step, place = step[step < steps], place[step < steps]
    for s in np.unique(step):
        np.subtract.at(counts, order(config.seed, n, batch, int(s), 1)[0, -1 - place[step == s]], 1)
    return {"min": int(counts.min()), "mean": float(counts.mean()), "max": int(counts.max())}
