"""Committed studies as pages quote them: their numbers and tables as they lie in results/studies,
never fitted again, and the document that their kind writes from these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from capacity.analysis import convert, kinds
from capacity.analysis.document import Document
from capacity.analysis.finding import Finding
from capacity.compose import read_yaml
from capacity.report import markdown, text
from capacity.study import find_study, split_name

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "results" / "studies"
FILES = ("fit.json", "precision.json", "memory.json")
READ = ("runs.csv", "attacks.csv")  # tables that documents are written from
WORKERS = 2  # processes of one thread that the pocket studies were trained by


@dataclass(frozen=True)
class Committed:
    """A study of results/studies."""

    name: str

    @property
    def folder(self) -> Path:
        """Where its numbers, tables and figures lie."""
        return STUDIES / self.name

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Its fit; ValueError where there is none."""
        for file in FILES:
            if (path := self.folder / file).exists():
                return convert.read(path)
        raise ValueError(f"{self.name}: no fit in {STUDIES.relative_to(ROOT)}")

    @lru_cache  # noqa: B019  (as many as there are studies)
    def table(self, file: str) -> Any:
        """One of its CSV files."""
        path = self.folder / file
        if not path.exists():
            raise ValueError(f"{self.name}: no {file} in {STUDIES.relative_to(ROOT)}")
        return pd.read_csv(path).copy()  # in one piece, which pandas likes better

    @cached_property
    def document(self) -> Document:
        """What its kind says of these numbers."""
        (file,) = [file for file in FILES if (self.folder / file).exists()]
        tables = {name: self.table(name) for name in READ if (self.folder / name).exists()}
        return kinds.document(Finding(self.numbers["kind"], file, self.numbers, tables))

    @property
    def page(self) -> str:
        """README.md beside its fit."""
        return markdown.render(
            self.document, sorted(p.stem for p in self.folder.glob("figures/*.png"))
        )

    @property
    def terminal(self) -> list[str]:
        """Lines that fit-laws prints."""
        return text.render(self.document).splitlines()

    @cached_property
    def question(self) -> str:
        """As the study file asks it."""
        path, preset = find_study(self.name), split_name(self.name)[1]
        tree = read_yaml(path)
        asked = (tree.get("presets") or {}).get(preset, {}).get("question") or tree["question"]
        return asked[:1].upper() + asked[1:]

    @property
    def minutes(self) -> float:
        """How long its runs trained, with as many workers as two cores carry."""
        return float(self.table("runs.csv").wall_s.sum()) / 60 / WORKERS


@lru_cache
def get(name: str) -> Committed:
    """A committed study; ValueError where there is none of that name."""
    if not (STUDIES / name).is_dir():
        raise ValueError(f"{name}: no such folder in {STUDIES.relative_to(ROOT)}")
    return Committed(name)


def fitted() -> list[str]:
    """Names of all committed studies that have a fit."""
    found = {path.parent for file in FILES for path in STUDIES.rglob(file)}
    return sorted(folder.relative_to(STUDIES).as_posix() for folder in found)
