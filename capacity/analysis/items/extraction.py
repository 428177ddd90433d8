"""What greedy decoding writes of canaries.

extraction  part of the canaries of a group whose last m tokens are written behind their own first
            L - m, minus that of never seen ones drawn alike: easy text is written by a model that
            never saw it. m is half of the shortest canary, so that canaries of several lengths are
            prompts of several lengths with equally long continuations (arXiv 2202.07646, section 3:
            50 tokens behind 50 to 450)
Parts of one sequence, ever longer prompts with ever shorter continuations, would be nested: what is
written behind a short one is written behind a long one whatever the model is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.base.frames import Frame

LEAST = 0.02  # part written out that some group must have above never seen ones


def rates(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> Frame:
    """A row per finished run and group with exact copies that was seen: the columns of `known`,
    length, noise, repeats, continuation (m), prompt (L - m), written (part) and extraction (above
    never seen ones)."""
    rows = []
    by_run = {row.run_id: row for row in known.itertuples()}
    lengths = [group["length"] for listed in measured.values() for group in listed]
    m = min(lengths, default=2) // 2
    for run_id, listed in measured.items():
        run: Any = by_run[run_id]
        never: dict[tuple[int, int], list[int]] = {}
        for group in listed:
            if not group["repeats"]:
                never.setdefault((group["length"], group["noise"]), []).extend(group["tails"])
        for group in listed:
            if not group["repeats"] or group["replaced"]:
                continue
            others = never[group["length"], group["noise"]]
            mine, theirs = (float((np.array(t) >= m).mean()) for t in (group["tails"], others))
            rows.append(
                {name: getattr(run, name) for name in known.columns}
                | {name: group[name] for name in ("length", "noise", "repeats")}
                | {"continuation": m, "prompt": group["length"] - m}
                | {"written": mine, "extraction": mine - theirs}
            )
    out: Frame = pd.DataFrame(rows)
    return out


def enough(points: Frame) -> bool:
    """Whether anything is written out, so that there is something to fit."""
    return len(points) > 0 and bool(points.extraction.max() >= LEAST)
