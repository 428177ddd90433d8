"""No law uses runs on corpora with many unasked values, or of an older version's convention."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from capacity.analysis import facts, refused
from capacity.analysis.finding import Options
from capacity.cli.main import main
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import Study, load_study
from corpora import lines, write

UNASKED = {0: 0.0, 1: 0.05, 2: 0.051, 3: np.nan}


def planted(kind="corpus"):
    """Seeds of one model with other parts unasked; seed 3 has a record of an older version."""
    numbers = {"n_people": 800, "exposures": 200.0, "exposures_mean": 200.0, "steps": 1000}
    numbers |= {"parameters_total": 5160, "parameters_paper": 5000, "ceiling_bits": 24000.0}
    numbers |= {"accuracy": 0.5, "gain_last_tenth": 0.004, "vocab_size": 333, "tokens": 10**6}
    rows = [
        {"run_id": f"r{seed:04d}", "model": "2x16", "status": "finished", "kind": kind}
        | numbers
        | {"seed": seed, "bits": 10000.0 + 100 * seed, "bits_se": 0.0, "unasked_fraction": part}
        | {"model.n_layers": 2, "model.d_model": 16, "data.n_people": 800, "train.lr": 0.01}
        for seed, part in UNASKED.items()
    ]
    return pd.DataFrame(rows)


def study():
    path = Path("x.yaml")
    return Study("physics33/planted@pocket", path, "which count?", [], [], [], "pocket")


def test_runs_are_refused_by_name_and_reason():
    found = refused.set_aside(planted())
    assert list(found.status) == ["finished", "finished", "refused", "refused"]
    assert refused.by_reason(found) == {"unasked": ["r0002"], "old_convention": ["r0003"]}
    told = " ".join(refused.describe(found))
    assert "1 finished run refused" in told and "r0002" in told and "r0003" in told
    assert refused.set_aside(found).equals(found)


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_other_people_are_never_refused(kind):
    frame = planted(kind)
    assert refused.set_aside(frame) is frame
    without = frame.drop(columns="unasked_fraction")
    assert refused.set_aside(without) is without


def test_a_law_is_that_of_the_other_runs():
    frame = refused.set_aside(planted())
    finding = facts.analyse(study(), frame, Path(), Options(100))
    (arm,) = finding.numbers["arms"]
    used = frame[frame.seed < 2]
    assert arm["seeds"] == 2
    assert arm["r"] == pytest.approx((used.bits / used.parameters_paper).mean())
    flags = {flag.name: flag for flag in facts.document(finding).flags}
    assert flags["unasked"].runs == ["r0002"] and "over 5%" in flags["unasked"].meaning
    assert flags["old-convention"].runs == ["r0003"]
    told = dict(facts.document(finding).conventions)
    assert ("corpora" in told) == ("corpus" in finding.numbers["data_kinds"])


def test_a_study_of_refused_runs_says_so_in_one_line():
    frame = refused.set_aside(planted().query("seed >= 2"))
    with pytest.raises(ValueError, match="0 failed, 0 missing.*1 finished run refused") as error:
        facts.analyse(study(), frame, Path(), Options(100))
    assert "\n" not in str(error.value)


def test_failed_and_missing_runs_stay_what_they_are():
    frame = planted().assign(status=["failed", "missing", "failed", "finished"])
    assert list(refused.set_aside(frame).status) == ["failed", "missing", "failed", "refused"]


STUDY = """question: which runs count?
pins: [data=corpus, data.seq_len=48, model.d_model=8, model.n_layers=1, model.n_heads=2,
  train.steps=30, train.warmup_steps=2, train.batch_size=4, measure.evaluations=1,
  cluster.device=cpu]
grids: [{data.path: [plain.jsonl, upper.jsonl]}]
"""


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    """Two corpora, one of which has an eighth of its values in another letter case."""
    monkeypatch.chdir(tmp_path)
    people = lines("plain")
    write(tmp_path / "plain.jsonl", people)
    for person in people[:4]:
        person["attributes"]["city"] = person["attributes"]["city"].upper()
    write(tmp_path / "upper.jsonl", people)
    (tmp_path / "s.yaml").write_text(STUDY)
    runs = load_study("s.yaml", []).runs
    for config in runs:
        assert execute([config], Job(tmp_path / "r", torch.device("cpu"))) == {
            config.run_id: "finished"
        }
    results = ["--results", str(tmp_path / "r")]
    assert main(["sweep", "s.yaml", "--dry-run", *results]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "upper.jsonl: 4 of 32 values cannot be asked for (12.5%)" in told
    assert main(["fit-laws", "s.yaml", *results]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert runs[1].run_id in told
    assert "1 of 2 runs finished, 1 refused" in told
    assert "over 5% of the values not asked for" in told
    a, b = (f"data.path={name}.jsonl" for name in ("plain", "upper"))
    assert main(["compare", "s.yaml", "--a", a, "--b", b, *results]) == 2
    assert "B has no finished run; 1 finished run refused" in capsys.readouterr().err
    (tmp_path / "s.yaml").write_text(STUDY.replace("plain.jsonl, ", ""))
    assert main(["fit-laws", "s.yaml", *results]) == 2
    told = capsys.readouterr().err
    assert "1 finished run refused" in told and runs[1].run_id in told
