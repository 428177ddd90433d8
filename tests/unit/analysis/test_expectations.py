"""What fixes a verdict is kept with its date, and every later change of it is told."""

import json
import threading

import pytest

from capacity.analysis import expectations as kept
from capacity.analysis import kinds, published_rows
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.published import expects
from capacity.published import values as published
from capacity.report import text
from capacity.study import load_study
from capacity.sweep import pool

STUDY = """
question: does it?
pins: [data=bios, data.n_people=20, train.exposures=20, model.n_layers=1, model.d_model=8,
       model.n_heads=1, train.warmup_steps=1, train.batch_size=8, data.seq_len=64]
best_over: [train.lr]
expects:
  - {name: a peak, published: physics33/peak_1000, quantity: peak_ratio}
  - {name: data that fit, published: physics33/data_that_fit, quantity: saturated_fraction,
     below_peak: 0.9}
"""


def expected(**changes):
    entry = {"name": "a peak", "published": "physics33/peak_1000", "quantity": "peak_ratio"}
    return kept.of("facts", expects.check_expects([entry | changes]), {"best_over": []})


@pytest.fixture
def untrained(here, monkeypatch):
    """A study, a folder for results, and sweeps that train nothing."""
    (here / "s.yaml").write_text(STUDY)
    monkeypatch.setattr(pool, "train", lambda *_: {})
    return here


def lines_of(here):
    path = here / "results/studies/s/expectations.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sweep(*more):
    return main(["sweep", "s.yaml", "--results", "results", *more])


def test_the_first_sweep_writes_what_fixes_the_verdicts_and_a_dry_run_does_not(untrained):
    assert sweep("--dry-run") == 0 and lines_of(untrained) == []
    sweep()
    (line,) = lines_of(untrained)
    assert line["date"].endswith("Z") and "T" in line["date"] and line["finished_runs"] == 0
    peak, fit = line["expectations"]["values"]
    assert peak["range"] == [1.8, 2.3] and peak["published"] == "physics33/peak_1000"
    assert peak["form"] == "largest R over models" and "bioS formula" in peak["convention"]
    assert fit["below_peak"] == 0.9 and line["expectations"]["rules"]["best_over"] == ["train.lr"]
    assert line["sha256"] == kept.digest(line["expectations"])
    sweep()
    assert lines_of(untrained) == [line]


def test_a_changed_range_is_appended_and_changed_words_are_not(untrained):
    sweep()
    (untrained / "s.yaml").write_text(STUDY.replace("a peak,", "another name,"))
    sweep()
    assert len(lines_of(untrained)) == 1
    (untrained / "s.yaml").write_text(STUDY.replace("below_peak: 0.9", "below_peak: 0.3"))
    sweep()
    first, second = lines_of(untrained)
    assert second["sha256"] != first["sha256"]
    assert [v.get("below_peak") for v in second["expectations"]["values"]] == [None, 0.3]


def test_a_sweep_to_a_queue_writes_it_before_it_submits(untrained, monkeypatch):
    (untrained / "my_queue.py").write_text(
        "from pathlib import Path\n"
        "def submit(submission, cluster, time_s, mem):\n"
        "    assert Path('results/studies/s/expectations.jsonl').read_text().count('\\n') == 1\n"
        "    return '7'\n"
        "def elements(jobs): return {}\n"
        "def end(job, index): return None\n"
        "def cancel(job, indices): pass\n"
    )
    monkeypatch.syspath_prepend(untrained)
    assert sweep("cluster=slurm", "cluster.launcher=my_queue", "cluster.gpus=0") == 0
    assert len(lines_of(untrained)) == 1


@pytest.mark.parametrize(
    "change, same",
    [
        ({"name": "another name"}, True),
        ({"note": "a word"}, True),
        ({"range": [1.8, 2.4]}, False),
        ({"published": "physics33/peak_simple"}, False),
        ({"where": {"kind": "bios"}}, False),
    ],
)
def test_the_hash_is_of_what_decides_alone(change, same):
    assert (kept.digest(expected()) == kept.digest(expected(**change))) == same
    other = expected() | {"rules": expected()["rules"] | {"best_over": ["train.lr"]}}
    assert kept.digest(other) != kept.digest(expected())


def test_the_hash_is_of_the_form_too():
    f1 = published.get("morris/f1_at_75")
    one = kept.of("text", [f1.expected()], {})
    other = kept.of("text", [f1.expected(form="a sigmoid in log t")], {})
    assert kept.digest(one) != kept.digest(other)


def told(tmp_path, now, runs=9):
    rows = [{"name": value["name"]} for value in now["values"]]
    found = kept.added({"verdicts": rows}, now, kept.read(tmp_path, "s"), runs)
    return found["verdicts"][0]["expected"], found["expectations"]


