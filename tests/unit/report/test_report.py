"""The page of a study: what it says is what the fit says, whatever the kind of study and however
little of it there is. The browser has a file of its own, test_report_browser.py."""

import base64
import gzip
import hashlib
import html
import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from capacity import records, run_table
from capacity.analysis import kinds
from capacity.analysis.document import Laws
from capacity.analysis.residuals import Residuals
from capacity.cli.main import main
from capacity.figures import fits, style
from capacity.report import figure_data as figures
from capacity.report import page, provenance, runs, text
from capacity.study import load_study
from pages import (  # noqa: F401
    EVIL,
    KINDS,
    KNOWN,
    VOID,
    Reader,
    answer_of,
    built,
    judged,
    no_pictures,
    packed,
    planted,
)
from planted import COMMIT, plant
from waiting import patience

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


def asked(study, results):
    return page.Request(study.name, study, run_table.table(results, study.runs), results, [])


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
        "over shapes" in first("pocket")
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
        r"0\.75 at ([\d.]+) tokens per parameter, 95% \[([\d.]+), ([\d.]+)\] over 24 runs \(by "
        r"(the published form|a sigmoid in log t)\)",
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
    assert set(packed(content)) == {"fit.json", "runs.csv", "plateaus.csv"}
    sizes = {
        name: len(base64.b64encode(gzip.compress(data, mtime=0)))
        for name, data in packed(content).items()
    }
    largest = max(sizes, key=sizes.get)
    monkeypatch.setattr(page, "LARGEST", len(content) - 1)
    smaller = page.build(asked(study, results), found)
    assert (
        set(packed(smaller)) == set(sizes) - {largest}
        and f"{largest} is too large for this page" in smaller.decode()
        and len(smaller) < len(content)
    )
    monkeypatch.setattr(page, "LARGEST_STILL", 5)
    without = page.build(asked(study, results), found).decode()
    assert (
        without.count("This figure has too many points for a picture") == 3
        and 'class="still"' not in without
    )


# Studies that lack something


def test_what_is_missing_failed_or_interrupted_is_said_first(tmp_path, no_pictures):
    study = plant(tmp_path, "pocket", without=[0, 9], failed=[4], interrupted=[7])
    content = built(study, tmp_path).decode()
    assert "16 of 20 runs finished" in content
    assert re.search(
        r'class="warn"><strong>Not complete:</strong> 1 failed, 1 interrupted, 2 missing of 20 '
        r"runs.*Continue with: capacity sweep pocket<",
        content,
    )
    reader = Reader(content.encode())
    assert "loss is not finite at step 7" in reader.texts["td"]
    rows = {attrs["id"][4:]: cells for attrs, cells in table_rows(content)}
    assert [rows[study.runs[i].run_id][1] for i in (0, 4, 7, 1)] == [
        "missing",
        "failed",
        "interrupted",
        "finished",
    ]
    assert all(run.run_id in rows for run in study.runs)
    for name, run in (("failed", 4), ("interrupted", 7)):
        assert re.search(
            rf'class="bad">{name}</th>.*?<code>{study.runs[run].run_id}</code>', content, re.S
        )


def table_rows(content):
    body = re.search(r'<table id="runs".*?<tbody>(.*?)</tbody>', content, re.S)[1]
    return [
        (dict(re.findall(r'(\w+)="([^"]*)"', head)), re.findall(r"<td[^>]*>([^<]*)</td>", row))
        for head, row in re.findall(r"<tr ([^>]*)>(.*?)</tr>", body)
    ]


@pytest.mark.parametrize(
    "name, left",
    [
        *((name, 1) for name in KINDS),
        ("physics33/04_peak_100@pocket", 0.5),
        ("morris/canaries@pocket", 0.5),
    ],
)
def test_a_few_runs_of_any_study_make_a_page(tmp_path, no_pictures, name, left):
    n = len(load_study(name, []).runs)
    keep = sorted(
        np.random.default_rng(3).permutation(n)[: math.ceil(left * n) if left < 1 else left]
    )
    others = [i for i in range(n) if i not in keep]
    study = plant(tmp_path, name, without=others[2:], failed=others[:1], interrupted=others[1:2])
    content = built(study, tmp_path)
    assert Reader(content).wrong == [] and f"{len(keep)} of {n} runs finished" in content.decode()
    assert len(answer_of(content)) > 30 and "nan" not in answer_of(content).lower()


