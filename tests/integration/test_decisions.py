"""docs/decisions: one dated file for each decision, all of them in the index, no old page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import decisions  # noqa: E402

FOLDER = ROOT / "docs" / "decisions"


def test_the_index_names_every_decision():
    done = subprocess.run(
        [sys.executable, "scripts/decisions.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, f"run: python scripts/decisions.py\n{done.stderr}"
    linked = re.findall(r"\]\(([^)]+)\)", (FOLDER / "index.md").read_text(encoding="utf-8"))
    there = {path.name for path in FOLDER.iterdir()} - {"index.md"}
    assert len(linked) == len(set(linked)) and set(linked) == there


def test_the_page_that_held_them_does_not_come_back(tmp_path):
    """An entry that is appended to the old page, or a merge that brings it back, is refused."""
    assert not FOLDER.with_suffix(".md").exists()
    folder = some(tmp_path)
    (tmp_path / "decisions.md").write_text("**2026-11-29 · Lost.** On no page.\n")
    with pytest.raises(ValueError, match=r"decisions\.md: decisions are files of decisions/"):
        decisions.page(folder)


def test_the_newest_day_is_first(tmp_path):
    folder = some(tmp_path)
    (folder / "2026-10-01-earlier.md").write_text("# Earlier\n\n2026-10-01\n\nWhy.\n")
    assert decisions.page(folder).endswith(
        "\n## 2026-11-29\n\n- [It is so](2026-11-29-it-is-so.md)\n"
        "\n## 2026-10-01\n\n- [Earlier](2026-10-01-earlier.md)\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("it_is_so.md", "# It is so\n\n2026-11-29\n\nWhy.\n", "called DATE-WORDS.md"),
        ("2026-11-29.md", "# It is so\n\n2026-11-29\n\nWhy.\n", "called DATE-WORDS.md"),
        ("2026-11-29-so.md", "It is so\n\n2026-11-29\n\nWhy.\n", "begins with '# '"),
        ("2026-11-29-so.md", "# It is so.\n\n2026-11-29\n\nWhy.\n", "without a full stop"),
        ("2026-11-29-so.md", "# It is so\n\n2026-11-28\n\nWhy.\n", "2026-11-29, an empty line"),
        ("2026-11-29-so.md", "# It is so\n\n2026-11-29\n", "and then says why"),
        ("2026-13-29-so.md", "# It is so\n\n2026-13-29\n\nWhy.\n", "month must be in 1..12"),
        ("2026-11-29-so.md", "", "begins with '# '"),
    ],
)
def test_another_form_is_refused(tmp_path, name, text, told):
    folder = some(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)):
        decisions.page(folder)


def some(tmp_path):
    folder = tmp_path / "decisions"
    folder.mkdir()
    (folder / "2026-11-29-it-is-so.md").write_text("# It is so\n\n2026-11-29\n\nBecause.\n")
    return folder
