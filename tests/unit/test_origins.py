"""An error blames what said the wrong setting: the command line, the study file and its entry, the
site's file, a preset."""

import re

import pytest

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.study import axes_of, load_study


def refused(call, *args):
    with pytest.raises(ConfigError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


STUDIES = [  # text, preset, overrides, what the line begins with, what stands in it besides
    ("pins: [seed=x]", "", [], "s.yaml: pins: 1: seed=x: expected a whole number", ""),
    ("pins: [seed=1]", "", ["seed=x"], "command line: seed=x: expected", ""),
    ("pins: [seed=x]", "", ["seed=1"], "", None),  # what wins is right
    ("pins: [model=gtp]", "", [], "s.yaml: pins: 1: model=gtp: no such choice", "mean gpt?"),
    ("pins: [model.d_modle=8]", "", [], "s.yaml: pins: 1: model.d_modle: no such setting", ""),
    ("pins: ['seed=1,2']", "", [], "s.yaml: pins: 1: seed=1,2: several values", ""),
    ("pins: ['~seed']", "", [], "s.yaml: pins: 1: ~seed: changes nothing", ""),
    ("grids: [{seed: [1]}, {seed: [x]}]", "", [], "s.yaml: grids: 2: seed=x: expected", ""),
    ("grids: [{seed: 'range(3'}]", "", [], "s.yaml: grids: 1: seed=range(3", ""),
    ("grids: [{seed: {a: 1}}]", "", [], "s.yaml: grids: 1: seed: expected a value", ""),
    ("grids: [{w: [{seed: [1]}]}]", "", [], "s.yaml: grids: 1: w: seed: [1]: an axis takes", ""),
    (
        "presets: {tiny: {grids: [{model.d_model: [8]}, {model.d_model: [wide]}]}}",
        "@tiny",
        [],
        "s.yaml: presets: tiny: grids: 2: model.d_model=wide: expected",
        "",
    ),
    (
        "pins: ['model.n_heads=3']\ngrids: [{model.d_model: [8, 16]}]",
        "",
        [],
        "model.n_heads=3: must divide model.d_model=8",
        "(model.n_heads: s.yaml: pins: 1; model.d_model: s.yaml: grids: 1)",
    ),
    (
        "pins: ['model.n_heads=4']",
        "",
        ["model.d_model=6"],
        "model.n_heads=4: must divide model.d_model=6",
        "(model.n_heads: s.yaml: pins: 1; model.d_model: command line)",
    ),
    (
        "pins: ['train.steps=100']",
        "",
        [],
        "train.warmup_steps=200: must be less than train.steps=100",
        "(train.warmup_steps: conf/train/adamw.yaml; train.steps: s.yaml: pins: 1)",
    ),
    (
        "pins: [model.n_heads=3, model.d_model=8]",
        "",
        [],
        "model.n_heads=3: must divide",
        "(model.n_heads: s.yaml: pins: 1; model.d_model: s.yaml: pins: 2)",
    ),
    (
        "pins: [data=corpus, data.path=a(1).jsonl]",
        "",
        [],
        "s.yaml: pins: 2: data.path=a(1).jsonl: this text needs quotes; in the file: ",
        """'data.path="a(1).jsonl"'""",
    ),
    (
        "grids: [{data: [corpus], data.path: a(1).jsonl}]",
        "",
        [],
        "s.yaml: grids: 1: data.path: a(1).jsonl: not in Hydra's sweep grammar; write a list",
        "data.path: ['a(1).jsonl']",
    ),
    ("pins: [data.load=null]", "", [], "s.yaml: pins: 1: data.n_sequences, data.load: give", ""),
    (
        "pins: [data=text_pocket]\nreferences: [{data.trained_on: reference, data.n_reference: x}]",
        "",
        [],
        "s.yaml: references: 1: data.n_reference=x: expected",
        "",
    ),
    ("pins: [seed=1]\nreferences: [{data.trained_on: others}]", "", [], "s.yaml: references:", ""),
]


@pytest.mark.parametrize("text, preset, overrides, begins, holds", STUDIES)
def test_a_study_is_blamed_by_entry_and_the_command_line_for_what_it_says(
    here, text, preset, overrides, begins, holds
):
    (here / "s.yaml").write_text(text)
    if holds is None:
        assert load_study("s.yaml" + preset, overrides).runs
        return
    line = refused(load_study, "s.yaml" + preset, overrides)
    if "data.n_sequences, data.load" in begins:  # one of them is nobody's but the preset's
        assert "data.load: s.yaml: pins: 1" in line
        return
    assert line.startswith(begins) and holds in line, line


def test_what_the_hint_says_to_write_in_a_study_works(here):
    """Pins and grids with the text of the hint name the very file."""
    path = "it's (1).jsonl"
    as_yaml = path.replace("'", "''")
    (here / "s.yaml").write_text(f"pins: [data=corpus, 'data.path={as_yaml}']\n")
    hint = re.search(r"in the file: (.*)$", refused(load_study, "s.yaml", []))
    assert hint
    for text in (
        f"pins:\n- data=corpus\n- {hint[1]}\n",
        f"pins: [data=corpus]\ngrids: [{{data.path: ['{as_yaml}']}}]\n",
    ):
        (here / "s.yaml").write_text(text)
        assert f"{path}: no such file" in refused(load_study, "s.yaml", [])
    (here / "s.yaml").write_text(f"pins: [data=corpus]\ngrids: [{{data.path: '{as_yaml}'}}]\n")
    hint = re.search(r"write a list for a text: (.*)$", refused(load_study, "s.yaml", []))
    assert hint
    (here / "s.yaml").write_text(f"pins: [data=corpus]\ngrids: [{{{hint[1]}}}]\n")
    assert f"{path}: no such file" in refused(load_study, "s.yaml", [])


def test_the_sites_file_and_a_preset_are_blamed(here, monkeypatch):
    site = here / "site.yaml"
    site.write_text("workstation: {micro_batches: 100}\n")
    monkeypatch.setenv("CAPACITY_LOCAL", str(site))
    line = refused(load, ["train.batch_size=8"])
    assert line.startswith("cluster.micro_batches=100: more parts than the rows of a batch")
    places = f"(cluster.micro_batches: {site}: workstation; train.batch_size: command line)"
    assert line.endswith(places), line
    line = refused(load, [])
    assert "train.batch_size: conf/train/adamw.yaml)" in line
    monkeypatch.delenv("CAPACITY_LOCAL")
    line = refused(load, ["model=rotary", "model.d_model=9"])
    assert "(model.n_heads: conf/model/rotary.yaml; model.d_model: command line)" in line
    # what a person has typed alone stands alone
    assert refused(load, ["seed=x"]).startswith("seed=x: expected")
    assert refused(load, ["model.n_heads=3", "model.d_model=8"]).endswith("allowed: 1, 2, 4, 8")


def test_origins_do_not_change_what_a_study_plans(here):
    (here / "s.yaml").write_text("pins: [model.d_model=8]\ngrids: [{seed: [1, 2]}]\n")
    pins, points = axes_of("s.yaml")
    assert pins == ["model.d_model=8"] and points == [["seed=1"], ["seed=2"]]
