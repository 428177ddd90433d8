"""Everything that the runs of some studies say of compression, JSON-able, and its tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from capacity import run_table
from capacity.analysis.compression import constancy, density, knowledge, reading
from capacity.analysis.finding import Finding, head
from capacity.base.files import csv, plain

if TYPE_CHECKING:
    from capacity.study import Study

SCHEMA = 1
FILE = "compression.json"
HELD = "bits_per_parameter"


def analyse(studies: Sequence[Study], results: Path) -> Finding:
    """What these studies say; within `archive.reading`. Without a finished run of text, random data
    or facts every table is empty, and `left_out` says why."""
    found = reading.read(studies, results)
    texts, people = reading.frame(found.texts), reading.frame(found.people)
    families = constancy.families(texts)
    forms, edits, no_density = _density(found, results)
    about = people if len(people) else None
    numbers = head("compression", SCHEMA, "", _digest([texts, people])) | {
        "studies": [study.name for study in studies],
        "runs": int(texts.run_id.nunique()) if len(texts) else 0,
        "people": len(people),
        "without_text": sorted(texts.run_id[texts.ic.isna()].unique()) if len(texts) else [],
        "limited": sorted(texts.run_id[texts.limited != ""].unique()) if len(texts) else [],
        "families": families,
        "together": constancy.together(families),
        "correlations": []
        if about is None
        else [knowledge.correlation(about, y) for y in ("accuracy", HELD)],
        "residuals": {
            by: [] if about is None else knowledge.residuals(about, by)
            for by in ("architecture", "size")
        },
        "architectures": forms,
        "edits": edits,
        "left_out": found.left_out,
        "no_density": no_density,
    }
    tables = {
        "runs.csv": texts,
        "sizes.csv": _sizes(families),
        "people.csv": people,
        "density.csv": pd.DataFrame(forms),
        "edits.csv": pd.DataFrame(edits),
    }
    return Finding("compression", FILE, plain(numbers), {k: t for k, t in tables.items() if len(t)})


def _density(
    found: reading.Read, results: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Rows of architectures, of edits, and by study why it has no architectures."""
    forms: list[dict[str, Any]] = []
    edits: list[dict[str, Any]] = []
    why, told = {}, set[str]()
    for name, (study, table) in found.studies.items():
        if not (table.status == "finished").any():
            continue
        table = table.copy()  # of one piece: columns are added
        rows, reason = density.architectures(study, table)
        forms += rows
        if reason:
            why[name] = reason
        quantized = run_table.quantized_table(results, study.runs, study.names)
        edits += density.edits(study, table, quantized, told)
        told |= set(quantized.run_id) if len(quantized) else set()
    return forms, edits, why


def _sizes(families: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row per family and size."""
    rows = []
    for one in families:
        about = {key: one[key] for key in constancy.FAMILY}
        about |= {"spread": one["spread"], "ratio": one["ratio"]["value"], "bent": one["bent"]}
        low, high = one["ratio"]["interval"] or (None, None)
        about |= {"ratio_low": low, "ratio_high": high}
        common = one.get("common")
        for i, size in enumerate(one["sizes"]):
            row = about | {"size": size, "parameters": one["parameters"][i], "ic": one["ic"][i]}
            row |= {"ic_on_one_data_set": common["ic"][i]} if common else {}
            if "bits_per_character" in one:
                mean = one["bits_per_character"][i]
                low, high = mean["interval"] or (None, None)
                row |= {"bits_per_character": mean["value"]}
                row |= {"bits_per_character_low": low, "bits_per_character_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def _digest(tables: Sequence[pd.DataFrame]) -> str:
    """SHA-256 of the rows that numbers are made of."""
    rows = [table.sort_values(["run_id", *(["side"] if "side" in table else [])])
            if len(table) else table for table in tables]  # fmt: skip
    return hashlib.sha256(b"".join(csv(table) for table in rows if len(table))).hexdigest()
