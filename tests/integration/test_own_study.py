"""A study of one's own: the page of its grammar, `capacity new`, and the schema for editors."""

import json
import re
from pathlib import Path

import pytest

import json_schema
from capacity.cli import new
from capacity.cli.main import main
from capacity.cli.study_schema import schema
from capacity.compose import read_yaml, shared_dir
from capacity.published import expects
from capacity.study import ENTRIES, load_study, study_names
from command_line import one_line

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "study_grammar.md").read_text(encoding="utf-8")
EXAMPLES = [
    (section.partition("\n")[0], text)
    for section in PAGE.split("\n## ")[1:]
    for text in re.findall(r"```yaml\n(.*?)```", section, re.S)
]
RUNS = {  # counted by hand
    "question and scale": 1,
    "pins": 2,
    "grids": 2 * 2 * 2 + 1,
    "names": 2 * 2 * 2 * 2,
    "best_over": 2 * 2 * 2,
    "references": 2 * 2 + 2,
    "starts": 2 * 2,
    "random_data": 3,
    "expects": 2 * 3,
    "presets": 2 * 2 * 3,
}
STUDIES = study_names([shared_dir("sweeps")])
SCHEMA = schema()


# The page of the grammar


def test_every_entry_has_a_section_with_an_example():
    assert {title for title, _ in EXAMPLES} == set(RUNS)
    assert PAGE.count("```yaml") == len(EXAMPLES)
    told = " ".join(title for title, _ in EXAMPLES)
    assert [entry for entry in (*ENTRIES, "presets") if entry not in told] == []
    assert [entry for entry in (*ENTRIES, "presets") if f"| [{entry}](#" not in PAGE] == []
    assert [quantity for quantity in expects.QUANTITIES if quantity not in PAGE] == []


@pytest.mark.parametrize("title, text", EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_every_example_is_planned_and_fits_the_schema(here, title, text):
    (here / "s.yaml").write_text(text)
    study = load_study("s.yaml", [])
    assert len(study.runs) == RUNS[title]
    assert json_schema.errors(read_yaml(here / "s.yaml"), SCHEMA, SCHEMA) == []
    if title == "names":
        assert list(dict.fromkeys(study.variants.values())) == [
            "baseline",
            "baseline, Muon",
            "ours",
            "ours, Muon",
        ]
    if title == "presets":
        assert len(load_study("s.yaml@pocket", []).runs) == 4


# capacity new


@pytest.mark.parametrize(
    "like",
    ["pocket", "optimizers", "physics33/12_tagged@pocket", "morris/membership@pocket"]
    + ["precision/uniform@pocket", "physics33/13_extraction@pocket"],
)
def test_a_new_study_plans_the_runs_of_the_one_it_is_like(here, capsys, like):
    assert main(["new", "own/mine.yaml", "--like", like]) == 0
    theirs, ours = load_study(like, []), load_study("own/mine.yaml", [])
    assert f"own/mine.yaml: {len(theirs.runs)} runs, as {like}" in capsys.readouterr().out
    assert [run.run_id for run in ours.runs] == [run.run_id for run in theirs.runs]
    assert (ours.question, ours.scale, ours.names) == (theirs.question, theirs.scale, theirs.names)
    assert (ours.expects, ours.best_over) == (theirs.expects, theirs.best_over)
    text = (here / "own" / "mine.yaml").read_text()
    assert text.count("\n# ") >= 6
    assert json_schema.errors(read_yaml(here / "own" / "mine.yaml"), SCHEMA, SCHEMA) == []


def test_what_a_new_study_leaves_as_comments_is_valid(here):
    assert set(new.WORDS) == set(ENTRIES)
    assert main(["new", "mine.yaml"]) == 0
    path = here / "mine.yaml"
    text = path.read_text()
    for entry in new.EXAMPLES.values():
        assert f"# {entry}" in text
        text = text.replace(f"# {entry}", entry)
    text = text.replace(
        "data.load: [1.5]", "data.load: [1.5]\n    model.norm: [layernorm, rmsnorm]"
    )
    path.write_text(text)
    assert set(load_study("mine.yaml", []).variants.values()) == {"ours", "theirs"}


@pytest.mark.parametrize(
    "args, words",
    [
        (["there.yaml"], "there.yaml: is there already"),
        (["mine"], "mine: a study is a .yaml file: mine.yaml"),
        (["mine.yaml", "--like", "pockt"], "did you mean pocket?"),
        (["mine.yaml", "--like", "pocket@x"], "no preset x"),
    ],
)
def test_a_new_study_is_refused_in_one_line_and_nothing_is_lost(here, capsys, args, words):
    (here / "there.yaml").write_text("pins: []\n")
    assert main(["new", *args]) == 2
    assert words in one_line(capsys.readouterr().err)
    assert [(p.name, p.read_text()) for p in here.iterdir()] == [("there.yaml", "pins: []\n")]


# The schema


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_fits_the_schema(name):
    tree = read_yaml(shared_dir("sweeps") / f"{name}.yaml")
    assert json_schema.errors(tree, SCHEMA, SCHEMA) == []


@pytest.mark.parametrize(
    "entry",
    [
        "grid: [{seed: [0]}]",
        "pins: data=uniform",
        "scale: huge",
        "grids: [{model.d_modle: [8]}]",
        "grids: [{model.d_model: [0]}]",
        "grids: [{model.d_model: [8.5]}]",
        "grids: [{model.norm: [rmsnrom]}]",
        "grids: [{model: [gtp]}]",
        "grids: [{train.lr: [0]}]",
        "grids: [{model.tied: [1]}]",
        "best_over: [train.rate]",
        "best_over: [seed]",
        "references: [{data.n_reference: 8}]",
        "names: {ours: {}}",
        "names: {'a,b': {model.norm: rmsnorm}}",
        "names: {ours: {cluster.workers: 2}}",
        "expects: [{name: x}]",
        "expects: [{name: x, quantity: ration}]",
        "presets: {pocket: {presets: {}}}",
        "presets: {pocket: {scale: huge}}",
    ],
)
def test_the_schema_refuses_what_a_study_cannot_be(here, entry):
    (here / "s.yaml").write_text(entry + "\n")
    assert json_schema.errors(read_yaml(here / "s.yaml"), SCHEMA, SCHEMA) != []


def test_the_verb_prints_the_committed_schema(capsys):
    assert main(["schema"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == SCHEMA
    assert set(SCHEMA["properties"]) == {*ENTRIES, "presets"}
    assert (ROOT / "docs" / "reference" / "study.schema.json").read_text() == out