def test_a_study_without_a_law_says_why_and_shows_means(tmp_path, no_pictures):
    study = plant(tmp_path, "pocket_budget")
    content = built(study, tmp_path).decode()
    assert answer_of(content.encode()) == (
        "No law from these runs: 2x16, seed 0, N = 219 was trained 4 times with different steps: a "
        "capacity law needs one recipe per model and "
        "data set."
    )
    assert (
        'class="answer none"' in content
        and "<h2>Fits</h2>" not in content
        and 'data-figure="means"' in content
    )
    told = re.search(
        r"<thead><tr><th scope=\"col\">shape</th>.*?</thead>\s*<tbody>(.*?)</tbody>", content, re.S
    )[1]
    rows = [
        re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in told.split("</tr>") if "<td" in row
    ]
    assert [row[1] for row in rows] == ["300", "600", "1,200", "2,400"]
    table = run_table.table(tmp_path, study.runs)
    for row, steps in zip(rows, sorted(table.steps.unique()), strict=True):
        bits = (table.strict_bits / table.parameters_total)[table.steps == steps]
        assert row[2] == "2" and row[3] == f"{bits.mean():#.4g} ± {page._text(bits.std())}"


def test_studies_of_which_nothing_can_be_said_say_so(tmp_path, no_pictures):
    study = plant(tmp_path / "failed", "pocket", failed=range(3), without=range(3, 20))
    content = built(study, tmp_path / "failed")
    assert (
        answer_of(content) == "No answer yet: no run has finished; 3 failed, 17 have no record."
        and Reader(content).wrong == []
    )
    (tmp_path / "mixed.yaml").write_text(
        "question: q\npins: [model.d_model=8, train.steps=300]\ngrids:\n- data: [uniform]\n  "
        "data.n_sequences: [20]\n"
        "- data: [bios_pocket]\n  data.n_people: [50]\n"
    )
    study = plant(tmp_path / "mixed", str(tmp_path / "mixed.yaml"))
    content = built(study, tmp_path / "mixed")
    assert (
        answer_of(content)
        == "No law from these runs: runs on facts and random data; a law is about one of them."
    )
    assert [name in content.decode() for name in ('data-name="bits/P"', 'data-name="R"')] == [
        True,
        True,
    ]


# Residuals


