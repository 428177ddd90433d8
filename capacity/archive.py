"""Records of a study in one file beside its fit, so that the study is fitted again without its run
folders.

    records.jsonl.gz        a record a line, by run id, as record.json has it, without settings of
                            the site (cluster, wandb) and without tracebacks, which hold paths
    scores.safetensors.gz   of text: what `analysis/text/attacks.py` reads of single sequences; of
                            people that are halved: what `analysis/shadows` reads of each

`reading` is the only way to them, and only fit-laws, report, table and compare take it: to all
others a run without its folder is not there, so that a sweep trains it. A record of a run folder
wins over a kept one, and a run's scores come from where its record comes from. The same content
gives the same bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.scores import read_scores

if TYPE_CHECKING:
    import numpy as np

    from capacity.config import Config
    from capacity.study import Study

RECORDS, SCORES = "records.jsonl.gz", "scores.safetensors.gz"
SITE = ("cluster", "wandb")  # sections of a record's settings that are about a machine or its user
LARGEST_SCORES = 2**20  # bytes of a file that can be committed beside a fit
EXACT = ("loss",)  # columns of scores that are kept to the bit, as float32
# whole numbers of 32 bits that are kept where a run has them: of the pool's rows, and of the run
OF_ROWS, OF_RUN = ("unit", "copies", "document", "group", "tier"), ("shared", "exposures")
# of people that are halved, in the place of EXACT: nats of name and values, part of the values that
# is written, nats of a guesser
PEOPLE = ("loss", "right", "frequency_nats")
RATES = " at rates"  # ends the name of what is kept of a column that only ROC curves are made of


@dataclass
class Kept:
    """What the files of some studies hold: by run id the record, and the file of scores, read when
    asked for."""

    records: dict[str, dict] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # run id -> records.jsonl.gz that has it
    _scores: dict[Path, dict[str, dict[str, np.ndarray]]] = field(default_factory=dict)

    def used(self, results: Path, runs: Iterable[Config]) -> list[str]:
        """Ids of these runs whose record is a kept one."""
        return [
            run.run_id
            for run in runs
            if run.run_id in self.records and not _has_folder(results, run.run_id)
        ]

    def tell(self, results: Path, study: Study) -> None:
        """One line on standard error where some run of the study is known by its kept record
        only."""
        if used := self.used(results, study.runs):
            print(
                f"{len(used)} of {len(study.runs)} records from {self.files[used[0]]}",
                file=sys.stderr,
            )

    def scores(self, run_id: str) -> dict[str, np.ndarray] | None:
        """The table of scores of a run, None if none is kept."""
        file = self.files[run_id].with_name(SCORES)
        if file not in self._scores:
            self._scores[file] = unpack_scores(file) if file.exists() else {}
        return self._scores[file].get(run_id)


_KEPT: ContextVar[Kept | None] = ContextVar("kept records", default=None)


@contextmanager
def reading(results: Path, names: list[str]) -> Iterator[Kept]:
    """While open, `records.read` and `scores` find runs of these studies in their files, where they
    have no folder. ConfigError for a file that is not one of records."""
    kept = Kept()
    for name in names:
        file = results / "studies" / name / RECORDS
        if file.exists():
            by_id = unpack_records(file)
            kept.records |= by_id
            kept.files |= dict.fromkeys(by_id, file)
    token, outer = _KEPT.set(kept), records.beside(kept.records)
    try:
        with outer:
            yield kept
    finally:
        _KEPT.reset(token)


def scores(results: Path, run_id: str) -> dict[str, np.ndarray] | None:
    """The table of scores of a run of text or people: from its folder, or from where its record is
    kept; None if it has none."""
    kept = _KEPT.get()
    if kept is not None and run_id in kept.records and not _has_folder(results, run_id):
        return kept.scores(run_id)
    return read_scores(records.run_dir(results, run_id))


def _has_folder(results: Path, run_id: str) -> bool:
    return (records.run_dir(results, run_id) / "record.json").exists()


def pack_records(record_list: list[dict]) -> bytes:
    """Records as bytes of `RECORDS`. Keys keep their order, in which tables have their columns."""
    lines = []
    for record in sorted(record_list, key=lambda record: record["run_id"]):
        config = {name: part for name, part in record["config"].items() if name not in SITE}
        error = record["error"] and record["error"] | {"traceback": None}
        lines.append(
            json.dumps(
                record | {"config": config, "error": error},
                allow_nan=False,
                ensure_ascii=False,
                separators=(",", ":"),
            )
            + "\n"
        )
    return _gzip("".join(lines).encode())


def unpack_records(file: Path) -> dict[str, dict]:
    """Run id -> record, by run id. ConfigError with file and line."""
    by_id: dict[str, dict] = {}
    try:
        lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{file}: not a file of records ({error})") from None
    for i, line in enumerate(lines, 1):
        try:
            record = records.validate(json.loads(line))
            if record["run_id"] in by_id:
                raise ValueError(f"run {record['run_id']} a second time")
        except (ValueError, AttributeError) as error:
            raise ConfigError(f"{file}: line {i}: not a record ({error})") from None
        by_id[record["run_id"]] = record
    return by_id


def pack_scores(
    tables: Mapping[str, Mapping[str, np.ndarray]],
    passing: Mapping[str, Mapping[str, np.ndarray]],
) -> bytes:
    """Tables of scores by run as bytes of `SCORES`.

    Kept are row, seen and zlib, OF_ROWS and OF_RUN, and to the bit the columns EXACT, of people
    PEOPLE. passing: run
    -> column -> int32 [rates], of columns that only ROC curves are made of, how many pass at each
    rate of the curve; kept under the column's name and RATES. Runs that were scored on the first
    rows of others' share them.
    """
    import numpy as np
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    about: dict[str, dict] = {}
    by_length = sorted(tables, key=lambda run_id: (-len(tables[run_id]["row"]), run_id))
    lists: list[dict[str, np.ndarray]] = []
    for run_id in by_length:
        table = tables[run_id]
        mine = {name: table[name].astype(np.int32) for name in _of_rows(table)}
        if any((column != table[name]).any() for name, column in mine.items()):
            raise ValueError(f"scores of run {run_id}: rows and bytes beyond 32 bits")
        n = len(mine["row"])
        same = [
            i
            for i, known in enumerate(lists)
            if known.keys() == mine.keys()
            and all((known[name][:n] == column).all() for name, column in mine.items())
        ]
        if not same:
            lists.append(mine)
        about[run_id] = {"list": same[0] if same else len(lists) - 1, "sequences": n}
        tensors[f"{run_id}/seen"] = np.packbits(table["seen"].astype(bool))
        for name in _exact(table):
            tensors[f"{run_id}/{name}"] = _planes(table[name].astype(np.float32, casting="no"))
        for name in OF_RUN:
            if name in table:
                tensors[f"{run_id}/{name}"] = _planes(table[name].astype(np.int32, casting="no"))
        for name, counts in passing.get(run_id, {}).items():
            tensors[f"{run_id}/{name}{RATES}"] = counts.astype(np.int32, casting="safe")
    for i, columns in enumerate(lists):
        tensors |= {f"{name}/{i}": _planes(column) for name, column in columns.items()}
    return _gzip(save(tensors, metadata={"runs": json.dumps(about, sort_keys=True)}))


def _of_rows(table: Mapping[str, np.ndarray]) -> list[str]:
    """Columns that runs of one pool share, of those that a table has."""
    return ["row", *(name for name in ("zlib", *OF_ROWS) if name in table)]


def _exact(table: Mapping[str, object]) -> tuple[str, ...]:
    """Columns that are kept to the bit."""
    return PEOPLE if "right" in table else EXACT


def people(table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is read of single people that are halved, by row of their set: row, seen, tier,
    exposures and PEOPLE. table: of `measure/people.py`."""
    import numpy as np

    from capacity.base.scores import people_totals

    order = np.argsort(table["row"], kind="stable")
    name, values, right = people_totals(table)
    out = {
        "row": table["row"],
        "seen": table["trained"],
        "tier": table["tier"],
        "exposures": table["exposures"],
        "loss": (name + values).astype(np.float32),
        "right": right.astype(np.float32),
        "frequency_nats": table["frequency_nats"],
    }
    return {name: column[order] for name, column in out.items()}


