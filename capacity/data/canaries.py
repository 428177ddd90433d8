"""Kinds of canaries of one run: windows of training, lengths, shares of random tokens, shares of
tokens that copies replace, every combination with canaries of its own at every level of repeats
(standard library only).

Without these settings there is one kind: whole rows, exact copies.

A window [first, end) of W steps shows a canary of level r at steps

    first + o_i + k s_r,  k = 0 ... r - 1,  s_r = (W - G) / (r - 1), rounded, or the given spacing

where o_i = i G // n staggers the n canaries of a level over the first G = max(1, W // 8) steps
(fewer where a given spacing leaves fewer). Canary i of every level is so seen for the first time in
one step, and from two views on for the last time in one step, too (with a spacing of its own it
ends the earlier the fewer views it has): how often and when first do not go together. A level that
is seen once is seen when all others are seen for the first time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from capacity.base.errors import ConfigError
from capacity.settings.data import TextData

STAGGER = 8  # part of a window over which canaries of a level are seen for the first time
KINDS = ("view_windows", "canary_lengths", "canary_noise", "copy_noise")


@dataclass(frozen=True)
class Window:
    """Steps first to end - 1 (from 0); spacing: steps between two views, None for evenly."""

    first: int
    end: int
    spacing: int | None = None

    def stagger(self, most: int) -> int:
        """G, where the largest level is `most`."""
        width = self.end - self.first
        room = width - (0 if self.spacing is None else self.spacing * (most - 1))
        return min(room, max(1, width // STAGGER))

    def views(self, i: int, n: int, repeats: int, most: int) -> list[int]:
        """Steps in which canary i of n of a level is seen, rising."""
        stagger = self.stagger(most)
        begin, span = self.first + i * stagger // n, self.end - self.first - stagger
        if self.spacing is not None:
            return [begin + k * self.spacing for k in range(repeats)]
        gaps = max(1, repeats - 1)
        return [begin + (2 * k * span + gaps) // (2 * gaps) for k in range(repeats)]


@dataclass(frozen=True)
class Arm:
    """A kind of canaries: tokens of each, random ones among them, tokens that every copy but the
    first replaces, and the window of their views (None: shuffled into the training set, or seen
    before data.last_view)."""

    length: int
    noise: int
    replaced: int
    window: Window | None


def several(data: TextData) -> bool:
    """Whether a run's canaries are told by kind."""
    return any(getattr(data, name) for name in KINDS)


def count(data: TextData) -> int:
    """Number of kinds."""
    out = 1
    for name in KINDS:
        out *= max(1, len(getattr(data, name)))
    return out


def arms(data: TextData, steps: int) -> tuple[Arm, ...]:
    """The kinds of a run of so many steps, in the order of its canaries. ConfigError in one line
    for settings that do not come to whole tokens or steps."""
    return _arms(data, steps)


@lru_cache(maxsize=256)
def _arms(data: TextData, steps: int) -> tuple[Arm, ...]:
    if not several(data):
        return (Arm(data.seq_len, 0, 0, None),)
    windows = [_window(text, steps) for text in data.view_windows] or [None]
    _different("view_windows", data.view_windows, windows)
    for name in ("canary_noise", "copy_noise"):
        _different(name, getattr(data, name), [float(t) for t in getattr(data, name)])
    return tuple(
        Arm(
            length,
            _tokens("canary_noise", noise, length),
            _tokens("copy_noise", replaced, length),
            window,
        )
        for window, length, noise, replaced in itertools.product(
            windows,
            data.canary_lengths or [data.seq_len],
            data.canary_noise or ["0"],
            data.copy_noise or ["0"],
        )
    )


def identity(data: TextData, steps: int) -> dict:
    """Windows in steps and shares as numbers: two spellings of one run have one identity."""
    out: dict = {}
    if data.view_windows:
        windows = (_window(text, steps) for text in data.view_windows)
        out["view_windows"] = [[w.first, w.end, w.spacing] for w in windows]
    for name in ("canary_noise", "copy_noise"):
        if getattr(data, name):
            out[name] = [float(text) for text in getattr(data, name)]
    return out


def _different(name: str, given: tuple[str, ...], values: list) -> None:
    if len(given) > 1 and len(set(values)) < len(values):
        raise ConfigError(f"data.{name}=[{','.join(given)}]: two of these are one; give each once")