def test_errors_of_fits_have_the_size_that_the_fits_state(planted):
    def rms(name, key, series=None):
        found = planted(name)[2]
        (part,) = [part for part in kinds.residuals(found) if part.key == key]
        points = part.points if series is None else part.points[part.points.series == series]
        return float(np.sqrt((points.error**2).mean())), found.numbers, points

    size, fit, points = rms("morris/membership@pocket", "F1", "sigmoid in t")
    assert (
        size == pytest.approx(fit["laws"]["f1_median"]["rmse"], rel=1e-9)
        and len(points) == 24
        and points.run_id.is_unique
    )
    assert rms("morris/membership@pocket", "F1", "sigmoid in log t")[0] == pytest.approx(
        fit["logarithmic"]["rmse"], rel=1e-9
    )
    assert rms("morris/membership@pocket", "predicted")[0] == pytest.approx(
        fit["predictions"]["f1_median"][0]["rmse"], rel=1e-9
    )
    size, fit, points = rms("physics33/04_peak_100@pocket", "R")
    laws = [law for law in fit["exposure_laws"] if not law["reason"]]
    assert size == pytest.approx(
        np.sqrt(
            np.average([law["rms"] ** 2 for law in laws], weights=[law["runs"] for law in laws])
        ),
        rel=1e-6,
    )
    size, fit, points = rms("pocket", "corner")
    (smooth,) = [
        row["record"]
        for row in fit["strict"]["forms"]["runs"]["forms"]
        if row["form"] == "smooth_corner"
    ]
    error, delta = np.abs(np.log1p(points.error / 100)), smooth["loss"]["delta"]
    assert len(points) == 20 and np.where(
        error < delta, error**2 / 2, delta * (error - delta / 2)
    ).sum() == pytest.approx(smooth["loss"]["objective"], rel=1e-6)
    size, fit, points = rms("pocket", "capacity", "C = alpha P")
    assert np.exp(np.log1p(points.error / 100).mean()) == pytest.approx(
        1.0, abs=1e-9
    )  # a geometric mean leaves no mean log error
    size, fit, points = rms("morris/vocabulary@pocket", "alpha", "min(alpha P, ceiling)")
    cells = fit["strict"]["hard"]["error_percent"]
    by_cell = points.groupby("x").error.mean()
    assert by_cell.tolist() == pytest.approx(
        cells, abs=0.1
    )  # of runs, not of their mean: the same but for the curvature of 1 / x
    size, fit, points = rms("morris/canaries@pocket", "exposure")
    assert size < 0.05 and len(points) == fit["canaries"]["exposure"]["points"]
    forms = [
        cell["errors"]["power"]["rmse"] / cell["first_bits"]["value"]
        for cell in planted("morris/forgetting@pocket")[2].numbers["forgetting"]["cells"]
        if cell["errors"]
    ]
    size, fit, points = rms("morris/forgetting@pocket", "forgetting", "power")
    assert size == pytest.approx(100 * np.sqrt(np.mean(np.square(forms))), rel=1e-6)


def test_the_sign_of_an_error_is_that_of_the_law():
    points = pd.DataFrame(
        {"series": "a", "x": [1.0, 2.0], "error": [5.0, -5.0], "run_id": ["r0", "r1"], "name": ""}
    )
    figure = fits.residual_figure([Residuals("law", "key", "%", "P", points)])
    drawn = figures.data(figure)["panels"][0]
    assert drawn["y"]["label"] == "fitted / measured - 1 (%)" and [
        mark for mark in drawn["marks"] if mark.get("runs")
    ][0]["y"] == [5.0, -5.0]
    assert runs.errors([Residuals("law", "key", "%", "P", points)]) == [
        ("error:key", "fitted minus measured (%): law", {"r0": 5.0, "r1": -5.0})
    ]
    twice = pd.concat([points, points])
    assert (
        runs.errors([Residuals("law", "key", "%", "P", twice)]) == []
    )  # a run is several points: no column
    named = pd.concat([points, points.assign(series="b c")])
    assert [
        heading for heading, _, _ in runs.errors([Residuals("law", "key", "%", "P", named)])
    ] == ["error:key:a", "error:key:b-c"]


# Figures as data


@pytest.mark.parametrize("name", KINDS)
def test_figures_keep_every_point_and_say_whose_it_is(planted, name):
    study, _, found, content = planted(name)
    runs_csv = found.tables["runs.csv"].set_index("run_id")
    for _title, figure in kinds.figures(found).items():
        data = figures.data(figure)
        assert json.loads(json.dumps(data, allow_nan=False)) == data and len(data["panels"]) == len(
            figure.axes
        )
        for panel, ax in zip(data["panels"], figure.axes, strict=True):
            lines = [mark for mark in panel["marks"] if mark["kind"] == "line"]
            assert sum(len(mark["x"]) for mark in lines) == sum(
                np.isfinite(np.array(line.get_data(), float)).all(0).sum() for line in ax.lines
            )
            assert (panel["x"]["scale"], panel["y"]["scale"]) == (ax.get_xscale(), ax.get_yscale())
            assert panel["x"]["ends"] == pytest.approx(ax.get_xlim()) and panel["y"][
                "ends"
            ] == pytest.approx(ax.get_ylim())
            for mark in lines:
                assert set(mark.get("runs", [])) <= set(runs_csv.index) and len(
                    mark.get("runs", mark["x"])
                ) == len(mark["x"])
    if name == "pocket":
        left = figures.data(kinds.figures(found)["memorized"])["panels"][0]
        told = {
            run: (x, y)
            for mark in left["marks"]
            if "runs" in mark
            for run, x, y in zip(mark["runs"], mark["x"], mark["y"], strict=True)
        }
        assert set(told) == set(runs_csv.index)
        for run, (x, y) in told.items():
            assert (x, y) == pytest.approx(
                (runs_csv.entropy_bits[run], runs_csv.strict_bits[run]), rel=1e-6
            )
    assert set(re.findall(r'data-figure="(\w+)"', content.decode())) == {
        *kinds.figures(found),
        *(["residuals"] if kinds.residuals(found) else []),
    }


