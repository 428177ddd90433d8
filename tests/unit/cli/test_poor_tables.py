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


@pytest.mark.parametrize("form", ["capacity_linear", "capacity_power"])
@pytest.mark.parametrize(
    "name, words",
    [
        ("one_row", "the only row has parameters 4,072"),
        ("one_size", "all 3 rows have parameters 4,"),
    ],
)
def test_rows_of_one_size_are_no_law_over_sizes(capsys, form, name, words):
    """However many rows: their mean is none of a law."""
    assert main(["fit", form, str(CASES / f"fit_{name}.csv"), "--y", "bits"]) == 2
    told = capsys.readouterr().err
    assert f"fit_{name}.csv: {words}" in told and len(told.splitlines()) == 1
    assert f"{form} is a law over parameters, and needs rows of at least 2 different" in told


def test_rows_that_are_left_out_do_not_make_a_second_size(capsys, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("parameters,bits\n4000,12000\n4000,12100\n8000,\n")
    assert main(["fit", "capacity_linear", str(table), "--y", "bits"]) == 2
    assert "all 2 rows have parameters 4,000" in capsys.readouterr().err
    table.write_text("parameters,bits\n4000,12000\n4000,12100\n8000,24000\n")
    assert main(["fit", "capacity_linear", str(table), "--y", "bits"]) == 0
