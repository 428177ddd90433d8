"""The wandb mirror: a copy of a run's files, made by a process that training never waits for."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import types

import pytest
import torch

from capacity import records
from capacity.base import files
from capacity.cli.main import main
from capacity.compose import load
from capacity.declare import registry
from capacity.run import mirror
from capacity.run.job import Job
from capacity.run.record import Failure, write_failure
from capacity.run.run import execute
from capacity.settings.data import KINDS
from capacity.sweep.packs import Pack, write_pack
from capacity.sweep.worker import train_stack
from waiting import patience, wait_until

# Stands for a run without the seconds that importing torch takes.
STAND_IN = """
import sys
from pathlib import Path
from capacity import records
from capacity.compose import load
from capacity.run.mirror import WAIT_SECONDS, Mirror
config, results = load(sys.argv[3:]), Path(sys.argv[2])
with Mirror([config], results, None, WAIT_SECONDS):
    records.write_json(records.run_dir(results, config.run_id) / "config.json", config.as_dict())
    records.append_metrics(results, config.run_id, {"step": 1, "loss_bits_per_token": 2.0})
"""


@pytest.mark.slow
def test_no_mirror_changes_stops_or_holds_up_a_run(here, tiny, capfd):
    """Offline, without a key, without a network and without wandb, all at once since they mostly
    wait."""
    for name in ("home", "hooks"):
        (here / name).mkdir()
    (here / "hooks" / "sitecustomize.py").write_text(
        "import sys\nsys.modules['wandb'] = None  # its import fails\n"
    )
    away = {
        name: str(here / "home") for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    }  # nobody's settings
    away |= {
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_API_KEY": "",
    }  # and a server that is not there
    train, stand_in = ["-m", "capacity", "train", "--results"], ["-c", STAND_IN, "--results"]
    cases = {
        "offline": (train, "offline", {}),
        "no_key": (train, "online", {}),
        "no_network": (stand_in, "online", {"WANDB_API_KEY": "0" * 40}),
        "no_wandb": (stand_in, "online", {"PYTHONPATH": str(here / "hooks")}),
    }
    processes, ended = {}, {}
    try:
        for name, (command, mode, env) in cases.items():
            with open(here / f"{name}.out", "w") as out, open(here / f"{name}.err", "w") as err:
                processes[name] = subprocess.Popen(
                    [
                        sys.executable,
                        *command,
                        name,
                        *tiny,
                        f"wandb.mode={mode}",
                        "wandb.project=p",
                    ],
                    env=os.environ | away | env,
                    stdout=out,
                    stderr=err,
                )

        def all_ended():
            over = {name for name, process in processes.items() if process.poll() is not None}
            ended.update(dict.fromkeys(over - ended.keys(), time.time()))
            return len(ended) == len(cases)

        wait_until(all_ended, lambda: f"{', '.join(cases.keys() - ended.keys())} to end")
    finally:
        for process in processes.values():
            process.kill()
    ends = {
        name: [(here / f"{name}.{stream}").read_text() for stream in ("out", "err")]
        for name in cases
    }
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(
        cases, 0
    ), ends
    logs = {
        name: records.run_dir(here / name, load(tiny).run_id) / "metrics.jsonl" for name in cases
    }
    for (
        name,
        log,
    ) in logs.items():  # from the last word of a run on; a broken network can block for 100 s
        assert ended[name] - log.stat().st_mtime < mirror.WAIT_SECONDS + patience(60), name
    errors = {name: err for name, (out, err) in ends.items()}
    assert (
        not any("Traceback" in err for err in errors.values()) and "mirror" not in errors["offline"]
    )
    run_id = load(tiny).run_id
    for name, word in (("no_key", "mirror ended"), ("no_wandb", "pip install wandb")):
        assert (
            "wandb mirror stopped early" in errors[name] and "the run is unaffected" in errors[name]
        )
        assert word in (records.run_dir(here / name, run_id) / "wandb.log").read_text()

    assert main(["train", *tiny, "--results", "alone"]) == 0
    alone = records.run_dir(here / "alone", run_id)
    assert not (alone / "wandb.log").exists() and not (here / "alone" / "wandb").exists()
    for name in ("offline", "no_key"):
        assert "bits per parameter" in ends[name][0]
        assert (
            records.read(here / name, run_id)["measures"]
            == records.read(here / "alone", run_id)["measures"]
        )
        weights = records.run_dir(here / name, run_id) / "weights.safetensors"
        assert weights.read_bytes() == (alone / "weights.safetensors").read_bytes()
    wait_until(
        lambda: any(
            file.stat().st_size
            for file in here.glob(f"offline/wandb/offline-run-*-{run_id}/*.wandb")
        ),
        "what wandb writes offline",
    )


class FakeRun:
    def __init__(self, **settings):
        self.settings, self.lines, self.summary, self.finished = settings, [], {}, False

    def log(self, line, step):
        self.lines.append((step, line))

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A wandb that keeps what it is told; returns run_id -> FakeRun."""
    runs = {}

    def init(**settings):
        assert settings["id"] not in runs
        runs[settings["id"]] = FakeRun(**settings)
        return runs[settings["id"]]

    monkeypatch.setitem(
        sys.modules, "wandb", types.SimpleNamespace(init=init, Settings=lambda **settings: settings)
    )
    monkeypatch.setattr(mirror, "POLL_SECONDS", 0.0)
    return runs


