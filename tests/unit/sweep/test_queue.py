"""What a queue knows of jobs, what it refuses, and what a person is told of it."""

import dataclasses
import re
import shlex
import subprocess

import pytest

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import KINDS, SECTIONS
from capacity.study import load_study
from capacity.sweep import plan, slurm, submissions
from outcomes import outcome
from queues import QUEUE, STUDY, found, submitted  # noqa: F401

# What a queue knows and refuses


def answering(monkeypatch, **answers):
    """SLURM's commands with these outputs; others are not there."""

    def run(*command):
        if command[0] not in answers:
            raise ConfigError(f"{command[0]}: not found")
        code, out, err = answers[command[0]]
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(slurm, "_run", run)


def test_states_of_the_queue_become_ours(found, here, monkeypatch):
    results = here / "results"
    s = submitted(found(), results)

    def line(*cells):
        """As squeue pads: the width is that of bytes, so letters beyond ASCII shorten it."""
        padded = (
            f"{cell:<{width - (len(str(cell).encode()) - len(str(cell)))}}|"
            for cell, (_, width) in zip(cells, slurm.COLUMNS, strict=True)
        )
        return "".join(padded) + "\n"

    for state, restarts, expected in (
        ("PENDING", 0, "queued"),
        ("PENDING", 2, "requeued"),
        ("RUNNING", 1, "running"),
        ("COMPLETING", 0, "running"),
        ("SUSPENDED", 0, "running"),
        ("REQUEUE_HOLD", 1, "requeued"),
    ):
        shown = (
            line("é|x y", "é", "PENDING", 0, "é", "é" * 300, "/é/submit.sbatch")
            + line("7", 0, state, restarts, "Priority", s.folder.name, "(null)")
            + line("8", 0, "RUNNING", 0, "", "another|job", "/a|b/other/submit.sbatch")
            + line("9", "N/A", "RUNNING", 0, "", s.folder.name, "(null)")
        )
        monkeypatch.setattr(
            slurm, "_run", lambda *command: subprocess.CompletedProcess(command, 0, shown, "")
        )
        assert {
            index: element.state for (_, index), element in submissions.alive(results).items()
        } == {0: expected}


def test_a_study_of_any_name_has_a_job_of_plain_letters(here):
    (here / "étude de café.yaml").write_text(STUDY)
    study = load_study("étude de café.yaml", QUEUE)
    s = submitted(study, here / "results")
    name = s.folder.name
    assert name.startswith("etude_de_cafe") and name.isascii() and " " not in name
    assert f"#SBATCH --job-name={name}\n" in slurm.script(s, study.runs[0].cluster, 60, "1G")


def test_options_with_blanks_and_signs_are_quoted_for_sbatch():
    for option, written in (
        ("--exclude=node7", "--exclude=node7"),
        ("--comment=two words", '--comment="two words"'),
        ('--comment=a "b" \\c', '--comment="a \\"b\\" \\\\c"'),
        ("--comment=#1", '--comment="#1"'),
        ("--output=/a b/%A_%a.log", '--output="/a b/%A_%a.log"'),
        ("--exclude node7", '--exclude "node7"'),
        ("-x  node7", '-x "node7"'),
        ("--comment two=words there", '--comment "two=words there"'),
        ('--comment="two words"', '--comment="two words"'),
        ("--comment='two words'", '--comment="two words"'),
        ("--hold ", "--hold"),
    ):
        assert slurm._quoted(option) == written


@pytest.mark.parametrize(
    "option, words",
    [
        ("--array=0-3", "--array is set by the sweep itself, from cluster.throttle"),
        ("-a", "-a is set by the sweep itself"),
        ("-t60", "-t is set by the sweep itself, from cluster.time"),
        ("--output x.log", "--output is set by the sweep itself"),
        ("--no-requeue", "cluster.requeues"),
        ("--mem-per-cpu=2G", "from cluster.mem"),
        ("--gpus=2", "from cluster.gpus or cluster.gres"),
        ("--arr=0-7", "--array is set by the sweep itself"),
        ("--job-na x", "--job-name is set by the sweep itself"),
        ("-M other", "SLURM_CLUSTERS in the environment"),
    ],
)
def test_options_of_the_sweep_itself_are_refused_by_name(option, words):
    with pytest.raises(ConfigError) as error:
        load(["cluster=slurm", f'cluster.options=["{option}"]'])
    assert words in str(error.value) and "\n" not in str(error.value)
    for fine in ("--exclude=n7", "--gres-flags=x", "--comment=-t 60", "--licenses=a:1", "-x n7"):
        load(["cluster=slurm", f'cluster.options=["{fine}"]'])


