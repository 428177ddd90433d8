"""Quantized runs: what their records say, measured again, in stacks; and bad settings."""

import copy
import json

import pytest
import torch

from capacity import records, run_table
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.measure import quantization
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.settings.quantize import Quantize, Spec, spec_of, specs
from grids import CPU


@pytest.fixture(scope="module")
def memorizer(tmp_path_factory):
    """A model of 3K parameters that holds most of its data, measured in all ways by settings of its
    own: (results, settings, record)."""
    results = tmp_path_factory.mktemp("quantized") / "results"
    settings = [
        "data.vocab_size=64",
        "data.seq_len=8",
        "data.n_sequences=250",
        "data.load=null",
        "model.d_model=16",
        "model.n_heads=4",
        "train.steps=1500",
        "train.batch_size=50",
        "train.warmup_steps=50",
        "cluster.device=cpu",
        "quantize=row",
        "quantize.granularity=[row,group]",
        "quantize.group_size=[8]",
    ]
    config = load(settings)
    assert execute([config], Job(results, CPU)) == {config.run_id: "finished"}
    return results, settings, records.read(results, config.run_id)


def by_variant(record):
    return {spec_of(row): row for row in record["measures"]["quantization"]["rows"]}


def kept(record, method, bits, granularity="row"):
    return next(
        row["fraction_of_unquantized"]
        for row in record["measures"]["quantization"]["rows"]
        if (row["method"], row["bits"], row["granularity"]) == (method, bits, granularity)
    )


def test_eight_bits_keep_what_was_learned_two_bits_do_not_and_gptq_holds_more(memorizer):
    record = memorizer[2]
    assert record["measures"]["memorization"]["strict"]["fraction_of_ceiling"] > 0.6
    for granularity in ("row", "group"):
        assert (
            kept(record, "rtn", 8, granularity) >= 0.99
            and kept(record, "gptq", 8, granularity) >= 0.99
        )
        assert kept(record, "rtn", 2, granularity) < 0.3
        for bits in (4, 3):
            assert kept(record, "gptq", bits, granularity) >= kept(
                record, "rtn", bits, granularity
            ), (granularity, bits)
    assert kept(record, "bf16", 16, None) >= 0.99


def test_rows_of_a_record(memorizer):
    results, settings, record = memorizer
    config = load(settings)
    measured, P = record["measures"]["quantization"], record["parameters"]["total"]
    assert measured["arithmetic"] == "fp32 on dequantized weights"
    assert (
        measured["unquantized"]["held_bits"] == record["measures"]["memorization"]["strict"]["bits"]
    )
    assert (
        list(by_variant(record)) == specs(config.quantize)
        and len(measured["rows"]) == 1 + 2 * 2 * 6
    )
    shapes = measured["shapes"]
    for row in [measured["unquantized"], *measured["rows"]]:
        assert row["held_bits"] <= row["stored_bits"]
        assert row["bits_per_stored_bit"] == row["held_bits"] / row["stored_bits"] <= 1
        assert (
            row["bits_per_parameter"]["total"] == row["held_bits"] / P
            and row["stored_bits_per_weight"] == row["stored_bits"] / P
        )
    for row in measured["rows"]:
        assert {*row["quantized"], *row["skipped"]} == set(shapes) and not {*row["quantized"]} & {
            *row["skipped"]
        }
        if row["method"] != "bf16":
            assert row["calibration_tokens"] == 128 * 8 and "token.weight" in row["skipped"]
            numbers = [
                sum(torch.tensor(shapes[name]).prod() for name in row[part])
                for part in ("quantized", "skipped")
            ]
            scales = sum(found["scales"] for found in row["quantized"].values())
            assert (
                row["stored_bits"]
                == numbers[0] * row["bits"] + scales * (16 + row["bits"]) + numbers[1] * 16
            )
    assert max(map(len, describe(record, results).splitlines()[:-1])) <= 80


