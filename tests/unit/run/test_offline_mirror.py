"""What wandb itself writes without a network, read from its files: name, settings, curve and final
numbers of a run, and the line that sends them."""

import json
import re
import shlex
import struct

import pytest

from capacity import records
from capacity.cli.main import main
from capacity.compose import load
from capacity.declare import registry
from capacity.run import mirror
from capacity.sweep.packs import Pack, read_pack, write_pack
from waiting import wait_until

BLOCK = 32768  # of a file of wandb, which is framed as LevelDB frames its log
HEAD = 7  # bytes in front of a file, and of each part of a record


def read(path):
    """The records of a .wandb file by wandb's own definition of them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), HEAD, b""
    assert data[:4] == b":W&B"
    while at + HEAD <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEAD])
        if kind == 0:
            break
        parts += data[at + HEAD : at + HEAD + length]
        at += HEAD + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def told(path):
    """(run, settings, lines, final numbers) of a file."""
    run, settings, lines, summary = None, {}, [], {}
    for record in read(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            settings |= {one.key: json.loads(one.value_json) for one in run.config.update}
        elif kind == "history":
            items = {
                one.key or ".".join(one.nested_key): json.loads(one.value_json)
                for one in record.history.item
            }
            lines.append(items)
        elif kind == "summary":
            for one in record.summary.update:
                summary[one.key or ".".join(one.nested_key)] = json.loads(one.value_json)
    return run, settings, lines, summary


@pytest.fixture
def alone(here, monkeypatch):
    """Nobody's settings, and a server that is not there."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(here / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    return here


@pytest.mark.slow
def test_an_offline_run_has_its_name_settings_curve_and_numbers(alone, tiny, capfd, monkeypatch):
    monkeypatch.setattr(mirror, "WAIT_SECONDS", 600.0)
    settings = [*tiny, "wandb.mode=offline", "wandb.project=mine"]
    config = load(settings)
    assert main(["train", *settings]) == 0
    err = capfd.readouterr().err
    (folder,) = mirror.offline(alone / "results", [config.run_id])
    line = re.search(r"to send it: (wandb sync .*)", err.replace("\\\n", " "))[1]
    assert shlex.split(line) == ["wandb", "sync", str(folder.relative_to(alone))]

    (file,) = folder.glob("*.wandb")
    wait_until(lambda: told(file)[3].get("status"), "the final numbers")
    run, kept, lines, summary = told(file)
    assert (run.run_id, run.project) == (config.run_id, "mine")
    assert run.display_name == "1x8, 20 sequences, 48 exposures, seed 0"
    assert kept["train"] == json.loads(json.dumps(config.as_dict()["train"]))
    assert kept["data"]["vocab_size"] == 16 and kept["seed"] == 0
    assert kept["plan"]["parameters"] == config.parameters
    assert kept["plan"]["entropy_bits"] == config.entropy_bits
    record = records.read(alone / "results", config.run_id)
    expected = registry.summary(record["measures"])
    assert expected and {name: summary[name] for name in expected} == expected
    assert summary["status"] == "finished"
    written = records.read_metrics(alone / "results", config.run_id)
    steps = {one["_step"] for one in lines}
    assert steps == {one["step"] for one in written}
    assert not (records.run_dir(alone / "results", config.run_id) / mirror.TOLD).exists()


def test_names_tell_runs_of_every_kind_apart(here):
    names = {
        kind: mirror.about(load(settings), variant)["name"]
        for kind, settings, variant in (
            ("uniform", ["data.n_sequences=1000", "data.load=null", "train.exposures=50"], ""),
            ("bios", ["data=bios_pocket", "model=pocket", "train=pocket_bios", "seed=2"], "LLaMA"),
            ("biod", ["data=biod_pocket", "train=pocket_bios"], ""),
        )
    }
    assert names["uniform"] == "1x32, 1K sequences, 50 exposures, seed 0"
    assert names["bios"].startswith("LLaMA, ") and names["bios"].endswith(
        "400 people, 400 exposures, seed 2"
    )
    assert len(set(names.values())) == 3


def test_a_pack_brings_the_names_of_its_study(here, tiny):
    config = load([*tiny, "wandb.mode=offline"])
    pack = Pack("s", here, "cpu", 1, 1, [[config]], {config.run_id: "ours"})
    write_pack(here / "pack.json", pack)
    assert read_pack(here / "pack.json").variants == {config.run_id: "ours"}
    plain = Pack("s", here, "cpu", 1, 1, [[config]])
    write_pack(here / "pack.json", plain)
    assert "variants" not in json.loads((here / "pack.json").read_text())
    assert read_pack(here / "pack.json").variants == {}


def test_a_sweep_calls_its_runs_as_the_study_does(here, tiny):
    """By names of the study, else by what varies; without a mirror nothing is computed."""
    from capacity.study import load_study
    from capacity.sweep import commands
    from capacity.sweep.packs import Job

    pins = ", ".join([*tiny, "wandb.mode=offline"])
    (here / "s.yaml").write_text(
        f"pins: [{pins}]\nnames: {{ours: {{model.norm: rmsnorm}}}}\n"
        "grids: [{model.norm: [layernorm, rmsnorm]}]\n"
    )
    study = load_study("s.yaml", [])
    job = Job([Pack("s", here, "cpu", 1, 1, [study.runs])], [1.0], 0, "", {}, "")
    (pack,) = commands._called(job, study).packs
    assert [pack.variants[run.run_id] for run in study.runs] == ["norm=layernorm", "ours"]
    off = load_study("s.yaml", ["wandb.mode=disabled"])
    assert commands._called(job, off) is job
