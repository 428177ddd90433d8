"""The kind `text`: numbers, words and figures of a study, and splits that are not sound."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from capacity import archive, records, run_table
from capacity.analysis import kinds
from capacity.analysis.finding import Options
from capacity.analysis.text import analysis as memory
from capacity.base.scores import read_scores, write_scores
from capacity.fitting.membership import auc
from capacity.report import markdown, text
from planted import plant
from text_studies import joined, target


@pytest.mark.parametrize("name", ["membership@pocket", "canaries@pocket", "forgetting@pocket"])
def test_the_kind_gives_numbers_words_figures_and_errors_of_a_planted_study(tmp_path, name):
    study = plant(tmp_path, f"morris/{name}")
    table = run_table.table(tmp_path, study.runs)
    assert kinds.load("text").applies(study.runs, table)
    finding = kinds.load("text").analyse(study, table, tmp_path, Options(bootstraps=60))
    numbers = finding.numbers
    assert list(numbers)[:5] == ["kind", "schema", "study", "versions", "inputs_sha256"]
    assert (numbers["kind"], numbers["schema"], numbers["study"]) == ("text", 4, study.name)
    assert json.loads(finding.json()) == numbers
    found, figures = kinds.document(finding), kinds.figures(finding)
    assert set(figures) <= set(found.figures) and len(figures) >= 2
    assert [part.id for part in found.sections][-1] == "published"
    assert max(map(len, text.render(found).splitlines())) <= 80
    written = markdown.render(found, figures)
    assert all(f"](figures/{figure}.png)" in written for figure in figures)
    fitted = [part for part in kinds.residuals(finding) if part.key == "F1"]
    assert bool(fitted) == ("reason" not in numbers["laws"]["f1_median"])
    columns = kinds.load("text").columns(finding.tables["runs.csv"])
    assert {"P", "tokens/P", "loss", "AUC"} <= {column.heading for column in columns}


LEVEL = {
    "attacks": {"loss": 0.6, "min_k_plus": 0.64},
    "auc_interval": [0.7, 0.9],
    "tpr_at_0.01": None,
    "members_extractable": 0.25,
    "members_extractable_interval": [0.1, 0.5],
    "held_out_extractable": None,
    "held_out_extractable_interval": None,
}
COPIES = [
    {"copies": 1, "up_to": 1, "members": 90, "held_out": 80, "auc": 0.6} | LEVEL,
    {"copies": 3, "up_to": 4, "members": 30, "held_out": 1, "auc": None}
    | LEVEL
    | {"auc_interval": None},
]


def test_a_split_that_is_not_sound_is_said_first_and_nothing_is_judged_on_it(tmp_path):
    """95 of 541 held-out sequences are members in part: headline, flag, note of each run, no
    verdict, and attacks without them, with a model of its own and with others; by copies."""
    study = plant(tmp_path, "morris/membership@pocket")
    for run in study.runs:
        folder = records.run_dir(tmp_path, run.run_id)
        record = json.loads((folder / "record.json").read_text())
        m = record["measures"]["text"]
        m["n_held_out"] = 541
        m["overlap"] |= {"sequences": 95, "fraction": 95 / 541}
        m["without_overlap"] = {"loss": m["membership"]["loss"] | {"auc": 0.61}}
        m["copies"] = COPIES
        (folder / "record.json").write_text(json.dumps(record))
        scores = read_scores(folder)
        shared = np.where(scores["seen"] == 1, -1, scores["row"] % 3 == 0).astype(np.int32)
        unit = (scores["row"] // 2).astype(np.int32)
        copies = np.where(scores["row"] % 4 == 0, 3, 1).astype(np.int32)
        more = {"shared": shared, "unit": unit, "copies": copies}
        write_scores(folder, {**scores, **more}, run.run_id)
    table = run_table.table(tmp_path, study.runs)
    finding = kinds.load("text").analyse(study, table, tmp_path, Options(bootstraps=60))
    found = kinds.document(finding)
    targets = finding.tables["runs.csv"][lambda r: r.trained_on == "members"]
    assert f"The split of {len(study.runs)} runs is not sound:** up to 17.6%" in found.answers[0]
    flags = {flag.name: flag for flag in found.flags}
    assert len(flags["overlap"].runs) == len(study.runs) and not flags["unknown-overlap"].runs
    assert "95 of 541 held-out sequences share 13 tokens in a row" in found.notes[0]
    assert len(found.notes) == len(study.runs)
    (judged,) = [
        v for v in finding.numbers["verdicts"] if v["published"]["id"] == "morris/f1_at_75"
    ]
    assert judged["measured"] is None and judged["verdict"] not in ("agrees", "differs")
    assert f"held-out sequences of {len(targets)} runs are members in part" in judged["reason"]
    assert (targets.clean_loss_auc == 0.61).all() and "clean_reference_auc" in targets
    half = finding.tables["runs.csv"][lambda r: r.trained_on == "half"]
    assert half.clean_lira_auc.notna().all() and (half.clean_loss_auc == 0.61).all()
    last = targets.sort_values("tokens_per_parameter").iloc[-1]
    scores, best = (
        read_scores(records.run_dir(tmp_path, run_id))
        for run_id in (
            last.run_id,
            table.run_id[(table.trained_on == "others") & (table.model == last.model)].iloc[0],
        )
    )
    score = best["loss"][: len(scores["row"])] - scores["loss"]
    seen, clean = scores["seen"] == 1, scores["shared"] == 0
    assert last.clean_reference_auc == auc(score[seen], score[clean])
    assert last.clean_reference_auc != last.reference_auc
    often = scores["copies"] == 3
    assert last.copies_3_reference_auc == auc(score[seen & often], score[~seen & often])
    told = text.render(found)
    assert [line for line in told.splitlines() if len(line) > 80] == []
    assert "AUC without held-out sequences that share 13 tokens in a row" in told
    assert re.search(r"\n +1 +90 +80 +0.600 \[0.700, 0.900\] +– +0.640 +[01][.0-9]+\n", told)
    assert re.search(r"\n +1 +90 +80 +25.0% \[10.0%, 50.0%\] +–\n", told)
    assert re.search(r"\n +3 to 4 +30 +1 +– +–", told)
    assert "AUC without overlap" in told.partition("shadow models")[2]
    assert "Loss attack by copies" in markdown.render(found, {})


def test_records_of_before_say_that_overlap_is_not_known(tmp_path):
    study = plant(tmp_path, "morris/canaries@pocket")
    for run in study.runs:
        path = records.run_dir(tmp_path, run.run_id) / "record.json"
        record = json.loads(path.read_text())
        del record["measures"]["text"]["overlap"], record["measures"]["text"]["split"]
        path.write_text(json.dumps(record))
    table = run_table.table(tmp_path, study.runs)
    finding = kinds.load("text").analyse(study, table, tmp_path, Options(bootstraps=60))
    flags = {flag.name: flag for flag in kinds.document(finding).flags}
    assert len(flags["unknown-overlap"].runs) == len(study.runs) and not flags["overlap"].runs
    assert not any("share" in note for note in finding.numbers["notes"])


def test_kept_scores_have_what_stays_together_and_what_is_shared(tmp_path):
    table = {
        "row": np.array([4, 2, 9]),
        "seen": np.array([1, 0, 0], np.uint8),
        "zlib": np.array([30, 31, 32], np.int32),
        "loss": np.array([1.5, 2.5, 3.5], np.float32),
        "shared": np.array([-1, 0, 7], np.int32),
        "unit": np.array([0, 1, 1], np.int32),
        "copies": np.array([1, 5, 1], np.int32),
    }
    more = ("shared", "unit", "copies")
    other = {name: column for name, column in table.items() if name not in more}
    (tmp_path / "kept").write_bytes(archive.pack_scores({"a": table, "b": other}, {}))
    found = archive.unpack_scores(tmp_path / "kept")
    assert set(found["b"]) == set(other)
    for name, column in table.items():
        assert (found["a"][name] == column).all(), name


def test_the_digest_of_inputs_follows_what_is_read_and_nothing_else(tmp_path):
    rng = np.random.default_rng(5)
    rows = [target(f"t{i}", 2.0**i, rng, tmp_path, gap=1.0) for i in range(3)]
    table = pd.DataFrame(rows)
    digest = memory.inputs_sha256(table, {})
    assert memory.inputs_sha256(joined(table, tmp_path)[0].assign(wall_s=3.0), {}) == digest
    assert memory.inputs_sha256(table[::-1], {}) == digest
    for column, value in (("loss_auc", 0.7), ("seq_len", 31), ("status", "failed")):
        assert memory.inputs_sha256(table.assign(**{column: value}), {}) != digest, column
    assert memory.inputs_sha256(table, {"t0": {"step": [1]}}) != digest
