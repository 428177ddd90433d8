"""Studies of precision: tables to methods, what is retained, what is held at most, laws, pairs, and
the command on real runs."""

import copy
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


def planted(retained, noise=0.0, loads=(1.5, 5.0), seeds=(0, 1), methods=("rtn", "gptq"), **over):
    """Rows as `bit_widths.points` makes them: fp32 runs that hold min(load, C), methods that
    retain `retained(method, bits)` of that; instead: (method, bits, load) -> the part retained."""
    draw, rows = np.random.default_rng(0), []
    for model, (p, c) in SHAPES.items():
        for load_, seed in ((x, s) for x in loads for s in seeds):
            held = min(0.98 * load_, c) * p

            def row(method, format, code, part, stored):
                value = held * part + noise * p * draw.normal()
                return (
                    f"{model}-{load_}-{seed}",
                    model,
                    seed,
                    load_,
                    method,
                    format,
                    code,
                    p,
                    value,
                    stored,
                )

            rows.append(row("trained", "fp32", 32.0, 1.0, 32.0))
            rows.append(row("cast", "cast bf16", 16.0, 1.0, 16.0))
            for method in methods:
                rows += [
                    row(
                        method,
                        f"int{b}",
                        float(b),
                        over.get("instead", {}).get((method, b, load_), retained(method, b)),
                        b + 0.25,
                    )
                    for b in BITS
                ]
    out = pd.DataFrame(rows, columns=list(bit_widths.PARTS))
    return out.assign(
        bits_per_parameter=out.held_bits / out.parameters,
        bits_per_stored_bit=out.held_bits / out.parameters / out.stored_bits_per_weight,
    )


def test_retained_is_about_full_models_and_capacity_about_the_best_load():
    """At 4 bits a full model keeps a tenth, one with room nine tenths, which is more in bits."""
    rows = planted(lambda method, b: 1.0, instead={("rtn", 4, 5.0): 0.1, ("rtn", 4, 1.5): 0.9})
    retained = bit_widths.retained(rows).set_index(["method", "format"])
    assert retained.loc[("rtn", "int4"), "retained"] == pytest.approx(0.1) and retained.loc[
        ("gptq", "int4"), "retained"
    ] == pytest.approx(1.0)
    assert retained.loc[("trained", "fp32"), "retained"] == 1.0
    most = bit_widths.capacity(rows)
    mine = most[(most.method == "rtn") & (most.format == "int4")]
    assert (
        set(mine.load) == {1.5}
        and not mine.limited.any()
        and np.allclose(mine.bits_per_parameter, 0.9 * 0.98 * 1.5)
    )
    over = bit_widths.capacities(most).set_index(["method", "format"]).loc[("rtn", "int4")]
    assert (
        over.capacity == pytest.approx(1.323)
        and over.load_low == over.load_high == 1.5
        and over.per_stored_bit == pytest.approx(1.323 / 4.25)
    )
    other = most[(most.method == "gptq") & (most.format == "int4")]
    assert set(other.load) == {5.0} and not other.limited.any()
    small = bit_widths.capacity(rows[rows.load == 1.5])
    assert (
        small[small.format == "fp32"].limited.all() and small[small.format == "int8"].limited.all()
    )


def test_order_of_methods_and_formats():
    found = bit_widths.retained(planted(lambda method, b: 1.0))
    assert list(dict.fromkeys(found.method)) == ["trained", "cast", "rtn", "gptq"]
    assert list(found[found.method == "rtn"].format) == [f"int{b}" for b in BITS]


