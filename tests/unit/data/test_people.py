"""Runs on people end to end: train, interrupt and resume, stack, sweep from packs, measure again,
the report, bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity import records, run_table
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train.loop import Stack, advance
from waiting import patience

WORLD = [
    "data=bios_pocket",
    "data.n_people=60",
    "data.seq_len=32",
    "data.first_names=5",
    "data.last_names=40",
    "data.years=3",
    "data.cities=4",
    "data.universities=4",
    "data.majors=4",
    "data.employers=6",
]
FAST = WORLD + [
    "model=pocket",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "train=pocket_bios",
    "train.exposures=40",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "measure.evaluations=2",
    "cluster.device=cpu",
]
CPU = torch.device("cpu")


def run(configs, results, stop=lambda: False):
    return execute(configs, Job(results, CPU, stop=stop))


def test_train_prints_the_ratio_its_bound_bits_by_attribute_and_accuracies(here, capfd):
    assert main(["train", *FAST]) == 0
    printed = capfd.readouterr().out
    for word in (
        "R     =",
        "R^max =",
        "p1 =",
        "p2 =",
        "birth_date",
        "employer",
        "work_city",
        "gender",
        "accuracy",
        "(40 to 41)",
        "not counted",
    ):
        assert word in printed, word
    assert max(map(len, printed.splitlines())) <= 80
    config = load(FAST)
    record = records.read(here / "results", config.run_id)
    m = record["measures"]["knowledge"]
    assert m["people"] == m["people_asked"] == 60 and m["bits"] <= m["ceiling_bits"]
    assert m["bits"] / record["parameters"]["paper"] == pytest.approx(
        m["bits_per_parameter"]["paper"]
    )
    assert record["training"]["exposures_min"] in (39, 40) and record["training"][
        "exposures_max"
    ] in (40, 41)
    assert abs(record["training"]["exposures_mean"] - 40) < 0.5


def test_an_interrupted_run_on_people_continues_exactly(tmp_path):
    """Interrupted in the middle of a rendered chunk, at its end, and twice."""
    config = load(FAST)
    assert run([config], tmp_path / "whole") == {config.run_id: "finished"}
    for name, stops in (("once", [57]), ("twice", [20, 200])):
        for at in stops:
            seen = []

            def stop(at=at, seen=seen):
                seen.append(1)
                return len(seen) > at

            assert run([config], tmp_path / name, stop) == {config.run_id: "interrupted"}
        assert run([config], tmp_path / name) == {config.run_id: "finished"}
        one, two = (records.read(tmp_path / where, config.run_id) for where in ("whole", name))
        assert (
            one["measures"] == two["measures"]
            and one["training"]["exposures_mean"] == two["training"]["exposures_mean"]
        )
        weights = [
            (records.run_dir(tmp_path / where, config.run_id) / "weights.safetensors").read_bytes()
            for where in ("whole", name)
        ]
        assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.other_people=50", "data.other_parts=3", "data.tag=main"],
        ["data.other_people=50", "data.other_parts=2", "data.windows=mixed"],
    ],
    ids=["alone", "pure junk", "mixed junk"],
)
def test_a_member_of_a_stack_equals_its_solo_run(overrides):
    members = [
        load(
            FAST
            + overrides
            + [f"seed={seed}", f"data.n_people={n}", "train.exposures=null", "train.steps=40"]
        )
        for seed, n in ((0, 60), (1, 47), (2, 80))
    ]
    stack = Stack(members, CPU)
    state = stack.start()
    advance(stack, state, 40, lambda: False)
    for m, config in enumerate(members):
        solo = Stack([config], CPU)
        alone = solo.start()
        advance(solo, alone, 40, lambda: False)
        assert torch.equal(
            solo.feed.members[0].windows([0, 0, 0, 0], 0, 9),
            stack.feed.members[m].windows([0, 0, 0, 0], 0, 9),
        )
        assert torch.allclose(alone.flat_MP[0], state.flat_MP[m], atol=1e-4)


def test_a_small_world_is_learned_to_its_bound(tmp_path):
    """The hard invariant from below: with enough exposures nearly all that can be learned is
    learned, and never more."""
    config = load(
        FAST
        + [
            "data.templates=1",
            "data.n_people=20",
            "data.seq_len=24",
            "data.full_names=true",
            "model.d_model=32",
            "model.n_heads=4",
            "model.n_layers=2",
            "train.exposures=300",
            "train.lr=0.02",
        ]
    )
    assert run([config], tmp_path) == {config.run_id: "finished"}
    m = records.read(tmp_path, config.run_id)["measures"]["knowledge"]
    assert m["accuracy"] > 0.95 and 0.97 < m["fraction_of_ceiling"] <= 1.0
    assert all(0 <= a["nats"] and a["bits"] <= a["entropy_bits"] for a in m["attributes"].values())


def test_a_pack_needs_neither_lists_nor_tokenizer_nor_hydra(here, tmp_path):
    """A compute node may have torch and numpy only; the pack and results/lexicons bring the
    words."""
    from capacity.sweep.packs import Pack, write_pack

    config = load(FAST + ["train.exposures=5"])
    write_pack(tmp_path / "pack.json", Pack("study", tmp_path / "results", "cpu", 1, 1, [[config]]))
    (tmp_path / "hooks").mkdir()
    (
        tmp_path / "hooks/sitecustomize.py"
    ).write_text(  # for the worker and for the process that it starts
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('tokenizers', 'hydra', 'omegaconf', 'pandas', "
        "'scipy'):\n"
        "            raise ImportError(name)\n"
        "        if name == 'capacity.data.compile_lexicon':\n"
        "            raise ImportError('lists and templates')\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "capacity", "worker", "--pack", str(tmp_path / "pack.json")],
        capture_output=True,
        text=True,
        timeout=patience(),
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "hooks")},
    )
    assert done.returncode == 0, done.stderr
    assert records.read(tmp_path / "results", config.run_id)["status"] == "finished"


def test_measured_again_with_other_settings_without_training(here, capfd):
    assert main(["train", *FAST]) == 0
    capfd.readouterr()
    config = load(FAST)
    before = records.read(here / "results", config.run_id)
    assert main(["train", *FAST, "measure.contexts=1", "measure.people=20"]) == 0
    after = records.read(here / "results", config.run_id)
    assert (
        after["measures"]["knowledge"]["people_asked"] == 20
        and after["measures"]["knowledge"]["bits_se_over_people"] > 0
    )
    assert after["training"] == before["training"]
    assert main(["measure", config.run_id]) == 0  # by the settings that the record has now
    assert records.read(here / "results", config.run_id)["measures"] == after["measures"]
    assert "already finished" in capfd.readouterr().err


def test_extraction_stands_in_the_record_and_the_report(here, capfd):
    args = FAST + ["data.questions=true", "extraction=lora", "extraction.steps=5"]
    assert main(["train", *args]) == 0
    assert "held-out people" in capfd.readouterr().out
    record = records.read(here / "results", load(args).run_id)
    assert 0 <= record["measures"]["extraction"]["accuracy"] <= 1
    assert (
        load(args).run_id == load(FAST + ["data.questions=true"]).run_id
    )  # a measure is not part of the run
    assert max(map(len, describe(record, Path("results")).splitlines())) <= 80


def test_biod_runs_and_reports_its_third_loss(here, capfd):
    assert (
        main(
            [
                "train",
                "data=biod_pocket",
                "data.n_people=40",
                "data.seq_len=32",
                *FAST[len(WORLD) :],
                "train.exposures=5",
            ]
        )
        == 0
    )
    assert "p3 =" in capfd.readouterr().out


def test_the_table_has_what_laws_need(here):
    config = load(FAST + ["train.exposures=5"])
    run([config], here / "results")
    missing = load(FAST + ["train.exposures=6"])
    table = run_table.table(here / "results", [config, missing])
    assert list(table["status"]) == ["finished", "missing"]
    row = table.iloc[0]
    assert row["data.n_people"] == row["n_people"] == 60 and row["kind"] == "bios"
    assert (
        row["bits_employer"] <= 6
        and row["exposures_min"] in (4, 5)
        and table.iloc[1].isna()["bits"]
    )


@pytest.mark.parametrize(
    "args, words",
    [
        (["data.n_people=201"], ["data.n_people=201", "5 x 1 x 40 = 200"]),
        (["data.n_people=2"], ["data.n_people=2", "twice"]),
        (["data.pools_dir=nowhere"], ["nowhere", "not a folder"]),
        (["data.templates_file=nowhere.txt"], ["nowhere.txt", "no such file"]),
        (["data.templates_file=bad.txt"], ["bad.txt:2", "{value}"]),
        (["data.pools_dir=lists"], ["company.txt", "no such list"]),
        (["data.employers=264"], ["company.txt", "263", "264"]),
        (["data.other_parts=3"], ["data.other_parts=3", "data.other_people"]),
        (["data.tag=other"], ["data.tag=other"]),
        (["data.same_sentences=true"], ["data.biographies"]),
        (["data.vocab_size=20"], ["data.vocab_size=20", "characters"]),
        (["extraction=full"], ["data.questions=true"]),
        (["data.lexicon=000000000000"], ["data.lexicon=000000000000", "changed"]),
    ],
)
def test_bad_input_is_one_line_with_code_2_and_nothing_is_written(here, capfd, args, words):
    (here / "bad.txt").write_text("[birth_date]\n{subject} was born.\n")
    (here / "lists").mkdir()
    for name in ("first_name", "middle_name", "last_name", "city", "university", "field"):
        (here / "lists" / f"{name}.txt").write_text("".join(f"Word{i}\n" for i in range(50)))
    assert main(["train", *FAST, *args]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and [word for word in words if word not in err] == []
    assert not (here / "results").exists()


def test_printed_settings_fed_back_are_the_same_run(here, capfd):
    assert main(["train", *FAST, "--print-config"]) == 0
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(OmegaConf.create(capfd.readouterr().out))
    assert from_dict(tree).run_id == load(FAST).run_id
    assert from_dict(json.loads(json.dumps(tree))).as_dict() == load(FAST).as_dict() | {}
