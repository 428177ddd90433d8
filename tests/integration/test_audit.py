"""`capacity audit` from files to files: it finds what is there, says nothing where nothing can be
said, and refuses in one line what cannot be audited."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before `transformers` is imported

import small_checkpoint
from capacity import records
from capacity.audit import checkpoint, command, given, numbers, score
from capacity.audit.scored import ScoredModel
from capacity.cli.main import main
from capacity.compose import load
from command_line import one_line
from small_text import SMALL

pytestmark = pytest.mark.slow
N = 240


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A GPT-2 trained on half of the documents, the last 24 of them eight times as often, with the
    files of an audit in its folder."""
    folder = tmp_path_factory.mktemp("audit")
    texts = small_checkpoint.texts(2 * N)
    copies = [1] * (N - 24) + [8] * 24
    seen = [text for text, n in zip(texts, copies, strict=False) for _ in range(n)]
    small_checkpoint.write(folder / "model", seen, steps=150)
    small_checkpoint.write_rows(
        folder / "members.jsonl",
        [{"text": t, "id": f"m{i}", "person": f"p{i // 4}"} for i, t in enumerate(seen)],
    )
    small_checkpoint.write_rows(
        folder / "others.jsonl",
        [{"text": t, "id": f"o{i}", "person": f"q{i // 4}"} for i, t in enumerate(texts[N:])],
    )
    return folder, texts


def ask(world, *more, **changed):
    folder, _ = world
    given = {"model": folder / "model", "members": "members.jsonl", "others": "others.jsonl"}
    given |= changed
    files = [f"--{side}={folder / str(given[side])}" for side in ("members", "others")]
    return main(["audit", str(given["model"]), *files, *map(str, more)])


def test_what_was_trained_on_is_found_and_written(world, here, capsys):
    assert ask(world, "--output=audit", "--document=id", "--training-tokens=20K") == 0
    shown = capsys.readouterr()
    assert "Evidence that" in shown.out and "safe" not in shown.out
    assert "documents: " in shown.err and "without a model: AUC" in shown.err
    folder = here / "audit"
    listed = shown.out.split("\n\n")[-1].split()
    assert {"audit.json", "documents.csv", "documents.parquet", "README.md", "report.html"} <= {
        path.name for path in folder.iterdir()
    }
    assert all((here / name).stat().st_size > 0 for name in listed)
    tree = json.loads((folder / "audit.json").read_bytes())
    assert tree["kind"] == "audit" and tree["verdict"] == "evidence"
    assert tree["sizes"]["members"]["rows"] == N + 7 * 24
    assert tree["sizes"]["members"]["documents"] == N
    assert tree["predicted"]["tokens_per_parameter"] == 20_000 / tree["about"]["parameters"]
    frame = pd.read_parquet(folder / "documents.parquet")
    pd.testing.assert_frame_equal(frame, pd.read_csv(folder / "documents.csv"), check_dtype=False)
    # documents that were seen eight times as often stand before the others
    mine = frame[frame.side == "members"].reset_index(drop=True)
    often = mine.copies.eq(8)
    assert often.sum() == 24 and mine.index[often].to_numpy().mean() < N / 4
    level = {row["level"]: row["share"]["value"] for row in tree["models"][0]["at_risk"]}
    assert level["5 to 8"] > 2 * level["1"]

    # the same command reads what was scored, and says the same
    before = {path: path.stat().st_mtime_ns for path in folder.glob("scores/*/*")}
    assert ask(world, "--output=audit", "--document=id", "--training-tokens=20K", "-q") == 0
    assert capsys.readouterr().out.split() == listed
    assert {path: path.stat().st_mtime_ns for path in folder.glob("scores/*/*")} == before
    again = json.loads((folder / "audit.json").read_bytes())
    assert again | {"seconds": {}} == tree | {"seconds": {}}


