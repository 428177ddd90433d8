"""Write docs/decisions/index.md: every decision by its title, the newest day first.

python scripts/decisions.py            # write the index
python scripts/decisions.py --check    # exit code 1 where it is not what the files say

A decision is one file, DATE-WORDS.md: a line `# ` with the decision, an empty line, the date, an
empty line, then what was decided, measured and rejected. The script refuses any other form, and a
docs/decisions.md, where entries stood before: what is written there is on no page.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decisions"
NAME = re.compile(r"(\d{4}-\d\d-\d\d)(-[a-z0-9]+)+\.md")
HEAD = """\
# Decisions

What was decided, what was measured, what was rejected: one dated file each, negative results
included. Numbers are strict bits per parameter (total count, BOS included) on uniform data with
V = 256, S = 32 and fp32 unless said otherwise; "cost" is one core of a 2024 server CPU. A file says
what was known on its day; a later one may have replaced it. This list is generated: `python
scripts/decisions.py`.
"""


def page(folder: Path) -> str:
    """The index of a folder of decisions; ValueError, in one line, for what is none."""
    if (old := folder.with_suffix(".md")).exists():
        raise ValueError(f"{old.name}: decisions are files of {folder.name}/, one each")
    days: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name != "index.md":
            date, title = decision(path)
            days.setdefault(date, []).append(f"- [{title}]({path.name})")
    parts = [HEAD]
    for date in sorted(days, reverse=True):
        parts += [f"\n## {date}\n\n", "\n".join(days[date]), "\n"]
    return "".join(parts)


def decision(path: Path) -> tuple[str, str]:
    """Date and title of a file; ValueError where its name or its head has another form."""
    named = NAME.fullmatch(path.name)
    if not named:
        raise ValueError(f"{path.name}: a decision is called DATE-WORDS.md, as 2026-11-21-words.md")
    lines = path.read_text(encoding="utf-8").splitlines()
    title = lines[0].removeprefix("# ") if lines and lines[0].startswith("# ") else ""
    if not title or title.endswith(".") or lines[1:4] != ["", named[1], ""] or not any(lines[4:]):
        raise ValueError(
            f"{path.name}: begins with '# ' and the decision without a full stop, an empty line, "
            f"{named[1]}, an empty line, and then says why"
        )
    datetime.date.fromisoformat(named[1])
    return named[1], title


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check, index = parser.parse_args().check, FOLDER / "index.md"
    try:
        text = page(FOLDER)
    except ValueError as error:
        print(f"decisions: error: {error}", file=sys.stderr)
        return 2
    if index.exists() and index.read_text(encoding="utf-8") == text:
        return 0
    if check:
        return 1
    index.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
