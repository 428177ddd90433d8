"""Write docs/reference/modules.md: what each module holds, by its own first sentence.

python scripts/modules.py            # write the page
python scripts/modules.py --check    # exit code 1 where it is not what the modules say
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "modules.md"


def page(package: Path) -> str:
    """The page of a package folder; ValueError where a module has no docstring."""
    folders = sorted({path.parent for path in package.rglob("*.py")})
    lines = [
        "# Modules",
        "",
        "What each module holds, by its own first sentence. This page is generated: `python "
        "scripts/modules.py`.",
    ]
    for folder in folders:
        name = folder.relative_to(package.parent).as_posix()
        about = sentence(folder / "__init__.py") if (folder / "__init__.py").stat().st_size else ""
        lines += [
            "",
            f"## `{name}/`",
            "",
            *([about, ""] if about else []),
            "| module | what it holds |",
            "| --- | --- |",
        ]
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py":
                lines.append(f"| `{path.name}` | {sentence(path)} |")
    return "\n".join(lines) + "\n"


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, on one line; ValueError where there is none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path}: a module says in its docstring what it holds")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    text = page(ROOT / "capacity")
    if parser.parse_args().check:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
