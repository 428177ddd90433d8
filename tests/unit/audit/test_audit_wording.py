"""What an audit says: a headline for each verdict, the caution on every number of membership where
files differ without a model, and the page with its table."""

import re

import numpy as np
import pytest

import audited
from capacity.audit import plots, sections, wording
from capacity.base.words import plural
from capacity.figures.files import render, rows
from capacity.report import figure_data, markdown, text
from pages import EVIL, Reader, packed


@pytest.fixture(scope="module", params=["evidence", "differs", "cannot tell"])
def asked(request):
    return request.param, *audited.found(request.param)


def test_the_headline_says_the_verdict_with_interval_and_number_and_never_safe(asked):
    kind, all_numbers, frame, groups = asked
    assert all_numbers["verdict"] == kind
    document = wording.document(all_numbers, frame, groups)
    head = document.answers[0]
    begins = {"evidence": "Evidence that", "differs": "No verdict", "cannot tell": "Cannot tell"}
    assert head.startswith(f"**{begins[kind]}") and "of pairs, 95% [" in head
    n = 60 if kind == "evidence" else 480 if kind == "differs" else 240
    assert plural(n, "group" if kind == "evidence" else "document") in head
    shown = text.render(document)
    assert not re.search(r"\bsafe\b", shown)
    assert ("No evidence is not safety" in shown) == (kind != "evidence")
    assert max(map(len, shown.splitlines())) <= 80
    assert {part.id for part in document.sections} >= {"blind", "membership", "at_risk"}
    assert markdown.render(document).count("\n## ") == len(document.sections) + 2


def test_no_evidence_is_said_not_to_be_evidence_of_the_opposite(asked):
    _, all_numbers, frame, _ = asked
    head = wording.headline(all_numbers | {"verdict": "no evidence"})
    assert "this is no evidence that it was not" in head
    assert "No evidence is not safety" in " ".join(
        wording.document(all_numbers | {"verdict": "no evidence"}, frame).notes
    )


def test_every_number_of_membership_carries_that_files_differ_without_a_model(asked):
    kind, all_numbers, frame, groups = asked
    document = wording.document(all_numbers, frame, groups)
    carried = {"membership", "bits", "at_risk", "variants"}
    for part in document.sections:
        if part.id not in carried:
            continue
        for block in part.blocks:
            if hasattr(block, "caption"):
                assert (sections.DIFFERS in block.caption) == (kind == "differs"), block.caption
    said = " ".join(document.answers)
    assert said.count(sections.DIFFERS) == (5 if kind == "differs" else 0)
    assert all((sections.DIFFERS in c) == (kind == "differs") for c in document.figures.values())


def test_the_page_is_whole_and_has_the_documents_as_a_table(asked, monkeypatch):
    monkeypatch.setattr(figure_data, "still", lambda figure: "data:,")
    kind, all_numbers, frame, groups = asked
    content, tables = audited.built(all_numbers, frame, groups)
    reader = Reader(content)
    assert not reader.wrong and EVIL.encode() not in content
    data_rows = [attrs for attrs in reader.all("tr") if not attrs]
    assert len(data_rows) >= len(frame)
    assert set(packed(content)) >= {"audit.json", *tables, "figures/roc.csv"}
    assert packed(content)["documents.csv"].decode().count("\n") >= len(frame)
    assert (b'class="answer none"' in content) == (kind != "evidence")
    assert (b"No number of membership on this page" in content) == (kind == "differs")


def test_figures_draw_what_the_tables_say(asked):
    kind, all_numbers, frame, _ = asked
    figures = plots.draw(all_numbers, frame)
    assert [*figures] == ["roc", "scores", "copies"]
    model = all_numbers["models"][0]
    roc = {row["series"] for row in rows(figures["roc"])}
    assert {sections.ATTACKS[name] for name in model["attacks"]} <= roc
    shown = [row for row in rows(figures["copies"]) if row["drawn"] == "mean"]
    for row, level in zip(shown, model["at_risk"], strict=False):
        assert row["y"] == pytest.approx(level["share"]["value"])
        assert [row["low"], row["high"]] == pytest.approx(level["share"]["interval"])
    assert render(figures["scores"], "png")[:4] == b"\x89PNG"
    # where half of the others pass, the curve passes the part of members above their median
    primary = frame[model["primary"]]
    members, others = primary[frame.side == "members"], primary[frame.side == "others"]
    series = sections.ATTACKS[model["primary"]]
    curve = [r for r in rows(figures["roc"]) if r["series"] == series and r["drawn"] == "line"]
    near = min(curve, key=lambda row: abs(row["x"] - 0.5))
    above = (members > np.quantile(others, 1 - near["x"])).mean()
    assert near["y"] == pytest.approx(above, abs=2 / len(members) + 2 / len(others))
