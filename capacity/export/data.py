"""What a run of text is scored on, as files that `capacity audit` reads: JSONL, a sequence per
line.

    members.jsonl   sequences that the run was trained on, a line for each time that one stands in
                    the training set
    others.jsonl    sequences that it was not trained on
    canaries.jsonl  canaries and the candidates that their rank is found among, if there are any;
                    not of runs with several kinds of canaries, whose ranks are found kind by kind

A line has id (the row of the pool), text, tokens (ids of the run and of its export) and, where the
source has them, group (the value of data.group) and unit (what a split by document keeps on one
side). A canary has repeats, 0 for a candidate, and bits, where it is random: the entropy of one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.config import from_record
from capacity.data import cache as kept
from capacity.data import canaries
from capacity.feed import split as splits
from capacity.settings.data import TextData

NAMES = ("members.jsonl", "others.jsonl", "canaries.jsonl")


def write(results: Path, run_id: str, folder: Path) -> dict[str, int]:
    """Write the files to a new or empty folder, whole or not at all; lines by name. ConfigError for
    a run that is not finished or not of text, and for a folder that cannot be."""
    check_empty(folder, "--data")
    record = records.read(results, run_id)
    if record is None or record["status"] != "finished":
        raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(results)}")
    kept.load(results, record["config"]["data"])
    config = from_record(record["config"])
    if not isinstance(config.data, TextData):
        raise ConfigError(
            f"{run_id}: --data: data.kind={config.data.kind}; only runs of text have members and "
            "others"
        )
    dealt = splits.of(config)
    rows = {
        "members.jsonl": list(_scored(dealt, dealt.seen, _times(dealt))),
        "others.jsonl": list(_scored(dealt, ~dealt.seen)),
        "canaries.jsonl": list(_canaries(dealt, config.data)),
    }
    rows = {name: lines for name, lines in rows.items() if lines}
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for name, lines in rows.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            files.write_atomic(beside / name, text.encode())
        if folder.is_dir():
            folder.rmdir()
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {name: len(lines) for name, lines in rows.items()}


def check_empty(folder: Path, option: str) -> None:
    """ConfigError for a folder that holds something."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{option} {folder}: there is something already; name a new or an empty folder"
        )


def _times(dealt: splits.Split) -> np.ndarray:
    """How often the tokens of each scored sequence stand in the training set, int64 [n]."""
    origin = dealt.pool.origin
    same_N = np.arange(len(dealt.pool.tokens_NS))
    if origin is not None and origin.same_N is not None:
        same_N = origin.same_N
    times_N = np.bincount(same_N[dealt.trained], minlength=len(same_N))
    return times_N[same_N[dealt.scored]]


def _scored(
    dealt: splits.Split, chosen: np.ndarray, times: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """Lines of the scored sequences that are chosen, each so many times."""
    origin, unit_N = dealt.pool.origin, None
    if origin is not None:
        unit_N = origin.unit_N
    for i in np.flatnonzero(chosen).tolist():
        row = int(dealt.scored[i])
        line = _line(str(row), dealt.pool.tokens_NS[row], dealt)
        if origin is not None and origin.documents.groups:
            group = int(origin.documents.group_D[origin.main_N2[row, 0]])
            line["group"] = None if group < 0 else origin.documents.groups[group]
        if unit_N is not None:
            line["unit"] = int(unit_N[row])
        yield from [line] * (1 if times is None else int(times[i]))


def _canaries(dealt: splits.Split, data: TextData) -> Iterator[dict[str, Any]]:
    """Lines of canaries and candidates; none where the run has no canaries."""
    random = data.canary_text != "pool"
    about = {"bits": data.seq_len * math.log2(data.vocab_size - 1)} if random else {}
    if not len(dealt.canaries) or canaries.several(data):
        return
    for i, (tokens, repeats) in enumerate(zip(dealt.canaries, dealt.repeats, strict=True)):
        yield _line(f"canary {i}", tokens, dealt) | {"repeats": int(repeats)} | about
    for i, tokens in enumerate(dealt.candidates):
        yield _line(f"candidate {i}", tokens, dealt) | {"repeats": 0} | about


def _line(name: str, tokens: np.ndarray, dealt: splits.Split) -> dict[str, Any]:
    ids = tokens.tolist()
    return {"id": name, "text": "".join(dealt.pool.words[t] for t in ids), "tokens": ids}