def test_everything_that_is_drawn_is_read_off():
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    ax.plot(
        [1, 10, np.nan], [1, 2, 3], "s--", color="#0072B2", lw=2, label="a line", fillstyle="none"
    )
    ax.axhline(1.5, gid="level")
    ax.fill_between([1, 2], [0, 0], [1, 1], color="#D55E00", alpha=0.25)
    ax.scatter([2, 3], [1, 1], s=16, color="#009E73")
    ax.vlines([4], 0, 2)
    ax.annotate("note", (3, 1), (5, 7), textcoords="offset points")
    ax.annotate("", (3, 2), (3, 1), arrowprops={"arrowstyle": "->", "color": "#000000"})
    ax.text(0.1, 0.9, "two\nlines", transform=ax.transAxes)
    ax.plot([1, 2], [1, 1], visible=False)
    ax.set(xscale="log", xlabel="$R^\\mathrm{max}$ and $\\alpha$ P", title="T")
    ax.legend()
    panel = figures.data(figure)["panels"][0]
    by = {}
    for mark in panel["marks"]:
        by.setdefault(mark["kind"], []).append(mark)
    line = next(mark for mark in by["line"] if mark["name"] == "a line")
    assert line["x"] == [1, 10] and (
        line["dash"],
        line["width"],
        line["marker"],
        line["face"],
        line["color"],
    ) == ("5 3", 2, "s", "#ffffff", "#0072b2")
    level = next(mark for mark in by["line"] if mark["name"] == "level")
    assert (level["xIn"], level["yIn"]) == ("axes", "data") and level["y"] == [1.5, 1.5]
    assert (
        any(mark["x"] == [2, 3] and mark["marker"] == "o" for mark in by["line"])
        and len(by["line"]) == 3
    )
    assert (
        by["area"][0]["opacity"] == 0.25
        and by["area"][0]["color"] == "#d55e00"
        and [1.0, 1.0] in by["area"][0]["parts"][0]
    )
    assert by["segments"][0]["parts"] == [[[4, 0], [4, 2]]]
    assert by["arrow"][0]["x"] == [3, 3] and by["arrow"][0]["y"] == [
        1,
        2,
    ]  # from the tail to the head
    assert [(mark["text"], mark["xIn"], mark["dx"]) for mark in by["text"]] == [
        (["note"], "data", 5),
        (["two", "lines"], "axes", 0),
    ]
    assert (
        panel["x"]["label"] == "Rᵐᵃˣ and α P"
        and panel["x"]["base"] == 10
        and panel["legend"][0]["name"] == "a line"
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: ax.imshow([[1, 2], [3, 4]]),
        lambda ax: ax.bar([1], [2]),
        lambda ax: ax.set_xscale("symlog"),
        lambda ax: ax.annotate("x", (0.5, 0.5), xycoords="figure fraction"),
    ],
    ids=["image", "bars", "symlog", "note"],
)
def test_a_figure_with_something_else_is_shown_as_a_picture(planted, draw, monkeypatch):
    figure = Figure()
    draw(figure.subplots())
    with pytest.raises(figures.Undrawable):
        figures.data(figure)
    shown = page._figure("other_figure", figure, {})
    assert shown["drawn"] is None and shown["caption"] == "Other figure"
    picture = base64.b64decode(shown["still"].removeprefix("data:image/svg+xml;base64,"))
    assert (
        b"<svg" in picture and figures.still(figure) == shown["still"]
    )  # the same bytes twice: no date, no random names
    study, results, found, _ = planted("pocket")
    monkeypatch.setattr(kinds, "figures", lambda finding: {"other_figure": figure})
    content = page.build(asked(study, results), found).decode()
    assert re.search(
        r'<figure id="figure-other_figure">\s*<figcaption>Other figure</figcaption>\s*<img '
        r'class="still"',
        content,
    )


