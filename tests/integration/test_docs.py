"""README and docs: every measured number comes from the committed studies, every link leads
somewhere, every command can be given, and the study of README works (its lines of Python:
test_python_tutorial)."""

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from capacity.cli import main as cli
from capacity.cli.main import main
from capacity.study import load_study
from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from doc_pages import fields, studies, typed  # noqa: E402

DOCS = ROOT / "docs"
RECORDS = {"changed_answers.md"}  # of a day
WRITTEN = {"decisions", "reference", "results", "templates"}  # of a day, generated, filled in
PROSE = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if path.name not in RECORDS and path.relative_to(DOCS).parts[0] not in WRITTEN
]
TEMPLATES = sorted((DOCS / "templates").rglob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *PROSE,
    *sorted((DOCS / "results").glob("*.md")),
]


def test_pages_are_what_the_committed_studies_give():
    """README, docs/results, pages of docs/templates, README.md beside every fit: nothing is
    fitted, so any machine gives the same."""
    done = subprocess.run(
        [sys.executable, "scripts/results_pages.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, f"run: python scripts/results_pages.py\n{told}"


def test_readme_is_a_front_page():
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 8192
    words = text.decode()
    for part in ("make demo", "make test", "pip install .", "PIP_INDEX_URL", "CITATION.cff"):
        assert part in words
    assert words.count("<img ") >= 5


def test_no_number_of_docs_is_typed_by_hand():
    """Templates have no number and no word of a verdict, other pages no number."""
    found = []
    for path in [*TEMPLATES, *PROSE]:
        text, template = path.read_text(encoding="utf-8"), path in TEMPLATES
        if (DOCS / "templates" / path.relative_to(DOCS)) in TEMPLATES and not template:
            continue  # written from the template
        wrong = typed.numbers(text) + (typed.judgements(text) if template else [])
        found += [f"{path.relative_to(ROOT)}:{one}" for one in wrong]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("sentence", "numbers"),
    [
        ("it holds 3.13 bits per parameter", ["1: 3.13"]),
        ("it reaches 95% after 598 exposures", ["1: 598"]),
        ("an error of 1.4% over 36K", ["1: 1.4", "1: 36"]),
        ("`3.13`, {{pocket: strict/alpha/value}}, [a](b3.md), arXiv 2505.24832 and int8", []),
        ("    code 3.13\n\n```\n3.13\n```\n2x16 of GPT-2 at 95%, log2 N0, section 4.2", []),
    ],
)
def test_a_typed_number_is_found(sentence, numbers):
    assert typed.numbers(sentence) == numbers


def test_a_typed_verdict_is_found():
    assert typed.judgements("which agrees with the paper") == ["1: agrees"]
    assert typed.judgements("adding data adds nothing") == ["1: adds nothing"]
    assert typed.judgements("GPTQ is ahead of rounding") == ["1: is ahead"]
    assert typed.judgements("{{x | verdict}} `agrees`") == []


def test_every_committed_study_has_its_place_in_the_results():
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "results").glob("*.md"))
    for name in studies.fitted():
        assert f"results/studies/{name}/README.md" in pages, name


def test_every_verdict_of_a_committed_study_is_a_row_of_one_page():
    text = (ROOT / "docs" / "results" / "reproduces.md").read_text("utf-8")
    found = Counter()
    for name in studies.fitted():
        of_study = studies.get(name).numbers.get("verdicts") or []
        assert text.count(f"| `{name}` |") == len(of_study), name
        found.update(row["verdict"] for row in of_study)
    assert sum(found.values()) > 40 and len(found) == 3
    for verdict, many in found.items():
        assert text.count(f"| **{verdict}** |") == many
        assert re.search(rf"\b{many} says? \*{verdict}\*", text)


def test_a_field_follows_its_study(monkeypatch):
    """A number, an interval or a verdict that is refitted changes the sentence."""
    text = (
        "alpha {{pocket: strict/alpha | estimate interval_models}}, "
        "{{pocket: verdicts[0] | verdict}}, "
        "{{pocket: strict/plateaus[model=2x8]/parameters | count}}, "
        "{{pocket | answer As one number}}"
    )
    target = DOCS / "results" / "random.md"
    before = fields.render(text, target)
    kept = studies.get("pocket").numbers
    alpha = kept["strict"]["alpha"] | {"value": 9.87}
    changed = kept | {
        "strict": kept["strict"] | {"alpha": alpha},
        "verdicts": [kept["verdicts"][0] | {"verdict": "differs"}],
    }
    other = studies.Committed("pocket")
    other.__dict__["numbers"] = changed  # a cached property
    monkeypatch.setattr(studies, "get", lambda name: other)
    after = fields.render(text, target)
    value = kept["strict"]["alpha"]["value"]
    assert f"alpha {value:.2f} [" in before and "alpha 9.87 [" in after
    assert "4,072" in before and "differs" in after and "**9.870**" in after


