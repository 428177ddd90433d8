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
    found = [record for run in study.runs if (record := records.read(results, run.run_id))]
    content = archive.pack_records(found)
    files.write_atomic(folder / archive.RECORDS, content)
    lines = [f"{folder / archive.RECORDS}: {len(found)} records, {len(content):,} bytes"]
    tables = {
        record["run_id"]: table
        for record in found
        if record["status"] == "finished"
        and (table := archive.scores(results, record["run_id"])) is not None
    }
    return lines + (_scores(folder / archive.SCORES, tables) if tables else [])


def _scores(file: Path, tables: dict) -> list[str]:
    """With the places of scores for ROC curves, or without, or not at all, as it fits."""
    from capacity.analysis.text import attacks

    at_rates = {}
    for run_id, table in tables.items():
        had = {name.removesuffix(archive.RATES): column for name, column in table.items()}
        whole = set(attacks.RANKED) <= table.keys()
        at_rates[run_id] = attacks.places(table) if whole else _only(had, attacks.RANKED)
    ranked = ", ".join(attacks.RANKED)
    lacks = f"{file}: without {ranked}: their ROC curves need run folders"
    for places, more in ((at_rates, []), ({}, [lacks])):
        content = archive.pack_scores(tables, places)
        if len(content) <= archive.LARGEST_SCORES:
            files.write_atomic(file, content)
            return [f"{file}: scores of {len(tables)} runs, {len(content):,} bytes", *more]
    file.unlink(missing_ok=True)  # of an earlier state of the study
    return [
        f"{file}: not written, {len(content):,} bytes are more than {archive.LARGEST_SCORES:,}: "
        "unintended memorization, attacks with references or shadow models and ROC curves need run "
        "folders"
    ]


def _only(columns: dict, names: tuple[str, ...]) -> dict:
    return {name: columns[name] for name in names if name in columns}
