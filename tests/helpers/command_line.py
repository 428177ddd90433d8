"""What tests of the command line share."""

import re

import pytest

from capacity import records
from capacity.cli.main import main
from capacity.compose import load


def one_line(text):
    """The only line of an error stream, which must be the program's own message."""
    assert "Traceback" not in text
    assert re.fullmatch(r"capacity: error: [^\n]+\n", text), text
    return text


@pytest.fixture
def trained(here, tiny, capfd):
    """A finished run, trained inside this process, as (folder of results, its record)."""
    assert main(["train", *tiny]) == 0
    capfd.readouterr()
    return here / "results", records.read(here / "results", load(tiny).run_id)