def test_every_line_is_copied_once_to_its_run_and_grouped_by_study(tmp_path, tiny, wandb):
    runs = [load(tiny + [f"seed={seed}"]) for seed in range(3)]
    started, late, never = (run.run_id for run in runs)

    def begin(run):
        files.write_json(records.run_dir(tmp_path, run.run_id) / "config.json", run.as_dict())

    def log(run_id, step):
        records.append_metrics(tmp_path, run_id, {"step": step, "loss_bits_per_token": 1.0 / step})

    rounds = [
        lambda: (begin(runs[0]), log(started, 10)),
        lambda: None,
        lambda: (begin(runs[1]), log(late, 10), log(started, 20)),
        lambda: log(started, 30),
        lambda: log(late, 20),
    ]

    def ended():  # the mirror asks once a round, so this is what training does in the meantime
        rounds.pop(0)()
        return not rounds

    settings = {"project": "p", "entity": "", "study": "deep/study", "mode": "online"}
    mirror.follow(tmp_path, [started, late, never], settings, ended)

    assert wandb.keys() == {started, late}  # what never began is not shown as a run
    assert [step for step, _ in wandb[started].lines] == [10, 20, 30] and [
        step for step, _ in wandb[late].lines
    ] == [10, 20]
    assert wandb[started].lines[1] == (20, {"loss_bits_per_token": 0.05})
    for run in runs[:2]:
        told = wandb[run.run_id].settings
        assert [told[key] for key in ("project", "entity", "group", "mode")] == [
            "p",
            None,
            "deep/study",
            "online",
        ]
        plan = {"plan": {"run_id": run.run_id}}  # without what the training process says
        assert told["config"] == json.loads(json.dumps(run.as_dict())) | plan
        assert wandb[run.run_id].finished and told["name"] == run.run_id
        assert wandb[run.run_id].summary == {}  # no record, no numbers


TINY = [
    "model.n_layers=1",
    "model.d_model=8",
    "model.n_heads=2",
    "train.steps=20",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
    "measure.contexts=1",
    "measure.people=10",
]
OF_KIND = {
    "uniform": ["data=uniform", "data.vocab_size=16", "data.seq_len=4", "data.n_sequences=20"],
    "bios": [
        "data=bios_pocket",
        "data.n_people=40",
        "data.seq_len=48",
        "data.questions=true",
        "extraction=full",
        "extraction.steps=2",
    ],
    "mixed": ["data=mixed", "data.load=null", "data.n_people=40", "data.n_rows=30"],
    "biod": ["data=biod_pocket", "data.n_people=40", "data.seq_len=32"],
    "corpus": ["data=corpus", "data.path=mirrored.jsonl", "data.seq_len=24"],
    "copy": ["data=copy", "data.vocab_size=8", "data.copy_length=4", "measure.sequences=20"],
    "mqar": ["data=mqar", "data.pairs=2", "data.seq_len=16", "measure.sequences=20"],
    "text": [
        "data=text_pocket",
        "data.documents=150",
        "data.seq_len=8",
        "data.n_held_out=20",
        "data.tokens_per_parameter=null",
        "data.n_sequences=30",
        "data.canaries=3",
        "data.repeats=[0,2]",
    ],
}


