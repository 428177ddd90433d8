"""`capacity certify`: data back from a file, exactly or not at all."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capacity.certify import folder as certificates
from capacity.certify import restore
from capacity.cli.main import main
from capacity.compose import load
from capacity.train.loop import Stack
from command_line import one_line, trained  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests/data/certificates"
UNIFORM = KEPT / "uniform-set"
# what `uniform-set` was trained by
SETTINGS = [
    "data=uniform",
    "data.vocab_size=256",
    "data.seq_len=32",
    "model=gpt",
    "model.n_layers=2",
    "model.d_model=8",
    "model.n_heads=4",
    "train=adamw",
    "train.batch_size=16",
    "train.lr=0.05",
    "train.exposures=600",
    "data.load=5",
    "seed=0",
]
OTHERS = {
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "3"},
}


def training_set(overrides):
    stack = Stack([load(overrides)], torch.device("cpu"))
    return stack.feed.member_tokens(0).numpy().astype(np.int64)


def ordered(rows):
    return rows[np.lexsort(rows.T[::-1])]


def refused(capfd, *command):
    assert main(list(map(str, command))) == 2
    out, err = capfd.readouterr()
    assert out == ""
    return one_line(err)


def resealed(folder, **changes):
    """A header with other fields and a digest that fits."""
    header = json.loads((folder / "header.json").read_text())
    header.pop("sha256")
    (folder / "header.json").write_bytes(certificates.seal(header | changes))


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(UNIFORM, tmp_path / "copy"))


# A run of its own


@pytest.mark.parametrize("option", [[], ["--set"]])
def test_a_certificate_gives_back_what_the_run_was_trained_on(trained, tiny, capfd, option):
    results, record = trained
    run = record["run_id"]
    assert main(["certify", run[:6], *option, "--output", "c", "--json"]) == 0
    claims = json.loads(capfd.readouterr().out)
    assert sorted(p.name for p in Path("c").iterdir()) == sorted(
        ["code.bin", "header.json", "weights.safetensors"]
    )
    assert claims["file_bits"] == 8 * Path("c/code.bin").stat().st_size
    assert claims["claimed_bits"] == claims["entropy_bits"] - claims["file_bits"]
    strict = record["measures"]["memorization"]["strict"]["bits"]
    # a file is a whole number of words, one of them unfinished
    assert -64.1 < claims["claimed_bits"] - strict < 0.1
    assert claims["recorded"]["bits"] == strict
    ideal = claims["entropy_bits"] - claims["ideal_bits"]
    assert ideal == pytest.approx(strict, rel=1e-4)
    rows = training_set(tiny)
    assert main(["certify", "--restore", "c", "--output", "d.npy"]) == 0
    wanted = ordered(rows) if option else rows
    assert np.array_equal(np.load("d.npy"), wanted)
    assert "restored exactly" in capfd.readouterr().out.replace("\n", " ")
    assert main(["certify", "--restore", "c", "--output", "d.jsonl", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == len(rows)
    lines = [json.loads(line) for line in Path("d.jsonl").read_text().splitlines()]
    assert [line["tokens"] for line in lines] == wanted.tolist()


@pytest.mark.parametrize(
    "other",
    [
        ["train.qat=int4", "train.qat_embeddings=true"],
        ["train.precision=bf16", "train.weights=bf16_stochastic"],
        ["model.n_experts=2", "model.top_k=1"],
    ],
    ids=" ".join,
)
def test_runs_of_other_formats_and_forms_are_certified_as_they_were_measured(
    here, tiny, capfd, other
):
    overrides = [*tiny, *other]
    assert main(["train", *overrides]) == 0
    capfd.readouterr()
    run = load(overrides).run_id
    assert main(["certify", run, "--output", "c", "--json"]) == 0
    claims = json.loads(capfd.readouterr().out)
    ideal = claims["entropy_bits"] - claims["ideal_bits"]
    loose = 0.02 if "train.precision=bf16" in other else 1e-3
    assert ideal == pytest.approx(claims["recorded"]["bits"], rel=loose)
    assert main(["certify", "--restore", "c", "--output", "d.npy"]) == 0
    assert np.array_equal(np.load("d.npy"), training_set(overrides))


def test_what_is_printed_names_conventions_and_rivals(trained, capfd):
    assert main(["certify", trained[1]["run_id"], "--output", "c"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    for words in (
        "20 sequences come back exactly, in their order",
        "strict bits, total parameters",
        "N S log2 V: 20 sequences of 4 tokens, V 16",
        "Kraft's inequality",
        "raw table",
        "this code and the weights",
        "nothing is compressed",
    ):
        assert words in text


def test_what_cannot_be_certified_is_refused_before_anything_is_written(
    trained,
    capfd,
):
    results, record = trained
    run = record["run_id"]
    Path("full").mkdir()
    Path("full/file").write_text("")
    assert "something already" in refused(capfd, "certify", run, "--output", "full")
    assert "give --output FOLDER" in refused(capfd, "certify", run)
    assert "give a run" in refused(capfd, "certify")
    assert "--set" in refused(capfd, "certify", "--restore", "c", "--set")
    assert "no run in" in refused(capfd, "certify", "0123", "--output", "c")
    (results / "runs" / run / "weights.safetensors").unlink(missing_ok=True)
    capfd.readouterr()
    assert "weights" in refused(capfd, "certify", run, "--output", "c")
    assert not Path("c").exists()
    assert not list(Path().glob(".c*"))


def test_data_without_exactly_known_bits_have_no_certificate(here, capfd):
    overrides = ["data=copy", "model.d_model=8"]
    overrides += ["train.steps=3", "train.batch_size=4", "train.warmup_steps=1"]
    assert main(["train", *overrides, "cluster.device=cpu"]) == 0
    capfd.readouterr()
    run = next(Path("results/runs").iterdir()).name
    assert "data.kind=copy" in refused(capfd, "certify", run, "--output", "c")


# The committed certificate


def test_the_committed_certificate_restores_the_training_set_of_its_settings():
    found = restore.restore(UNIFORM)
    assert found.header["run_id"] == load(SETTINGS).run_id
    assert np.array_equal(found.rows, ordered(training_set(SETTINGS)))


def test_the_committed_claim_is_that_of_the_file_and_within_half_a_percent_of_the_record():
    header = certificates.read_header(UNIFORM)
    claims = header["claims"]
    rows, places = header["rows"], header["places"]
    entropy = rows * places * 8 - sum(np.log2(np.arange(1, rows + 1)))
    claimed = entropy - 8 * (UNIFORM / "code.bin").stat().st_size
    assert claims["claimed_bits"] == pytest.approx(claimed, abs=1e-6)
    assert claimed == pytest.approx(claims["recorded"]["bits"], rel=0.005)
    assert claims["bits_per_parameter"]["total"] > 2.5  # a model that is full


@pytest.mark.parametrize("other", OTHERS)
def test_it_is_restored_by_other_instructions(other, tmp_path):
    out = tmp_path / "rows.npy"
    command = ["certify", "--restore", str(UNIFORM), "--output", str(out)]
    there = subprocess.run(
        [sys.executable, "-m", "capacity", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | OTHERS[other],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert there.returncode == 0, there.stderr
    assert np.array_equal(np.load(out), ordered(training_set(SETTINGS)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_anywhere_is_refused_in_one_line_or_changes_nothing(copy, data):
    name = data.draw(st.sampled_from(["header.json", "weights.safetensors", "code.bin"]))
    before = (copy / name).read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    flipped = bytearray(before)
    flipped[place] ^= data.draw(st.integers(1, 255))
    (copy / name).write_bytes(flipped)
    try:
        stream = io.StringIO()
        sys.stderr, kept = stream, sys.stderr
        try:
            code = main(["certify", "--restore", str(copy), "--output", str(copy / "out.npy")])
        finally:
            sys.stderr = kept
        if code == 0:  # a blank of the header that JSON also has otherwise
            assert name == "header.json"
            assert np.array_equal(np.load(copy / "out.npy"), ordered(training_set(SETTINGS)))
        else:
            assert code == 2
            assert name in one_line(stream.getvalue())
            assert not (copy / "out.npy").exists()
    finally:
        (copy / name).write_bytes(before)
        (copy / "out.npy").unlink(missing_ok=True)


def test_a_changed_or_cut_code_names_its_block(copy, capfd):
    code = (copy / "code.bin").read_bytes()
    blocks = json.loads((copy / "header.json").read_text())["blocks"]
    place = 4 * blocks[5]["words"][0]
    (copy / "code.bin").write_bytes(code[:place] + bytes([code[place] ^ 1]) + code[place + 1 :])
    message = refused(capfd, "certify", "--restore", copy)
    assert "block 6 of 32 (place 6 of the rows)" in message
    assert "its bytes were changed; nothing was restored" in message
    (copy / "code.bin").write_bytes(code[:-1])
    message = refused(capfd, "certify", "--restore", copy)
    assert "block 32 of 32" in message
    assert f"the file ends at byte {len(code) - 1:,}" in message


def test_another_format_and_what_is_no_certificate_are_refused(copy, tmp_path, capfd):
    resealed(copy, format=2)
    assert "format 2; this version reads format 1" in refused(capfd, "certify", "--restore", copy)
    (copy / "header.json").write_text("[]")
    assert "not the header of a certificate" in refused(capfd, "certify", "--restore", copy)
    assert "no such file" in refused(capfd, "certify", "--restore", tmp_path / "none")


def test_a_model_that_computes_otherwise_is_told_with_both_machines(copy, capfd):
    """Weights that fit their digest, but are others: as a processor would be that computes
    something else."""
    from safetensors.torch import load_file, save_file

    path = copy / "weights.safetensors"
    tensors = load_file(path)
    tensors["blocks.1.up.bias"][0] += 0.01
    save_file(tensors, path, metadata={"run_id": "04bd0a3a572c"})
    header = json.loads((copy / "header.json").read_text())
    header["files"]["weights.safetensors"] = certificates.about(path.read_bytes())
    header["made"]["torch"] = "1.0"
    resealed(copy, files=header["files"], made=header["made"])
    message = refused(capfd, "certify", "--restore", copy, "--output", copy / "out.jsonl")
    assert "of 32 (place" in message
    assert "computes something else here (torch 1.0 there" in message
    assert not (copy / "out.jsonl").exists()


def test_an_output_of_no_format_is_refused_before_the_work(capfd, tmp_path):
    message = refused(capfd, "certify", "--restore", UNIFORM, "--output", tmp_path / "x.csv")
    assert ".jsonl or .npy" in message


def test_no_other_command_imports_the_coder_or_torch_for_its_help(tmp_path):
    code = """
import contextlib, sys
from capacity.cli.main import main
shown = ["sweep", "pocket", "--show"]
for words in (["certify", "--help"], ["list", "studies"], ["schema"], shown):
    with contextlib.suppress(SystemExit):
        main(words)
assert not {"constriction", "torch", "capacity.certify"} & set(sys.modules)
"""
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert there.returncode == 0, there.stderr
    assert "--restore FOLDER" in there.stdout