def test_groups_are_units_and_have_a_table(world, here, capsys):
    # copies of a document keep the group of the first
    assert ask(world, "--output=audit", "--group=person", "--quiet") == 0
    tree = json.loads((here / "audit" / "audit.json").read_bytes())
    assert tree["about"]["group"] == "person"
    assert tree["sizes"]["others"]["units"] == N // 4
    groups = pd.read_csv(here / "audit" / "groups.csv")
    assert len(groups) == tree["sizes"]["members"]["units"]
    assert "groups.csv" in capsys.readouterr().out


def test_variants_are_scored_beside_the_checkpoint(world, here, capsys):
    folder, _ = world
    more = [f"--reference={folder / 'model'}", "--quantize=int8,int2", "--output=audit"]
    assert ask(world, *more) == 0
    shown = capsys.readouterr()
    tree = json.loads((here / "audit" / "audit.json").read_bytes())
    whole, int8, int2 = tree["models"]
    assert [one["name"] for one in tree["models"]] == ["checkpoint", "int8", "int2"]
    assert whole["stored_bits"] is None and int2["stored_bits"] < int8["stored_bits"]
    auc = [one["attacks"]["loss"]["auc"]["value"] for one in tree["models"]]
    assert abs(auc[1] - auc[0]) < 0.02 and auc[2] < auc[0]
    # against itself the checkpoint saves nothing, and its rounded forms lose bits
    bits = [one["bits"]["members"]["signed"]["value"] for one in tree["models"]]
    assert bits[0] == 0 and bits[2] < 0 and abs(bits[1]) < 0.1 * abs(bits[2])
    assert "After quantization" in shown.out
    assert (here / "audit" / "documents_int2.csv").exists()


def test_a_plan_costs_nothing(world, here, capsys):
    assert ask(world, "--dry-run", "--tokens=6K") == 0
    shown = capsys.readouterr()
    assert "left out by --tokens" in shown.out and "of memory" in shown.out
    assert not list(here.iterdir())


def test_files_that_differ_without_a_model_give_no_verdict(world, here, capsys):
    folder, texts = world
    other = [f"{text} The court of appeal has ruled so." for text in texts[N:]]
    small_checkpoint.write_rows(folder / "court.jsonl", other)
    assert ask(world, "--output=audit", others="court.jsonl") == 0
    shown = capsys.readouterr()
    assert "these sets differ without a model" in " ".join(shown.err.split())
    assert "No verdict" in shown.out and "Evidence that" not in shown.out
    tree = json.loads((here / "audit" / "audit.json").read_bytes())
    assert tree["verdict"] == "differs" and "words" in tree["blind"]["differs"]


def test_random_halves_of_what_was_not_seen_are_not_told_apart(world, tmp_path):
    """Over 50 splits of the same scores the 95% interval holds 0.5 in at least 90%."""
    folder, texts = world
    model = checkpoint.load(str(folder / "model"), tmp_path)
    unseen = texts[N:]
    all_documents = given.of_texts(unseen, np.zeros(N, bool))
    scores = score.score(model, all_documents, tmp_path, recall=False)
    held, evidence = 0, 0
    for seed in range(50):
        member_D = np.random.default_rng(seed).permutation(N) < N // 2
        split = given.of_texts(unseen, member_D)
        about = command._about(
            command.Asked(str(folder / "model"), "a", "b", tmp_path),
            command._Work(given.Given(split, {}, {}, dict.fromkeys(given.SIDES, "")), None),
            model,
        )
        looked = {"differs": []}
        found = numbers.audit(split, [ScoredModel("m", scores)], about, looked=looked).numbers
        low, high = found["models"][0]["attacks"]["min_k_plus"]["auc"]["interval"]
        held += low <= 0.5 <= high
        evidence += found["verdict"] == "evidence"
    assert held >= 45
    assert evidence <= 6  # 5% by chance: more than 6 of 50 have a probability of 1%


