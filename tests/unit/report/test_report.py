"""The page of a study says what the fit says, whatever the kind of study; and the command. The
browser has files of its own, tests/integration/test_report_browser*.py."""

import base64
import gzip
import hashlib
import html
import json
import os
import re

import pytest

from capacity import records
from capacity.analysis import kinds
from capacity.analysis.document import Laws
from capacity.cli.main import main
from capacity.figures import files
from capacity.report import page, parts, text
from pages import (  # noqa: F401
    EVIL,
    KINDS,
    Reader,
    answer_of,
    asked,
    built,
    no_pictures,
    packed,
    planted,
)
from planted import plant

# The page as a file


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_study_gets_one_small_file_that_loads_nothing(planted, name):
    study, _, _, content = planted(name)
    assert len(content) < 3_000_000
    reader = Reader(content)
    assert reader.wrong == []
    assert (
        sum(tag == "h1" for tag, _ in reader.elements) == 1
        and reader.texts["h1"] == study.question[:1].upper() + study.question[1:]
    )
    for (
        tag,
        attrs,
    ) in (
        reader.elements
    ):  # nothing that a browser fetches, and nothing that runs but the one script
        assert attrs.get("src", "data:").startswith("data:"), (tag, attrs)
        assert not any(key.startswith("on") for key in attrs), (tag, attrs)
        assert attrs.get("href", "#").startswith(("#", "data:,")), (tag, attrs)
        assert "style" not in attrs and "srcset" not in attrs
        assert tag not in ("iframe", "object", "embed", "base", "form")
    style, script = (
        reader.texts["style"],
        re.findall(r"<script>(.*?)</script>", content.decode(), re.S),
    )
    assert len(script) == 1 and "url(" not in style and "@import" not in style
    assert (
        re.findall(
            r"\bfetch\(|XMLHttpRequest|WebSocket|import\(|\beval\(|innerHTML|new Function",
            script[0],
        )
        == []
    )
    policy = next(
        attrs["content"]
        for attrs in reader.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    for source in (style, script[0]):
        assert (
            f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
            in policy
        )
    assert (
        policy.startswith("default-src 'none'; ")
        and "unsafe" not in policy
        and "http" not in policy
    )
    ids = [attrs["id"] for _, attrs in reader.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) and {attrs["href"][1:] for attrs in reader.all("a")} <= set(
        ids
    )


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]


@pytest.mark.parametrize("name", KINDS)
def test_no_number_of_a_fit_is_the_pages_own(planted, name):
    """Values and intervals of the table of fits are in the fit's file to the last digit, and the
    headline's are those of the printed report."""
    study, _, found, content = planted(name)
    said = kinds.document(found)
    known = {leaf for leaf in leaves(found.numbers) if isinstance(leaf, float)}
    blocks = [block for part in said.sections for block in part.blocks if isinstance(block, Laws)]
    numbers = [number for block in blocks for law in block.laws for number in law.numbers]
    assert numbers or name in ("morris/membership@shadows", "physics33/10_junk@pocket")
    for number in numbers:
        assert number.value in known, (number.symbol, number.value)
        for part in number.intervals:
            assert part.ends is None or set(part.ends) <= known, (number.symbol, part)
            assert part.ends or part.reason, number.symbol
    flat = " ".join(text.render(said).split())
    marked = [
        word
        for answer in said.answers
        for bold in re.findall(r"\*\*(.+?)\*\*", answer)
        for word in re.findall(r"-?\d[\d,.]*\d", bold)
    ]
    for word in marked:
        assert word in flat, f"{word} is in the answer and not in what fit-laws prints"
    assert marked or not said.answers[0].startswith("**")
    assert packed(content)[found.file] == found.json()
    assert json.loads(packed(content)[found.file]) == found.numbers