def test_intervals_are_over_shapes_and_need_two():
    rows = planted(lambda method, b: 0.8, noise=0.02)
    found = bit_widths.retained(rows).set_index(["method", "format"]).loc[("rtn", "int8")]
    assert (
        found.models == 3
        and found.low < found.retained < found.high
        and found.high - found.low < 0.2
    )
    one = (
        bit_widths.retained(rows[rows.model == "2x8"])
        .set_index(["method", "format"])
        .loc[("rtn", "int8")]
    )
    assert math.isnan(one.low) and one.models == 1


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

    def part(method, b):
        return (
            float(forms.form(name).predict({"bits_per_weight": b}, theta)[0])
            if method == "gptq"
            else 0.5
        )

    rows = planted(part, noise=0.004, loads=(5.0,), seeds=(0, 1, 2))
    units = precision_laws.relative(bit_widths.capacity(rows))
    found = precision_laws.law(units, "gptq", "relative")
    assert found["reason"] is None and found["formats"] == 6 and found["models"] == 3
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
        lambda method, b: (
            {"gptq": -0.1, "rtn": -0.4}[method] if b == 2 else {"gptq": 0.6, "rtn": 0.5}[method]
        ),
        noise=0.001,
    )
    units = precision_laws.relative(bit_widths.capacity(rows))
    found = {row["format"]: row for row in bit_widths.paired(units, "signed", "gptq", "rtn")}
    assert found["int4"]["pairs"] == 6 == found["int4"]["wins"]
    assert (
        found["int4"]["difference"] == pytest.approx(0.1, abs=0.01) and found["int4"]["low"] > 0.05
    )
    assert (
        found["int2"]["difference"] > 0.1 and bit_widths.paired(units, "signed", "qat", "rtn") == []
    )
    assert (units.relative >= 0).all() and (units.signed < 0).any()


def test_methods_with_few_formats_have_no_law_and_a_study_needs_fp32():
    rows = planted(lambda method, b: 0.5)
    short = rows[~rows.format.isin(["int6", "int5", "int3"])]
    assert (
        "3 formats"
        in precision_laws.law(
            precision_laws.relative(bit_widths.capacity(short)), "rtn", "relative"
        )["reason"]
    )
    table = pd.DataFrame(
        {
            "status": ["finished"],
            "kind": ["uniform"],
            "model": ["2x8"],
            "parameters_total": [4000],
            "run_id": ["a"],
        }
    )
    with pytest.raises(ValueError, match="no finished run in fp32"):
        precision_laws.numbers(rows[rows.format != "fp32"], table, "x")


@pytest.mark.parametrize(
    "kind, format, part, verdict",
    [
        ("bios", "int4", 0.35, "agrees"),
        ("bios", "int4", 0.8, "differs"),
        ("bios", "int8", 0.995, "agrees"),
        ("uniform", "bf16", 0.99, "differs"),
    ],
)
def test_full_models_stand_beside_published_values_with_the_words_of_the_rule(
    kind, format, part, verdict
):
    rows = planted(lambda method, b: part, noise=0.001, methods=("gptq maps",))
    other = rows[rows.format == "fp32"].assign(
        format="bf16", code_bits=16.0, held_bits=lambda r: r.held_bits * part
    )
    table = pd.DataFrame(
        {"status": "finished", "kind": kind, "run_id": rows.run_id.unique()}
    ).assign(model=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)
    found = precision_laws.numbers(pd.concat([rows, other]), table, "x")
    mine = next(row for row in found["verdicts"] if format in row["at"])
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
    numbers = precision_laws.numbers(rows, table, "x")
    return Finding("precision", "precision.json", numbers, {"runs.csv": table})


