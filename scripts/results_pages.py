"""Write every page that quotes a measured number: README.md, docs/results/*.md and other pages of
docs/templates, and the README.md beside each committed fit.

python scripts/results_pages.py            # write what has changed
python scripts/results_pages.py --check    # exit code 1 where a page is not what the studies say

A page is its template in docs/templates with the fields filled in (see `doc_pages/fields.py`).
Numbers and words of verdicts are those of results/studies as committed; nothing is fitted. A
template has no number that a person typed (see `doc_pages/typed.py`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from doc_pages import compared, fields, rulers, studies, typed
from doc_pages.studies import ROOT

TEMPLATES = ROOT / "docs" / "templates"
MOST = {"README.md": 8192}  # bytes
NOTE = "<!-- written by scripts/results_pages.py from {} -->\n"


def pages() -> dict[Path, str]:
    """Every page by its path. ValueError, in one line, for a template that cannot be filled."""
    found = {
        studies.get(name).folder / "README.md": studies.get(name).page for name in studies.fitted()
    }
    found[rulers.get().folder / "README.md"] = rulers.get().page
    for template in sorted(TEMPLATES.rglob("*.md")):
        target, text = target_of(template), template.read_text(encoding="utf-8")
        try:
            filled = fields.render(text, target)
        except ValueError as error:
            raise ValueError(f"{template.relative_to(ROOT)}: {error}") from error
        found[target] = NOTE.format(template.relative_to(ROOT).as_posix()) + filled
    return found


def target_of(template: Path) -> Path:
    """README.md is of the root, every other template of the same place below docs."""
    name = template.relative_to(TEMPLATES)
    return ROOT / name if name == Path("README.md") else ROOT / "docs" / name


def typed_by_hand() -> list[str]:
    """`template:line: number` of numbers, words of judgement and comparisons without their numbers
    in templates."""
    out = []
    for template in sorted(TEMPLATES.rglob("*.md")):
        text, name = template.read_text(encoding="utf-8"), template.relative_to(ROOT).as_posix()
        told = [
            *typed.numbers(text),
            *typed.judgements(text),
            *compared.of_page(name.removeprefix("docs/"), text),
        ]
        out += [f"{name}:{one}" for one in told]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check, code = parser.parse_args().check, 0
    try:
        written = pages()
    except ValueError as error:
        print(f"results_pages: error: {error}", file=sys.stderr)
        return 2
    for path, text in written.items():
        name = path.relative_to(ROOT).as_posix()
        if len(text.encode()) > MOST.get(name, sys.maxsize):
            print(f"{name}: {len(text.encode()):,} bytes; allowed: {MOST[name]:,}", file=sys.stderr)
            code = 1
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        print(name)
        if check:
            code = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for one in typed_by_hand():
        print(f"typed by hand: {one}", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
