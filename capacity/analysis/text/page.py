"""The document of a study of text as the page takes it until the page takes documents."""

from __future__ import annotations

from typing import Any

import pandas as pd

from capacity.analysis.document import Laws, Verdicts
from capacity.analysis.finding import Finding
from capacity.analysis.text.analysis import FILE
from capacity.analysis.text.wording import document
from capacity.report.parts import View


def of_text(fit: dict[str, Any], tables: dict[str, pd.DataFrame]) -> View:
    """Answers, laws, published values, flags, conventions and notes; tables are left out."""
    found = document(Finding("text", FILE, fit, tables))
    blocks = [block for section in found.sections for block in section.blocks]
    laws: Any = [law for block in blocks if isinstance(block, Laws) for law in block.laws]
    (beside,) = [block for block in blocks if isinstance(block, Verdicts)]
    rows: Any = list(beside.rows)
    flags: Any = list(found.flags)
    return View(
        list(found.answers),
        laws,
        rows,
        beside.note,
        flags,
        list(found.conventions),
        list(found.notes),
        [next(iter(found.figures))] if next(iter(found.figures)) == "descent" else [],
    )
