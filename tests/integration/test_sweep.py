"""Studies: from a file to runs and packs, and a sweep of real processes that are killed,
interrupted, doubled and starved."""

import json
import math
import operator
import os
import signal
import subprocess
import sys

import pytest

from capacity import records
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import shared_dir
from capacity.cost import GUESSES, stack_bytes
from capacity.study import load_study
from capacity.sweep import packs, plan, plan_text, submissions
from capacity.sweep.packs import Pack, make_stacks
from capacity.train.checkpoint import read_meta
from capacity.train.stack_key import stack_key
from outcomes import outcome
from sweeps import FOUR, PINS, TWO, assert_undisturbed, bench, small_disk, stacks_of, undisturbed  # noqa: F401
from waiting import patience, wait_until

# Plans


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
    assert sorted(run.run_id for run in planned.todo) == sorted({run.run_id for run in found.runs})
    assert max(map(len, plan_text.summary(planned).splitlines())) <= 80
    if not found.expects and name not in (
        "morris/vocabulary",
        "morris/length",
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


# Sweeps of real processes


@pytest.mark.slow
def test_a_sweep_trains_everything_once(bench, undisturbed):
    bench.write(TWO, steps=200)
    code, out, err = bench.sweep("cluster.workers=2")
    assert code == 0 and "2 of 2 runs finished" in out
    assert_undisturbed(bench, undisturbed, 2)
    assert len(bench.workers()) == 2
    assert all(records.read(bench.results, run.run_id)["study"] == "s" for run in bench.runs)
    stamps = [path.stat().st_mtime_ns for path in sorted(bench.results.rglob("runs/*/*"))]
    code, out, err = bench.sweep("cluster.workers=2")
    assert code == 0 and "2 of 2 runs finished" in out
    assert len(bench.workers()) == 2  # no other was started
    assert [path.stat().st_mtime_ns for path in sorted(bench.results.rglob("runs/*/*"))] == stamps


@pytest.mark.slow
def test_a_diverging_run_is_recorded_and_the_others_finish(bench):
    bench.write(
        PINS + "grids: [{{seed: [0, 1, 2]}}, {{seed: 3, hot: [{{train.lr: 1e9, train.grad_clip: "
        "0}}]}}]\n",
        steps=200,
    )
    assert [len(stack) for stack in stacks_of(bench.runs, 1, 16)] == [
        4
    ]  # so it shares a stack with a sound run
    code, out, err = bench.sweep("cluster.workers=1")
    hot = bench.runs[3]
    assert code == 1 and bench.states() == ["finished"] * 3 + ["failed"]
    record = records.read(bench.results, hot.run_id)
    assert (
        0 < record["error"]["step"] <= 200
        and str(record["error"]["step"]) in record["error"]["reason"]
    )
    assert (
        "3 of 4 runs finished" in out
        and "1 failed" in out
        and hot.run_id in out
        and record["error"]["reason"] in out
    )
    assert hot.run_id in err  # said when it happened, not only at the end

    stamps = [(bench.folder_of(run) / "record.json").stat().st_mtime_ns for run in bench.runs]
    workers = bench.workers()
    code, out, _ = bench.sweep()
    assert code == 1 and bench.workers() == workers and hot.run_id in out
    code, out, _ = bench.sweep("--retry-failed")
    assert (
        code == 1
        and bench.states() == ["finished"] * 3 + ["failed"]
        and len(bench.workers()) == len(workers) + 1
    )
    after = [(bench.folder_of(run) / "record.json").stat().st_mtime_ns for run in bench.runs]
    assert after[:3] == stamps[:3] and after[3] > stamps[3]


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_nothing_changes(bench, undisturbed):
    bench.write(TWO, steps=800)
    sweep = bench.start("cluster.workers=2")
    bench.wait_for_the_middle()
    victim = min(bench.workers())
    os.kill(victim, signal.SIGKILL)
    code, out, err = bench.end(sweep)
    assert code == 0 and "was killed by signal SIGKILL; starting it again" in err
    assert len(bench.workers()) == 3
    assert_undisturbed(bench, undisturbed, 2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)
def test_an_ended_sweep_stops_its_workers_and_continues_exactly(bench, undisturbed, number):
    """After Ctrl-C the workers save before they stop; after kill -9 of the sweep they must notice
    by themselves."""
    bench.write(FOUR, steps=800)
    killed = number == signal.SIGKILL
    sweep = bench.start(
        "cluster.workers=1", f"cluster.checkpoint_seconds={0.05 if killed else 1000}"
    )
    bench.wait_for_the_middle(checkpoint=killed)
    sweep.send_signal(number)
    code, out, err = bench.end(sweep)
    if killed:
        assert code == -signal.SIGKILL
        wait_until(lambda: "running" not in bench.states(), "workers to stop", every=0.01)
    else:
        assert code == 130 and "the same command continues" in err and "interrupted" in out
        assert "running" not in bench.states()
    interrupted = [
        run for run in bench.runs if records.status(bench.results, run.run_id) == "interrupted"
    ]
    assert interrupted and "finished" not in bench.states()
    logs = {}
    for run in interrupted:
        reached = read_meta(bench.folder_of(run) / "checkpoint.safetensors")["step"]
        assert 0 < reached < 800
        logs[run.run_id] = [
            line
            for line in records.read_metrics(bench.results, run.run_id)
            if line["step"] <= reached
        ]
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)
    for (
        run_id,
        lines,
    ) in (
        logs.items()
    ):  # lines hold times, so they are the same only if their steps were not trained again
        assert records.read_metrics(bench.results, run_id)[: len(lines)] == lines


