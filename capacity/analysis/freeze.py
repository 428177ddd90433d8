"""Keeps what a study is fitted from beside its fit, see `capacity.archive`."""

from __future__ import annotations

from pathlib import Path

from capacity import archive, records
from capacity.base import files
from capacity.study import Study


def freeze(study: Study, results: Path) -> list[str]:
    """Write the records of a study that are known, and of text its scores where they fit into
    LARGEST_SCORES; says in lines what was written, and what still needs run folders. Within
    `archive.reading`, so that kept records of folders that are gone stay."""
    folder = results / "studies" / study.name
    stored = [record for run in study.runs if (record := records.read(results, run.run_id))]
    content = archive.pack_records(stored)
    files.write_atomic(folder / archive.RECORDS, content)
    lines = [f"{folder / archive.RECORDS}: {len(stored)} records, {len(content):,} bytes"]
    tables = {
        record["run_id"]: table
        for record in stored
        if record["status"] == "finished"
        and _read(record)
        and (table := archive.scores(results, record["run_id"])) is not None
    }
    tables = {
        run_id: archive.people(table) if "person" in table else table
        for run_id, table in tables.items()
    }
    return lines + (_scores(folder / archive.SCORES, tables) if tables else [])


def _read(record: dict) -> bool:
    """Whether anything here reads scores of such a run: not of studies of single items and of new
    facts, nor of people but of halves of one set."""
    measured = record["measures"].get("text")
    if measured is None:
        return record["config"]["data"].get("trained_on") == "half"
    return not {"canary_kinds", "facts"} & measured.keys()


def _scores(file: Path, tables: dict) -> list[str]:
    from capacity.analysis.text import attacks

    passing = {
        run_id: attacks.passing(table) for run_id, table in tables.items() if "right" not in table
    }
    content = archive.pack_scores(tables, passing)
    if len(content) <= archive.LARGEST_SCORES:
        files.write_atomic(file, content)
        return [f"{file}: scores of {len(tables)} runs, {len(content):,} bytes"]
    file.unlink(missing_ok=True)  # of an earlier state of the study
    return [
        f"{file}: not written, {len(content):,} bytes are more than {archive.LARGEST_SCORES:,}: "
        "this study needs its run folders"
    ]