@pytest.mark.parametrize(
    "inner",
    [
        "pocket: strict/alpah/value",
        "pocket: verdicts[name=no such one] | verdict",
        "pocket: verdicts[name=no such one]/measured",
        "pocket | answer which no kind of study says",
        "poket: strict/alpha/value",
        "pocket | figures nothing",
        "coverage | part coverage.md no such words",
    ],
)
def test_a_field_that_says_nothing_is_an_error_with_the_field(inner):
    with pytest.raises(ValueError, match=re.escape(inner.split(" ")[0])):
        fields.render(f"one {{{{{inner}}}}} two", ROOT / "README.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_pictures_are_there(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r'<img src="([^"]+)"', text)
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


def commands():
    """Every `capacity ...` of a block of code or of a cell of README and docs, with its page."""
    out = {}
    for path in PAGES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?: {4})?(capacity .*)$", text, re.M) + re.findall(
            r"`(capacity [^`\n]+)`", text
        )
        for line in lines:
            for part in line.split(" && "):
                words = shlex.split(part, comments=True)
                if len(words) > 2 and words[1].islower():
                    out.setdefault(tuple(words[1:]), path.name)
    return out


@functools.cache
def planned(study):
    return load_study(study, []).runs


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_documented_command_can_be_given(words, monkeypatch, tmp_path):
    """Runs are resolved, studies planned, other verbs parsed to the function that they call."""
    monkeypatch.setenv("CAPACITY_RESULTS", str(tmp_path))
    words, study = list(words), next((w for w in words[1:] if not w.startswith("-")), "")
    if words[0] == "train" and not set(words) & {"data=corpus", "--print-config"}:
        words = [*words, "--print-config"]
        if "data.source=files" in words:
            file = tmp_path / "reviews.jsonl"
            file.write_text('{"text": "It was good, and it was not bad."}\n' * 400)
            words = [w if not w.startswith("data.path=") else f"data.path={file}" for w in words]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(words) == 0
        assert "run_id" in out.getvalue() or "data:" in out.getvalue()
        return
    if words[0] in ("sweep", "status", "cancel", "retry", "fit-laws", "report", "compare", "plan"):
        written = study.endswith(".yaml")  # by the command before
        if study and not written and not study.isupper():
            assert planned(study)
    monkeypatch.setattr(cli, "rest_idle_threads", _parsed)  # what comes behind the parser
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            main(words)
        except Parsed:
            return
        except SystemExit:
            pass
    pytest.fail(told.getvalue())


class Parsed(Exception):
    """The command was understood; nothing of it is done."""


def _parsed():
    raise Parsed


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_the_study_of_readme_is_planned_with_six_pairs(tmp_path):
    (text,) = blocks("yaml")
    assert len(text.splitlines()) <= 14 and all(
        "#" in line for line in text.splitlines() if not line.startswith("question")
    )
    (tmp_path / "mine.yaml").write_text(text)
    runs = load_study(str(tmp_path / "mine.yaml"), []).runs
    by_norm = {norm: [r for r in runs if r.model.norm == norm] for norm in ("layernorm", "rmsnorm")}
    assert [len(some) for some in by_norm.values()] == [6, 6]
    (line,) = [line for line in text.splitlines() if "capacity compare" in line]
    assert "--a model.norm=rmsnorm --b model.norm=layernorm" in line


def test_every_page_can_be_reached_from_the_index():
    """By links of the index, and by those of the pages that they lead to."""
    seen, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen or DOCS not in page.parents:
            continue
        seen.add(page)
        found = re.findall(r"\]\(([^)#]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        todo += [(page.parent / link).resolve() for link in found if "://" not in link]
        if page == DOCS / "tutorials" / "index.md":  # whose list is all that lies there
            todo += page.parent.glob("*.md")
    pages = {path for path in DOCS.rglob("*.md") if DOCS / "templates" not in path.parents}
    assert pages <= seen, sorted(pages - seen)


def test_every_documented_comparison_names_both_sides():
    compared = [words for words in commands() if words[0] == "compare"]
    assert len(compared) >= 2
    assert [words for words in compared if "--a" not in words or "--b" not in words] == []