BAD = {
    "the same file": ({"others": "members.jsonl"}, [], "the same as --members"),
    "no such file": ({"members": "none.jsonl"}, [], "none.jsonl"),
    "a folder without weights": ({"model": "empty"}, [], "no weights"),
    "no such folder, and no network": ({"model": "nobody/nothing"}, [], "not from the hub"),
    "a window beyond the context": ({}, ["--window=4096"], "context of 128"),
    "an unknown width": ({}, ["--quantize=fp4"], "fp4: expected int2 to int8"),
    "no number": ({}, ["--tokens=many"], "--tokens many: expected a whole number"),
    "a budget of nothing": ({}, ["--tokens=100"], "an interval needs"),
    "a budget below one": ({}, ["--tokens=0"], "expected a whole number >= 1"),
    "an output that is a file": ({}, ["--output=taken"], "--output taken: not a folder"),
    "an output below a file": ({}, ["--output=taken/audit"], "not a folder"),
    "no such column": ({}, ["--field=body"], "body"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(world, here, capsys, name):
    changed, more, said = BAD[name]
    (here / "empty").mkdir()
    (here / "empty" / "config.json").write_text('{"model_type": "gpt2"}')
    (here / "taken").write_text("")
    before = sorted(here.rglob("*"))
    assert ask(world, *more, **changed) == 2
    assert said in one_line(capsys.readouterr().err)
    assert sorted(here.rglob("*")) == before


def test_few_or_shared_documents_are_refused(world, here, capsys):
    _, texts = world
    few = small_checkpoint.write_rows(here / "few.jsonl", texts[N : N + 3])
    assert ask(world, others=few) == 2
    assert "3 different documents" in one_line(capsys.readouterr().err)
    shared = small_checkpoint.write_rows(here / "shared.jsonl", texts[:5] + texts[N:])
    assert ask(world, others=shared) == 2
    assert "share 5 documents" in one_line(capsys.readouterr().err)


def test_a_tokenizer_that_does_not_fit_is_refused(world, here, capsys):
    folder, texts = world
    small_checkpoint.write(here / "model", texts[:50], steps=0)
    words = json.loads((here / "model" / "tokenizer.json").read_text())
    words["model"]["vocab"] = {k: v + 5 for k, v in words["model"]["vocab"].items()}
    for one in words["added_tokens"]:
        one["id"] += 5
    (here / "model" / "tokenizer.json").write_text(json.dumps(words))
    assert ask(world, model=here / "model") == 2
    assert "its tokenizer does not fit" in one_line(capsys.readouterr().err)


def test_without_transformers_one_line_says_what_to_install(world, here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert ask(world) == 2
    assert "pip install 'capacity[audit]'" in one_line(capsys.readouterr().err)


def test_an_interrupted_audit_goes_on_and_leaves_no_result(world, here, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(numbers, "audit", stop)
        assert ask(world, "--output=audit") == 130
    assert "interrupted" in capsys.readouterr().err
    assert [path.name for path in (here / "audit").iterdir()] == ["scores"]
    assert ask(world, "--output=audit", "-q") == 0
    assert (here / "audit" / "report.html").exists()


def test_an_exported_run_gives_the_runs_own_numbers(here, capsys):
    """As a folder on the windows of the run: AUC of each score, and exposure of its canaries."""
    settings = [*SMALL, "data.canaries=64", "data.repeats=[1,8]", "train.steps=120"]
    assert main(["train", *settings]) == 0
    run_id = load(settings).run_id
    assert main(["export", run_id, "--output=model", "--data=data"]) == 0
    files = [f"--{name}=data/{name}.jsonl" for name in ("members", "others", "canaries")]
    assert main(["audit", "./model", *files, "--output=audit"]) == 0
    capsys.readouterr()
    model = json.loads((here / "audit" / "audit.json").read_bytes())["models"][0]
    own = records.read(here / "results", run_id)["measures"]["text"]
    assert set(model["attacks"]) == set(own["membership"])
    for name, attack in model["attacks"].items():
        assert attack["auc"]["value"] == pytest.approx(own["membership"][name]["auc"], abs=1e-3)
    # ranks among 4,096 candidates: one that changes places moves a mean of 64 by less
    assert [level["repeats"] for level in model["canaries"]] == [1, 8]
    for level, known in zip(model["canaries"], own["canaries"], strict=True):
        assert level["canaries"] == known["canaries"] == 64
        assert level["exposure"]["value"] == pytest.approx(known["exposure"], abs=0.01)
