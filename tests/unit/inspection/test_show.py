"""`capacity show`: runs by the beginning of their ids, in every state."""

import json
import re
import shlex

import pytest

from capacity import records
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.inspection import curve
from capacity.run.record import Failure, write_failure
from command_line import one_line

SETTINGS = [
    "data.vocab_size=16",
    "data.seq_len=4",
    "data.n_sequences=20",
    "model.d_model=8",
    "train.exposures=24",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "cluster.device=cpu",
    "seed=3",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder of results, id) of a run that was trained."""
    results = tmp_path_factory.mktemp("show") / "results"
    assert main(["train", *SETTINGS, "--results", str(results)]) == 0
    return results, load(SETTINGS).run_id


def shown(capsys, results, text):
    capsys.readouterr()
    assert main(["show", text, "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 or len(str(results)) > 40
    return out


def test_a_finished_run_shows_settings_curve_measures_and_files(finished, capsys):
    results, run_id = finished
    out = shown(capsys, results, run_id[:6])
    record = records.read(results, run_id)
    assert out.startswith(f"run {run_id}: finished")
    told = dict(re.findall(r"^  ([a-z]+(?:\.\w+)?) +(\S+)  +\S+$", out, re.M))
    assert told["seed"] == "3" and told["data.n_sequences"] == "20" and told["model.d_model"] == "8"
    assert "data.seq_len" in told and "train.lr" not in told and "cluster.device" not in told
    bits = record["measures"]["memorization"]["strict"]["bits"]
    assert re.search(rf"^  strict_bits = {bits:.4g} bits$", out, re.M)
    assert "memorized bits, strict convention" in out
    for name, size in records.sizes(results, run_id).items():
        assert name in out and size == (results / "runs" / run_id / name).stat().st_size
    rows = [line for line in out.splitlines() if re.match(r"^ +[\d.]* +\|", line)]
    assert len(rows) == curve.HEIGHT and sum("*" in row for row in rows) > 1


def test_the_command_that_is_shown_trains_the_same_run(finished, capsys):
    results, run_id = finished
    out = shown(capsys, results, run_id)
    command = re.search(r"^  again: (capacity train .*(?:\n    .*)*)", out, re.M)[1]
    words = shlex.split(command.replace("\\\n", " "))
    assert load(words[2:]).run_id == run_id


def test_states_without_a_record(finished, capsys, tmp_path):
    source, run_id = finished
    folder = tmp_path / "runs" / run_id
    folder.mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl"):
        (folder / name).write_bytes((source / "runs" / run_id / name).read_bytes())
    with records.claim(tmp_path, run_id):
        out = shown(capsys, tmp_path, run_id[:4])
    assert f"run {run_id}: running at step 60 of 60" in out and "learning curve" in out
    assert "measures follow the last step" in out
    (folder / "checkpoint.safetensors").write_bytes(b"0" * 2500)
    out = shown(capsys, tmp_path, run_id[:4])
    assert f"run {run_id}: interrupted" in out and "2.5 kB" in out


def test_a_failed_run_shows_its_reason_and_traceback(capsys, tmp_path):
    config = load(SETTINGS)
    failure = Failure("loss not finite", 17, "Traceback (most recent call last):\n  somewhere\n")
    write_failure(config, tmp_path, "pocket", failure)
    out = shown(capsys, tmp_path, config.run_id[:5])
    assert "failed at step 17: loss not finite" in out and "    somewhere" in out
    assert "numbers" not in out


def test_prefixes_are_taken_as_git_takes_them(tmp_path):
    for name in ("aaaa00000000", "aaaa10000000", "bbbb00000000", "not a run"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert records.find(tmp_path, "bbbb") == "bbbb00000000"
    assert records.find(tmp_path, "AAAA1") == "aaaa10000000"
    assert records.find(tmp_path, "aaaa00000000") == "aaaa00000000"
    with pytest.raises(ConfigError, match=r"2 runs begin so: aaaa00000000, aaaa10000000"):
        records.find(tmp_path, "aaaa")
    with pytest.raises(ConfigError, match="at least 4 digits"):
        records.find(tmp_path, "bbb")
    with pytest.raises(ConfigError, match="no run in"):
        records.find(tmp_path, "cccc")
    with pytest.raises(ConfigError, match="not the id of a run"):
        records.find(tmp_path, "../runs")


@pytest.mark.parametrize("text", ["ffff", "xyz", "ab", "0123456789abc"])
def test_a_run_that_is_not_there_is_one_line(tmp_path, capsys, text):
    assert main(["show", text, "--results", str(tmp_path)]) == 2
    assert text in one_line(capsys.readouterr().err)


def test_a_folder_without_settings_is_one_line(tmp_path, capsys):
    (tmp_path / "runs" / "abcdabcdabcd").mkdir(parents=True)
    assert main(["show", "abcd", "--results", str(tmp_path)]) == 2
    assert "nothing is known of this run" in one_line(capsys.readouterr().err)
    (tmp_path / "runs" / "abcdabcdabcd" / "config.json").write_text(json.dumps([1]))
    assert main(["show", "abcd", "--results", str(tmp_path)]) == 2
    assert "not the settings of a run" in one_line(capsys.readouterr().err)


def test_a_kept_record_is_shown_without_its_folder(finished, capsys, tmp_path):
    from capacity import archive

    source, run_id = finished
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    record = records.read(source, run_id)
    (folder / archive.RECORDS).write_bytes(archive.pack_records([record]))
    out = shown(capsys, tmp_path, run_id[:8])
    assert "strict_bits = " in out and "the record is kept in" in out
    assert "learning curve" not in out.partition("files:")[0]


def test_a_few_high_points_do_not_flatten_a_curve():
    points = [(0, 1000.0)] + [(i, 2.0 - i / 100) for i in range(1, 100)]
    rows = curve.lines(points, "steps", 60, 8)
    assert "^" in rows[0] and "^: above, up to 1,000" in rows[-1]
    assert all("*" in row for row in rows[:8])
    flat = curve.lines([(0, 3.0), (10, 3.0)], "steps", 40, 4)
    assert sum("*" in row for row in flat) == 1 and "3.00" in "".join(flat)
    assert max(map(len, rows)) <= 60