def test_the_answers_say_what_was_planted(planted):
    """Numbers in the box on the first screen of each kind, by the laws of
    tests/helpers/planted.py."""

    def first(name):
        return answer_of(planted(name)[3])

    def box(name):
        return " ".join(
            html.unescape(
                re.sub(
                    r"<[^>]+>",
                    "",
                    re.search(r'id="answer">(.*?)class="facts"', planted(name)[3].decode(), re.S)[
                        1
                    ],
                )
            ).split()
        )

    alpha = float(re.search(r"As one number ([\d.]+), 95% \[", first("pocket"))[1])
    assert alpha == pytest.approx(3.0 * 10**0.02, rel=0.02) and first("pocket").startswith(
        "Bits per parameter rise with size, from "
    )  # gamma 1.02, 1% of noise
    assert (
        "over models" in first("pocket")
        and "over seeds" in first("pocket")
        and "2 seeds (strict bits, total parameters)" in first("pocket")
    )
    assert float(
        re.search(r"One alpha of ([\d.]+) bits", first("morris/vocabulary@pocket"))[1]
    ) == pytest.approx(3.15, rel=0.04)
    ratio = float(re.search(r"a ratio of ([\d.]+), 95% \[", box("physics33/10_junk@pocket"))[1])
    assert ratio == pytest.approx(0.1, rel=0.15) and "published 0.05" in box(
        "physics33/10_junk@pocket"
    )
    at = re.search(
        r"0\.75 at ([\d.]+) tokens per parameter, 95% \[([\d.]+), ([\d.]+)\] over training, size "
        r"of the data, model and budget \(not varied: split, text\).*, 24 runs "
        r"\(by (the published form)",
        first("morris/membership@pocket"),
    )
    from capacity.analysis.text.membership_law import crossing

    assert (
        float(at[1]) == pytest.approx(crossing(0.75, 1.4, 0.5, 2.5), rel=0.03)
        and at[4] == "the published form"
    )  # what was planted predicts best
    grows = re.search(
        r"grows by ([\d.]+) \[.*?\] bits with every doubling of views and by ([\d.]+) \[",
        box("morris/canaries@pocket"),
    )
    assert [float(part) for part in grows.groups()] == pytest.approx([2.0, 3.0], abs=0.1) and first(
        "morris/canaries@pocket"
    ).startswith("Half of the canaries are written out after about")
    assert "With shadow models the AUC is LiRA" in first("morris/membership@shadows")
    assert (
        first("morris/forgetting@pocket").startswith("Half of the memory of a canary is lost after")
        and b"Not complete" in planted("morris/forgetting@pocket")[3]
    )


def test_verdicts_stand_beside_published_values_in_words(planted):
    content, found = (
        planted("physics33/10_junk@pocket")[3].decode(),
        planted("physics33/10_junk@pocket")[2],
    )
    assert len(found.numbers["verdicts"]) == 2
    for verdict in found.numbers["verdicts"]:
        assert (
            f">{verdict['verdict']} at pocket scale</span>" in content
            and verdict["reason"] in content
        )
    assert "confirms or refutes no published number" in content and "[read in the paper]" in content
    for study in ("pocket",):
        content, found = planted(study)[3].decode(), planted(study)[2]
        assert found.numbers["verdicts"]
        for verdict in found.numbers["verdicts"]:
            assert (
                f"{verdict['verdict']} at {verdict['scale']} scale" in content
                and verdict["source"] in content
            )


def test_the_same_records_give_the_same_bytes_and_the_newest_run_is_the_date(tmp_path, monkeypatch):
    contents = []
    for folder in ("a", "b"):
        results = tmp_path / folder / "results"
        study = plant(results, "pocket")
        for run in reversed(study.runs):  # another order of files
            path = records.run_dir(results, run.run_id) / "record.json"
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        monkeypatch.chdir(tmp_path / folder)
        contents.append(built(study, results))
        monkeypatch.undo()
    assert contents[0] == contents[1]
    text = contents[0].decode()
    assert "Newest run: 2026-03-01T10:19:00+00:00" in text and "newest run 2026-03-01" in text
    assert str(tmp_path) not in text  # nothing of the machine that wrote it


def test_nothing_that_a_study_or_a_record_says_becomes_markup(tmp_path, no_pictures):
    (tmp_path / "evil.yaml").write_text(
        f"question: {json.dumps(EVIL)}\npins: [data.vocab_size=16, data.seq_len=4, "
        f"data.n_sequences=40, model.d_model=8, train.steps=300]\n"
        f"grids: [{{seed: [0, 1, 2]}}]\n# {EVIL}\n"
    )
    study = plant(tmp_path, str(tmp_path / "evil.yaml"), failed=[1], error=EVIL, git=EVIL)
    content = built(study, tmp_path, EVIL)
    reader = Reader(content)
    assert (
        reader.wrong == []
        and len(reader.all("script")) == 2
        and [a for a in reader.all("img") if not a["src"].startswith("data:")] == []
    )
    assert reader.texts["h1"] == EVIL and EVIL in reader.texts["td"] and content.count(b"<!--") == 0
    assert "window.pwned" in reader.texts["pre"]  # the study file and the commands, as text
    data = re.search(r'id="data">(.*?)</script>', content.decode(), re.S)[1]
    assert "<" not in data and ">" not in data and EVIL not in json.dumps(json.loads(data)["runs"])


def test_a_page_that_would_be_too_large_leaves_files_out_and_says_so(
    planted, no_pictures, monkeypatch
):
    study, results, found, _ = planted("pocket")
    content = page.build(asked(study, results), found)
    drawn = {f"figures/{name}.csv" for name in ("capacity", "memorized", "residuals")}
    assert set(packed(content)) == {"fit.json", "runs.csv", "plateaus.csv", *drawn}
    sizes = {
        name: len(base64.b64encode(gzip.compress(data, mtime=0)))
        for name, data in packed(content).items()
    }
    largest = max(sizes, key=sizes.get)
    monkeypatch.setattr(parts, "LARGEST", len(content) - 1)
    smaller = page.build(asked(study, results), found)
    assert (
        set(packed(smaller)) == set(sizes) - {largest}
        and f"{largest} is too large for this page" in smaller.decode()
        and len(smaller) < len(content)
    )
    monkeypatch.setattr(parts, "LARGEST_STILL", 5)
    without = page.build(asked(study, results), found).decode()
    assert (
        without.count("This figure has too many points for a picture") == 3
        and 'class="still"' not in without
    )


