"""The runs of many studies as rows that rulers of compression read, from records alone.

side       what was compressed: members (trained on) or held out
family     runs of one study that differ in the size of the model and the seed alone: equal variant,
           side, amount of data (load, tokens per parameter or sequences) and exposures
gain       bits per token that a model takes off: of text from 8 bits per byte of UTF-8, of random
           tokens from log2 V
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import archive, counts, naming, records, run_table
from capacity.analysis import labels, refused
from capacity.analysis.compression.formulas import BITS_OF_A_BYTE, information_capacity
from capacity.analysis.random import plateaus
from capacity.base.errors import ConfigError
from capacity.base.frames import Frame
from capacity.base.words import joined
from capacity.config import Config
from capacity.data import cache as kept
from capacity.settings.data import text_data

if TYPE_CHECKING:
    from capacity.study import Study

REPLICATES = (
    "split_seed",
    "text_seed",
)  # settings of data that draw another sample, as a seed does
TEXT, RANDOM, FACTS = "text", "random data", "facts"
MEMBERS, HELD_OUT = "members", "held_out"


@dataclass
class Read:
    """What studies hold. texts: a row per finished run of text or random data and side; people: a
    row per finished run of facts; left_out: study -> why it has neither."""

    studies: dict[str, tuple[Study, Frame]] = field(default_factory=dict)
    texts: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def names(results: Path) -> list[str]:
    """Studies of which a results folder keeps records."""
    folder = results / "studies"
    return sorted(
        path.parent.relative_to(folder).as_posix() for path in folder.rglob(archive.RECORDS)
    )


def read(studies: Sequence[Study], results: Path) -> Read:
    """The finished runs of these studies, each once, by the first study that has it; within
    `archive.reading`."""
    out, seen, size = Read(), set[str](), _Characters()
    for study in studies:
        if len(several := labels.families(study.runs)) > 1:
            # of values alone and of values in texts answers follow code lengths differently
            out.left_out[study.name] = f"runs on {joined(several)}: no line is common to them"
            continue
        if any(getattr(run.data, "value_zipf", 0.0) for run in study.runs):
            # a popular value is answered without a person being known
            out.left_out[study.name] = "values that are not drawn alike: guesses answer many"
            continue
        table = refused.set_aside(run_table.table(results, study.runs, study.names))
        out.studies[study.name] = (study, table)
        done = set(table.run_id[table.status == "finished"])
        runs = [run for run in study.runs if run.run_id in done - seen]
        seen |= {run.run_id for run in runs}
        rows = table.set_index("run_id")
        before = len(out.texts) + len(out.people)
        for run in runs:
            kept.load(results, run.as_dict()["data"])
        full = _limited(table)
        for run in _best(study, runs, rows):
            about = _about(study, run)
            row = rows.loc[run.run_id]
            if labels.family(run) == TEXT:
                out.texts += _text(run, row, about, size)
            elif labels.family(run) == RANDOM:
                out.texts.append(_random(run, row, about | {"limited": full.get(run.run_id, "")}))
            elif labels.family(run) == FACTS:
                out.people += _people(run, row, about, _possible(results, run))
        if len(out.texts) + len(out.people) == before:
            out.left_out[study.name] = _nothing(study, bool(done), bool(runs))
    return out


def _nothing(study: Study, done: bool, new: bool) -> str:
    if not done:
        return "no finished run"
    if not new:
        return "all of its runs are those of another study"
    return f"runs on {', '.join(labels.families(study.runs))}: no ruler of compression here"


def _about(study: Study, run: Config) -> dict[str, Any]:
    """What a run is."""
    words = [w for w in study.variants[run.run_id].split(", ") if w]
    words = [w for w in words if not w.startswith(tuple(f"{name}=" for name in REPLICATES))]
    again = [getattr(run.data, name) for name in REPLICATES if getattr(run.data, name, None)]
    return {
        "run_id": run.run_id,
        "study": study.name,
        "variant": ", ".join(words),
        "size": run.shape,
        "seed": " ".join(map(str, [run.seed, *again])),
        "amount": _amount(run),
        "exposures": float(run.train.exposures or f"{run.exposures:.3g}"),
        "parameters": run.parameters["total"],
    }


def _amount(run: Config) -> str:
    for key, words in (("load", "load"), ("tokens_per_parameter", "tokens per parameter")):
        if (asked := getattr(run.data, key, None)) is not None:
            return f"{words} {asked:g}"
    return f"N = {run.items:,}"


def _best(study: Study, runs: Sequence[Config], rows: Frame) -> list[Config]:
    """Of runs that differ in `best_over` alone the one with the most bits."""
    if not study.best_over:
        return list(runs)
    known: dict[tuple, tuple[float, Config]] = {}
    for run in runs:
        about = _about(study, run)
        key = tuple(v for name, v in about.items() if name != "run_id")
        bits = rows.loc[run.run_id].get("strict_bits", rows.loc[run.run_id].get("bits", math.nan))
        bits = -math.inf if bits is None or math.isnan(bits) else float(bits)
        if key not in known or bits > known[key][0]:
            known[key] = bits, run
    return [run for _, run in known.values()]


def _limited(table: Frame) -> dict[str, str]:
    """Run id -> why the data of a run of random data decide and not its model, or empty."""
    mine = table[(table.kind == "uniform") & (table.status == "finished")]
    if mine.empty:
        return {}
    why = plateaus.classify(mine)
    return {
        run_id: "" if one == "capacity_limited" else str(one)
        for run_id, one in zip(mine.run_id, why, strict=True)
    }


def _cost(run: Config) -> dict[str, float]:
    model, length = run.model, run.data.seq_len
    return {
        "flops": counts.forward_flops_per_token(model, run.rows, length),
        "flops_decoded": counts.decoded_flops_per_token(model, run.rows, length),
    }


def _row(
    run: Config, about: dict[str, Any], side: str, text_bits: float, loss: float, **more: Any
) -> dict[str, Any]:
    cost = _cost(run)
    known = not (math.isnan(text_bits) or math.isnan(loss))
    ic = {
        name: information_capacity(text_bits, loss, cost[of]) if known else math.nan
        for name, of in (("ic", "flops_decoded"), ("ic_forward", "flops"))
    }
    return (
        about
        | {"data": labels.family(run), "side": side, "tokens": run.items * run.data.seq_len}
        | {"text_bits_per_token": text_bits, "loss_bits_per_token": loss}
        | {"gain_bits_per_token": text_bits - loss}
        | cost
        | ic
        | {"characters_per_token": math.nan, "bits_per_character": math.nan, "limited": ""}
        | more
    )


def _random(run: Config, row: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Of random tokens the strict convention: the first token of a sequence counts."""
    most = math.log2(run.rows)
    loss = most - float(row.strict_bits) / (run.items * run.data.seq_len)
    return _row(run, about, MEMBERS, most, loss, limited=about["limited"])