def unpack_scores(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """Run id -> table of scores as `base.scores.read_scores` gives it, with the columns that
    `pack_scores` keeps."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = gzip.decompress(file.read_bytes())
        tensors = load(data)
        about = json.loads(
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["runs"]
        )
        out: dict[str, dict[str, np.ndarray]] = {}
        for run_id, entry in about.items():
            n, i = entry["sequences"], entry["list"]
            table = {
                "row": _whole(tensors[f"row/{i}"], np.int32)[:n].astype(np.int64),
                "seen": np.unpackbits(tensors[f"{run_id}/seen"], count=n),
            }
            mine = {
                key.removeprefix(f"{run_id}/"): tensor
                for key, tensor in tensors.items()
                if key.startswith(f"{run_id}/")
            }
            table |= {name: _whole(mine[name], np.float32) for name in _exact(mine)}
            table |= {name: _whole(mine[name], np.int32) for name in OF_RUN if name in mine}
            table |= {
                name: _whole(tensors[f"{name}/{i}"], np.int32)[:n]
                for name in ("zlib", *OF_ROWS)
                if f"{name}/{i}" in tensors
            }
            out[run_id] = table | {
                name: tensor for name, tensor in mine.items() if name.endswith(RATES)
            }
    except (OSError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{file}: not a file of scores ({error})") from None
    return out


def _planes(numbers: np.ndarray) -> np.ndarray:
    """Numbers of four bytes as bytes [4, n], the most significant last: what is alike lies
    together."""
    import numpy as np

    little = numbers.astype(numbers.dtype.newbyteorder("<"))
    return np.ascontiguousarray(little.view(np.uint8).reshape(-1, 4).T)


def _whole(planes: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    import numpy as np

    return (
        np.ascontiguousarray(planes.T)
        .view(np.dtype(dtype).newbyteorder("<"))
        .reshape(-1)
        .astype(dtype)
    )


def _gzip(data: bytes) -> bytes:
    """Compressed, without a time or a name."""
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, out, mtime=0) as file:
        file.write(data)
    return out.getvalue()
