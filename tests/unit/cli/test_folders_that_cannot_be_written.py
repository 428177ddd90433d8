"""Results of somebody else, or on a full disk: what was found is shown, and the remedy named."""

import errno
import os

import pytest

from capacity.cli.main import main
from planted import plant


@pytest.fixture
def closed(here, monkeypatch):
    """A results folder in which nothing can be written."""
    plant(here / "results", "optimizers")

    def refuse(temporary, path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "replace", refuse)
    return here / "results"


@pytest.mark.parametrize(
    "line, words, file",
    [
        (["fit-laws", "optimizers", "--bootstraps", "100"], "Knowledge in optimizers", "fit.json"),
        (
            ["compare", "optimizers", "--a", "train.optimizer=muon"]
            + ["--b", "train.optimizer=adamw"],
            "train.optimizer=muon",
            "compare.json",
        ),
    ],
)
def test_what_was_found_is_printed_before_it_is_written(closed, capsys, line, words, file):
    assert main(line) == 2
    out, err = capsys.readouterr()
    assert words in out
    last = err.splitlines()[-1]
    assert f"{file}: Permission denied; another folder for results: --results DIR" in last