def test_measuring_again_gives_the_same_rows_and_other_settings_add_rows(memorizer, here, capfd):
    results, settings, record = memorizer
    run_id = record["run_id"]
    weights = (records.run_dir(results, run_id) / "weights.safetensors").read_bytes()
    spoiled = copy.deepcopy(record)
    for row in spoiled["measures"]["quantization"]["rows"]:
        row["held_bits"] = 1.0
    records.write(results, spoiled)
    assert main(["measure", run_id, "--results", str(results)]) == 0
    assert records.read(results, run_id) == record
    more = [
        "quantize.methods=[rtn,fp16]",
        "quantize.bits=[4]",
        "quantize.embeddings=[true]",
        "quantize.symmetric=[true]",
    ]
    assert main(["measure", run_id, *more, "--results", str(results)]) == 0
    assert "rtn 4       sym group 8 +emb" in capfd.readouterr().out
    now = records.read(results, run_id)
    assert len(by_variant(now)) == len(by_variant(record)) + 3
    assert {s: row for s, row in by_variant(now).items() if s in by_variant(record)} == by_variant(
        record
    )
    assert (
        main(["measure", run_id, "--results", str(results)]) == 0
        and records.read(results, run_id) == now
    )
    assert (
        main(["train", *settings, *more, "--results", str(results)]) == 0
    )  # finished, and has these rows
    assert "measuring it again" not in capfd.readouterr().err
    assert main(["train", *settings, "quantize.bits=[7]", "--results", str(results)]) == 0
    assert "measuring it again" in capfd.readouterr().err
    assert (records.run_dir(results, run_id) / "weights.safetensors").read_bytes() == weights

    table = run_table.quantized_table(results, [load(settings), load(settings + ["seed=1"])])
    again = records.read(results, run_id)["measures"]["quantization"]
    assert len(table) == 1 + len(again["rows"]) and set(table["run_id"]) == {run_id}
    assert table["held_bits"].tolist() == [again["unquantized"]["held_bits"]] + [
        row["held_bits"] for row in again["rows"]
    ]
    assert table["method"][0] == "none" and table["stored_bits_per_weight"][0] == 32
    assert len(run_table.table(results, [load(settings)])) == 1
    records.write(results, record)


def test_a_member_of_a_stack_has_the_rows_of_its_weights(here, tiny):
    configs = [
        load(tiny + [f"seed={seed}", "quantize=row", "quantize.bits=[4]", *other])
        for seed, other in (
            (0, []),
            (1, ["quantize.methods=[gptq]", "quantize.symmetric=[true]"]),
            (2, ["quantize=none"]),
        )
    ]
    execute(configs, Job(here, CPU))
    assert [
        len(records.read(here, c.run_id)["measures"].get("quantization", {"rows": []})["rows"])
        for c in configs
    ] == [3, 1, 0]
    for config in configs:
        before = records.read(here, config.run_id)
        assert main(["measure", config.run_id, "--results", str(here)]) == 0
        assert records.read(here, config.run_id) == before


@pytest.mark.parametrize(
    "data, name",
    [
        (["data=bios_pocket", "data.n_people=60"], "knowledge"),
        (
            [
                "data=text_pocket",
                "data.n_sequences=40",
                "data.tokens_per_parameter=null",
                "data.n_held_out=20",
                "data.documents=200",
            ],
            "text",
        ),
    ],
)
def test_people_and_text(here, capfd, data, name):
    args = [
        *data,
        "model.n_layers=1",
        "model.d_model=8",
        "model.n_heads=2",
        "train.exposures=null",
        "train.steps=60",
        "train.batch_size=8",
        "train.warmup_steps=5",
        "cluster.device=cpu",
        "train.precision=bf16",
        "quantize=row",
        "quantize.bits=[8,2]",
        "quantize.embeddings=[true]",
        "quantize.calibration=20",
    ]
    assert main(["train", *args]) == 0
    config = load(args)
    record = records.read(here / "results", config.run_id)
    rows = {(row["method"], row["bits"]): row for row in record["measures"]["quantization"]["rows"]}
    whole = record["measures"]["quantization"]["unquantized"]
    assert whole["held_bits"] == pytest.approx(
        record["measures"][name]["bits"], rel=0.05
    )  # evaluated in bf16 there, in fp32 here
    assert rows["rtn", 8]["held_bits"] == pytest.approx(whole["held_bits"], rel=0.05)
    assert rows["gptq", 2]["calibration_tokens"] == 20 * config.data.seq_len
    assert ("accuracy" in whole) == (name == "knowledge")
    assert len(json.dumps(record)) < 200_000


def test_more_bits_than_are_stored_are_impossible():
    assert (
        quantization._numbers(
            {"held_bits": 99.0}, {"held_bits": 100.0}, 100, {"total": 50}, "memorization"
        )["bits_per_stored_bit"]
        == 0.99
    )
    with pytest.raises(AssertionError, match="stored in 100 bits"):
        quantization._numbers(
            {"held_bits": 101.0}, {"held_bits": 100.0}, 100, {"total": 50}, "knowledge"
        )
    quantization._numbers(
        {"held_bits": 101.0}, {"held_bits": 100.0}, 100, {"total": 50}, "text"
    )  # language, not memory


