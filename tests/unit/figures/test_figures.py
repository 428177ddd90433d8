"""Figures draw what they claim, legibly."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from capacity.analysis.random import plateaus as fit
from capacity.analysis.random.plots import PUBLISHED, capacity_figure, memorized_figure
from capacity.figures import files
from drawings import _in_view, ink, texts  # noqa: F401
from random_data import ragged, study


def variants(gain=1.06):
    """Two sizes of a plain model and of one that holds a little more with as many parameters."""
    plain = study(widths=(16, 64), loads=(0.7, 2.0))
    other = plain.assign(
        model=plain.model + " RMS",
        run_id=plain.run_id + "r",
        strict_bits=plain.strict_bits * gain,
    )
    return pd.concat([plain, other], ignore_index=True)


STUDIES = {
    "four shapes": lambda: study(loads=(0.7, 1.3, 2.0), shapes=0.05, k=6.0, draw=3),
    "every kind of run": ragged,
    "ten close shapes": lambda: study(widths=range(16, 56, 4), loads=(0.7, 2.0, 8.0), draw=1),
    "long names": lambda: study().assign(model=lambda t: t.model + " n_heads=2"),
    "one shape": lambda: study(widths=(32,)),
    "lower bounds only": lambda: study(loads=(0.3, 0.6)),
    "two variants of each size": variants,
}


def drawn(name="four shapes", **options):
    table = STUDIES[name]()
    law = fit.fit_laws(table, n_boot=200, **options)
    return table, law, memorized_figure(table, law), capacity_figure(law)


def named(axes, prefix):
    return [artist for artist in axes.get_children() if (artist.get_gid() or "").startswith(prefix)]


@pytest.mark.parametrize("name", STUDIES)
def test_no_text_touches_another_or_leaves_the_figure_or_is_too_small(name):
    for figure in drawn(name)[2:]:
        shown = texts(figure)
        masks = ink(figure, shown)
        assert (
            len(shown) > 6 and sum(t.get_text().endswith(("k", "M")) for t in shown) >= 4
        )  # the tick labels are in
        assert all(mask.any() for mask in masks)
        total = np.sum(masks, axis=0)
        clash = [
            (a.get_text(), b.get_text())
            for i, a in enumerate(shown)
            for j, b in enumerate(shown[:i])
            if (masks[i] & masks[j]).any()
        ]
        assert total.max() == 1, clash
        assert min(t.get_fontsize() for t in shown) >= 7
        edge = total.copy()
        edge[2:-2, 2:-2] = 0
        assert not edge.any(), "text is cut off at the edge of the figure"


def test_two_variants_of_one_size_have_a_name_each():
    _, _, _, figure = drawn("two variants of each size")
    names = {t.get_text() for t in named(figure.axes[0], "point label")}
    assert names == {"1x16", "1x16 RMS", "1x64", "1x64 RMS"}


@pytest.mark.parametrize("name", ["four shapes", "every kind of run", "two variants of each size"])
def test_labels_keep_clear_of_the_points_and_lines_that_carry_data(name):
    for figure in drawn(name)[2:]:
        (ax,) = figure.axes
        marks = [mark for kind in ("runs", "plateau", "unit", "law") for mark in named(ax, kind)]
        words = [t for t in texts(figure) if t.axes is not None and t.get_gid()]
        masks = ink(figure, [*marks, *words])
        data = np.any(masks[: len(marks)], axis=0)
        hidden = [
            (w.get_text(), int((mask & data).sum()))
            for w, mask in zip(words, masks[len(marks) :], strict=True)
        ]
        assert len(marks) > 4 and words and all(count == 0 for _, count in hidden), hidden


def test_names_of_shapes_with_one_capacity_are_pulled_apart():
    table = study(widths=(16, 64), loads=(0.7, 2.0))
    twins = [
        table.assign(model=f"twin {i}", run_id=table.run_id + str(i))[table.model == "1x16"]
        for i in range(6)
    ]
    table = pd.concat([table[table.model == "1x64"], *twins], ignore_index=True)
    figure = memorized_figure(table, fit.fit_laws(table, n_boot=50))
    names = named(figure.axes[0], "label")
    masks = ink(figure, names)
    assert len(names) == 7 and np.sum(masks, axis=0).max() == 1


def test_memorized_bits_show_every_finished_run_and_each_plateau():
    table, law, figure, _ = drawn("every kind of run")
    (left,) = figure.axes
    points = [(x, y) for line in named(left, "runs") for x, y in zip(*line.get_data(), strict=True)]
    done = table[(table.status == "finished") & (table.strict_bits > 0)]
    assert sorted(points) == sorted(zip(done.entropy_bits, done.strict_bits, strict=True))
    kind = fit.classify(table)
    fills = {"capacity_limited": "full", "corner": "left", "data_limited": "none"}
    for name, fill in fills.items():
        bits = [
            y
            for line in named(left, "runs")
            if line.get_fillstyle() == fill
            for y in line.get_ydata()
        ]
        assert sorted(bits) == sorted(table.strict_bits[kind == name])
    rising = [
        y for line in named(left, "runs") if line.get_marker() == "^" for y in line.get_ydata()
    ]
    assert sorted(rising) == sorted(table.strict_bits[fit.rising(table)])
    plateaus = {
        row["model"]: row["bits"]
        for row in law["plateaus"]
        if row["runs"] and not row["lower_bound"]
    }
    assert {line.get_gid(): set(line.get_ydata()) for line in named(left, "plateau")} == {
        f"plateau {model}": {bits} for model, bits in plateaus.items()
    }
    assert (
        {t.get_text() for t in named(left, "label")}
        == set(done.model)
        == set(table.model) - {"1x96"}
    )
    (ceiling,) = named(left, "ceiling")[:1]
    assert (ceiling.get_xdata() == ceiling.get_ydata()).all() and ceiling.get_linestyle() == "--"
    assert "1 finished without positive bits" in left.get_xlabel()
    (low, high), (bottom, top) = left.get_xlim(), left.get_ylim()
    assert all(low < x < high and bottom < y < top for x, y in points)


def test_capacity_shows_every_seed_the_law_its_quoted_band_and_the_guides():
    _, law, _, figure = drawn("every kind of run")
    (right,) = figure.axes
    points = sorted(
        (x, y) for line in named(right, "unit") for x, y in zip(*line.get_data(), strict=True)
    )
    assert points == sorted((u["parameters"], u["bits"]) for u in law["units"])
    open_ones = [line for line in named(right, "unit") if line.get_fillstyle() == "none"]
    assert len(open_ones) == law["n"]["units_bounded"] == 2
    (line,) = named(right, "law")
    np.testing.assert_allclose(line.get_ydata() / line.get_xdata(), law["alpha"]["value"])
    low, high = law["alpha"][law["alpha"]["quote"]]["ends"]
    for gid, ends in (("band", (low, high)), ("published", PUBLISHED)):
        corners = named(right, gid)[0].get_paths()[0].vertices
        ratio = corners[:, 1] / corners[:, 0]
        assert (ratio.min(), ratio.max()) == pytest.approx(ends)
    assert [
        line.get_ydata()[0] / line.get_xdata()[0]
        for line in named(right, "guide")
        if hasattr(line, "get_xdata")
    ] == pytest.approx([4, 2, 1, 0.5])
    (text,) = named(right, "alpha")
    assert (
        f"{law['alpha']['value']:.2f}" in text.get_text()
        and f"[{low:.2f}, {high:.2f}]" in text.get_text()
    )
    words = [t.get_text() for t in right.texts]
    assert {"0.5 bit/P", "1 bit/P", "2 bits/P", "4 bits/P"} <= set(words) and any(
        "3.51–3.83, paper convention" in w for w in words
    )
    assert all(
        right.get_xlim()[0] < x < right.get_xlim()[1]
        and right.get_ylim()[0] < y < right.get_ylim()[1]
        for x, y in points
    )


def test_axes_name_quantity_unit_and_convention_and_colours_grow_with_size():
    for convention, count in (("strict", "total"), ("paper", "non_embedding")):
        _, law, *figures = drawn(convention=convention, parameters=count)
        left, right = (figure.axes[0] for figure in figures)
        assert f"bits, {convention} convention" in left.get_ylabel().replace(
            "\n", " "
        ) and f"bits, {convention}" in right.get_ylabel().replace("\n", " ")
        assert "bits" in left.get_xlabel() and count.replace("_", "-") in right.get_xlabel()
        assert (
            left.get_xscale()
            == left.get_yscale()
            == right.get_xscale()
            == right.get_yscale()
            == "log"
        )
        colour = [
            to_hex(named(left, f"plateau {row['model']}")[0].get_color()) for row in law["plateaus"]
        ]
        red_green = [int(c[1:3], 16) * 0.3 + int(c[3:5], 16) * 0.6 for c in colour]
        assert len(set(colour)) == 4 and red_green == sorted(red_green)


def test_without_a_law_the_panel_says_less_and_draws_no_line():
    _, law, _, figure = drawn("one shape")
    assert "no interval" in named(figure.axes[0], "alpha")[0].get_text() and not named(
        figure.axes[0], "band"
    )
    _, law, runs, figure = drawn("lower bounds only")
    assert (
        law["alpha"] is None
        and not named(figure.axes[0], "law")
        and not named(runs.axes[0], "plateau")
    )
    assert len(named(figure.axes[0], "unit")) == 8


def test_files_are_the_same_bytes_each_time_with_embedded_outline_fonts():
    table = STUDIES["four shapes"]()
    law = fit.fit_laws(table, n_boot=50)
    once, twice = capacity_figure(law), capacity_figure(law)
    png, pdf = files.render(once, "png"), files.render(once, "pdf")
    assert (png, pdf) == (files.render(twice, "png"), files.render(twice, "pdf"))
    assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF")
    assert b"CIDFontType2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf
    assert (
        once.get_size_inches()[0] == 3.4 and int.from_bytes(png[16:20], "big") == 1020
    )  # a column of a journal, 300 dots per inch


def test_plots_stay_away_from_global_state():
    code = (
        "import sys, capacity.analysis.random.plots; print('matplotlib.pyplot' in sys.modules, "
        "'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.split() == ["False", "False"]