def test_errors_of_laws_and_the_words_of_the_document_come_out_of_the_finding():
    rows = planted(
        lambda method, b: float(max(0.0, 1 - 200 * 4.0**-b)), noise=0.001, methods=("rtn", "gptq")
    )
    table = pd.DataFrame(
        {"status": "finished", "kind": "uniform", "run_id": rows.run_id.unique()}
    ).assign(model=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)
    found = finding(rows, table)
    fit = found.numbers
    assert (fit["kind"], fit["schema"], fit["data_kind"]) == (
        "precision",
        precision_laws.SCHEMA,
        "uniform",
    )
    retained, most = kind.residuals(found)
    assert (
        retained.key == "retained"
        and most.key == "capacity"
        and len(retained.points) == 2 * len(BITS)
    )
    best = fit["laws"]["rtn"]["retained"]["forms"][fit["laws"]["rtn"]["retained"]["preferred"]]
    assert (
        np.abs(retained.points[retained.points.series == "rtn"].error).max() < 5
        and best["held_out"] < 0.05
    )
    told = kind.document(found)
    at8 = next(row for row in fit["retained"] if (row["method"], row["format"]) == ("gptq", "int8"))
    assert f"**{100 * at8['retained']:.1f}%**" in told.answers[0]
    blocks = {part.id: part.blocks[0] for part in told.sections}
    assert len(blocks["laws"].laws) == 4 and len(blocks["published"].rows) == 1
    # a row for each format, below a head line for each method
    cells = [row for row in blocks["formats"].rows if len(row) > 1]
    assert len(cells) == 2 + 2 * len(BITS) and len(blocks["formats"].rows) == len(cells) + 4
    for _ in range(2):  # the first call imports what draws
        assert set(kind.figures(found)) == set(told.figures)
    assert (
        "full models retain" in told.answers[0]
        and fit["fp32_of_data"]["high"] == pytest.approx(0.6)
        and not fit["run_ids"]["data_limited"] + fit["run_ids"]["rising"]
    )
    # the data set the bits, and runs had not ended
    held = finding(rows, table.assign(strict_bits=19500.0, gain_last_tenth=0.05))
    ids = held.numbers["run_ids"]
    assert ids["data_limited"] == ids["rising"] == sorted(table.run_id)
    words = kind.document(held).answers
    assert (
        "models at the largest data retain" in words[0]
        and "most held" not in words[0]
        and any("is not that of a full model" in answer for answer in words)
    )


@pytest.mark.slow
@pytest.mark.long
def test_the_digest_of_the_inputs_is_that_of_rows_in_any_order_and_of_their_numbers():
    rows = planted(lambda method, b: 0.5)
    table = pd.DataFrame(
        {"status": "finished", "kind": "uniform", "run_id": rows.run_id.unique()}
    ).assign(model=["2x8", "2x12", "2x16"] * 4, parameters_total=4000, **DATA)

    def digest(rows, table=table):
        return precision_laws.numbers(rows, table, "x")["inputs_sha256"]

    retained = digest(rows)
    assert digest(rows.sample(frac=1, random_state=0), table.iloc[::-1]) == retained
    changed = rows.assign(held_bits=rows.held_bits.where(rows.index > 0, 1.0))
    more = pd.concat([table, table.iloc[:1].assign(run_id="z", status="missing")])
    assert len({retained, digest(changed), digest(rows, more)}) == 3


OLD = {  # as schema 1 named things
    "schema": 1,
    "study": "x",
    "kind": "bios",
    "conventions": {"bits": "learned bits", "kept": "full models"},
    "kept": [{"way": "rtn", "rung": "int8", "code_bits": 8.0, "kept": 0.5, "low": 0.4}],
    "capacity": [{"way": "rtn", "rung": "int8", "capacity": 1.5}],
    "laws": {
        "rtn": {
            "kept": {"reason": None, "rungs": 6, "forms": {"precision_noise": {"rms": 0.1}}},
            "capacity": {"reason": "3 rungs, a law needs 4"},
        }
    },
    "paired": [{"rung": "int8", "one": "gptq", "difference": 0.1, "question": "kept"}],
    "run_ids": {"under_filled": ["a"], "rising": []},
}
NEW = {
    "schema": 4,
    "study": "x",
    "kind": "precision",
    "data_kind": "bios",
    "conventions": {"bits": "learned bits", "retained": "full models"},
    "retained": [
        {"method": "rtn", "format": "int8", "code_bits": 8.0, "retained": 0.5, "low": 0.4}
    ],
    "capacity": [{"method": "rtn", "format": "int8", "capacity": 1.5}],
    "laws": {
        "rtn": {
            "retained": {"reason": None, "formats": 6, "forms": {"precision_noise": {"rms": 0.1}}},
            "capacity": {"reason": "3 formats, a law needs 4"},
        }
    },
    "paired": [{"format": "int8", "one": "gptq", "difference": 0.1, "question": "retained"}],
    "run_ids": {"data_limited": ["a"], "rising": []},
}


