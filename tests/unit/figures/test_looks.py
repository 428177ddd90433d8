"""What a person asks of figures: width, style, formats; and figures of comparisons."""

import pytest
from matplotlib import rcParams

from capacity.analysis import kinds
from capacity.analysis.comparison.plots import compare_figure
from capacity.base.errors import ConfigError
from capacity.figures import files, look
from capacity.figures.fits import means_figure
from capacity.figures.look import Look, inches, using
from capacity.figures.style import COLUMN, drawing, small
from committed_figures import finding
from layout import faults


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("single", 3.4),
        ("double", 7.0),
        ("89mm", 89 / 25.4),
        ("3.25in", 3.25),
        ("240pt", 240 / 72.27),
    ],
)
def test_widths_are_presets_or_lengths(text, expected):
    assert inches(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("3furlongs", None, None), ["--width 3furlongs", "single", "89mm"]),
        (("nanmm", None, None), ["--width nanmm"]),
        (("1in", None, None), ["--width 1in", "2.5in"]),
        ((None, None, "pdf,gif"), ["'gif' is no format", "png, pdf, svg"]),
        ((None, None, ""), None),
        ((None, "missing.mplstyle", None), ["missing.mplstyle: no such file"]),
        ((None, "ggplo", None), ["did you mean ggplot?"]),
        ((None, "lines.widht: 2", None), ["x.mplstyle:2: lines.widht", "lines.width"]),
        ((None, "font.size: large", None), ["x.mplstyle:2: font.size", "large"]),
        ((None, "just words", None), ["x.mplstyle:2", "expected KEY: VALUE"]),
        ((None, "backend: agg", None), ["x.mplstyle:2: backend"]),
    ],
)
def test_bad_values_are_one_line_that_names_them(tmp_path, asked, words):
    width, style, formats = asked
    if style and (":" in style or " " in style):
        path = tmp_path / "x.mplstyle"
        path.write_text(f"# a style\n{style}\n", encoding="utf-8")
        style = str(path)
    if words is None:  # nothing asked is the built-in look
        assert look.read(width, style, formats).formats == ("png", "pdf")
        return
    if words[-1] == "lines.width":  # no setting of matplotlib has that name
        words = words[:1]
    with pytest.raises(ConfigError) as caught:
        look.read(width, style, formats)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


def test_a_style_changes_what_it_names_and_leaves_no_trace(tmp_path):
    path = tmp_path / "mine.mplstyle"
    path.write_text(
        "font.size: 10  # larger\naxes.prop_cycle: cycler('color', ['ff0000', '00ff00'])\n"
        'axes.facecolor: "#eeeeee"\nsavefig.bbox: tight\nfigure.figsize: 4.5, 3\n',
        encoding="utf-8",
    )
    before, asked = dict(rcParams), look.read(None, str(path), "svg")
    found = finding("physics33/12_tagged@pocket")
    plain, mine = kinds.figures(found), kinds.figures(found, asked)
    assert dict(rcParams) == before  # nothing of it stays in matplotlib
    figure = mine["arms"]
    (ax,) = figure.axes
    assert figure.get_size_inches()[0] == 4.5 and plain["arms"].get_size_inches()[0] == COLUMN
    hues = {line.get_color() for line in ax.lines if (line.get_gid() or "").startswith("mean of")}
    assert hues <= {"#ff0000", "#00ff00", "ff0000", "00ff00"} and len(hues) == 2
    assert ax.xaxis.label.get_size() == 10 and ax.get_xticklabels()[0].get_size() == 8.75
    with using(asked), drawing():
        assert small() == 8.75
    with using(asked):
        content = files.render(figure, "svg")
    # a style may not cut the canvas: the width that was asked for is kept
    assert b'width="324pt"' in content and not faults(figure)


@pytest.mark.parametrize("width", ["66mm", "double"])
def test_other_widths_can_be_read_too(width):
    for name in ("physics33/12_tagged@pocket", "pocket", "morris/gpt2@pocket"):
        for key, figure in kinds.figures(finding(name), Look(width=inches(width))).items():
            assert figure.get_size_inches()[0] == pytest.approx(inches(width), abs=1e-6)
            assert faults(figure) == [], (name, key)


def test_the_same_figure_is_the_same_bytes_in_every_format_whatever_this_machine_prefers():
    found = finding("physics33/12_tagged@pocket")
    one = kinds.figures(found)["arms"]
    before = rcParams["lines.linewidth"], rcParams["font.size"]
    try:  # as a matplotlibrc would
        rcParams["lines.linewidth"], rcParams["font.size"] = 9, 30
        other = kinds.figures(found)["arms"]
        kept = [files.render(other, kind) for kind in ("png", "pdf", "svg")]
    finally:
        rcParams["lines.linewidth"], rcParams["font.size"] = before
    assert kept == [files.render(one, kind) for kind in ("png", "pdf", "svg")]
    assert files.table("arms", one) == files.table("arms", other)
    for content in kept:
        assert b"Matplotlib v" not in content and b"matplotlib.org" not in content.lower()[:200]


def comparison(b, effect, interval, by_size):
    return {
        "a": "new",
        "b": b,
        "what": "A / B",
        "effect": effect,
        "interval": interval,
        "by_size": [
            {
                "size": size,
                "parameters": {"A": p, "B": p},
                "A": {"mean": a, "interval": [a - 0.1, a + 0.1]},
                "B": {"mean": 1.0, "interval": None},
                "what": "A / B",
                "effect": a,
                "interval": [a - 0.2, a + 0.2],
            }
            for size, p, a in by_size
        ],
    }


def test_a_comparison_shows_both_sides_and_their_ratio_by_size_with_intervals():
    rows = [
        comparison("old", 1.25, [1.1, 1.4], [("2x16", 9000, 1.3), ("2x8", 4000, 1.2)]),
        comparison("other", 0.9, [0.5, 60.0], [("2x8", 4000, 1.2)]),
    ]
    figure = compare_figure({"number": "bits per parameter", "comparisons": rows})
    above, below = figure.axes
    assert [t.get_text() for t in below.get_xticklabels()] == ["2x8", "2x16", "all sizes"]
    told = {(r["panel"], r["series"]): r for r in files.rows(figure) if r["drawn"] != "line"}
    assert told[1, "new at 2x8"]["y"] == 1.2 and told[1, "new at 2x8"]["low"] == pytest.approx(1.1)
    assert told[2, "old at all sizes"]["x"] == 2 and told[2, "old at all sizes"]["high"] == 1.4
    assert told[2, "old at 2x16"]["y"] == 1.3 and (1, "other at 2x16") not in told
    # an end far out flattens nothing: its bar ends in an arrow, the table has it
    assert below.get_ylim()[1] < 4 and told[2, "other at 2x8"]["high"] == pytest.approx(1.4)
    assert told[2, "other at all sizes"]["high"] == 60.0
    assert any(line.get_marker() == "^" for line in below.lines) and faults(figure) == []
    none = [dict(rows[0], effect=None)]
    assert compare_figure({"number": "bits", "comparisons": none}) is None


def test_means_over_a_setting_say_what_they_are_of():
    import pandas as pd

    cells = pd.DataFrame(
        {"name": "", "steps": [100.0, 1000.0], "bits": [1.0, 2.0], "sd bits": [0.1, float("nan")]}
    )
    figure = means_figure(cells, "steps", {"bits": "bits per parameter (strict)"}, log=True)
    assert figure.axes[0].get_ylabel() == "bits per parameter (strict)" and faults(figure) == []