def test_the_clusters_limit_of_an_array_holds_and_is_named(found, here, monkeypatch):
    """Ten elements where arrays have at most five."""
    ten = ["cluster.stack=1", "cluster.pack_minutes=1e-9"]
    answering(monkeypatch, scontrol=(0, "MaxArraySize            = 5\n", ""))
    (job,) = plan.make_plan(found(*ten), here / "results", {}, False).jobs
    assert len(job.packs) == 5 and sum(len(pack.runs) for pack in job.packs) == 8
    answering(monkeypatch)  # no queue here: the setting alone
    (job,) = plan.make_plan(found(*ten), here / "results", {}, False).jobs
    assert len(job.packs) == 8


def test_a_study_without_a_plain_letter_has_a_name_too(here):
    (here / "研究.yaml").write_text(STUDY, encoding="utf-8")
    s = submitted(load_study("研究.yaml", QUEUE), here / "results")
    assert s.folder.name.startswith("study-")


@pytest.mark.parametrize(
    "answer, job",
    [("17\n", "17"), ("17;north\n", "17"), ("Welcome to 3 nodes\n--> ok\n18\n", "18"), ("", None)],
)
def test_the_number_of_a_job_is_read_from_what_sbatch_says(found, here, monkeypatch, answer, job):
    study = found()
    s = submitted(study, here / "results")
    answering(monkeypatch, sbatch=(0, answer, ""))
    if job is not None:
        assert slurm.submit(s, study.runs[0].cluster, 60, "1G") == job
        return
    with pytest.raises(ConfigError, match="expected a job's number"):
        slurm.submit(s, study.runs[0].cluster, 60, "1G")


@pytest.mark.parametrize(
    "words, remedy",
    [
        ("Batch job submission failed: Invalid job array specification", "cluster.array_limit=N"),
        (
            "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
            "user's size and/or time limits)",
            "cluster.array_limit=N (fewer, longer elements) or cluster.qos=NAME",
        ),
        ("invalid partition specified: x", "cluster.partition=NAME"),
        ("Unable to allocate resources: Invalid account", "cluster.account=NAME"),
    ],
)
def test_a_refusal_names_the_setting_that_helps(found, here, monkeypatch, words, remedy):
    study = found()
    s = submitted(study, here / "results")
    answering(monkeypatch, sbatch=(1, "", f"sbatch: error: {words}\n"))
    with pytest.raises(ConfigError) as error:
        slurm.submit(s, study.runs[0].cluster, 60, "1G")
    assert words in str(error.value) and remedy in str(error.value)


def test_a_submission_whose_runs_are_final_asks_no_queue(found, here, monkeypatch, capsys):
    """Results that were copied to a machine without a queue are used as they are; where a run is
    open, one line says what helps."""
    study, results = found(), here / "results"
    s = submitted(study, results)
    answering(monkeypatch)
    with pytest.raises(ConfigError, match="ask where its queue is, or, if nothing of it is queued"):
        submissions.alive(results)
    for run in study.runs:
        files.write_json(
            records.run_dir(results, run.run_id) / "record.json", outcome(run, "finished")
        )
    assert submissions.alive(results) == {}
    with submissions.submitting(results):
        submissions.close(results, {})
    assert submissions.read_all(results)[0].tree["over"] and not s.elements[0]["end"]


def test_a_failure_of_before_keeps_a_new_try_open(found, here, monkeypatch):
    study, results = found(), here / "results"
    for run in study.runs:
        record = {**outcome(run, "failed"), "finished_at": "2020-01-01T00:00:00+00:00"}
        files.write_json(records.run_dir(results, run.run_id) / "record.json", record)
    s = submitted(study, results)
    assert not submissions.settled(results, s)
    late = "2999-01-01T00:00:00+00:00"
    for run in study.runs:
        record = {**outcome(run, "failed"), "finished_at": late}
        files.write_json(records.run_dir(results, run.run_id) / "record.json", record)
    assert submissions.settled(results, s)


def test_an_element_without_its_device_has_failed_with_its_reason(found, here, monkeypatch, capsys):
    study, results = found(), here / "results"
    s = submitted(study, results)
    answering(monkeypatch, squeue=(0, "", ""))
    words = "cluster.device=cuda: no CUDA device is visible to torch here; allowed: auto, cpu"
    s.log(0).write_text(f"2026 element 0, start 1, on n1\ncapacity: error: {words}\n")
    assert main(["status", "s.yaml", *QUEUE, "--results", str(results)]) == 1
    shown = capsys.readouterr().out
    assert "8 failed" in shown and words in shown and "missing" not in shown
    s.log(0).write_text("2026 element 0, start 1, on n1\n")
    assert main(["status", "s.yaml", *QUEUE, "--results", str(results)]) == 1
    assert "8 missing" in capsys.readouterr().out


