"""The entry `starts` of a study: which runs it makes, and in which order a sweep trains them."""

import collections
import subprocess

import pytest

from capacity import records
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.study import load_study
from capacity.sweep import commands, plan, pool, slurm, submissions
from command_line import one_line
from outcomes import bench, outcome  # noqa: F401
from sweeps import PINS

CHAIN = (
    PINS.format(steps=60)
    + """
starts:
  first: [data=uniform, data.vocab_size=16, data.seq_len=4, data.n_sequences=30, train.steps=50,
          train.batch_size=8, train.warmup_steps=5, {more}]
  second: [data=uniform, data.vocab_size=16, data.seq_len=4, data.n_sequences=40, train.steps=40,
           train.batch_size=8, train.warmup_steps=5, train.start_from=first]
grids:
- train.start_from: [null, first, second]
  model.d_model: [8, 16]
  seed: [0, 1]
"""
)


@pytest.fixture
def study(here):
    def read(text=CHAIN, **more):
        (here / "s.yaml").write_text(text.format(**({"more": "train.lr=0.01"} | more)))
        return load_study("s.yaml", [])

    return read


def named(run):
    return (run.train.start_from or ":").partition(":")[0]


def test_a_start_has_model_and_seed_of_the_run_and_all_else_of_its_entry(study):
    found = study()
    by_id = {run.run_id: run for run in found.trained}
    assert len(found.runs) == 12 and len(found.starts) == 8
    for run in found.runs:
        if not named(run):
            continue
        start = by_id[run.train.start]
        assert (start.model, start.seed) == (run.model, run.seed)
        assert start.data.n_sequences == {"first": 30, "second": 40}[named(run)]
        assert start.steps == {"first": 50, "second": 40}[named(run)]
    seconds = [run for run in found.starts if run.data.n_sequences == 40]
    assert {by_id[run.train.start].data.n_sequences for run in seconds} == {30}
    assert [len(runs) for runs in found.rounds] == [4 + 4, 4 + 4, 4]
    assert all(run.train.start in {r.run_id for r in found.rounds[1]} for run in found.rounds[2])


def test_runs_of_other_seeds_are_called_the_same(study):
    assert set(study().variants.values()) == {
        "start_from=none",
        "start_from=first",
        "start_from=second",
    }