def person(i):
    city = ("Rome", "Paris")[i % 2]
    return {
        "person": f"Ann{i} Zed",
        "attributes": {"city": city},
        "texts": [f"Ann{i} Zed lives in {city}.", f"Ann{i} Zed comes from {city}."],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_run_on_any_data_ends_with_its_numbers(here, kind, wandb):
    """Each kind of data has a measure of its own; the mirror asks for what it declares."""
    lines = [json.dumps(person(i)) for i in range(12)]
    (here / "mirrored.jsonl").write_text("\n".join(lines) + "\n")
    config = load([*OF_KIND[kind], *TINY])
    assert execute([config], Job(here, torch.device("cpu"))) == {config.run_id: "finished"}
    settings = {"project": "p", "entity": "", "study": "", "mode": "online"}
    mirror.follow(here, [config.run_id], settings, lambda: True)
    run, record = wandb[config.run_id], records.read(here, config.run_id)
    assert run.finished and run.lines[-1][0] == config.steps

    measures, parameters = record["measures"], config.parameters
    if kind == "uniform":
        held = measures["memorization"]
        expected = {
            "strict_bits": held["strict"]["bits"],
            "paper_bits": held["paper"]["bits"],
            "strict_ceiling_bits": held["strict"]["ceiling_bits"],
            "paper_ceiling_bits": held["paper"]["ceiling_bits"],
            "strict_bits_per_parameter": held["strict"]["bits"] / parameters["total"],
            "paper_bits_per_parameter": held["paper"]["bits"] / parameters["total"],
        }
    elif kind == "text":
        found = measures["text"]
        expected = {
            "bits": found["bits"],
            "bits_per_parameter": found["bits"] / parameters["total"],
            "n_members": 30,
            "n_others": 20,
            "bag_of_words_auc": found["bag_of_words_auc"],
            "bag_of_words_sd": found["bag_of_words_sd"],
        } | {
            f"{side}_{name}": found[side][name]
            for side in ("members", "held_out")
            for name in ("loss_bits_per_token", "correct", "extraction_strength")
        }
        split, overlap = found["split"], found["overlap"]
        assert run.summary.pop("split_by") == split["by"] == "window"
        expected |= {"overlap": overlap["fraction"]}
        expected |= {"overlap_tokens": overlap["tokens"], "overlapping": overlap["sequences"]}
        names = ("documents", "documents_with_copies", "documents_on_both")
        expected |= {name: split[name] for name in names}
        expected |= {"recall_prefix_row": found["recall_prefix"]["row"]}
        assert {"loss_auc", "loss_auc_low", "zlib_auc", "loss_f1_median"} <= run.summary.keys()
        assert any(name.startswith("members_extractable_") for name in run.summary)
    elif kind == "mixed":
        found, random, known = (measures[k] for k in ("mixture", "memorization", "knowledge"))
        assert run.summary["mixture_bits"] == found["bits"]
        assert run.summary["random_bits"] == random["strict"]["bits"] == run.summary["strict_bits"]
        assert run.summary["fact_bits"] == known["bits"] == run.summary["bits"]
        return
    elif kind in ("copy", "mqar"):
        found = measures["context"]
        expected = {
            "context_bits": found["bits"],
            "context_bits_se": found["bits_se"],
            "context_ceiling_bits": found["ceiling_bits"],
            "recall": found["recall"],
            "state_numbers": found["state_numbers"],
        }
    else:
        found = measures["knowledge"]
        names = ("bits", "ceiling_bits", "p1_nats", "p2_nats", "accuracy")
        names += ("accuracy_uniform", "accuracy_most_frequent")
        about = found["attributes"].items()
        expected = {name: found[name] for name in names} | {
            "bits_se": found["bits_se_over_people"],
            "bits_per_parameter": found["bits"] / parameters["paper"],
        }
        expected |= {f"bits_{name}": a["bits"] for name, a in about}
        expected |= {f"accuracy_{name}": a["accuracy"] for name, a in about}
        if kind == "corpus":
            names = ("bits_uniform", "ceiling_bits_uniform")
            names += ("values", "unasked_values", "unasked_fraction")
            assert run.summary.pop("similar_names") == found["similar_names"]
            expected |= {name: found[name] for name in names}
        if kind == "bios":
            asked = measures["extraction"]
            expected["extraction_accuracy"] = asked["accuracy"]
            for way in ("uniform", "most_frequent", "most_frequent_taught"):
                expected[f"extraction_{way}"] = asked[f"accuracy_{way}"]
    assert run.summary["status"] == "finished" and run.summary["wall_s"] > 0
    assert run.summary["exposures_max"] >= run.summary["exposures_min"] >= 0
    assert run.summary["stored_bits_per_weight"] == 32.0
    assert {name: run.summary[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    # nothing that a table of runs has of the measures is left out
    table = {
        registry.column(value): value.value
        for value in registry.numbers(measures)
        if registry.column(value) and value.value is not None
    }
    assert all(run.summary.get(name, number) == number for name, number in table.items())
    assert table.keys() - run.summary.keys() <= {"split_by", "similar_names"}  # popped above


def test_a_failed_run_ends_with_its_status(tmp_path, tiny, wandb):
    config = load(tiny)
    files.write_json(records.run_dir(tmp_path, config.run_id) / "config.json", config.as_dict())
    write_failure(config, tmp_path, None, Failure("a planted one", 7))
    settings = {"project": "p", "entity": "", "study": "", "mode": "online"}
    mirror.follow(tmp_path, [config.run_id], settings, lambda: True)
    assert wandb[config.run_id].summary == {"status": "failed", "error": "a planted one"}
    assert wandb[config.run_id].finished


def test_the_command_of_a_mirror_names_a_module_that_is_there(here, tiny, monkeypatch):
    """A module that moved left it behind once: the mirror of every run ended at its start."""
    commands = []

    class Started:
        stdin = open(os.devnull, "wb")  # noqa: SIM115

        def __init__(self, command, **_):
            commands.append(command)

        def wait(self, timeout):
            return 0

    monkeypatch.setattr(mirror.subprocess, "Popen", Started)
    with mirror.Mirror([load([*tiny, "wandb.mode=offline"])], here, None):
        pass
    ((_, flag, module, *_),) = commands
    assert flag == "-m" and importlib.util.find_spec(module).origin == mirror.__file__


def test_disabled_starts_nothing(tmp_path, tiny):
    with mirror.Mirror([load(tiny)], tmp_path, None) as nothing:
        assert nothing.process is None
    assert os.listdir(tmp_path) == []


def test_a_worker_does_not_wait_for_its_mirror(here, tiny, monkeypatch):
    """A pack of a sweep ends with its runs; a mirror that hangs ends by itself, later."""
    started = []

    class Hanging:
        stdin = open(os.devnull, "wb")  # noqa: SIM115

        def wait(self, timeout):
            started.append(timeout)
            raise subprocess.TimeoutExpired("mirror", timeout)

    stand_in = types.SimpleNamespace(
        Popen=lambda *args, **kwargs: Hanging(),
        PIPE=subprocess.PIPE,
        TimeoutExpired=subprocess.TimeoutExpired,
    )
    monkeypatch.setattr(mirror, "subprocess", stand_in)
    config = load([*tiny, "wandb.mode=online"])
    pack = here / "pack.json"
    write_pack(pack, Pack("s", here / "results", "cpu", 1, 1, [[config]]))
    assert train_stack(pack, [config.run_id], None) == 0
    assert started == [0.0]