def test_a_verdict_says_when_its_range_was_fixed_and_when_it_was_changed(tmp_path):
    row, study = told(tmp_path, expected())
    assert row["date"] is None and "not recorded" in row["told"] and study["recorded"] == []
    kept.record(tmp_path, "s", expected(), 0)
    (first,) = kept.read(tmp_path, "s")
    row, study = told(tmp_path, expected())
    assert row["told"] == f"expectations fixed on {first.date} before any run"
    assert (row["date"], row["finished_runs"]) == (first.date, 0)
    wider = expected(range=[1.0, 3.0])
    row, study = told(tmp_path, wider)  # edited after the sweep, fitted without another one
    assert row["date"] is None and "CHANGED after the sweep of" in row["told"]
    assert "range was [1.8, 2.3]" in row["told"] and "9 runs existed" in row["told"]
    kept.record(tmp_path, "s", wider, 7)
    row, study = told(tmp_path, wider)
    second = kept.read(tmp_path, "s")[1]
    assert row["told"].startswith(f"expectations CHANGED on {second.date} after 7 runs existed")
    assert row["finished_runs"] == 7
    assert study["told"].endswith(f"changed on {second.date} after 7 runs existed")
    assert [line["finished_runs"] for line in study["recorded"]] == [0, 7]


def test_a_record_that_begins_after_runs_does_not_claim_to_be_before_them(tmp_path):
    kept.record(tmp_path, "s", expected(), 12)
    row, _ = told(tmp_path, expected())
    assert "first recorded on" in row["told"] and "after 12 runs existed" in row["told"]


def test_terminal_and_markdown_show_it(tmp_path):
    now, value = expected(), published.get("physics33/peak_1000")
    measured = {"value": 2.0, "interval": [1.9, 2.1]}
    row = published.verdict(value.expected("a peak"), measured)
    kept.record(tmp_path, "s", expected(range=[1.0, 3.0]), 0)
    kept.record(tmp_path, "s", now, 5)
    found = kept.added({"verdicts": [row]}, now, kept.read(tmp_path, "s"), 5)
    shown = " ".join(" ".join(text.section(published_rows.section(found["verdicts"]))).split())
    assert "CHANGED on" in shown and "after 5 runs existed: range was [1.0, 3.0]" in shown


def test_two_writers_at_once_leave_one_line_each_at_most(tmp_path):
    start = threading.Barrier(8)

    def write(i):
        start.wait()
        kept.record(tmp_path, "s", expected(range=[1.0, 3.0 + i % 2]), i)

    threads = [threading.Thread(target=write, args=[i]) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    lines = kept.read(tmp_path, "s")
    assert 2 <= len(lines) <= 8
    assert all(a.sha256 != b.sha256 for a, b in zip(lines, lines[1:], strict=False))


def test_what_a_crash_left_of_a_line_is_dropped_and_an_edited_line_is_refused(tmp_path):
    kept.record(tmp_path, "s", expected(), 0)
    path = kept.path_of(tmp_path, "s")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    assert len(kept.read(tmp_path, "s")) == 1
    kept.record(tmp_path, "s", expected(range=[1.0, 3.0]), 3)
    assert [line.finished_runs for line in kept.read(tmp_path, "s")] == [0, 3]
    assert path.read_bytes().startswith(whole)
    path.write_bytes(whole.rstrip(b"\n"))  # whole but for its end: an editor's doing
    kept.record(tmp_path, "s", expected(range=[1.0, 3.0]), 3)
    assert len(kept.read(tmp_path, "s")) == 2
    path.write_bytes(whole.replace(b"[1.8, 2.3]", b"[1.7, 2.3]"))
    with pytest.raises(ConfigError, match="expectations.jsonl: line 1: .*it was edited"):
        kept.read(tmp_path, "s")
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(ConfigError, match="line 1: not a line of expectations"):
        kept.record(tmp_path, "s", expected(), 0)


@pytest.mark.parametrize(
    "name, ids",
    [
        ("morris/membership@pocket", {"morris/f1_at_75", "morris/descent_peak"}),
        ("morris/uniform_bf16@pocket", {"morris/mean_bf16", "morris/slope_bf16"}),
        ("morris/uniform_fp32@pocket", {"morris/mean_fp32"}),
        ("morris/vocabulary@pocket", {"morris/alpha_of_rows", "morris/error_vocab_size"}),
        ("precision/uniform@pocket", {"morris/bf16_over_fp32"}),
        ("precision/bios@pocket", {"physics33/int8", "physics33/int4"}),
    ],
)
def test_every_kind_names_what_its_verdicts_compare_with(name, ids):
    study = load_study(name, [])
    of_morris = {"u": "random", "v": "ablation", "m": "text"}
    kind = "precision" if name.startswith("precision") else of_morris[name.split("/")[1][0]]
    values, rules = kinds.load(kind).expected(study)
    assert {value["published"] for value in values} == ids
    assert all(value["form"] for value in values)
    json.dumps(kept.of(kind, values, rules), allow_nan=False)