def test_a_start_that_is_asked_about_too_is_trained_once(study):
    text = CHAIN.replace(
        "grids:",
        "grids:\n- {{data.n_sequences: [30], train.steps: [50], train.warmup_steps: [5],"
        " train.lr: [0.01], model.d_model: [8], seed: [0]}}",
    )
    found = study(text)
    assert len({run.run_id for run in found.trained}) == len(found.trained) == 12 + 8
    assert found.runs[0].run_id not in {run.run_id for run in found.starts}
    assert found.runs[0] in found.rounds[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[null, first, second]", "[furst]"), "did you mean first"),
        (
            ("{more}", "model.d_model=4"),
            "starts: first: 8: model.d_model=4: the run has the model of the one",
        ),
        (("{more}", "seed=3"), "the run has the seed of the one"),
        (("{more}", "train.start_from=second"), "one begins with another in turn"),
        (("  first:", "  1st:"), "'1st': a name has letters"),
        (("  first: [", "  first: 3 # ["), "expected a mapping from name to overrides"),
        (("{more}", "train.lr=-1"), "starts: first: 8: train.lr=-1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(study, change, told):
    text = CHAIN.replace(*change)
    if "3 #" in change[1]:
        text = text.replace("          train.batch_size=8, train.warmup_steps=5, {more}]\n", "")
    with pytest.raises(ConfigError) as caught:
        study(text)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("s.yaml: ")


def test_a_sweep_trains_a_run_behind_the_one_that_it_begins_with(bench):
    bench.write(CHAIN, more="train.lr=0.01")
    code, out, err = bench.sweep("cluster.workers=2")
    assert code == 0, err
    assert "20 of 20 runs finished" in out
    for run in bench.runs:
        record = records.read(bench.results, run.run_id)
        assert ("start" in record["measures"]) == (run.train.start is not None)


def planned(study, results):
    return plan.make_plan(study, results, {}, False)


def test_no_stack_has_runs_of_two_rounds_and_a_queue_gets_a_job_for_each(study, here):
    found = study()
    stacks = [stack for pack in planned(found, here).jobs[0].packs for stack in pack.stacks]
    place = {run.run_id: n for n, runs in enumerate(found.rounds) for run in runs}
    assert all(len({place[run.run_id] for run in stack}) == 1 for stack in stacks)
    queued = load_study("s.yaml", ["cluster=slurm", "cluster.gpus=0"])
    jobs = planned(queued, here).jobs
    assert [job.round for job in jobs] == [0, 1, 2]


def test_a_queue_lets_jobs_of_later_rounds_wait(study, here, monkeypatch):
    study()
    sent = []

    def answer(*command):
        if command[0] != "sbatch":
            raise ConfigError(f"{command[0]}: not found")
        sent.append(command[2:-1])
        return subprocess.CompletedProcess(command, 0, str(100 + len(sent)), "")

    monkeypatch.setattr(slurm, "_run", answer)
    monkeypatch.setattr(submissions, "alive", lambda *args: {})
    assert commands.sweep("s.yaml", ["cluster=slurm", "cluster.gpus=0"], here, False, False) == 0
    assert sent == [(), ("--dependency=afterany:101",), ("--dependency=afterany:101:102",)]


def launcher(place, argument):
    """A queue in one file, whose submit writes down what it is told to wait for."""
    place.write_text(f"""
def submit(submission, cluster, time_s, mem{argument}):
    told = str(locals().get("after", ()))
    with open(__file__ + ".sent", "a") as file:
        file.write(told + chr(10))
    return str(len(open(__file__ + ".sent").readlines()))

def elements(submissions): return {{}}
def end(submission, index): return "COMPLETED"
def cancel(job, indices): pass
""")


def test_a_launcher_that_cannot_let_jobs_wait_is_one_line(study, here, monkeypatch, capsys):
    study()
    monkeypatch.syspath_prepend(here)
    launcher(here / "queue_without.py", "")
    launcher(here / "queue_with.py", ", after=()")
    launcher(here / "queue_of_any.py", ", **more")
    sweep = ["sweep", "s.yaml", "cluster=slurm", "cluster.gpus=0", "--results", str(here / "r")]
    assert main([*sweep, "cluster.launcher=queue_without"]) == 2
    message = one_line(capsys.readouterr().err)
    assert "cluster.launcher=queue_without" in message and "submit has no argument after" in message
    assert not list((here / "r").rglob("submission.json")) and not list(here.glob("*.sent"))
    assert main([*sweep, "cluster.launcher=queue_with"]) == 0
    told = (here / "queue_with.py.sent").read_text().splitlines()
    assert told == ["()", "['1']", "['1', '2']"]
    sweep[-1] = str(here / "other")
    assert main([*sweep, "cluster.launcher=queue_of_any"]) == 0


def test_runs_whose_start_failed_wait_and_others_of_their_stack_do_not(study, here):
    found = study()
    first, second, third = found.rounds
    for run in first:
        records.write(here, outcome(run, "finished" if run.seed == 0 else "failed"))
    waiting = collections.deque([pool.Job("0", third), pool.Job("1", second)])
    finished = {}
    busy = [pool.Job("2", first)]
    assert pool._next(waiting, busy, finished, here) is None and not finished
    job = pool._next(waiting, [], finished, here)
    assert {run.seed for run in job.runs} == {0} and job.name == "1"
    assert finished == {run.run_id: "waiting" for run in second if run.seed == 1}
    assert pool._next(waiting, [], finished, here) is None and len(waiting) == 1


def test_a_sweep_says_who_waits_for_a_run_that_failed(bench):
    bench.write(CHAIN, more="train.lr=1e6")
    code, out, err = bench.sweep("cluster.workers=1")
    assert code == 1, err
    failed = load_study(str(bench.folder / "s.yaml"), []).rounds[0][:4]
    assert "4 failed:" in out
    assert "with whose weights they begin" in out
    states = {named(run): state for run, state in zip(bench.runs, bench.states(), strict=True)}
    assert states == {"": "finished", "first": "missing", "second": "missing"}
    assert all(records.status(bench.results, run.run_id) == "failed" for run in failed)