def test_old_files_of_either_schema_are_read_as_the_present_one_with_the_same_numbers():
    before = copy.deepcopy(OLD)
    assert convert.current(OLD) == NEW and before == OLD
    second = {**OLD, "schema": 2, "kind": "precision", "data_kind": "bios"}
    second["run_ids"] = NEW["run_ids"]
    assert convert.current(second) == NEW
    assert convert.current(NEW) == NEW and NEW["schema"] == precision_laws.SCHEMA
    short = planted(lambda method, b: 0.5, methods=("rtn",))
    short = short[~short.format.isin(["int6", "int5", "int3"])]
    law = precision_laws.law(bit_widths.full_models(short), "rtn", "retained")
    assert law == NEW["laws"]["rtn"]["capacity"]  # a reason reads as the program writes it now


def test_a_run_with_two_partners_is_refused_and_not_averaged():
    units = precision_laws.relative(bit_widths.capacity(planted(lambda method, b: 0.5)))
    twice = (
        units[(units.method == "rtn") & (units.format == "int8")].iloc[:1].assign(run_id="other")
    )
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
pins: [data.vocab_size=16, data.seq_len=4, data.n_sequences=20, model.n_heads=1, train.steps=120,
  train.batch_size=8, train.warmup_steps=10, cluster.device=cpu]
grids:
  - model.d_model: [4, 8]
    quantize: [ladder]
  - model.d_model: [8]
    train.qat: [int8, int4, ternary, binary]
    train.qat_embeddings: [true]
  - model.d_model: [8]
    format:
      - {train.precision: fp16}
      - {train.precision: tf32}
      - {train.precision: bf16, train.weights: bf16_stochastic}
"""


@pytest.mark.slow
@pytest.mark.long
def test_sweep_and_fit_laws_end_in_tables_a_figure_and_a_report(cli, tmp_path):
    (tmp_path / "p.yaml").write_text(STUDY)
    done = cli("sweep", "p.yaml", "cluster.workers=1", "cluster.threads=1")
    assert done.returncode == 0, done.stderr
    told = cli("fit-laws", "p.yaml")
    assert told.returncode == 0, told.stderr
    assert max(len(line) for line in told.stdout.splitlines()) <= 80
    folder = tmp_path / "results" / "studies" / "p"
    found = json.loads((folder / "precision.json").read_text())
    assert (found["finished"], found["runs"]) == (9, 9)
    rows = pd.read_csv(folder / "rows.csv")
    assert (
        len(rows) == 9 + 2 * 26
        and (rows.held_bits <= rows.stored_bits_per_weight * rows.parameters).all()
    )
    assert set(rows.method) == {"trained", "cast", "qat", "rtn", "gptq", "rtn maps", "gptq maps"}
    assert {"fp32", "fp16", "tf32", "bf16_stochastic"} == set(rows[rows.method == "trained"].format)
    stored = rows[rows.model == "1x8"].groupby(["method", "format"]).stored_bits_per_weight.first()
    assert stored["trained", "fp32"] == 32 and stored["trained", "bf16_stochastic"] == 16
    assert (
        stored["qat", "binary"]
        < stored["qat", "ternary"]
        < stored["qat", "int4"]
        < stored["rtn", "int4"]
        < stored["rtn maps", "int4"]
        < 16
    )
    assert (folder / "figures" / "capacity.png").read_bytes()[:4] == b"\x89PNG" and (
        folder / "figures" / "capacity.pdf"
    ).read_bytes()[:4] == b"%PDF"
    for law in found["laws"]["rtn"].values():
        assert law["reason"] is None and law["preferred"] in precision_laws.FORMS
    page = cli("report", "p.yaml")
    assert page.returncode == 0, page.stderr
    content = (folder / "report.html").read_text()
    assert "full models retain" in content and "what is left?" in content
    one = cli("train", "data.n_sequences=20", "train.qat=int4", "quantize=row", "train.steps=300")
    assert one.returncode == 2 and "train.qat=int4" in one.stderr and one.stderr.count("\n") == 1
