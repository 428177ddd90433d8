"""Certificates that code names as well: whole texts of people, and people as a set."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity import compose, records
from capacity.certify import folder as certificates
from capacity.certify import restore
from capacity.cli.main import main
from capacity.compose import load
from capacity.run.job import Job
from capacity.run.run import execute
from command_line import one_line

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "tests/data/certificates/texts-set"
SMALL = ["train.batch_size=8", "train.warmup_steps=5", "model.n_layers=1", "model.d_model=16"]
SMALL += ["model.n_heads=2", "cluster.device=cpu", "train.exposures=null", "data.n_people=12"]
BIOS = ["data=bios_pocket", "data.seq_len=72", "model=pocket", "train=pocket_bios", *SMALL]
BIOS += ["train.steps=80", "measure.contexts=1"]
FIXED = [*BIOS, "data.biographies=1", "measure.context=text", "measure.wording=true"]
BIOD = ["data=biod_pocket", "data.load=null", "model=pocket", "train=pocket_bios", *SMALL]
BIOD += ["train.steps=60", "data.order=fixed"]
NAMES = 20 * 100  # of the small world
# of its texts: orders of six sentences, two templates of each
WORDING = math.log2(math.factorial(6) * 2**6)
VALUES = math.log2(2 * 12 * 28 * 10 * 20 * 30 * 10 * 26)
OTHERS = {
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "3"},
}
# what `texts-set` was trained by
KEPT_SETTINGS = [
    "data=bios_pocket",
    "data.n_people=60",
    "data.seq_len=96",
    "data.biographies=1",
    "model=pocket",
    "model.d_model=12",
    "model.n_heads=2",
    "train=pocket_bios",
    "train.exposures=800",
    "measure.context=text",
    "measure.wording=true",
    "seed=0",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results that the runs of this module share."""
    return tmp_path_factory.mktemp("certified") / "results"


@pytest.fixture
def train(results, capfd):
    """Trains a run once; its record."""

    def run(overrides):
        assert main(["train", *overrides, "--results", str(results)]) == 0
        capfd.readouterr()
        record = records.read(results, load(overrides).run_id)
        assert record is not None
        return record

    return run


@pytest.fixture
def certify(results, tmp_path, capfd):
    """A certificate of a run; its claims and its folder."""

    def run(record, *options):
        out = tmp_path / "certificate"
        shutil.rmtree(out, ignore_errors=True)
        command = ["certify", record["run_id"], *options, "--output", str(out)]
        capfd.readouterr()
        assert main([*command, "--results", str(results), "--json"]) == 0
        return json.loads(capfd.readouterr().out), out

    return run