def test_a_page_about_numbers_needs_no_torch():
    code = (
        "import sys, capacity.report.page, capacity.figures.fits; print([m for m in ('torch', "
        "'datasets', 'wandb') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=patience(),
        ).stdout.strip()
        == "[]"
    )


# Runs, settings, provenance


def test_the_table_has_every_planned_run_its_settings_its_numbers_and_its_flags(planted):
    study, results, found, content = planted("pocket")
    heads = re.findall(r'data-name="([^"]+)"', content.decode())
    rows = {
        cells[0]: dict(zip(heads, cells, strict=True)) for _, cells in table_rows(content.decode())
    }
    assert list(rows) == [run.run_id for run in study.runs] and heads[:5] == [
        "run",
        "status",
        "flags",
        "shape",
        "seed",
    ]
    table = found.tables["runs.csv"].set_index("run_id")
    for run in study.runs:
        row, told = rows[run.run_id], table.loc[run.run_id]
        assert (row["shape"], row["seed"], row["lr"], row["load"]) == (
            run.shape,
            str(run.seed),
            f"{run.train.lr:g}",
            f"{run.data.load:g}",
        )
        assert float(row["bits/P"]) == pytest.approx(
            told.strict_bits / told.parameters_total, rel=1e-3
        )
        assert ("data-limited" in row["flags"]) == (told.class_strict == "data_limited") and (
            "unconverged" in row["flags"]
        ) == told.still_rising
    assert (
        {"n_heads", "batch_size", "error:corner", "gain"} <= set(heads)
        and "model.d_model" not in heads
        and "vocab_size" not in heads
    )
    flags = {flag.name: flag.runs for flag in kinds.document(found).flags}
    assert flags["unconverged"] and set(flags["data-limited"]) == set(
        table.index[table.class_strict == "data_limited"]
    )


def test_settings_that_vary_are_found_and_equal_names_keep_their_section(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "pins: [data=text_pocket, data.documents=300, data.n_held_out=20, model.d_model=8, "
        "train.steps=300]\n"
        "grids: [{data.n_sequences: [20, 40], train.lr: [0.01, 0.02], seed: [0, 1]}]\n"
    )
    configs = load_study(str(tmp_path / "s.yaml"), []).runs
    settings = runs.varied(configs)
    assert (
        set(settings) == {"data.n_sequences", "train.lr", "run_id", "seed"} and len(settings) == 8
    )
    assert runs.headings(pd.DataFrame(columns=["data.seq_len", "model.x", "train.x", "seed"])) == {
        "data.seq_len": "seq_len",
        "model.x": "model.x",
        "train.x": "train.x",
    }


def test_means_are_over_seeds_only(tmp_path):
    study = plant(tmp_path, "pocket")
    table = run_table.table(tmp_path, study.runs)
    cells, over = runs.means(study.runs, table, kinds.load("random").columns(table))
    assert (
        over in ("load", "lr", "n_heads", "batch_size")
        and cells.runs.sum() == 20
        and len(cells) == 12
    )
    one = cells[(cells["shape"] == "2x16") & (cells.load == 5.0)].iloc[0]
    bits = (table.strict_bits / table.parameters_total)[
        (table.label == "2x16") & (table.load.round(1) == 5.0)
    ]
    assert (
        one["runs"] == 2
        and one["bits/P"] == pytest.approx(bits.mean())
        and one["sd bits/P"] == pytest.approx(bits.std())
    )
    alone = cells[cells.load == 1.5]
    assert (alone.runs == 1).all() and alone["sd bits/P"].isna().all()


