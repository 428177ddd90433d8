"""A comparison in README, docs or a study's question has its number or verdict beside it."""

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from doc_pages import compared  # noqa: E402

DOCS = ROOT / "docs"
TEMPLATES = sorted((DOCS / "templates").rglob("*.md"))
WRITTEN = {"decisions", "reference", "results", "templates"}  # of a day, generated, filled in
PROSE = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if path.name != "changed_answers.md"
    and path.relative_to(DOCS).parts[0] not in WRITTEN
    and DOCS / "templates" / path.relative_to(DOCS) not in TEMPLATES
]


def test_every_comparison_of_docs_has_its_number():
    found = [
        f"{path.relative_to(ROOT)}:{one}"
        for path in [*TEMPLATES, *PROSE]
        for one in compared.of_page(
            path.relative_to(DOCS).as_posix(), path.read_text(encoding="utf-8")
        )
    ]
    assert not found, "\n".join(found)


def test_no_question_of_a_study_answers_itself():
    found = []
    for path in sorted((ROOT / "sweeps").rglob("*.yaml")):
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        asked = [study, *(study.get("presets") or {}).values()]
        for question in (part.get("question") for part in asked):
            found += [f"{path.name}: {one}" for one in compared.questions(question or "")]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A split or a text moves it by about as much as each other.", ["1: as much as"]),
        ("One layer holds less at the same budget,\nwider heads a little less.", ["less", "wider"]),
        ("Training longer raises it. That is all. See {{pocket | answers}}.", ["longer", "raises"]),
        ("Muon beats AdamW.\n\nIt holds {{optimizers | answers}} bits.", ["beats"]),
        ("Such models spend most of their parameters on a table.", ["most of"]),
        ("It holds {{pocket: strict/alpha/value}} bits, more than the others.", []),
        ("Longer runs hold more. They reach {{pocket: strict/alpha/value}}.", []),
        ("Longer runs hold more ([random data](../results/random.md)).", []),
        ("`a more b`, never more than three, a lower bound, and what may be higher.", []),
        ("# Fewer exposures\n\nDoes A store more than B?", []),
    ],
)
def test_a_comparison_without_its_number_is_found(text, words):
    found = compared.sentences(text)
    assert len(found) >= len(words) and bool(found) == bool(words), found
    assert all(any(one.endswith(word.split(": ")[-1]) for one in found) for word in words), found


def test_a_page_that_explains_may_compare_but_states_no_finding():
    text = "A larger one leaves less. Wider heads hold a little less."
    place = "explanation/membership.md"
    assert [one.split(": ")[1] for one in compared.of_page(place, text)] == ["a little less"]
    assert len(compared.of_page("explanation/limits.md", text)) > 2


@pytest.mark.parametrize(
    ("question", "answers_itself"),
    [
        ("how much less does a mixture of experts hold than a dense model?", True),
        ("which architectures hold less than GPT-2?", True),
        ("is it the gated MLP that makes LLaMA hold less?", True),
        ("how do bits rise with exposures, and does size help?", True),
        ("does a mixture of experts hold as much as a dense model?", False),
        ("how do memories fade, and does size or batch protect them?", False),
        ("how many bits does a parameter hold?", False),
    ],
)
def test_a_question_that_answers_itself_is_found(question, answers_itself):
    assert bool(compared.questions(question)) is answers_itself
