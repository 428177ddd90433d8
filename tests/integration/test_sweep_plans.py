"""Studies, from a file to runs, stacks and packs, before anything is trained."""

import json
import math
import operator
import os

import pytest

from capacity import records
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import shared_dir
from capacity.cost import GUESSES, stack_bytes
from capacity.study import load_study
from capacity.sweep import packs, plan, plan_text, submissions
from capacity.sweep.packs import Pack, make_stacks
from capacity.train.stack_key import stack_key
from outcomes import outcome
from sweeps import stacks_of


def study(tmp_path, text, overrides=()):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load_study(str(path), list(overrides)).runs


def values(runs, *keys):
    """The named settings of every run, in order."""
    return [tuple(operator.attrgetter(key)(run) for key in keys) for run in runs]


def test_axes_as_list_range_mappings_and_single_value(tmp_path):
    runs = study(
        tmp_path,
        """
question: How?
pins: [data.vocab_size=16, train.steps=300]
grids:
- size:
  - {model.d_model: 8, model.n_heads: 1}
  - {model.d_model: 16, model.n_heads: 4}
  data.n_sequences: [10, 20]
  seed: "range(0,2)"
  model.tied: false
""",
    )
    assert values(runs, "model.d_model", "model.n_heads", "data.n_sequences", "seed") == [
        (d, h, n, s) for d, h in ((8, 1), (16, 4)) for n in (10, 20) for s in (0, 1)
    ]
    assert set(values(runs, "data.vocab_size", "train.steps", "model.tied")) == {(16, 300, False)}


def test_several_grids_join_and_a_run_in_two_is_planned_once(tmp_path):
    runs = study(
        tmp_path, "grids: [{model.d_model: [8, 16]}, {model.d_model: [16, 32], seed: [0, 1]}]"
    )
    assert values(runs, "model.d_model", "seed") == [(8, 0), (16, 0), (16, 1), (32, 0), (32, 1)]
    # the same run in another spelling
    n = runs[0].items
    assert (
        len(
            study(
                tmp_path,
                f"pins: [model.d_model=8]\ngrids: [{{data.n_sequences: [{n}]}}, "
                f"{{data.load: [4.0]}}]",
            )
        )
        == 1
    )


def test_overrides_win_over_axes_and_pins(tmp_path):
    text = "pins: [data.load=2]\ngrids: [{model.d_model: [8, 16], seed: [0, 1]}]"
    assert values(study(tmp_path, text, ["model.d_model=32"]), "model.d_model", "seed") == [
        (32, 0),
        (32, 1),
    ]
    assert values(
        study(tmp_path, text, ["model.d_model=32", "seed=7"]), "model.d_model", "seed"
    ) == [(32, 7)]
    assert set(
        values(study(tmp_path, text, ["data.n_sequences=30"]), "data.n_sequences", "data.load")
    ) == {(30, None)}
    axis = "pins: [data.load=2]\ngrids: [{data.n_sequences: [10, 20]}]"
    assert values(study(tmp_path, axis), "data.n_sequences", "data.load") == [
        (10, None),
        (20, None),
    ]
    choice = "grids: [{model: [gpt, rotary]}]"
    assert values(study(tmp_path, choice, ["model=rotary"]), "model.position") == [("rotary",)]


