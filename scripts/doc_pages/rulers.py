"""What `capacity compression` said of the committed studies, as a source of fields and a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from capacity.analysis.compression import words
from capacity.analysis.compression.analysis import FILE
from capacity.analysis.document import Document
from capacity.report import markdown
from doc_pages.studies import ROOT

NAME = "compression"


@dataclass(frozen=True)
class Rulers:
    """The committed numbers, their document, and the page that lies beside them."""

    folder: Path
    numbers: dict[str, Any]
    document: Document
    page: str


@cache
def get() -> Rulers:
    """Read once."""
    folder = ROOT / "results" / NAME
    numbers = json.loads((folder / FILE).read_bytes())
    document = words.document(numbers)
    drawn = [name for name in document.figures if (folder / "figures" / f"{name}.png").exists()]
    return Rulers(folder, numbers, document, markdown.render(document, drawn))
