"""Names of a corpus that a model hardly tells apart: counted in the record, told with the result,
and on the page."""

import json

import torch

from capacity import records
from capacity.cli.main import main
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study
from corpora import CASES

STUDY = f"""
pins: [data=corpus, data.seq_len=48, model.d_model=8, model.n_layers=1, model.n_heads=2,
  train.steps=30, train.warmup_steps=2, train.batch_size=4, measure.evaluations=1,
  cluster.device=cpu]
grids: [{{data.path: [{CASES}/people_plain.jsonl, {CASES}/people_duplicate_case.jsonl]}}]
"""


def test_similar_names_stand_in_the_record_and_on_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(STUDY)
    results, runs = tmp_path / "r", load_study("s.yaml", []).runs
    for run in runs:
        execute([run], Job(results, torch.device("cpu")))
    plain, twins = (records.read(results, run.run_id)["measures"]["knowledge"] for run in runs)
    assert plain["similar_names"] == 0 and "similar_names_examples" not in plain
    assert twins["similar_names"] == 1
    assert {"'Ines Varga'", "'INES VARGA'"} == set(twins["similar_names_examples"].split(" and "))
    told = " ".join(describe(records.read(results, runs[1].run_id), results).split())
    assert "1 pair of people with names that differ in letter case or quotes only: 'I" in told
    assert main(["report", "s.yaml", "--results", str(results)]) == 0
    page = (results / "studies" / "s" / "report.html").read_text("utf-8")
    assert "similar-names" in page and "similar names" in page
    fit = json.loads((results / "studies" / "s" / "fit.json").read_text("utf-8"))
    assert fit["flags"]["similar_names"] == [runs[1].run_id]