@pytest.mark.slow
def test_a_sweep_on_this_machine_can_be_cancelled_from_elsewhere(bench, undisturbed):
    bench.write(FOUR, steps=2000)
    sweep = bench.start("cluster.workers=1", "cluster.checkpoint_seconds=1000")
    bench.wait_for_the_middle(checkpoint=False)

    def verb(*args):
        return subprocess.run(
            [sys.executable, "-m", "capacity", *args],
            cwd=bench.folder,
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    rows = json.loads(verb("status", "s.yaml", "--json").stdout)["runs"]
    assert sorted(row["status"] for row in rows) == [
        "queued",
        "queued",
        "running",
        "running",
    ]  # the second stack waits
    assert all(f"process {sweep.pid}" in row["where"] for row in rows)
    done = verb("cancel", "s.yaml")
    assert done.returncode == 0 and f"local {sweep.pid}: 1 element, 4 runs" in done.stdout, (
        done.stderr
    )
    code, out, err = bench.end(sweep)
    assert (
        code == 130
        and "the same command continues" in err
        and "2 interrupted" in out
        and "2 missing" in out
    )
    assert verb("cancel", "s.yaml").stdout == "s: nothing is queued or running\n"
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)


def test_a_worker_leaves_finished_runs_alone(here, capsys):
    """A sweep that was planned a moment too early sends runs that another one has finished
    since."""
    (here / "s.yaml").write_text(TWO.format(steps=20))
    runs = load_study("s.yaml", []).runs
    packs.write_pack(here / "p.json", Pack("s", here / "results", "cpu", 1, 1, [runs]))
    command = ["worker", "--pack", "p.json", "--runs", ",".join(run.run_id for run in runs)]
    assert main(command) == 0
    files = [path for path in (here / "results").rglob("*") if path.is_file()]
    stamps = [path.stat().st_mtime_ns for path in files]
    capsys.readouterr()
    assert len(files) == 2 * 5 and main(command) == 0
    assert [path.stat().st_mtime_ns for path in files] == stamps
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "outcome", "outcome": {run.run_id: "finished" for run in runs}}
    assert main(["worker", "--pack", "p.json"]) == 0  # in a process of its own
    assert [path.stat().st_mtime_ns for path in files] == stamps


@pytest.mark.slow
def test_two_sweeps_at_once_train_no_run_twice(bench, undisturbed):
    bench.write(FOUR, steps=800)
    seen = {}

    def look(processes):
        # a run that begins writes its config.json, one that ends its record.json, both as new files
        for run in bench.runs:
            for name in ("config.json", "record.json"):
                try:
                    stat = (bench.folder_of(run) / name).stat()
                except FileNotFoundError:
                    continue
                seen.setdefault((run.run_id, name), set()).add((stat.st_ino, stat.st_mtime_ns))
        return all(process.poll() is not None for process in processes)

    sweeps = [bench.start("cluster.workers=1") for _ in range(2)]
    wait_until(lambda: look(sweeps), "both sweeps", every=0.01)
    ends = [bench.end(sweep) for sweep in sweeps]
    codes = sorted(code for code, _, _ in ends)
    assert codes[0] == 0 and codes[1] in (
        0,
        1,
    )  # the first to end may find runs still in the other's hands, and says so
    assert all("being trained by another process" in out for code, out, _ in ends if code)
    assert {key: len(files) for key, files in seen.items()} == {
        (run.run_id, name): 1 for run in bench.runs for name in ("config.json", "record.json")
    }
    assert_undisturbed(bench, undisturbed, 1)


@pytest.mark.slow
def test_sweeps_of_one_study_with_different_settings_do_not_mix(bench):
    """Both workers wait until both packs are written, so that neither sweep can lose its pack to
    the other unseen."""
    bench.write(PINS + "grids: [{{seed: [0]}}]\n", steps=200)
    bench.spoil(
        "import glob, waiting\n"
        "    waiting.wait_until(lambda: len(glob.glob(os.path.dirname(__file__) + '/worker-*')) >= "
        "2, 'both workers')"
    )
    ends = [
        bench.end(sweep) for sweep in [bench.start(f"train.steps={steps}") for steps in (150, 200)]
    ]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert len(bench.workers()) == 2 and bench.states() == ["finished"]


@pytest.mark.slow
def test_a_run_that_kills_its_workers_ends_as_failed_and_the_rest_finishes(bench):
    bench.write(PINS + "grids: [{{seed: [0, 1, 2, 7]}}]\n", steps=200)
    bench.spoil('if any(run["seed"] == 7 for run in runs): os._exit(9)')
    code, out, err = bench.sweep("cluster.workers=1")
    deadly = bench.runs[3]
    assert code == 1 and bench.states() == ["finished"] * 3 + ["failed"]
    record = records.read(bench.results, deadly.run_id)
    assert (
        "exit code 9" in record["error"]["reason"]
        and record["error"]["reason"] in out
        and record["study"] == "s"
    )
    assert "one by one" in err


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_no_failed_run(bench, small_disk, undisturbed):
    bench.write(FOUR, steps=800)
    options, make_room = small_disk
    code, out, err = bench.end(bench.start("cluster.workers=1", **options))
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("capacity: error: ") and "results" in last
    assert "No space left" in last or "File too large" in last
    assert "failed" not in bench.states()  # it is the disk that failed, not the run
    make_room()
    wait_until(lambda: "running" not in bench.states(), "workers to stop", every=0.01)
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)
