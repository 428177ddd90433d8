"""Names in tables that pandas would take for missing numbers, and indices that it hides."""

import pandas as pd
import pytest

from capacity.cli.main import main

ROWS = [(4000, 12000), (7000, 22600), (11000, 36500), (21000, 72000)]


@pytest.fixture
def table(tmp_path):
    names = ["NA", "None", "null", "adam"]
    lines = [f"{name},{p},{b + i}" for i, name in enumerate(names) for p, b in ROWS]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["optimizer,parameters,bits", *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize("name", ["NA", "None", "null", "adam"])
def test_rows_are_selected_by_a_name_that_means_missing_elsewhere(table, capsys, name):
    line = ["fit", "capacity_linear", table, "--y", "bits", "--where", f"optimizer={name}"]
    assert main(line) == 0
    assert "4 points in 4 clusters" in capsys.readouterr().out


def test_the_best_of_each_name_is_kept(table, capsys):
    line = ["fit", "capacity_linear", table, "--y", "bits", "--best-per", "optimizer,parameters"]
    assert main(line) == 0
    assert "best per optimizer, parameters: 16 rows of 16 kept" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_name_that_may_mean_missing_is_no_cluster(table, capsys):
    line = ["fit", "capacity_linear", table, "--y", "bits", "--cluster", "optimizer"]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert "column 'optimizer' is empty, NA or None in lines 2, 3, 4" in told


def test_the_index_of_a_frame_is_a_column_of_its_parquet_file(tmp_path, capsys):
    frame = pd.DataFrame(ROWS, columns=["parameters", "bits"])
    frame.set_index("parameters").to_parquet(tmp_path / "t.parquet")
    assert main(["fit", "capacity_linear", str(tmp_path / "t.parquet"), "--y", "bits"]) == 0
    out = capsys.readouterr().out
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["fit", "capacity_linear", str(tmp_path / "t.csv"), "--y", "bits"]) == 0
    assert capsys.readouterr().out == out.replace("t.parquet", "t.csv")
