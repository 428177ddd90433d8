"""Studies of precision: tables to ladders, what is kept, what is held at most, laws, pairs, and the
command on real runs."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import convert, kinds
from capacity.analysis import precision as kind
from capacity.analysis.finding import Finding
from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths
from capacity.compose import load
from capacity.report.text import render

BITS = (8, 6, 5, 4, 3, 2)
SHAPES = {"2x8": (4000, 2.8), "2x12": (7000, 3.1), "2x16": (11000, 3.2)}


def words(found):
    """What a terminal shows of the numbers of a study."""
    return render(kinds.document(Finding("precision", precision_laws.FILE, found, {})))


def planted(kept, noise=0.0, loads=(1.5, 5.0), seeds=(0, 1), ways=("rtn", "gptq"), **over):
    """Rows as `bit_widths.points` makes them: fp32 runs that hold min(load, C), ladders that keep
    `kept(way, bits)` of that; over: (way, bits, load) -> the part kept instead."""
    draw, rows = np.random.default_rng(0), []
    for label, (p, c) in SHAPES.items():
        for load_, seed in ((x, s) for x in loads for s in seeds):
            held = min(0.98 * load_, c) * p

            def row(way, rung, code, part, stored):
                value = held * part + noise * p * draw.normal()
                return (
                    f"{label}-{load_}-{seed}",
                    label,
                    seed,
                    load_,
                    way,
                    rung,
                    code,
                    p,
                    value,
                    stored,
                )

            rows.append(row("trained", "fp32", 32.0, 1.0, 32.0))
            rows.append(row("cast", "cast bf16", 16.0, 1.0, 16.0))
            for way in ways:
                rows += [
                    row(
                        way,
                        f"int{b}",
                        float(b),
                        over.get("instead", {}).get((way, b, load_), kept(way, b)),
                        b + 0.25,
                    )
                    for b in BITS
                ]
    out = pd.DataFrame(rows, columns=list(bit_widths.PARTS))
    return out.assign(
        bits_per_parameter=out.held_bits / out.parameters,
        bits_per_stored_bit=out.held_bits / out.parameters / out.stored_bits_per_weight,
    )


def test_kept_is_about_full_models_and_capacity_about_the_best_load():
    """At 4 bits a full model keeps a tenth, one with room nine tenths, which is more in bits."""
    rows = planted(lambda way, b: 1.0, instead={("rtn", 4, 5.0): 0.1, ("rtn", 4, 1.5): 0.9})
    kept = bit_widths.kept(rows).set_index(["way", "rung"])
    assert kept.loc[("rtn", "int4"), "kept"] == pytest.approx(0.1) and kept.loc[
        ("gptq", "int4"), "kept"
    ] == pytest.approx(1.0)
    assert kept.loc[("trained", "fp32"), "kept"] == 1.0
    most = bit_widths.capacity(rows)
    mine = most[(most.way == "rtn") & (most.rung == "int4")]
    assert (
        set(mine.load) == {1.5}
        and not mine.limited.any()
        and np.allclose(mine.bits_per_parameter, 0.9 * 0.98 * 1.5)
    )
    over = bit_widths.capacities(most).set_index(["way", "rung"]).loc[("rtn", "int4")]
    assert (
        over.capacity == pytest.approx(1.323)
        and over.load_low == over.load_high == 1.5
        and over.per_stored_bit == pytest.approx(1.323 / 4.25)
    )
    other = most[(most.way == "gptq") & (most.rung == "int4")]
    assert set(other.load) == {5.0} and not other.limited.any()
    small = bit_widths.capacity(rows[rows.load == 1.5])
    assert small[small.rung == "fp32"].limited.all() and small[small.rung == "int8"].limited.all()


def test_order_of_ways_and_rungs():
    found = bit_widths.kept(planted(lambda way, b: 1.0))
    assert list(dict.fromkeys(found.way)) == ["trained", "cast", "rtn", "gptq"]
    assert list(found[found.way == "rtn"].rung) == [f"int{b}" for b in BITS]


def test_intervals_are_over_shapes_and_need_two():
    rows = planted(lambda way, b: 0.8, noise=0.02)
    found = bit_widths.kept(rows).set_index(["way", "rung"]).loc[("rtn", "int8")]
    assert (
        found.shapes == 3 and found.low < found.kept < found.high and found.high - found.low < 0.2
    )
    one = bit_widths.kept(rows[rows.label == "2x8"]).set_index(["way", "rung"]).loc[("rtn", "int8")]
    assert math.isnan(one.low) and one.shapes == 1


@pytest.mark.parametrize(
    "name, theta",
    [
        ("precision_effective", {"c": 1.0, "b0": 2.67}),
        ("precision_noise", {"c": 1.0, "a": 200.0}),
        ("precision_storage", {"s": 0.2, "c": 1.0}),
        ("precision_shifted", {"c": 1.0, "a": 6.0, "b0": 2.0}),
    ],
)
def test_the_planted_law_is_found_and_preferred(name, theta):
    from capacity.fitting import forms

    def part(way, b):
        return (
            float(forms.form(name).predict({"bits_per_weight": b}, theta)[0])
            if way == "gptq"
            else 0.5
        )

    rows = planted(part, noise=0.004, loads=(5.0,), seeds=(0, 1, 2))
    units = precision_laws.relative(bit_widths.capacity(rows))
    found = precision_laws.law(units, "gptq", "relative")
    assert found["reason"] is None and found["rungs"] == 6 and found["shapes"] == 3
    errors = {form: told["held_out"] for form, told in found["forms"].items()}
    assert (
        errors[name] == min(errors.values())
        or errors[name] < 1.3 * min(errors.values())
        and name != "precision_shifted"
    )
    for key, value in theta.items():
        entry = found["forms"][name]["parameters"][key]
        assert entry["value"] == pytest.approx(value, rel=0.06), (key, entry)


def test_pairs_compare_the_same_shape_and_seed_and_keep_the_sign():
    rows = planted(
        lambda way, b: (
            {"gptq": -0.1, "rtn": -0.4}[way] if b == 2 else {"gptq": 0.6, "rtn": 0.5}[way]
        ),
        noise=0.001,
    )
    units = precision_laws.relative(bit_widths.capacity(rows))
    found = {row["rung"]: row for row in bit_widths.paired(units, "signed", "gptq", "rtn")}
    assert found["int4"]["pairs"] == 6 == found["int4"]["wins"]
    assert (
        found["int4"]["difference"] == pytest.approx(0.1, abs=0.01) and found["int4"]["low"] > 0.05
    )
    assert (
        found["int2"]["difference"] > 0.1 and bit_widths.paired(units, "signed", "qat", "rtn") == []
    )
    assert (units.relative >= 0).all() and (units.signed < 0).any()


def test_ladders_with_few_rungs_have_no_law_and_a_study_needs_fp32():
    rows = planted(lambda way, b: 0.5)
    short = rows[~rows.rung.isin(["int6", "int5", "int3"])]
    assert (
        "3 rungs"
        in precision_laws.law(
            precision_laws.relative(bit_widths.capacity(short)), "rtn", "relative"
        )["reason"]
    )
    table = pd.DataFrame(
        {
            "status": ["finished"],
            "kind": ["uniform"],
            "label": ["2x8"],
            "parameters_total": [4000],
            "run_id": ["a"],
        }
    )
    with pytest.raises(ValueError, match="no finished run in fp32"):
        precision_laws.judge(rows[rows.rung != "fp32"], table, "x")


@pytest.mark.parametrize(
    "kind, rung, part, verdict",
    [
        ("bios", "int4", 0.35, "agrees"),
        ("bios", "int4", 0.8, "differs"),
        ("bios", "int8", 0.995, "agrees"),
        ("uniform", "bf16", 0.99, "differs"),
    ],
)
def test_full_models_stand_beside_published_values_with_the_words_of_the_rule(
    kind, rung, part, verdict
):
    rows = planted(lambda way, b: part, noise=0.001, ways=("gptq maps",))
    other = rows[rows.rung == "fp32"].assign(
        rung="bf16", code_bits=16.0, held_bits=lambda r: r.held_bits * part
    )
    table = pd.DataFrame(
        {"status": "finished", "kind": kind, "run_id": rows.run_id.unique()}
    ).assign(label=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)
    found = precision_laws.judge(pd.concat([rows, other]), table, "x")
    mine = next(row for row in found["verdicts"] if rung in row["at"])
    assert (
        mine["verdict"].lower() == verdict
        and mine["scale"] == "pocket"
        and mine["interval"][0] < mine["measured"] < mine["interval"][1]
    )
    assert max(map(len, words(found).splitlines())) <= 80


DATA = {
    "load": 5.0,
    "strict_bits": 12000.0,
    "strict_ceiling_bits": 20000.0,
    "gain_last_tenth": 0.01,
}  # full models, no longer learning


def finding(rows, table):
    numbers = precision_laws.judge(rows, table, "x")
    return Finding("precision", "precision.json", numbers, {"runs.csv": table})


def test_errors_of_laws_and_the_words_of_the_document_come_out_of_the_finding():
    rows = planted(
        lambda way, b: float(max(0.0, 1 - 200 * 4.0**-b)), noise=0.001, ways=("rtn", "gptq")
    )
    table = pd.DataFrame(
        {"status": "finished", "kind": "uniform", "run_id": rows.run_id.unique()}
    ).assign(label=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)
    found = finding(rows, table)
    fit = found.numbers
    assert (fit["kind"], fit["schema"], fit["data_kind"]) == ("precision", 2, "uniform")
    kept, most = kind.residuals(found)
    assert kept.key == "kept" and most.key == "capacity" and len(kept.points) == 2 * len(BITS)
    best = fit["laws"]["rtn"]["kept"]["forms"][fit["laws"]["rtn"]["kept"]["preferred"]]
    assert (
        np.abs(kept.points[kept.points.series == "rtn"].error).max() < 5 and best["held_out"] < 0.05
    )
    told = kind.document(found)
    at8 = next(row for row in fit["kept"] if (row["way"], row["rung"]) == ("gptq", "int8"))
    assert f"**{100 * at8['kept']:.1f}%**" in told.answers[0]
    blocks = {part.id: part.blocks[0] for part in told.sections}
    assert len(blocks["laws"].laws) == 4 and len(blocks["published"].rows) == 1
    # a row for each rung, below a head line for each method
    cells = [row for row in blocks["formats"].rows if len(row) > 1]
    assert len(cells) == 2 + 2 * len(BITS) and len(blocks["formats"].rows) == len(cells) + 4
    assert set(kind.figures(found)) == set(told.figures)
    assert (
        "full models keep" in told.answers[0]
        and fit["fp32_of_data"]["high"] == pytest.approx(0.6)
        and not fit["run_ids"]["data_limited"] + fit["run_ids"]["rising"]
    )
    # the data set the bits, and runs had not ended
    held = finding(rows, table.assign(strict_bits=19500.0, gain_last_tenth=0.05))
    ids = held.numbers["run_ids"]
    assert ids["data_limited"] == ids["rising"] == sorted(table.run_id)
    words = kind.document(held).answers
    assert (
        "models at the largest data keep" in words[0]
        and "most held" not in words[0]
        and any("is not that of a full model" in answer for answer in words)
    )


def test_the_digest_of_the_inputs_is_that_of_rows_in_any_order_and_of_their_numbers():
    rows = planted(lambda way, b: 0.5)
    table = pd.DataFrame(
        {"status": "finished", "kind": "uniform", "run_id": rows.run_id.unique()}
    ).assign(label=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)

    def digest(rows, table=table):
        return precision_laws.judge(rows, table, "x")["inputs_sha256"]

    kept = digest(rows)
    assert digest(rows.sample(frac=1, random_state=0), table.iloc[::-1]) == kept
    changed = rows.assign(held_bits=rows.held_bits.where(rows.index > 0, 1.0))
    more = pd.concat([table, table.iloc[:1].assign(run_id="z", status="missing")])
    assert len({kept, digest(changed), digest(rows, more)}) == 3


def test_an_old_file_is_read_as_the_present_schema_with_the_same_numbers():
    old = {
        "schema": 1,
        "study": "x",
        "kind": "bios",
        "kept": [{"way": "rtn", "rung": "int8", "kept": 0.5}],
        "capacity": [],
        "laws": {},
        "paired": [],
        "run_ids": {"under_filled": ["a"], "rising": []},
    }
    new = convert.current(old)
    assert (new["kind"], new["data_kind"], new["schema"]) == ("precision", "bios", 2)
    assert new["run_ids"] == {"data_limited": ["a"], "rising": []} and new["kept"] == old["kept"]
    assert convert.current(new) == new


def test_a_run_with_two_partners_is_refused_and_not_averaged():
    units = precision_laws.relative(bit_widths.capacity(planted(lambda way, b: 0.5)))
    twice = units[(units.way == "rtn") & (units.rung == "int8")].iloc[:1].assign(run_id="other")
    with pytest.raises(ValueError, match="gptq beside rtn: run .* has several partners"):
        bit_widths.paired(pd.concat([units, twice]), "signed", "gptq", "rtn")


def test_a_study_is_about_precision_if_it_quantizes_or_has_several_formats():
    base = ["data.n_sequences=20", "train.steps=300"]
    plain, ternary, bf16, ladder = (
        load(base + more)
        for more in ([], ["train.qat=ternary"], ["train.precision=bf16"], ["quantize=ladder"])
    )
    assert (
        not bit_widths.asked([plain])
        and not bit_widths.asked([bf16])
        and not bit_widths.asked([ternary])
    )
    assert (
        bit_widths.asked([plain, bf16])
        and bit_widths.asked([plain, ternary])
        and bit_widths.asked([ladder])
    )


STUDY = """
question: what is left?
pins: [data.vocab_size=16, data.seq_len=4, data.n_sequences=20, model.n_heads=1, train.steps=120, train.batch_size=8, train.warmup_steps=10, cluster.device=cpu]
grids:
  - model.d_model: [4, 8]
    quantize: [ladder]
  - model.d_model: [4, 8]
    train.qat: [int8, int4, ternary, binary]
    train.qat_embeddings: [true]
  - model.d_model: [4, 8]
    format: [{train.precision: fp16}, {train.precision: tf32}, {train.precision: bf16, train.weights: bf16_stochastic}]
