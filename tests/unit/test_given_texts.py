"""Settings as people type them that Hydra or YAML would take for something else."""

import pytest

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.study import load_study


def refused(*overrides):
    with pytest.raises(ConfigError) as error:
        load(list(overrides))
    return str(error.value)


@pytest.mark.parametrize(
    "typed, options",
    [
        ('[--exclude=node7, "--comment=two words"]', ("--exclude=node7", "--comment=two words")),
        ('["--comment=a, b",--exclude=node7]', ("--comment=a, b", "--exclude=node7")),
        ("['--comment=a, b',--exclude=node7]", ("--comment=a, b", "--exclude=node7")),
        ("[--comment=it's,--exclude=b]", ("--comment=it's", "--exclude=b")),
        ("[--exclude=node7]", ("--exclude=node7",)),
    ],
)
def test_a_list_of_texts_may_be_in_quotes_in_part(typed, options):
    assert load(["cluster=slurm", f"cluster.options={typed}"]).cluster.options == options


def test_a_number_in_quotes_is_shown_in_them():
    assert 'train.lr="0.1": expected a number > 0.0' in refused('train.lr="0.1"')
    assert 'train.steps="1e3": expected a whole number' in refused('train.steps="1e3"')


def test_a_text_that_looks_like_something_else_says_what_makes_it_one():
    assert "data.path=true: expected the name of a file; in quotes it is a text" in refused(
        "data=corpus", "data.path=true"
    )


@pytest.fixture
def study(here):
    def of(text):
        (here / "s.yaml").write_text(text)
        return load_study("s.yaml", [])

    return of


def test_seeds_of_a_study_are_not_octal(study):
    with pytest.raises(ConfigError, match=r"s.yaml: grids: 1: seed=\"?010\"?: expected a whole"):
        study("pins: [model.d_model=8]\ngrids: [{seed: [010]}]\n")
    with pytest.raises(ConfigError, match=r"train.steps=1:30: expected a whole number"):
        study("pins: [model.d_model=8]\ngrids: [{train.steps: [1:30]}]\n")
    (run,) = study("pins: [model.d_model=8]\ngrids: [{train.lr: [1e-3]}]\n").runs
    assert run.train.lr == 0.001


def test_an_option_among_the_pins_says_the_setting(study):
    with pytest.raises(ConfigError, match=r"pins: 1: --lr 0.1: .*no dashes: train.lr=0.1\)"):
        study("pins: [--lr 0.1]\ngrids: [{seed: [0]}]\n")


def test_a_folder_of_people_is_named_as_one(here):
    (here / "people").mkdir()
    assert "people: a folder, expected a file" in refused("data=corpus", "data.path=people")
    assert "data.path=: expected the name of a file" in refused("data=corpus", "data.path=")


def test_a_time_of_a_site_needs_no_quotes(here, monkeypatch):
    (here / "local.yaml").write_text("slurm:\n  time: 1:30:00\n  account: 00123\n")
    monkeypatch.setenv("CAPACITY_LOCAL", str(here / "local.yaml"))
    cluster = load(["cluster=slurm"]).cluster
    assert (cluster.time, cluster.account) == ("1:30:00", "00123")