def test_an_empty_study_is_the_default_run(tmp_path):
    assert len(study(tmp_path, "question: One?")) == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("grid: [{seed: [0]}]", ["grid:", "did you mean grids?", "question, pins, grids"]),
        ("pins: {seed: 1}", ["pins", "a list of overrides"]),
        ("pins: [1]", ["pins", "a list of overrides"]),
        ("pins: seed=1", ["pins", "a list of overrides"]),
        ("grids: {seed: [0, 1]}", ["grids", "a list of mappings"]),
        ("grids: [seed]", ["grids", "a list of mappings"]),
        ("grids: [{seed: []}]", ["seed", "a list of values"]),
        ("grids: [{seed: null}]", ["seed", "a list of values"]),
        ("grids: [{seed: {a: 1}}]", ["seed", "a list of values"]),
        ("grids: [{seed: [[1, 2]]}]", ["seed", "plain values"]),
        ("grids: [{seed: [0, {a: 1}]}]", ["seed", "plain values"]),
        ("grids: [{size: [{model.d_model: [8]}]}]", ["size", "plain values"]),
        ('grids: [{seed: "range(0"}]', ["seed=range(0"]),
        ('grids: [{seed: "shuffle(range(3))"}]', ["seed=shuffle", "list the values"]),
        ("grids: [{seed: [x]}]", ["seed=x", "a whole number"]),
        ("grids: [{sede: [1]}]", ["sede", "did you mean seed?"]),
        ("grids: [{model.d_modle: [8]}]", ["model.d_modle", "did you mean model.d_model?"]),
        ("pins: [data.load=1, data.n_sequences=2]", ["data.load", "only one"]),
        ("grids: [{model: [gpt, rotray]}]", ["model=rotray", "did you mean rotary?"]),
        ("grids: [", ["not valid YAML"]),
        ("- 1", ["named entries"]),
        ("3", ["named entries"]),
    ],
    ids=lambda value: str(value)[:45],
)
def test_a_bad_study_is_one_line_that_names_the_file(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        study(tmp_path, text)
    message = str(error.value)
    assert [
        word for word in ["s.yaml", *words] if word not in message
    ] == [] and "\n" not in message


def test_studies_are_found_by_name_and_by_path(here):
    (here / "sweeps" / "deep").mkdir(parents=True)
    (here / "sweeps" / "deep" / "mine.yaml").write_text("grids: [{seed: [5]}]")
    (here / "other.yml").write_text("grids: [{seed: [6]}]")
    found = load_study("deep/mine", [])
    assert (found.name, found.runs[0].seed) == ("deep/mine", 5)
    found = load_study("other.yml", [])
    assert (found.name, found.runs[0].seed) == ("other", 6)
    with pytest.raises(ConfigError, match=r"did you mean deep/mine\?\); allowed: .*deep/mine"):
        load_study("deep/mien", [])
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file"):
        load_study("nowhere.yaml", [])


STUDIES = sorted(
    str(p.relative_to(shared_dir("sweeps")).with_suffix(""))
    for p in shared_dir("sweeps").rglob("*.yaml")
)


def test_there_is_a_pocket_study():
    assert "pocket" in STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_in_the_repository_plans(name, tmp_path):
    found = load_study(name, [])
    assert found.question and found.name == name
    planned = plan.make_plan(found, tmp_path, {}, False)
    assert sorted(run.run_id for run in planned.todo) == sorted(
        {run.run_id for run in found.trained}
    )
    assert max(map(len, plan_text.summary(planned).splitlines())) <= 80
    if not found.expects and name not in (
        "morris/vocabulary",
        "morris/length",
        "context/copy",
        "context/lengths",
        "context/mqar",
        "rulers/chain",
    ):  # an axis moves only itself: nothing about the data but its size may differ within a study
        assert len(set(values(found.runs, "data.kind", "data.vocab_size", "data.seq_len"))) == 1


MIXED = """
pins: [data.vocab_size=16, data.seq_len=4, train.steps=300]
grids:
- model.d_model: [8, 16, 32]
  data.n_sequences: [10, 100]
  train.lr: [0.01, 0.02]
  seed: "range(0,3)"
- {model.d_model: 8, data.n_sequences: 10, train.batch_size: [8, 16]}
"""


@pytest.mark.parametrize("workers", [1, 2, 7, 100])
@pytest.mark.parametrize("stack", [1, 3, 16])
def test_stacks_hold_every_run_once_and_one_shape(tmp_path, workers, stack):
    runs = study(tmp_path, MIXED)
    stacks = stacks_of(runs, workers, stack)
    assert sorted(run.run_id for s in stacks for run in s) == sorted(run.run_id for run in runs)
    for s in stacks:
        assert 1 <= len(s) <= stack and len({stack_key(run) for run in s}) == 1
    seconds = [GUESSES["cpu"].seconds(s) for s in stacks]
    assert seconds == sorted(seconds, reverse=True)
    expected = packs.makespan(
        stacks, GUESSES["cpu"], workers
    )  # not longer than by any of the other cuts
    assert sum(seconds) / workers <= expected * (1 + 1e-9) and max(seconds) <= expected * (1 + 1e-9)
    each = sum(GUESSES["cpu"].seconds([run]) for run in runs) / workers
    for share in (each, each / 2, each / 4):
        other = make_stacks(
            runs, max(share, min(each, packs.WORTH_A_START_S)), packs.Limits(most=stack)
        )
        assert expected <= packs.makespan(other, GUESSES["cpu"], workers) * (1 + 1e-9)


def test_stacks_hold_runs_of_similar_length_and_fit_into_memory(tmp_path):
    runs = study(
        tmp_path,
        "pins: [model.d_model=16]\ngrids: [{train.steps: [300, 5000, 300, 4000, 400, 4500], seed: "
        "[0, 1, 2]}]",
    )
    assert len({stack_key(run) for run in runs}) == 1
    for stack in stacks_of(runs, 1, 4):
        steps = [run.steps for run in stack]
        assert steps == sorted(steps, reverse=True) and max(steps) <= 2 * min(steps)
    one = stack_bytes(runs[0], 1, "cpu")
    for room in (0.5 * one, 1.5 * one, 3.5 * one, 100 * one):
        sizes = [len(s) for s in make_stacks(runs, 1e9, packs.Limits(most=8, memory=room))]
        assert sum(sizes) == 15
        assert all(size == 1 or stack_bytes(runs[0], size, "cpu") <= room for size in sizes)
    assert max(sizes) > 2


@pytest.mark.parametrize("minutes", [0.001, 0.1, 2.0, 1000.0])
@pytest.mark.parametrize("workers, limit", [(1, 1000), (4, 1000), (1, 3)])
def test_packs_have_equal_expected_duration(tmp_path, minutes, workers, limit):
    """No more packs than needed or allowed, every stack once, and none holds more than the mean and
    one stack."""
    runs, speed = study(tmp_path, MIXED), GUESSES["cpu"]
    stacks = make_stacks(runs, 60 * minutes, packs.Limits(most=16))
    found = packs.fill(stacks, speed, 60 * minutes, workers, 1, limit)
    assert sorted(s[0].run_id for pack in found for s in pack) == sorted(
        s[0].run_id for s in stacks
    )
    total = sum(map(speed.seconds, stacks))
    assert len(found) == max(
        1, min(limit, len(stacks), math.ceil(total / (60 * minutes * workers)))
    )
    longest = max(map(speed.seconds, stacks))
    for pack in found:
        assert sum(map(speed.seconds, pack)) <= total / len(found) + longest
        assert packs.duration(pack, speed, workers, 1) >= max(map(speed.seconds, pack))


def test_a_sweep_issued_again_keeps_its_stacks_and_leaves_out_what_is_done_or_claimed(tmp_path):
    runs = study(tmp_path, MIXED)
    found = load_study(
        str(tmp_path / "s.yaml"), ["cluster.stack=4", "cluster.workers=2", "cluster.device=cpu"]
    )
    whole = plan.make_plan(found, tmp_path, {}, False).jobs[0].packs[0].stacks
    assert whole == stacks_of(found.runs, 2, 4) and sum(map(len, whole)) == len(runs)
    done, failed = whole[0][0], whole[1][0]
    for run, status in (
        (done, "finished"),
        (failed, "failed"),
        *((run, "finished") for run in whole[2]),
    ):
        records.write(tmp_path, outcome(run, status))
    taken = whole[3][0].run_id
    submission = submissions.Submission(tmp_path, {"elements": [{"runs": [taken, done.run_id]}]})
    living = {(submission, 0): submissions.Element("queued", "PENDING")}
    for retry in (False, True):
        planned = plan.make_plan(found, tmp_path, living, retry)
        out = (
            {done.run_id, taken}
            | {run.run_id for run in whole[2]}
            | (set() if retry else {failed.run_id})
        )
        # members that are left stay with their stack and in their order, else the same stacks could
        # not be resumed
        expected = [[run for run in s if run.run_id not in out] for s in whole]
        assert planned.jobs[0].packs[0].stacks == [s for s in expected if s]
        assert planned.failed == [failed.run_id] and planned.claimed == {taken: "queued"}
        assert "1 failed, 1 queued" in plan_text.summary(planned)


def test_a_pack_file_brings_its_runs_back(tmp_path):
    runs = study(tmp_path, MIXED)[:3]
    path, pack = tmp_path / "p.json", Pack("s", tmp_path, "cpu", 2, 3, [runs[:2], runs[2:]])
    packs.write_pack(path, pack)
    assert packs.read_pack(path) == pack
    assert packs.read_pack(path, [runs[2].run_id, runs[0].run_id]).stacks == [[runs[2], runs[0]]]
    with pytest.raises(ConfigError, match="p.json: holds no run abc"):
        packs.read_pack(path, ["abc"])
    tree = json.loads(path.read_text())
    tree["stacks"][0][1]["config"]["train"]["lr"] = -1
    path.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="p.json: train.lr=-1"):
        packs.read_pack(path)
    path.write_text(json.dumps(tree | {"schema": 1}))
    with pytest.raises(ConfigError, match="another version"):
        packs.read_pack(path)


def test_dry_run_says_what_it_would_cost_and_does_nothing(here, capsys):
    (here / "s.yaml").write_text("question: How much?\n" + MIXED.lstrip())
    assert main(["sweep", "s.yaml", "--dry-run", "cluster.device=cpu"]) == 0
    out, err = capsys.readouterr()
    assert (
        err == ""
        and "How much?" in out
        and "38 " in out
        and "parameters" in out
        and "about " in out
    )
    assert max(map(len, out.splitlines())) <= 80
    assert os.listdir(here) == ["s.yaml"]
