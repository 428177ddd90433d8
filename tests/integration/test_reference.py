"""docs/reference says what the code says, whatever machine wrote it, and leaves nothing out."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from capacity.cli.main import main
from capacity.config import known_keys
from capacity.declare import registry
from capacity.fitting.forms import FORMS
from capacity.published import values
from capacity.settings.data import KINDS
from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT / "scripts"))

from doc_pages import studies  # noqa: E402
from reference_pages import markdown  # noqa: E402


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.long
def test_pages_are_what_the_code_says_on_any_machine(tmp_path):
    """Another folder, another results folder with runs in it, a narrow terminal, another locale."""
    (tmp_path / "results" / "bench").mkdir(parents=True)
    (tmp_path / "results" / "bench" / "cpu.json").write_text('{"environment": {}, "speed": {}}')
    env = {
        "PYTHONPATH": str(ROOT),
        "PATH": "",
        "CAPACITY_RESULTS": str(tmp_path / "results"),
        "COLUMNS": "40",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, f"run: python scripts/reference.py\n{done.stdout}{done.stderr}"


def test_every_verb_and_option_is_there():
    """Those that `--help` tells."""
    sections = {}
    for part in re.split(r"^## ", text("cli.md"), flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        sections[name] = body
    told = help_of().split("verbs:\n")[1]
    assert list(sections) == re.findall(r"^ {4}([a-z-]+)", told, re.M)
    for name, body in sections.items():
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", help_of(name))) - {"--help"}
        assert not {option for option in options if option not in body}, name


def help_of(*verb):
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        main([*verb, "--help"])
    return out.getvalue()


def test_every_setting_form_measure_value_and_study_is_there():
    settings = set(re.findall(r"^\| `([a-z_.\d]+)` \|", text("settings.md"), re.M))
    assert settings == set(known_keys())
    assert all(f"### data.kind={kind}\n" in text("settings.md") for kind in KINDS)
    assert re.findall(r"^### (\w+)$", text("forms.md"), re.M) == list(FORMS)
    for name, measure in registry.MEASURES.items():
        part = text("record.md").split(f"## measures.{name}\n")[1]
        assert all(f"| `{one.path}` |" in part for one in measure.fields), name
    assert re.findall(r"^## (\w+/\w+)$", text("published.md"), re.M) == list(values.values())
    files = (ROOT / "sweeps").rglob("*.yaml")
    names = {path.relative_to(ROOT / "sweeps").with_suffix("").as_posix() for path in files}
    assert names <= set(re.findall(r"^### (\S+)$", text("studies.md"), re.M))


def test_committed_fits_are_told_of_their_studies():
    linked = re.findall(r"\(\.\./\.\./results/studies/(\S+)/README\.md\)", text("studies.md"))
    assert sorted(linked) == studies.fitted()


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("a | b", r"a \| b"),
        ("`a|b` *c*", r"`a\|b` \*c\*"),
        ("RUNS/<run_id>/", r"RUNS/&lt;run_id>/"),
        ("_strict_ of n_layers", r"\_strict\_ of n_layers"),
        ("[0](1)", r"[0\](1)"),
    ],
)
def test_what_is_no_markup_is_none_on_the_page(told, shown):
    assert markdown.words(told) == shown
