"""Tables with next to nothing in them: one line, or a fit that claims no interval."""

import pytest

from capacity.cli.main import main
from corpora import CASES


@pytest.mark.parametrize(
    "name, words",
    [
        ("empty", "empty, expected a line of column names and rows of points"),
        ("header_only", "no rows below the column names parameters, bits"),
    ],
)
def test_a_table_without_rows_is_one_line_with_its_name(capsys, name, words):
    assert main(["fit", "capacity_linear", str(CASES / f"fit_{name}.csv"), "--y", "bits"]) == 2
    told = capsys.readouterr().err
    assert f"fit_{name}.csv: {words}" in told and len(told.splitlines()) == 1


def test_what_too_few_points_cannot_tell_is_not_told(capsys):
    """One run has no interval; one size has one for a ratio, and none for how it grows."""

    def said(form, name):
        code = main(["fit", form, str(CASES / f"fit_{name}.csv"), "--y", "bits"])
        return code, " ".join("".join(capsys.readouterr()).split())

    code, told = said("capacity_linear", "one_row")
    assert code == 0 and "alpha has no interval: 1 cluster(s), an interval needs 3" in told
    code, told = said("capacity_linear", "one_size")
    assert code == 0 and "held out: none, 1 group(s) of parameters" in told
    code, told = said("capacity_power", "one_size")
    assert code == 0 and "a and gamma: not identified by these points" in told