def lines(folder, tmp_path):
    out = tmp_path / "data.jsonl"
    assert main(["certify", "--restore", str(folder), "--output", str(out)]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def people_of(overrides, tmp_path):
    """What `capacity data` says of the same people, in their order."""
    out = tmp_path / "people.jsonl"
    settings = [o for o in overrides if o.startswith(("data", "seed"))]
    assert main(["data", *settings, "--output", str(out)]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def check_texts(back, told, ordered):
    """Lines of whole texts against what `capacity data` writes."""
    # strings in one order have one text, which is written several times
    wanted = list({(one["person"], text["text"]): 0 for one in told for text in one["texts"]})
    found = [(line["person"], line["text"]) for line in back]
    if ordered:  # a person's texts take turns, each beginning with another one
        assert [name for name, _ in found] == [name for name, _ in wanted]
    assert sorted(found) == sorted(wanted)
    known = {one["person"]: one for one in told}
    for line in back:
        one, follows = known[line["person"]], known[line["person"]].get("follows", {})
        assert line["attributes"] == one["attributes"] | follows
        at = [line["text"].index(line["attributes"][name]) for name in line["order"]]
        assert len(set(at)) == len(at) == len(line["templates"])


@pytest.mark.parametrize("option", [[], ["--set"]])
def test_whole_texts_come_back_with_names_values_and_wording(train, certify, tmp_path, option):
    record = train(FIXED)
    claims, folder = certify(record, "--texts", *option)
    names = math.comb(NAMES, 12) if option else math.perm(NAMES, 12)
    entropy = math.log2(names) + 12 * (VALUES + WORDING)
    assert claims["entropy_bits"] == pytest.approx(entropy, abs=1e-6)
    file_bits = 8 * (folder / "code.bin").stat().st_size
    assert claims["claimed_bits"] == pytest.approx(entropy - file_bits, abs=1e-6)
    # the record's code is that of the same texts, without what says that they are over
    code = 12 * record["measures"]["wording"]["shown"]["code_bits_per_text"]
    orders = math.log2(math.factorial(12)) if option else 0
    ends = claims["ideal_bits"] + orders - code
    assert 0 < ends < 12
    assert claims["recorded"]["bits"] == pytest.approx(claims["entropy_bits"] + orders - code)
    assert 0 <= claims["file_bits"] - claims["table_bits"] < 65
    check_texts(lines(folder, tmp_path), people_of(FIXED, tmp_path), not option)


@pytest.mark.parametrize(
    ("more", "wording", "orders"),
    [
        (["data.biographies=3"], 3 * WORDING, 6),
        (
            ["data.biographies=3", "data.same_sentences=true", "data.order=pairs"],
            6 + math.log2(6 * 5 * 4),
            6,
        ),
        (["data.full_names=true", "data.tag=main", "data.other_people=12"], WORDING, 1),
        (["model.n_experts=2", "model.top_k=1"], WORDING, 1),
    ],
    ids=["three texts", "one wording in three orders", "full names behind a tag", "experts"],
)
def test_texts_of_other_settings_and_forms(train, certify, tmp_path, more, wording, orders):
    overrides = [*FIXED, "train.steps=40", *more]
    if "data.other_people=12" in more:
        overrides += ["data.other_parts=1", "data.seq_len=96"]
    record = train(overrides)
    values = VALUES - ("data.full_names=true" in more)  # no pronoun tells a gender
    claims, folder = certify(record, "--texts", "--set")
    # all texts of a person differ here
    each = values + wording - math.log2(orders)
    entropy = math.log2(math.comb(NAMES, 12)) + 12 * each
    assert claims["entropy_bits"] == pytest.approx(entropy, abs=1e-6)
    assert claims["order_bits"] == pytest.approx(math.log2(math.factorial(12) * orders**12))
    told = [one for one in people_of(overrides, tmp_path) if one.get("split") != "other"]
    check_texts(lines(folder, tmp_path), told, False)


@pytest.mark.parametrize("option", [[], ["--set"]])
def test_texts_of_strings_in_one_order_come_back(train, certify, tmp_path, option):
    record = train(BIOD)
    claims, folder = certify(record, "--texts", *option)
    data = load(BIOD).data
    values = data.attributes * data.chunks * math.log2(data.diversity)
    names = math.comb(NAMES, 12) if option else math.perm(NAMES, 12)
    assert claims["entropy_bits"] == pytest.approx(math.log2(names) + 12 * values, abs=1e-6)
    check_texts(lines(folder, tmp_path), people_of(BIOD, tmp_path), not option)


def test_people_as_a_set_come_back_with_their_names(train, certify, tmp_path, capfd):
    record = train([*BIOS, "train.steps=150"])
    claims, folder = certify(record, "--set")
    known = record["measures"]["knowledge"]
    asked = [name for name in known["attributes"] if name not in ("gender", "work_city")]
    names = math.log2(math.comb(NAMES, 12))
    assert claims["parts"]["names"]["entropy_bits"] == pytest.approx(names, abs=1e-6)
    assert claims["entropy_bits"] == pytest.approx(names + 12 * (VALUES - 1), abs=1e-6)
    # names and values by the same raw probabilities as in the record; what ends a name adds little
    code = 12 * known["p1_nats"] / math.log(2)
    code += 12 * sum(known["attributes"][name]["nats"] for name in asked) / math.log(2)
    ideal = claims["ideal_bits"] + math.log2(math.factorial(12))
    assert ideal == pytest.approx(code, abs=0.05)
    assert claims["recorded"]["bits"] == pytest.approx(
        claims["entropy_bits"] - code + math.log2(math.factorial(12))
    )
    parts = [part["table_bits"] for part in claims["parts"].values()]
    assert sum(parts) == pytest.approx(claims["table_bits"])
    told = {one["person"]: one["attributes"] for one in people_of(BIOS, tmp_path)}
    back = lines(folder, tmp_path)
    assert {one["person"] for one in back} == set(told) and len(back) == 12
    for one in back:
        assert set(one["attributes"]) == set(asked)
        assert all(told[one["person"]][name] == v for name, v in one["attributes"].items())
    capfd.readouterr()
    command = ["certify", record["run_id"], "--set", "--output", str(tmp_path / "again")]
    assert main([*command, "--results", str(folder.parents[0] / "none")]) == 2


def test_strings_of_people_come_back_as_a_set(train, certify, tmp_path):
    overrides = [*BIOD, "data.order=permute"]
    claims, folder = certify(train(overrides), "--set")
    data = load(BIOD).data
    values = data.attributes * data.chunks * math.log2(data.diversity)
    assert claims["entropy_bits"] == pytest.approx(math.log2(math.comb(NAMES, 12)) + 12 * values)
    told = {one["person"]: one["attributes"] for one in people_of(overrides, tmp_path)}
    back = {one["person"]: one["attributes"] for one in lines(folder, tmp_path)}
    plain = {k: {a: v.replace(" ", "") for a, v in x.items()} for k, x in told.items()}
    assert {k: {a: v.replace(" ", "") for a, v in x.items()} for k, x in back.items()} == plain


def test_members_of_a_stack_are_certified_as_their_own_runs(certify, results, tmp_path):
    configs = [compose.load([*FIXED, f"seed={seed}"]) for seed in (5, 6)]
    outcome = execute(configs, Job(results, torch.device("cpu")))
    assert set(outcome.values()) == {"finished"}
    for config, seed in zip(configs, (5, 6), strict=True):
        claims, folder = certify({"run_id": config.run_id}, "--texts", "--set")
        assert claims["claimed_bits"] < claims["recorded"]["bits"] + 0.1
        told = people_of([*FIXED, f"seed={seed}"], tmp_path)
        check_texts(lines(folder, tmp_path), told, False)


# Refused


def test_what_has_no_fixed_texts_is_refused_with_what_has(train, results, capfd, tmp_path):
    def refused(overrides):
        run = train(overrides)["run_id"]
        command = ["certify", run, "--texts", "--output", str(tmp_path / "c")]
        assert main([*command, "--results", str(results)]) == 2
        assert not (tmp_path / "c").exists()
        return one_line(capfd.readouterr().err)

    new = refused([*BIOS, "train.steps=150"])
    assert "data.biographies is empty" in new and "data.biographies=1" in new
    order = refused([*BIOD, "data.order=permute"])
    assert "data.order=permute" in order and "data.order=fixed" in order
    uniform = ["data=uniform", "data.vocab_size=16", "data.seq_len=4", "data.n_sequences=20"]
    uniform += ["data.load=null", "model=gpt", "train=adamw", *SMALL[:-2], "train.exposures=null"]
    assert "data.kind=uniform: whole texts" in refused([*uniform, "train.steps=20"])
    short = [*BIOS, "data.biographies=1", "data.seq_len=32", "train.steps=20"]
    assert "windows of data.seq_len=32" in refused([*short, "measure.context=first"])
    assert main(["certify", "--restore", "c", "--texts"]) == 2
    assert "--texts" in one_line(capfd.readouterr().err)


def test_texts_that_say_two_people_are_refused(train, results, capfd, tmp_path, monkeypatch):
    from capacity.certify.grammar import Grammar

    run = train(FIXED)["run_id"]
    once = Grammar.readings
    monkeypatch.setattr(Grammar, "readings", lambda self, text: 2 * once(self, text))
    command = ["certify", run, "--texts", "--output", str(tmp_path / "c")]
    assert main([*command, "--results", str(results)]) == 2
    assert "can be read as other people" in one_line(capfd.readouterr().err)


@pytest.mark.parametrize("options", [["--texts"], ["--texts", "--set"], ["--set"]])
def test_a_changed_or_cut_file_of_people_is_named(train, certify, capfd, options):
    record = train(FIXED if "--texts" in options else [*BIOS, "train.steps=150"])
    _, folder = certify(record, *options)
    code = (folder / "code.bin").read_bytes()
    (folder / "code.bin").write_bytes(bytes([code[0] ^ 1]) + code[1:])
    assert main(["certify", "--restore", str(folder)]) == 2
    message = one_line(capfd.readouterr().err)
    blocks = json.loads((folder / "header.json").read_text())["blocks"]
    first = next(i for i, block in enumerate(blocks) if block["words"][1])  # the first with bytes
    assert f"code.bin: block {first + 1} of {len(blocks)} ({blocks[first]['name']})" in message
    assert "its bytes were changed; nothing was restored" in message
    (folder / "code.bin").write_bytes(code[:-1])
    assert main(["certify", "--restore", str(folder)]) == 2
    assert f"the file ends at byte {len(code) - 1:,}" in one_line(capfd.readouterr().err)
    (folder / "code.bin").write_bytes(code)
    grammar = (folder / "grammar.json").read_bytes()
    (folder / "grammar.json").write_bytes(grammar.replace(b"1", b"2", 1))
    assert main(["certify", "--restore", str(folder)]) == 2
    message = one_line(capfd.readouterr().err)
    assert "grammar.json: its bytes were changed; nothing was restored" in message


def test_data_of_an_unknown_kind_are_refused(tmp_path, capfd):
    copy = Path(shutil.copytree(KEPT, tmp_path / "copy"))
    header = json.loads((copy / "header.json").read_text())
    header.pop("sha256")
    (copy / "header.json").write_bytes(certificates.seal(header | {"kind": "poems"}))
    assert main(["certify", "--restore", str(copy)]) == 2
    assert "data of kind 'poems'; this version reads" in one_line(capfd.readouterr().err)


# The committed certificate: 60 people whose texts a model of two layers of 12 knows


def test_the_committed_texts_are_those_of_their_settings(tmp_path):
    header = certificates.read_header(KEPT)
    assert header["run_id"] == load(KEPT_SETTINGS).run_id
    check_texts(lines(KEPT, tmp_path), people_of(KEPT_SETTINGS, tmp_path), False)
    claims = header["claims"]
    entropy = math.log2(math.comb(NAMES, 60)) + 60 * (VALUES + WORDING)
    assert claims["claimed_bits"] == pytest.approx(
        entropy - 8 * (KEPT / "code.bin").stat().st_size, abs=1e-6
    )
    # half a percent of the ideal, and two words of the coder
    ideal = claims["entropy_bits"] - claims["ideal_bits"]
    assert ideal - claims["claimed_bits"] < 0.005 * ideal + 64
    assert claims["bits_per_parameter"]["total"] > 0.3


@pytest.mark.parametrize("other", OTHERS)
def test_they_are_restored_by_other_instructions(other, tmp_path):
    out = tmp_path / "rows.npy"
    command = ["certify", "--restore", str(KEPT), "--output", str(out)]
    there = subprocess.run(
        [sys.executable, "-m", "capacity", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | OTHERS[other],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert there.returncode == 0, there.stderr
    # rows of the same digest: `restore` compares it
    assert restore.restore(KEPT).header["restored_sha256"][:16] in there.stdout.replace("\n", "")


@pytest.mark.parametrize("options", [["--texts"], ["--set"]])
def test_new_kinds_are_restored_without_vectors(train, certify, tmp_path, options):
    record = train(FIXED if "--texts" in options else [*BIOS, "train.steps=150"])
    _, folder = certify(record, *options)
    there = subprocess.run(
        [sys.executable, "-m", "capacity", "certify", "--restore", str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | OTHERS["no vectors"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert there.returncode == 0, there.stderr
    assert "12" in there.stdout and "restored exactly" in there.stdout.replace("\n", " ")