"""  # noqa: E501


@pytest.mark.slow
def test_sweep_and_fit_laws_end_in_tables_a_figure_and_a_report(cli, tmp_path):
    (tmp_path / "p.yaml").write_text(STUDY)
    done = cli("sweep", "p.yaml", "cluster.workers=1", "cluster.threads=1")
    assert done.returncode == 0, done.stderr
    told = cli("fit-laws", "p.yaml")
    assert told.returncode == 0, told.stderr
    assert max(len(line) for line in told.stdout.splitlines()) <= 80
    folder = tmp_path / "results" / "studies" / "p"
    found = json.loads((folder / "precision.json").read_text())
    assert (found["finished"], found["runs"]) == (16, 16)
    rows = pd.read_csv(folder / "rows.csv")
    assert (
        len(rows) == 16 + 2 * 26
        and (rows.held_bits <= rows.stored_bits_per_weight * rows.parameters).all()
    )
    assert set(rows.way) == {"trained", "cast", "qat", "rtn", "gptq", "rtn maps", "gptq maps"}
    assert {"fp32", "fp16", "tf32", "bf16_stochastic"} == set(rows[rows.way == "trained"].rung)
    stored = rows[rows.label == "1x8"].groupby(["way", "rung"]).stored_bits_per_weight.first()
    assert stored["trained", "fp32"] == 32 and stored["trained", "bf16_stochastic"] == 16
    assert (
        stored["qat", "binary"]
        < stored["qat", "ternary"]
        < stored["qat", "int4"]
        < stored["rtn", "int4"]
        < stored["rtn maps", "int4"]
        < 16
    )
    assert (folder / "ladder.png").read_bytes()[:4] == b"\x89PNG" and (
        folder / "ladder.pdf"
    ).read_bytes()[:4] == b"%PDF"
    for law in found["laws"]["rtn"].values():
        assert law["reason"] is None and law["preferred"] in precision_laws.FORMS
    page = cli("report", "p.yaml")
    assert page.returncode == 0, page.stderr
    content = (folder / "report.html").read_text()
    assert "full models keep" in content and "what is left?" in content
    one = cli("train", "data.n_sequences=20", "train.qat=int4", "quantize=row", "train.steps=300")
    assert one.returncode == 2 and "train.qat=int4" in one.stderr and one.stderr.count("\n") == 1