# The command


def test_the_command_writes_the_page_beside_the_files_of_the_fit(here, capsys):
    plant(here / "results", "morris/vocabulary@pocket", without=[3])
    assert main(["report", "morris/vocabulary@pocket", "--bootstraps", "200"]) == 0
    folder = here / "results" / "studies" / "morris" / "vocabulary@pocket"
    shown = capsys.readouterr()
    assert shown.out == "results/studies/morris/vocabulary@pocket/report.html\n" and shown.err == ""
    first = {p.name: p.read_bytes() for p in folder.rglob("*.*")}
    of_errors = {f"residuals.{kind}" for kind in ("png", "pdf", "csv")}
    assert set(first) == of_errors | {
        "README.md",
        "report.html",
        "fit.json",
        "runs.csv",
        *(
            f"ablation_{way}.{kind}"
            for way in ("strict", "paper")
            for kind in ("png", "pdf", "csv")
        ),
    }
    assert main(["fit-laws", "morris/vocabulary@pocket", "--bootstraps", "200"]) == 0
    # the same files by both verbs, but for the errors, which would be those of an older fit
    assert {p.name: p.read_bytes() for p in folder.rglob("*.*")} == {
        name: data for name, data in first.items() if name not in of_errors
    }
    assert (
        packed(first["report.html"])["fit.json"] == first["fit.json"]
        and packed(first["report.html"])["runs.csv"] == first["runs.csv"]
    )


def test_a_study_without_a_law_has_a_page_and_no_files_of_a_fit(
    here, capsys, no_pictures, monkeypatch
):
    known = {name: where for name, where in kinds.REGISTRY.items() if name != "budget"}
    monkeypatch.setattr(kinds, "REGISTRY", known)  # as if no kind knew what to do with budgets
    plant(here / "results", "pocket_budget")
    assert main(["report", "pocket_budget"]) == 0
    shown = capsys.readouterr()
    folder = here / "results" / "studies" / "pocket_budget"
    assert sorted(os.listdir(folder)) == ["figures", "report.html"]
    kinds_of_files = {f"means.{kind}" for kind in ("png", "pdf", "csv")}
    assert set(os.listdir(folder / "figures")) == kinds_of_files
    assert shown.err.startswith("no law: 2x16, seed 0") and len(shown.err.splitlines()) == 1
    assert main(["report", "pocket_budget", "--output", "mail/me.html"]) == 0
    assert capsys.readouterr().out == "mail/me.html\n"
    assert (here / "mail" / "me.html").read_bytes() == (
        here / "results" / "studies" / "pocket_budget" / "report.html"
    ).read_bytes()


@pytest.mark.parametrize(
    "args, words",
    [
        (["no_such_study"], ["no_such_study: no such study", "allowed:"]),
        (["pocket"], ["pocket: no record in results/runs", "capacity sweep pocket"]),
        (["pocket", "train.lrr=1"], ["train.lrr"]),
        (["pocket", "--bootstraps", "5"], ["--bootstraps 5"]),
        (["pocket", "--output", "."], ["--output .: a folder"]),
        (["physics33/10_junk@pocket", "--shadows", "2"], ["--shadows 2"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_bad_input_is_one_line_with_code_2_and_nothing_is_written(here, capsys, args, words):
    assert main(["report", *args]) == 2
    shown = capsys.readouterr()
    assert (
        re.fullmatch(r"capacity: error: [^\n]+\n", shown.err)
        and all(word in shown.err for word in words)
        and shown.out == ""
    )
    assert os.listdir(here) == []


def test_shadows_where_there_are_none_is_bad_input(here, capsys):
    plant(here / "results", "morris/canaries@pocket")
    before = sorted(path for path in here.rglob("*"))
    assert main(["report", "morris/canaries@pocket", "--shadows", "8", "--bootstraps", "100"]) == 2
    assert (
        "the study has no shadow models" in capsys.readouterr().err
        and sorted(path for path in here.rglob("*")) == before
    )


def test_an_svg_of_a_figure_is_the_same_twice_and_its_text_stays_text(planted):
    figure = kinds.figures(planted("pocket")[2])["memorized"]
    picture = files.render(figure, "svg")
    assert (
        picture == files.render(figure, "svg")
        and b"memorized (bits, strict" in picture
        and b"<dc:date>" not in picture
    )
