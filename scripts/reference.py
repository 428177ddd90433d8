"""Write the pages of docs/reference that say what the code says: verbs, settings, Python, forms,
records, columns, published values, studies.

python scripts/reference.py            # write what has changed
python scripts/reference.py --check    # exit code 1 where a page is not what the code says

They do not depend on the machine: no time of it is measured, and nothing of its results is read but
what is committed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.pop("CAPACITY_RESULTS", None)  # a default of the command line

from reference_pages import cli, forms, published, python, record, settings, studies

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
PAGES = {
    "cli.md": cli.page,
    "settings.md": settings.page,
    "python.md": python.page,
    "forms.md": forms.page,
    "record.md": record.page,
    "columns.md": record.columns,
    "published.md": published.page,
    "studies.md": studies.page,
}
NOTE = "<!-- written by scripts/reference.py -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check, code = parser.parse_args().check, 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, NOTE + page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        print(path.relative_to(FOLDER.parents[1]).as_posix())
        if check:
            code = 1
        else:
            path.write_text(text, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