def test_a_dry_run_shows_the_script_and_warns_of_what_cannot_end(found, here, monkeypatch, capsys):
    answering(monkeypatch)
    line = ["sweep", "s.yaml", *QUEUE, "--dry-run", "--results", str(here / "results")]
    assert main([*line, "cluster.comment=x"]) == 2
    capsys.readouterr()
    assert main([*line, 'cluster.options=["--comment=two words"]']) == 0
    shown = capsys.readouterr().out
    assert "\nsubmit.sbatch\n" in shown and '#SBATCH --comment="two words"\n' in shown
    assert "warning" not in shown and not (here / "results" / "submissions").exists()
    short = ["cluster.time=3", "cluster.requeues=1", "train.steps=100000000"]
    assert main([*line, *short]) == 0
    warning = " ".join(capsys.readouterr().out.split())
    assert (
        "and 1 requeue give it" in warning and "raise cluster.time or cluster.requeues" in warning
    )
    assert main([*line, "cluster.signal_seconds=3600"]) == 0  # more than the least limit
    shown = capsys.readouterr().out
    assert "warning" not in shown and "#SBATCH --time=2:10:00\n" in shown


def test_a_dry_run_says_what_runs_take_alone_and_on_ranks(found, here, monkeypatch, capsys):
    answering(monkeypatch)
    line = ["sweep", "s.yaml", *QUEUE, "--dry-run", "--results", str(here / "results")]
    assert main(line) == 0
    assert "ranks" not in capsys.readouterr().out
    nodes = ["cluster.nodes=2", "cluster.ranks=4", "cluster.gpus=2", "train.batch_size=64"]
    assert main([*line, *nodes]) == 0
    shown = capsys.readouterr().out
    told = " ".join(shown.split())
    assert "ranks longest of 8 runs," in told and "on 4 ranks on 2 nodes," in told
    assert "of it exchange (at 12.5 GB/s, a guess)" in told
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks=4\n#SBATCH --ntasks-per-node=2\n" in shown


def test_a_dry_run_warns_of_an_element_whose_runs_end_only_together_too_late(found, here, capsys):
    """Each run fits into the limit; the eight of an element, one after the other, do not."""
    study = found("cluster.time=3", "cluster.requeues=0", "cluster.stack=1", "cluster.cpus=1")
    (job,) = plan.make_plan(study, here / "results", {}, False).jobs
    made = plan.make_plan(study, here / "results", {}, False)
    each = max(made.speed.seconds(stack, 1) for pack in job.packs for stack in pack.stacks)
    steps = int(500 * 45 / each)  # about 45 s of the 60 before the signal
    line = ["sweep", "s.yaml", *QUEUE, "--dry-run", "--results", str(here / "results")]
    line += ["cluster.time=3", "cluster.requeues=0", "cluster.stack=1", "cluster.cpus=1"]
    assert main([*line, f"train.steps={steps}"]) == 0
    warning = " ".join(capsys.readouterr().out.split())
    assert "warning an element should take" in warning
    assert "lower cluster.pack_minutes, raise cluster.time or cluster.requeues" in warning
    assert main([*line, f"train.steps={steps}", "cluster.pack_minutes=0.5"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_a_sweep_says_which_measures_finished_runs_lack(found, here, capsys):
    results = here / "results"
    study = load_study("s.yaml", [])
    for run in study.runs:
        files.write_json(
            records.run_dir(results, run.run_id) / "record.json", outcome(run, "finished")
        )
    assert main(["sweep", "s.yaml", "--results", str(results)]) == 0
    assert "capacity measure" not in capsys.readouterr().out
    assert main(["sweep", "s.yaml", "quantize=row", "--results", str(results)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("8 finished runs without a measure that the study asks for: capacity") == 2


def test_every_example_of_a_setting_works_as_it_is_printed():
    """In the help of all settings: 'key=value' in a shell's quotes, and no list without them."""
    seen = 0
    sections = [*SECTIONS.items(), *(("data", kind) for kind in KINDS.values())]
    for section, settings in sections:
        for one in dataclasses.fields(settings):
            told = one.metadata["help"]
            assert "such as [" not in told, f"{section}.{one.name}: {told}"
            for example in re.findall(r"'(\w+\.\w+=[^']*)'", told):
                seen += 1
                (argument,) = shlex.split(f"'{example}'")
                load(["cluster=slurm", argument])
    assert seen == 3


@pytest.mark.parametrize(
    "name, value",
    [
        ("gres", "gpu:a100:1"),
        ("mem", "16G"),
        ("prefix", "apptainer exec --nv image.sif"),
        ("time", "'1:30:00'"),
        ("time", "'2-01:30:00'"),
    ],
)
def test_values_that_help_texts_and_messages_name_are_accepted(name, value):
    read = load(["cluster=slurm", f"cluster.{name}={value}"]).cluster
    assert getattr(read, name) == value.strip("'")
