"""The page of an audit: one HTML file that loads nothing, with the documents as a table that sorts
and filters."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import capacity
from capacity.analysis.document import Document
from capacity.analysis.finding import Finding
from capacity.audit.sections import ATTACKS, cautioned
from capacity.base.files import csv, plain
from capacity.base.frames import Frame
from capacity.base.words import capitalized, plural
from capacity.report import parts, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = {"members": 1500, "others": 500}  # documents of a side in the page's table
HIDDEN = ("flagged",)  # columns of documents.csv that another one says as well
MEANINGS = {
    "id": "of --document, or file and line of the first row with this text",
    "side": "members or others",
    "group": "of --group",
    "copies": "rows of its file that have this text",
    "tokens": "that the model predicted",
    "bytes": "of UTF-8",
    "bits": "code length under the model",
    "bits_saved": "log2 p less log2 p of the reference",
    "false_positive_rate": "part of the others, itself counted among them, that score as high",
    "false_positive_rate_low": "low end of the 95% interval of the rate of that threshold",
    "false_positive_rate_high": "its high end",
    "verbatim": "longest run of tokens that greedy decoding writes word for word",
    "word": "flagged, cannot tell or like others; none of them is safe",
}


def build(
    finding: Finding,
    document: Document,
    figures: Mapping[str, Figure],
    command: Sequence[str],
) -> bytes:
    """The page as bytes of UTF-8. finding: its tables have documents.csv; command: lines that make
    it again."""
    numbers: Any = finding.numbers
    shown = {name: parts.figure(name, one, document.figures) for name, one in figures.items()}
    frame = finding.tables["documents.csv"]
    cells, note = _cells(frame)
    context: dict[str, Any] = {
        "name": numbers["about"]["model"],
        "heading": document.title,
        "asked": document.facts[:1],
        "version": capacity.__version__,
        "answered": numbers["verdict"] in ("evidence", "no evidence"),
        "answers": list(document.answers),
        "most": parts.MOST_ANSWERS + 2,
        "warnings": _warnings(numbers),
        "facts": document.facts[1:],
        "figures": list(shown.values()),
        "sections": [parts.section(part) for part in document.sections],
        "notes": list(document.notes),
        "conventions": list(document.conventions),
        "fit_file": finding.file,
        "table": parts.table(cells),
        "table_note": note,
        "example": "word=flagged copies>1",
        "commands": list(command),
        "versions": _versions(numbers),
        "printed_by": "audit",
        "printed": text.render(document),
    }
    context["contents"] = _contents(context)
    data = {
        "figures": {name: one["drawn"] for name, one in shown.items() if one["drawn"]},
        "runs": {},
    }
    files = {finding.file: finding.json()}
    files |= {name: csv(table) for name, table in finding.tables.items()}
    return parts.rendered("audit.html", context, data, files | parts.figure_files(figures))


def _warnings(numbers: Any) -> list[str]:
    caution = cautioned(numbers)
    if not caution:
        return []
    return [
        f"**{capitalized(caution)}.** No number of membership on this page says what the model "
        "remembers."
    ]


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    listed = [("figures", "Figures", context["figures"])]
    listed += [(part["id"], part["short"], True) for part in context["sections"]]
    listed += [
        ("notes", "What this does not show", context["notes"]),
        ("runs-section", "Documents", True),
        ("reproduce", "Make it again", True),
        ("conventions", "Conventions", True),
    ]
    return [(key, title) for key, title, there in listed if there]


def _cells(documents: Frame) -> tuple[dict[str, Any], str]:
    """Columns and rows of the table, and what of the documents it leaves out. Ids stay on their
    side: a document of members may be called like one of others."""
    of_side = [documents[documents["side"] == side].head(n) for side, n in MOST.items()]
    kept = [part for part in of_side if len(part)]
    left = len(documents) - sum(map(len, kept))
    columns = [
        {
            "heading": name,
            "meaning": _meaning(name),
            "number": documents[name].dtype.kind in "if",
            "setting": False,
        }
        for name in documents
        if name not in HIDDEN
    ]
    rows = [
        [_value(row[column["heading"]]) for column in columns]
        for part in kept
        for row in part.to_dict("records")
    ]
    note = ""
    if left:
        note = (
            f"Those that stand out most; {plural(left, 'document')} more are in documents.csv and "
            "documents.parquet."
        )
    return {"columns": columns, "rows": rows}, note


def _meaning(name: str) -> str:
    return MEANINGS.get(name, f"score: {ATTACKS.get(name, name)}, higher for members")


def _value(value: Any) -> Any:
    value = plain(value)
    return value if isinstance(value, (int, float)) or value is None else str(value)


def _versions(numbers: Any) -> list[tuple[str, str]]:
    about = numbers["about"]
    rows = [
        ("model", f"{about['model']}, SHA-256 {about['model_sha256']}"),
        ("members", f"{about['members']}, SHA-256 {about['members_sha256']}"),
        ("others", f"{about['others']}, SHA-256 {about['others_sha256']}"),
        ("seed", str(about["seed"])),
    ]
    known = {"capacity": capacity.__version__, "Python": platform.python_version()}
    for name in ("torch", "transformers", "numpy", "pandas", "scipy", "matplotlib"):
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return [*rows, ("versions", ", ".join(f"{name} {version}" for name, version in known.items()))]