def test_commands_repeat_the_study_its_settings_and_its_source(tmp_path, no_pictures):
    given = ["train.exposures=500"]
    study = plant(tmp_path, "pocket", given)
    kept = [records.read(tmp_path, run.run_id) for run in study.runs]
    assert provenance.commands("pocket", study, kept, ["--bootstraps=500"]) == [
        f"# 20 of 20 records are from commit {COMMIT}",
        f"git checkout {COMMIT}",
        "capacity sweep pocket train.exposures=500",
        "capacity fit-laws pocket train.exposures=500 --bootstraps=500",
        "capacity report pocket train.exposures=500 --bootstraps=500",
    ]
    for i, git in enumerate([None, None, "f" * 40 + "+"]):
        kept[i]["environment"]["git"] = git
    lines = provenance.commands("a study", study, kept, [])
    assert lines[:4] == [
        f"# 17 of 20 records are from commit {COMMIT}",
        "# 2 of 20 records are from an installed capacity 0.1.0; no commit is known",
        f"# 1 of 20 records are from commit {'f' * 40} with changes that were not committed: it "
        f"alone need not give the same bits",
        f"git checkout {COMMIT}",
    ]
    assert lines[4] == "capacity sweep 'a study' train.exposures=500"
    kept[5]["environment"]["hardware"] = "another processor"
    told = dict(provenance.versions(kept))
    assert (
        told["torch"] == "2.5.0"
        and told["hardware"] == "a processor (19 runs); another processor (1 runs)"
        and told["threads"] == "1"
    )
    content = built(study, tmp_path, "pocket").decode()
    assert "with settings train.exposures=500" in content and "Continue with" not in content
    assert (
        study.path.read_text().splitlines()[0] in Reader(content.encode()).texts["pre"]
    )  # the study file


def test_sweeps_that_were_issued_here_are_listed(tmp_path):
    folder = tmp_path / "submissions" / "one"
    folder.mkdir(parents=True)
    tree = {
        "schema": 1,
        "study": "pocket",
        "launcher": "slurm",
        "job": "7",
        "elements": [],
        "overrides": ["cluster=slurm", "cluster.options=[a b]"],
        "submitted_at": 1772360000.0,
    }
    (folder / "submission.json").write_text(json.dumps(tree))
    assert provenance.sweeps(tmp_path, load_study("pocket", []), "pocket") == [
        "capacity sweep pocket cluster=slurm 'cluster.options=[a b]'  # 2026-03-01 10:13 UTC, slurm"
    ]
    assert provenance.sweeps(tmp_path, load_study("pocket_budget", []), "pocket_budget") == []


# The command


def test_the_command_writes_the_page_beside_the_files_of_the_fit(here, capsys):
    plant(here / "results", "morris/vocabulary@pocket", without=[3])
    assert main(["report", "morris/vocabulary@pocket", "--bootstraps", "200"]) == 0
    folder = here / "results" / "studies" / "morris" / "vocabulary@pocket"
    shown = capsys.readouterr()
    assert shown.out == "results/studies/morris/vocabulary@pocket/report.html\n" and shown.err == ""
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {
        "README.md",
        "report.html",
        "fit.json",
        "runs.csv",
        *(f"ablation_{way}.{kind}" for way in ("strict", "paper") for kind in ("png", "pdf")),
    }
    assert main(["fit-laws", "morris/vocabulary@pocket", "--bootstraps", "200"]) == 0
    assert {
        path.name: path.read_bytes() for path in folder.iterdir()
    } == first  # the same files by both verbs
    assert (
        packed(first["report.html"])["fit.json"] == first["fit.json"]
        and packed(first["report.html"])["runs.csv"] == first["runs.csv"]
    )


def test_a_study_without_a_law_has_a_page_and_no_files_of_a_fit(here, capsys, no_pictures):
    plant(here / "results", "pocket_budget")
    assert main(["report", "pocket_budget"]) == 0
    shown = capsys.readouterr()
    assert os.listdir(here / "results" / "studies" / "pocket_budget") == ["report.html"]
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
    picture = style.render(figure, "svg")
    assert (
        picture == style.render(figure, "svg")
        and b"memorized (bits, strict convention)" in picture
        and b"<dc:date>" not in picture
    )