def _window(text: str, steps: int) -> Window:
    ends, _, spacing = text.partition("/")
    first, end = (_step(part, steps) for part in ends.split("-"))
    return Window(first, end, int(spacing) if spacing else None)


def _step(text: str, steps: int) -> int:
    return int(text[:-1]) if text.endswith("s") else round(float(text) * steps)


def _tokens(name: str, share: str, length: int) -> int:
    tokens = float(share) * length
    if abs(tokens - round(tokens)) > 1e-9 * length:
        raise ConfigError(
            f"data.{name}={share}: of a canary of {length} tokens this is {tokens:g} tokens, no "
            f"whole number; give shares that are multiples of 1/{length}, or another length"
        )
    return round(tokens)


def check(data: TextData, steps: int, batch_size: int) -> None:
    """ConfigError in one line for kinds of canaries that do not fit into rows, or into the
    training."""
    if not several(data):
        return
    named = next(name for name in KINDS if getattr(data, name))
    given = f"data.{named}=[{','.join(map(str, getattr(data, named)))}]"
    if not data.canaries or 0 not in data.repeats or not max(data.repeats):
        raise ConfigError(
            f"{given}: kinds of canaries are told by those that are seen beside some that never "
            "are; give data.canaries, and data.repeats with 0 and more"
        )
    if data.last_view is not None:
        raise ConfigError(
            f"{given}: with data.last_view={data.last_view:g} all canaries are one kind; leave one "
            "of the two out"
        )
    if data.canary_noise and data.canary_text != "pool":
        raise ConfigError(
            f"data.canary_noise=[{','.join(data.canary_noise)}]: canaries of "
            f"data.canary_text={data.canary_text} are random altogether; give "
            "data.canary_text=pool"
        )
    if data.canary_lengths and max(data.canary_lengths) > data.seq_len:
        raise ConfigError(
            f"data.canary_lengths=[{','.join(map(str, data.canary_lengths))}]: "
            f"{max(data.canary_lengths)} tokens are more than a row of "
            f"data.seq_len={data.seq_len}; give lengths of at most {data.seq_len}"
        )
    arms(data, steps)
    if data.copy_noise and max(data.repeats) < 2:
        raise ConfigError(
            f"data.copy_noise=[{','.join(data.copy_noise)}]: the first copy is exact, and "
            f"data.repeats=[{','.join(map(str, data.repeats))}] has no second one"
        )
    if data.view_windows:
        _check_windows(data, steps, batch_size)


def _check_windows(data: TextData, steps: int, batch_size: int) -> None:
    most = max(data.repeats)
    for text in data.view_windows:
        window, named = _window(text, steps), f"data.view_windows={text}"
        width = window.end - window.first
        if window.end > steps:
            raise ConfigError(
                f"{named}: ends with step {window.end}, after the last one of the training, "
                f"{steps}; give windows within 0-1, or up to {steps}s"
            )
        if width < 1:
            raise ConfigError(
                f"{named}: steps {window.first} to {window.end} of {steps} hold no view; give an "
                "end after the start"
            )
        needed = 1 + (most - 1) * (window.spacing or 1)
        room = width if window.spacing is not None else width - max(1, width // STAGGER) + 1
        if needed > room:
            every = f" every {window.spacing} steps" if window.spacing else ""
            raise ConfigError(
                f"{named}: {most} views{every} need {needed} steps, and the window has {room} for "
                "them; give a longer one, or fewer data.repeats"
            )
    views = Counter(step for step, _, _ in schedule(data, steps))
    if views and max(views.values()) > batch_size:
        raise ConfigError(
            f"data.canaries={data.canaries}: {max(views.values())} views would meet in a batch of "
            f"{batch_size}; give fewer, longer windows, or a larger train.batch_size"
        )


@lru_cache(maxsize=64)
def schedule(data: TextData, steps: int) -> tuple[tuple[int, int, int], ...]:
    """Of every view in windows: step (from 0, rising), canary, and the number of the copy among
    those of all canaries (canary by canary)."""
    n, most = data.canaries, max(data.repeats)
    out, canary, copy = [], 0, 0
    for arm in arms(data, steps):
        assert arm.window is not None, "canaries have no windows"
        for level in data.repeats:
            for i in range(n):
                for step in arm.window.views(i, n, level, most):
                    out.append((step, canary, copy))
                    copy += 1
                canary += 1
    return tuple(sorted(out))
