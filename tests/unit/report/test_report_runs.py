"""Pages of studies that lack something, and what a page says of runs, settings and provenance."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from capacity import records, run_table
from capacity.analysis import kinds
from capacity.report import parts, provenance, runs
from capacity.study import load_study
from pages import KINDS, Reader, answer_of, built, no_pictures, planted  # noqa: F401
from planted import COMMIT, plant

# Studies that lack something


def test_what_is_missing_failed_or_interrupted_is_said_first(tmp_path, no_pictures):
    study = plant(tmp_path, "pocket", without=[0, 9], failed=[4], interrupted=[7])
    content = built(study, tmp_path).decode()
    assert "16 of 20 runs finished" in content
    assert re.search(
        r'class="warn"><strong>Not complete:</strong> 1 failed, 1 interrupted, 2 missing of 20 '
        r"runs.*Continue with: capacity sweep pocket<",
        content,
    )
    reader = Reader(content.encode())
    assert "loss is not finite at step 7" in reader.texts["td"]
    rows = {attrs["id"][4:]: cells for attrs, cells in table_rows(content)}
    assert [rows[study.runs[i].run_id][1] for i in (0, 4, 7, 1)] == [
        "missing",
        "failed",
        "interrupted",
        "finished",
    ]
    assert all(run.run_id in rows for run in study.runs)
    for name, run in (("failed", 4), ("interrupted", 7)):
        assert re.search(
            rf'class="bad">{name}</th>.*?<code>{study.runs[run].run_id}</code>', content, re.S
        )


def table_rows(content):
    body = re.search(r'<table id="runs".*?<tbody>(.*?)</tbody>', content, re.S)[1]
    return [
        (dict(re.findall(r'(\w+)="([^"]*)"', head)), re.findall(r"<td[^>]*>([^<]*)</td>", row))
        for head, row in re.findall(r"<tr ([^>]*)>(.*?)</tr>", body)
    ]


@pytest.mark.parametrize(
    "name, left",
    [
        *((name, 1) for name in KINDS),
        ("physics33/04_peak_100@pocket", 0.5),
        ("morris/canaries@pocket", 0.5),
    ],
)
def test_a_few_runs_of_any_study_make_a_page(tmp_path, no_pictures, name, left):
    n = len(load_study(name, []).runs)
    keep = sorted(
        np.random.default_rng(3).permutation(n)[: math.ceil(left * n) if left < 1 else left]
    )
    others = [i for i in range(n) if i not in keep]
    study = plant(tmp_path, name, without=others[2:], failed=others[:1], interrupted=others[1:2])
    content = built(study, tmp_path)
    assert Reader(content).wrong == [] and f"{len(keep)} of {n} runs finished" in content.decode()
    assert len(answer_of(content)) > 30 and "nan" not in answer_of(content).lower()


def test_a_study_without_a_law_says_why_and_shows_means(tmp_path, no_pictures, monkeypatch):
    known = {name: where for name, where in kinds.REGISTRY.items() if name != "budget"}
    monkeypatch.setattr(kinds, "REGISTRY", known)  # as if no kind knew what to do with budgets
    study = plant(tmp_path, "pocket_budget")
    content = built(study, tmp_path).decode()
    # what was measured leads, with the model and the setting that have it
    table = run_table.table(tmp_path, study.runs)
    budget = table.run_id.map({run.run_id: run.train.exposures for run in study.runs})
    by_budget = (table.strict_bits / table.parameters_total).groupby(budget).mean()
    least, most = by_budget.idxmin(), by_budget.idxmax()
    assert answer_of(content.encode()).startswith(
        f"Memorized bits per parameter (strict, total): {by_budget[least]:.4g} (2x16, "
        f"exposures={least:g}) to {by_budget[most]:.4g} (2x16, exposures={most:g}); least and most "
        f"of 4 means of 2 runs, standard deviation "
    )
    why = "2x16, seed 0, N = 219 was trained 4 times with different steps: a capacity law needs"
    assert f"<strong>No law from these runs:</strong> {why}" in content
    assert (
        'class="answer"' in content
        and "<h2>Fits</h2>" not in content
        and 'data-figure="means"' in content
    )
    told = re.search(
        r"<thead><tr><th scope=\"col\">model</th>.*?</thead>\s*<tbody>(.*?)</tbody>", content, re.S
    )[1]
    rows = [
        re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in told.split("</tr>") if "<td" in row
    ]
    assert [row[1] for row in rows] == ["300", "600", "1,200", "2,400"]
    table = run_table.table(tmp_path, study.runs)
    for row, steps in zip(rows, sorted(table.steps.unique()), strict=True):
        bits = (table.strict_bits / table.parameters_total)[table.steps == steps]
        assert row[2] == "2" and row[3] == f"{bits.mean():#.4g} ± {parts.cell_text(bits.std())}"


def test_studies_of_which_nothing_can_be_said_say_so(tmp_path, no_pictures):
    study = plant(tmp_path / "failed", "pocket", failed=range(3), without=range(3, 20))
    content = built(study, tmp_path / "failed")
    assert (
        answer_of(content) == "No answer yet: no run has finished; 3 failed, 17 have no record."
        and Reader(content).wrong == []
    )
    (tmp_path / "mixed.yaml").write_text(
        "question: q\npins: [model.d_model=8, train.steps=300]\ngrids:\n- data: [uniform]\n  "
        "data.n_sequences: [20]\n"
        "- data: [bios_pocket]\n  data.n_people: [50]\n"
    )
    study = plant(tmp_path / "mixed", str(tmp_path / "mixed.yaml"))
    content = built(study, tmp_path / "mixed")
    assert answer_of(content).startswith("Memorized bits per parameter (strict, total): ")
    why = "runs on facts and random data; a law is about one of them."
    assert f"<strong>No law from these runs:</strong> {why}" in content.decode()
    assert [name in content.decode() for name in ('data-name="bits/P"', 'data-name="R"')] == [
        True,
        True,
    ]


# Runs, settings, provenance


def test_the_table_has_every_planned_run_its_settings_its_numbers_and_its_flags(planted):
    study, results, found, content = planted("pocket")
    heads = re.findall(r'data-name="([^"]+)"', content.decode())
    rows = {
        cells[0]: dict(zip(heads, cells, strict=True)) for _, cells in table_rows(content.decode())
    }
    assert list(rows) == [run.run_id for run in study.runs] and heads[:5] == [
        "run",
        "status",
        "flags",
        "model",
        "seed",
    ]
    table = found.tables["runs.csv"].set_index("run_id")
    for run in study.runs:
        row, told = rows[run.run_id], table.loc[run.run_id]
        assert (row["model"], row["seed"], row["lr"], row["load"]) == (
            run.shape,
            str(run.seed),
            f"{run.train.lr:g}",
            f"{run.data.load:g}",
        )
        assert float(row["bits/P"]) == pytest.approx(
            told.strict_bits / told.parameters_total, rel=1e-3
        )
        assert ("data-limited" in row["flags"]) == (told.class_strict == "data_limited") and (
            "unconverged" in row["flags"]
        ) == told.still_rising
    assert (
        {"n_heads", "batch_size", "error:corner", "gain"} <= set(heads)
        and "model.d_model" not in heads
        and "vocab_size" not in heads
    )
    flags = {flag.name: flag.runs for flag in kinds.document(found).flags}
    assert flags["unconverged"] and set(flags["data-limited"]) == set(
        table.index[table.class_strict == "data_limited"]
    )


def test_settings_that_vary_are_found_and_equal_names_keep_their_section(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "pins: [data=text_pocket, data.documents=300, data.n_held_out=20, model.d_model=8, "
        "train.steps=300]\n"
        "grids: [{data.n_sequences: [20, 40], train.lr: [0.01, 0.02], seed: [0, 1]}]\n"
    )
    configs = load_study(str(tmp_path / "s.yaml"), []).runs
    settings = runs.varied(configs)
    assert (
        set(settings) == {"data.n_sequences", "train.lr", "run_id", "seed"} and len(settings) == 8
    )
    assert runs.headings(pd.DataFrame(columns=["data.seq_len", "model.x", "train.x", "seed"])) == {
        "data.seq_len": "seq_len",
        "model.x": "model.x",
        "train.x": "train.x",
    }


def test_means_are_over_seeds_only(tmp_path):
    study = plant(tmp_path, "pocket")
    table = run_table.table(tmp_path, study.runs)
    cells, over = runs.means(study.runs, table, kinds.load("random").columns(table))
    assert (
        over in ("load", "lr", "n_heads", "batch_size")
        and cells.runs.sum() == 20
        and len(cells) == 12
    )
    one = cells[(cells["model"] == "2x16") & (cells.load == 5.0)].iloc[0]
    bits = (table.strict_bits / table.parameters_total)[
        (table.model == "2x16") & (table.load.round(1) == 5.0)
    ]
    assert (
        one["runs"] == 2
        and one["bits/P"] == pytest.approx(bits.mean())
        and one["sd bits/P"] == pytest.approx(bits.std())
    )
    alone = cells[cells.load == 1.5]
    assert (alone.runs == 1).all() and alone["sd bits/P"].isna().all()


def test_commands_repeat_the_study_its_settings_and_its_source(tmp_path, no_pictures):
    given = ["train.exposures=500"]
    study = plant(tmp_path, "pocket", given)
    kept = [records.read(tmp_path, run.run_id) for run in study.runs]
    assert provenance.commands("pocket", study, kept, ["--bootstraps=500"]) == [
        f"# 20 of 20 records are from commit {COMMIT}",
        f"git checkout {COMMIT}",
        "capacity sweep pocket train.exposures=500",
        "capacity fit-laws pocket train.exposures=500 --bootstraps=500",
        "capacity report pocket train.exposures=500 --bootstraps=500",
    ]
    for i, git in enumerate([None, None, "f" * 40 + "+"]):
        kept[i]["environment"]["git"] = git
    lines = provenance.commands("a study", study, kept, [])
    assert lines[:4] == [
        f"# 17 of 20 records are from commit {COMMIT}",
        "# 2 of 20 records are from an installed capacity 0.1.0; no commit is known",
        f"# 1 of 20 records are from commit {'f' * 40} with changes that were not committed: it "
        f"alone need not give the same bits",
        f"git checkout {COMMIT}",
    ]
    assert lines[4] == "capacity sweep 'a study' train.exposures=500"
    kept[5]["environment"]["hardware"] = "another processor"
    told = dict(provenance.versions(kept))
    assert (
        told["torch"] == "2.5.0"
        and told["hardware"] == "a processor (19 runs); another processor (1 runs)"
        and told["threads"] == "1"
    )
    content = built(study, tmp_path, "pocket").decode()
    assert "with settings train.exposures=500" in content and "Continue with" not in content
    assert (
        study.path.read_text().splitlines()[0] in Reader(content.encode()).texts["pre"]
    )  # the study file


def test_sweeps_that_were_issued_here_are_listed(tmp_path):
    folder = tmp_path / "submissions" / "one"
    folder.mkdir(parents=True)
    tree = {
        "schema": 1,
        "study": "pocket",
        "launcher": "slurm",
        "job": "7",
        "elements": [],
        "overrides": ["cluster=slurm", "cluster.options=[a b]"],
        "submitted_at": 1772360000.0,
    }
    (folder / "submission.json").write_text(json.dumps(tree))
    assert provenance.sweeps(tmp_path, load_study("pocket", []), "pocket") == [
        "capacity sweep pocket cluster=slurm 'cluster.options=[a b]'  # 2026-03-01 10:13 UTC, slurm"
    ]
    assert provenance.sweeps(tmp_path, load_study("pocket_budget", []), "pocket_budget") == []


def test_a_table_of_many_runs_has_those_that_did_not_finish_and_even_ones_of_the_others(
    monkeypatch,
):
    from capacity.report import parts

    columns = [{"heading": name} for name in ("run", "status")]
    rows = [[str(i), "failed" if i in (3, 700) else "finished"] for i in range(1000)]
    cells = {"columns": columns, "rows": rows}
    assert parts.bounded(cells) is cells
    monkeypatch.setattr(parts, "MOST_ROWS", 52)
    found = parts.bounded(cells)
    kept = [int(row[0]) for row in found["rows"]]
    assert len(kept) == 52 and kept == sorted(set(kept)) and {3, 700} <= set(kept)
    others = [i for i in kept if i not in (3, 700)]
    steps = {b - a for a, b in zip(others, others[1:], strict=False)}
    assert steps <= {19, 20, 21}
    assert "52 of 1,000 runs" in found["note"] and "runs.csv" in found["note"]