def test_variants_of_the_settings():
    assert specs(Quantize()) == []
    assert specs(
        Quantize(
            methods=("gptq", "bf16"), bits=(2, 8), granularity=("group", "row"), group_size=(8, 16)
        )
    ) == [
        Spec("bf16", 16),
        *(
            Spec("gptq", b, False, g, n, False, "fp16", "bf16", 128, 0.01, False)
            for g, n in (("group", 8), ("group", 16), ("row", None))
            for b in (8, 2)
        ),
    ]
    assert len(specs(load(["quantize=all"]).quantize)) == 146


@pytest.mark.parametrize(
    "settings, text",
    [
        (
            "quantize.bits=[3.5]",
            "quantize.bits=[3.5]: expected a list of different whole numbers from 2 to 8",
        ),
        ("quantize.bits=4", "expected a list of different whole numbers"),
        ("quantize.bits=[16]", "from 2 to 8"),
        ("quantize.bits=[4,4]", "different"),
        ("quantize.methods=[awq]", "different ones of bf16, fp16, rtn, gptq"),
        ("quantize.methods=[gtpq]", "did you mean gptq"),
        ("quantize.symmetric=[1]", "truth values"),
        ("quantize.symmetric=true", "truth values"),
        ("quantize.granularity=[channel]", "tensor, row, group"),
        ("quantize.calibration=0", "quantize.calibration=0"),
        ("quantize.damping=0", "quantize.damping"),
        ("quantize.methods=[rtn] quantize.bits=[]", "quantize.bits=[]"),
        ("quantize.scales=int8", "one of bf16, fp16, fp32"),
        (
            "quantize=row quantize.granularity=[group] quantize.group_size=[48]",
            "quantize.group_size=[48]: 48 does not divide model.d_model=32; allowed: 1, 2, 4, 8, "
            "16, 32",
        ),
        (
            "quantize=row quantize.granularity=[group] quantize.group_size=[16] "
            "model.mlp_ratio=0.25",
            "16 does not divide the MLP's width=8",
        ),
        ("quantize=int4", "allowed: all, ladder, none, row"),
    ],
)
def test_bad_settings_end_in_one_line(here, capfd, settings, text):
    assert main(["train", "data.n_sequences=40", "data.load=null", *settings.split()]) == 2
    error = capfd.readouterr().err
    assert error.startswith("capacity: error: ") and error.count("\n") == 1 and text in error, error


def test_a_group_that_is_not_asked_for_need_not_fit():
    load(["quantize.group_size=[48]"])
    load(["quantize=row", "quantize.group_size=[48]"])
    with pytest.raises(ConfigError, match="48 does not divide"):
        load(["quantize=row", "quantize.granularity=[row,group]", "quantize.group_size=[8,48]"])


@pytest.mark.parametrize(
    "settings, text",
    [
        ("model.d_model=8", "a finished run keeps its settings"),
        ("seed=1", "a finished run keeps its settings"),
        ("quantize.bits=[3.5]", "whole numbers"),
        ("quantize.bits=[4],[3]", "several values"),
        ("+quantize.bits=[4]", "expected quantize.bits=value"),
        ("quantize.bit=[4]", "did you mean quantize.bits?"),
        ("quantize=row quantize.granularity=[group] quantize.group_size=[48]", "does not divide"),
        ("cluster.device=cpu", "a finished run keeps its settings"),
        ("quantize", "not the id of a run"),
    ],
)
def test_bad_settings_of_measure_end_in_one_line_and_change_nothing(
    memorizer, capfd, settings, text
):
    results, _, record = memorizer
    assert main(["measure", record["run_id"], *settings.split(), "--results", str(results)]) == 2
    error = capfd.readouterr().err
    assert error.startswith("capacity: error: ") and error.count("\n") == 1 and text in error, error
    assert records.read(results, record["run_id"]) == record


def test_weights_of_another_model_are_refused(memorizer, capfd, tmp_path):
    results, settings, record = memorizer
    other = load(settings + ["model.d_model=8", "train.steps=60", "quantize=none"])
    execute([other], Job(tmp_path, CPU))
    name = "weights.safetensors"
    wrong = records.run_dir(tmp_path, other.run_id) / name
    wrong.write_bytes((records.run_dir(results, record["run_id"]) / name).read_bytes())
    assert main(["measure", other.run_id, "quantize=row", "--results", str(tmp_path)]) == 2
    assert f"these are the weights of run {record['run_id']}" in capfd.readouterr().err


def test_a_record_with_a_broken_row_is_refused(memorizer):
    record = copy.deepcopy(memorizer[2])
    records.validate(record)
    record["measures"]["quantization"]["rows"][3]["stored_bits"] = 12.5
    with pytest.raises(ValueError, match="stored_bits"):
        records.validate(record)
