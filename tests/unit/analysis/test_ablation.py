"""Ablations of vocabulary and length: the published tables, planted truth, and the written
study."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from capacity import counts
from capacity.analysis import finding, kinds
from capacity.analysis.ablation import analysis as ablations
from capacity.analysis.ablation.plots import ablation_figure
from capacity.fitting import capacity_forms, linear
from capacity.report import markdown, text
from capacity.study import load_study
from drawings import ink, texts

# Morris et al., arXiv 2505.24832 v3, appendix A.1: N = 4096, two layers of 128. (V, S, measured,
# expected, error in percent) as printed.
LENGTH = [
    (2048, 4, 1.73e5, 1.80e5, 4.19),
    (2048, 8, 3.54e5, 3.60e5, 1.80),
    (2048, 16, 7.15e5, 7.21e5, 0.84),
    (2048, 32, 1.44e6, 1.44e6, 0.41),
    (2048, 64, 2.29e6, 2.36e6, 2.97),
    (2048, 128, 2.36e6, 2.39e6, 1.24),
    (2048, 256, 2.44e6, 2.45e6, 0.44),
]
VOCABULARY = [
    (128, 64, 1.49e6, 1.49e6, 0.36),
    (512, 64, 1.71e6, 1.67e6, 2.78),
    (1024, 64, 1.95e6, 1.90e6, 2.70),
    (2048, 64, 2.39e6, 2.36e6, 1.11),
    (4096, 64, 3.13e6, 3.15e6, 0.47),
]


def shown(found):
    """What a terminal shows of a finding."""
    return text.render(kinds.document(found))


def published(rows):
    """The printed rows as cells: P without BOS, data bits N S log2 V, ceilings of the paper's
    convention."""
    return pd.DataFrame(
        [
            {
                "parameters": 128.0 * (vocab + length) + 2 * (12 * 128**2 + 13 * 128) + 2 * 128,
                "bits": bits,
                "data_bits": 4096 * length * np.log2(vocab),
                "ceiling": counts.uniform_ceiling_bits(4096, length, vocab, "paper"),
                "over_filled": 1,
                "near": 0,
            }
            for vocab, length, bits, _, _ in rows
        ]
    )


def test_the_published_tables_give_their_alpha_and_their_errors():
    """Their predictions follow from alpha = 3.54, not from the 3.642 that is stated."""
    both = published(LENGTH + VOCABULARY)
    law = ablations.fit(both, "data_bits")["hard"]
    assert law["alpha"] == pytest.approx(3.54, abs=0.02)
    low, high = law["interval"]
    assert low < 3.54 < high < 3.642 and law["dof"] == 6
    expected = capacity_forms.hard_corner(both.parameters, both.data_bits, 3.54)
    np.testing.assert_allclose(
        expected, [row[3] for row in LENGTH + VOCABULARY], rtol=4e-3
    )  # to the digits printed
    errors, theirs = np.abs(law["error_percent"]), 100 * np.abs(expected / both.bits - 1)
    for part, printed, of_rows in ((slice(0, 7), 1.7, 1.70), (slice(7, 12), 1.8, 1.48)):
        assert np.mean([row[4] for row in (LENGTH + VOCABULARY)[part]]) == pytest.approx(
            of_rows, abs=0.005
        )  # printed row by row
        assert theirs[part].mean() == pytest.approx(
            of_rows, abs=0.08
        )  # measured values have three digits
        assert errors[part].mean() == pytest.approx(of_rows, abs=0.2) and errors[
            part
        ].mean() == pytest.approx(printed, abs=0.5)
    alone = ablations.fit(published(VOCABULARY), "data_bits")["hard"]
    assert (
        alone["alpha"] == pytest.approx(3.60, abs=0.005)
        and alone["mean_absolute_error_percent"] < 1.0
    )  # an alpha of its own fits V better


def test_with_exact_ceilings_the_short_sequences_are_no_errors():
    law = ablations.fit(published(LENGTH))
    assert np.abs(law["hard"]["error_percent"][:4]).max() < 0.5 and law["limited_by_capacity"] == 3
    assert law["smooth"]["k"] > 4 and law["smooth"]["alpha"] > law["hard"]["alpha"]


def planted(
    alpha=3.0,
    k=40.0,
    noise=0.0,
    vocabularies=(64, 128, 256, 512, 1024, 2048),
    lengths=(32,),
    n=200,
    seeds=(0, 1),
    draw=0,
    d=16,
):
    """A table of runs of one shape whose bits follow the smooth corner of the strict ceilings,
    times lognormal noise."""
    rng, rows = np.random.default_rng(draw), []
    for vocab in vocabularies:
        for length in lengths:
            paper = d * (vocab + length) + 2 * (12 * d * d + 13 * d) + 2 * d
            ceiling = {
                way: counts.uniform_ceiling_bits(n, length, vocab, way)
                for way in ("strict", "paper")
            }
            for seed in seeds:
                free = capacity_forms.smooth_corner(paper + d, ceiling["strict"], alpha, k)
                bits = free * np.exp(
                    noise * (free < 0.97 * ceiling["strict"]) * rng.standard_normal()
                )
                rows.append(
                    {
                        "run_id": f"v{vocab}s{length}n{n}d{d}r{seed}",
                        "model": f"2x{d}",
                        "seed": seed,
                        "status": "finished",
                        "precision": "bf16",
                        "parameters_total": paper + d,
                        "parameters_paper": paper,
                        "parameters_non_embedding": paper - d * (vocab + length),
                        "n_sequences": n,
                        "entropy_bits": n * length * np.log2(vocab),
                        "strict_bits": bits,
                        "paper_bits": bits * length / (length - 1),
                        "strict_ceiling_bits": ceiling["strict"],
                        "paper_ceiling_bits": ceiling["paper"],
                        "gain_last_tenth": 0.004,
                        "steps": 3000,
                        "tokens": 3000 * 32 * length,
                        "vocab_size": vocab,
                        "seq_len": length,
                        "lr": 0.03,
                        "batch_size": 32,
                        "error": None,
                    }
                )
    return pd.DataFrame(rows)


def test_the_hard_corner_is_fitted_exactly():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p, h = rng.uniform(1e3, 1e4, 6), rng.uniform(1e3, 6e4, 6)
        m = capacity_forms.hard_corner(p, h, 3.0) * np.exp(0.1 * rng.standard_normal(6))
        grid = np.exp(np.linspace(np.log((m / p).min()) - 1, np.log((h / p).max()) + 1, 20001))
        cost = ((np.log(np.minimum(grid[:, None] * p, h)) - np.log(m)) ** 2).sum(1)
        found = linear.fit_hard_corner(p, h, m)
        assert ((np.log(np.minimum(found * p, h)) - np.log(m)) ** 2).sum() <= cost.min() + 1e-12


@pytest.mark.parametrize(
    "table",
    [
        planted(),
        planted(vocabularies=(256,), lengths=(4, 8, 16, 32, 48, 64, 96)),
        planted(lengths=(16, 32, 64)),
    ],
)
def test_a_planted_alpha_is_found(table):
    found = ablations.analysed(table, "planted").numbers
    strict = found["strict"]
    assert strict["hard"]["alpha"] == pytest.approx(3.0, rel=0.005) and strict["smooth"][
        "alpha"
    ] == pytest.approx(3.0, rel=0.005)
    assert (
        strict["hard"]["mean_absolute_error_percent"] < 0.5
        and found["paper"]["hard"]["alpha"] > 3.0
    )
    alone = ablations.analysed(table.sample(frac=1, random_state=1), "planted").numbers
    assert alone == found


def test_a_rounded_corner_pulls_the_hard_alpha_down_and_not_the_smooth_one():
    strict = ablations.analysed(planted(k=5.0), "planted").numbers["strict"]
    assert strict["smooth"]["alpha"] == pytest.approx(3.0, rel=1e-3) and strict["smooth"][
        "k"
    ] == pytest.approx(5.0, rel=1e-2)
    assert (
        strict["hard"]["alpha"] < 2.93
        and strict["smooth"]["mean_absolute_error_percent"]
        < 0.01
        < strict["hard"]["mean_absolute_error_percent"]
    )


@pytest.mark.slow
@pytest.mark.long
def test_intervals_cover_a_planted_alpha():
    hits = {"hard": [], "smooth": []}
    for draw in range(80):
        for form, k in (("hard", 60.0), ("smooth", 5.0)):
            cell = ablations.cells(
                planted(k=k, noise=0.03, draw=draw, vocabularies=(32, 48, 64, 128, 256, 512, 2048)),
                "strict",
                "total",
            )
            low, high = ablations.fit(cell)[form]["interval"]
            hits[form].append(low < 3.0 < high)
    assert all(0.87 <= np.mean(inside) <= 1.0 for inside in hits.values()), {
        form: np.mean(inside) for form, inside in hits.items()
    }


def test_data_that_all_fit_give_no_alpha_and_few_rows_no_interval():
    found = ablations.analysed(planted(n=20), "small")
    assert "all data fit" in found.numbers["strict"]["reason"] and "all data fit" in shown(found)
    assert "all data fit" in kinds.document(found).answers[0] and kinds.residuals(found) == []
    assert set(kinds.figures(found)) == {"ablation_strict", "ablation_paper"}
    found = ablations.analysed(planted(vocabularies=(64, 1024)), "two")
    assert (
        found.numbers["strict"]["hard"]["interval"] is None
        and found.numbers["strict"]["smooth"]["reason"] == "needs three cells"
    )
    words = " ".join(shown(found).split())
    assert "no interval: too few cells" in words and "smooth corner: none: needs three" in words


def test_what_is_missing_is_named_and_what_cannot_be_compared_is_refused():
    table = planted(noise=0.01)
    table.loc[table.run_id == "v64s32n200d16r0", ["status", "strict_bits", "paper_bits"]] = [
        "missing",
        np.nan,
        np.nan,
    ]
    table.loc[table.run_id == "v128s32n200d16r0", ["strict_bits", "paper_bits"]] = -5.0
    table.loc[table.run_id == "v128s32n200d16r1", "gain_last_tenth"] = 0.03
    name = "a study with a name that is long enough to need a second line, or so"
    found = ablations.analysed(table, name)
    told = shown(found)
    assert max(map(len, told.splitlines())) <= 80
    words = " ".join(told.split())
    assert f"Ablation of {name}: vocabulary V 11 of 12 runs finished" in words
    for flag, run in (
        ("missing", "v64s32n200d16r0"),
        ("unlearned", "v128s32n200d16r0"),
        ("unconverged", "v128s32n200d16r1"),
    ):
        assert f"{flag}: 1 run ({run}): " in words
        (mine,) = [part for part in kinds.document(found).flags if part.name == flag]
        assert mine.runs == [run]
    one = table.assign(paper_bits=np.where(table.seed == 1, -1.0, table.paper_bits))
    left = ablations.analysed(one, "x").numbers["left_out"]["unlearned"]
    assert left == sorted({"v128s32n200d16r0", *table.run_id[table.seed == 1]})
    with pytest.raises(ValueError, match="finished runs mix precision bf16, fp32"):
        ablations.analysed(
            table.assign(precision=np.where(table.vocab_size == 64, "fp32", "bf16")), "x"
        )
    with pytest.raises(ValueError, match="2x16 V=128 S=32 stands for several models"):
        ablations.analysed(
            table.assign(
                parameters_total=np.where(
                    table.run_id == "v128s32n200d16r0", 9, table.parameters_total
                )
            ),
            "x",
        )
    with pytest.raises(ValueError, match="no run to fit"):
        ablations.analysed(table.assign(strict_bits=-1.0, paper_bits=-1.0), "x")


def test_a_study_is_written_the_same_twice(tmp_path):
    table, told = planted(noise=0.02), []
    for part in ("a", "b"):
        found = ablations.analysed(table, "planted")
        page = markdown.render(kinds.document(found), [*kinds.figures(found)])
        finding.write(found, kinds.figures(found), page, tmp_path / part)
        told.append(shown(found))
    assert told[0] == told[1] and max(map(len, told[0].splitlines())) <= 80
    names = [
        "README.md",
        *(f"figures/ablation_{n}.{k}" for n in ("paper", "strict") for k in ("csv", "pdf", "png")),
        "fit.json",
        "runs.csv",
    ]
    there = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert sorted(p.relative_to(tmp_path / "a").as_posix() for p in there) == names
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )
    assert json.loads((tmp_path / "a" / "fit.json").read_text(encoding="utf-8")) == found.numbers
    assert sorted(pd.read_csv(tmp_path / "a" / "runs.csv").run_id) == sorted(table.run_id)


@pytest.mark.parametrize(
    "table",
    [
        planted(noise=0.02),
        planted(vocabularies=(256,), lengths=(4, 8, 16, 32, 64, 96), noise=0.02),
        pd.concat([planted(lengths=(16, 32)), planted(d=24)], ignore_index=True),
    ],
)
def test_figures_are_legible(table):
    found = ablations.analysed(table, "planted")
    for convention in ("strict", "paper"):
        figure = ablation_figure(found.tables["runs.csv"], found.numbers, convention)
        FigureCanvasAgg(figure).draw()
        (ax,) = figure.axes
        drawn = sorted(
            y for line in ax.lines if line.get_gid().startswith("runs") for y in line.get_ydata()
        )
        assert drawn == sorted(table[f"{convention}_bits"]) and convention in ax.get_ylabel()
        visible = texts(figure)
        total = np.sum(ink(figure, visible), axis=0)
        assert total.max() == 1 and min(t.get_fontsize() for t in visible) >= 7
        total[2:-2, 2:-2] = 0
        assert not total.any(), "text is cut off at the edge of the figure"


def test_a_terminal_shows_each_cell_as_a_row_and_both_laws_below():
    table = planted(noise=0.02)
    found = ablations.analysed(table, "planted")
    lines = shown(found).splitlines()
    for convention, count in (("strict", "total"), ("paper", "paper")):
        part = found.numbers[convention]
        start = lines.index(f"{convention} bits, {count} parameters")
        heads = ["V", "S", "N", "P", "measured", "min()", "error", "smooth", "error"]
        assert lines[start + 1].split() == heads
        for i, cell in enumerate(part["cells"]):
            row = lines[start + 2 + i].split()
            here = [cell["vocab_size"], cell["seq_len"], cell["n_sequences"]]
            assert row[:4] == [*map(str, here), f"{cell['parameters']:,.0f}"]
            assert row[6] == f"{part['hard']['error_percent'][i]:+.1f}%"
            assert row[8] == f"{part['smooth']['error_percent'][i]:+.1f}%"
            for shown_bits, bits in (
                (row[4], cell["bits"]),
                (row[5], part["hard"]["expected"][i]),
                (row[7], part["smooth"]["expected"][i]),
            ):
                assert float(shown_bits.removesuffix("K")) * 1e3 == pytest.approx(bits, rel=0.006)
            limited = part["hard"]["alpha"] * cell["parameters"] < cell["ceiling"]
            assert row[9:] == ([] if limited else ["d"])
        end = start + 2 + len(part["cells"])
        assert lines[end] == "  error: fitted / measured - 1; d: data-limited"
        hard, (low, high) = part["hard"], part["hard"]["interval"]
        assert lines[end + 1 : end + 3] == [
            "  min(alpha P, ceiling)",
            f"    alpha = {hard['alpha']:.3f} bits per parameter; 95% [{low:.3f}, {high:.3f}] over "
            "cells (jackknife)",
        ]
        assert lines[end + 3].strip() == (
            f"mean absolute error {hard['mean_absolute_error_percent']:.1f}% over 6 cells"
        )
    hard = found.numbers["strict"]["hard"]
    first = kinds.document(found).answers[0].replace("**", "")
    assert f"One alpha of {hard['alpha']:.3f} bits per parameter, 95% [" in first
    assert f"{hard['mean_absolute_error_limited_percent']:.1f}%" in first
    assert "of 6 vocabularies within" in first and "the 4 that are capacity-limited" in first


def test_cells_are_counted_as_what_they_are():
    first = kinds.document(ablations.analysed(planted(lengths=(16, 32)), "x")).answers[0]
    assert "the bits of 12 cells of several vocabularies and lengths within" in first
    two = pd.concat([planted(), planted(d=24)], ignore_index=True)
    first = kinds.document(ablations.analysed(two, "x")).answers[0]
    assert "the bits of 12 cells of several vocabularies within" in first


def test_errors_of_runs_are_fitted_over_measured_minus_one():
    table = planted(noise=0.02)
    found = ablations.analysed(table, "planted")
    (part,) = kinds.residuals(found)
    strict = found.numbers["strict"]
    values = [cell["vocab_size"] for cell in strict["cells"]]
    fitted = dict(zip(values, strict["hard"]["expected"], strict=True))
    errors = part.points[part.points.series == "min(alpha P, ceiling)"].set_index("run_id").error
    assert sorted(errors.index) == sorted(table.run_id) and part.unit == "%"
    expected = 100 * (table.vocab_size.map(fitted) / table.strict_bits - 1)
    np.testing.assert_allclose(errors[table.run_id], expected)
    assert set(part.points.series) == {"min(alpha P, ceiling)", "smooth corner"}


def test_the_published_studies_have_the_published_shapes():
    found = {name: load_study(f"morris/{name}", []).runs for name in ("vocabulary", "length")}
    assert {
        run.data.vocab_size: round(run.parameters["paper"] / 1e5, 2) for run in found["vocabulary"]
    } == {128: 4.21, 512: 4.71, 1024: 5.36, 2048: 6.67, 4096: 9.29}
    assert {
        run.data.seq_len: round(run.parameters["paper"] / 1e5, 2) for run in found["length"]
    } == {4: 6.59, 8: 6.6, 16: 6.61, 32: 6.63, 64: 6.67, 128: 6.75, 256: 6.92}
    assert all(
        run.items == 4096 and run.train.precision == "bf16" and run.train.steps == 10**6
        for runs in found.values()
        for run in runs
    )


@pytest.mark.slow
@pytest.mark.long
def test_the_command_picks_the_ablation_where_vocabulary_or_length_differ(here, cli):
    (here / "s.yaml").write_text(
        "question: q\npins: [data.seq_len=4, data.n_sequences=20, model.d_model=8, train.steps=60, "
        "train.batch_size=8,"
        " train.warmup_steps=5]\n"
        "grids: [{data.vocab_size: [8, 16, 32]}]\n"
    )
    assert (
        cli("sweep", "s.yaml", "cluster.workers=1", "cluster.device=cpu", cwd=here).returncode == 0
    )
    done = cli("fit-laws", "s.yaml", cwd=here)
    assert done.returncode == 0 and "Ablation of s: vocabulary V" in done.stdout, done.stderr