def _text(run: Config, row: Any, about: dict[str, Any], size: _Characters) -> list[dict[str, Any]]:
    out = []
    if text_data(run.data).trained_on not in ("members", "half"):
        return []  # of a reference or shadow model, whose members are others
    for side in (MEMBERS, HELD_OUT):
        loss = row.get(f"{side}_loss_bits_per_token", math.nan)
        if loss is None or math.isnan(loss):
            continue
        found = size.of(run, side)
        text_bits = characters = math.nan
        if found is not None:
            text_bits, characters = BITS_OF_A_BYTE * found[0], found[1]
        each = _row(run, about, side, text_bits, float(loss))
        if found is not None:
            each |= {"characters_per_token": characters, "bits_per_character": loss / characters}
        out.append(each)
    return out


class _Characters:
    """Bytes of UTF-8 and characters per token of the sequences of a side, of runs whose text is at
    hand: kept in the results folder, or made again from its source."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[float, float] | None] = {}
        self._words: dict[str, np.ndarray] = {}

    def of(self, run: Config, side: str) -> tuple[float, float] | None:
        """None where the text is not at hand any more."""
        data = text_data(run.data)
        key = (data.pool, data.split_seed, data.n_held_out, data.split_by, side, data.trained_on)
        if side == MEMBERS or data.splits_documents or data.trained_on == "half":
            key += (run.items, run.seed)  # held-out windows are the same whatever is trained on
        if key not in self._known:
            self._known[key] = self._count(run, side)
        return self._known[key]

    def _count(self, run: Config, side: str) -> tuple[float, float] | None:
        from capacity.feed import split

        try:
            dealt = split.of(run)
        except ConfigError:
            return None
        rows = dealt.scored[dealt.seen == (side == MEMBERS)]
        tokens = dealt.pool.tokens_NS[rows]
        if not tokens.size:
            return None
        seen_V = np.bincount(tokens.ravel(), minlength=len(dealt.pool.words))
        lengths_V2 = self._lengths(dealt.pool.digest, dealt.pool.words)
        octets, characters = (seen_V @ lengths_V2 / tokens.size).tolist()
        return octets, characters

    def _lengths(self, digest: str, words: list[str]) -> np.ndarray:
        """Bytes and characters of each word of a vocabulary."""
        if digest not in self._words:
            self._words[digest] = np.array([(len(w.encode()), len(w)) for w in words], float)
        return self._words[digest]


def _people(
    run: Config, row: Any, about: dict[str, Any], known: float | None
) -> list[dict[str, Any]]:
    """Of facts: the code length of a person's values, greedy answers, and bits."""
    nats, accuracy = row.get("p2_nats", math.nan), row.get("accuracy", math.nan)
    if any(x is None or math.isnan(x) for x in (nats, accuracy)):
        return []
    if not known:
        return []
    settings = naming.settings(run)
    bits, ceiling = row.get("bits", math.nan), row.get("ceiling_bits", math.nan)
    return [
        about
        | {
            "architecture": naming.architecture(settings) or about["variant"] or "other",
            "parameters_paper": run.parameters["paper"],
            "code_bits_per_value_bit": float(nats) / math.log(2) / known,
            "accuracy": float(accuracy),
            "bits_per_parameter": float(bits) / run.parameters["paper"],
            "held": float(bits) / float(ceiling) if ceiling else math.nan,
        }
    ]


def _possible(results: Path, run: Config) -> float | None:
    """log2 of the number of possible values that `p2_nats` is the code length of, by the record: of
    a person all of them, but of bioD one attribute, of which it is the mean."""
    record = records.read(results, run.run_id)
    known = None if record is None else record["measures"]["knowledge"].get("log2_values")
    return known / attributes if known and (attributes := _of_biod(run)) else known


def _of_biod(run: Config) -> int:
    """Attributes of bioD, 0 of other data."""
    return getattr(run.data, "attributes", 0) if run.data.kind == "biod" else 0


def frame(rows: Iterable[dict[str, Any]]) -> Frame:
    """Rows as a table; without rows one without columns."""
    return pd.DataFrame(list(rows))
