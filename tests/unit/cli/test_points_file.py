"""Tables as people write them: understood, with the same numbers, and told; or refused in one line
that names the file, the line, a sample and the remedy."""

import gzip
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.cli import cell_numbers, points_file, points_table
from capacity.cli.help import FIT_TABLE_HELP
from capacity.cli.main import main
from capacity.fitting.points import Columns

CASES = Path(__file__).parents[2] / "data" / "cases"
FIT = ["fit", "capacity_linear"]


def fitted(tmp_path, capsys, table, *options):
    """(values and intervals at full precision, notes) of `capacity fit`."""
    out = tmp_path / "o.json"
    assert main([*FIT, str(table), "--y", "bits", *options, "--output", str(out)]) == 0
    tree = json.loads(out.read_text())
    record = tree["fits"][0]["record"]
    notes = capsys.readouterr().err
    assert notes.count("\n") == len(tree["notes"])
    return {k: record[k] for k in ("parameters", "intervals", "inputs_sha256", "points")}, notes


@pytest.mark.parametrize(
    "name,told",
    [
        ("bom_spaces.csv", []),
        ("comment.csv", ["1 comment line left out (line 1)"]),
        ("latin1.csv", ["byte 0xf6 in line 1 is not UTF-8: read as Latin-1"]),
        ("semicolon.csv", ["separated by semicolons", "decimal commas (11465,0 is 11465)"]),
        ("tab.csv", ["separated by tabs"]),
        ("tab.tsv", ["separated by tabs"]),
        ("thousands.csv", ["'bits': commas group thousands (11,465 is 11465)", "'parameters'"]),
    ],
)
def test_every_dialect_gives_the_fit_of_its_clean_twin(tmp_path, capsys, name, told):
    plain, none = fitted(tmp_path, capsys, CASES / "fit_plain.csv")
    assert none == ""
    table = CASES / f"fit_{name}"
    found, notes = fitted(tmp_path, capsys, table)
    assert found == plain
    assert notes.count("\n") == len(told)
    assert all(f"capacity: note: {table}: " in notes and words in notes for words in told)


def test_packed_piped_utf16_and_crlf_tables_give_the_same_fit(tmp_path, capsys, monkeypatch):
    plain, _ = fitted(tmp_path, capsys, CASES / "fit_plain.csv")
    text = (CASES / "fit_plain.csv").read_text()
    forms = {
        "t.csv.gz": gzip.compress(text.encode()),
        "gz_by_content.csv": gzip.compress(text.encode()),
        "crlf.csv": text.replace("\n", "\r\n").encode(),
        "old_mac.csv": text.replace("\n", "\r").encode(),
        "no_ending": text.rstrip("\n").encode(),
        "excel_unicode.txt": text.replace(",", "\t").encode("utf-16"),
        "blank_lines.csv": ("\n" + text.replace("\n", "\n\n") + " \n,\n").encode(),
        "index.csv": pd.read_csv(CASES / "fit_plain.csv").to_csv().encode(),
        "quoted.csv": ('"parameters" , "bits"\n' + text.partition("\n")[2]).encode(),
        "numpy.txt": ("# " + text.replace(",", " ")).encode(),
        "bars.txt": text.replace(",", " | ").encode(),
        "apostrophes.csv": text.replace("11465", "11'465").replace("22688", "22 688").encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        assert fitted(tmp_path, capsys, tmp_path / name)[0] == plain, name
    pd.read_csv(CASES / "fit_plain.csv").to_parquet(tmp_path / "t.parquet")
    assert fitted(tmp_path, capsys, tmp_path / "t.parquet")[0] == plain

    class Pipe:
        buffer = open(CASES / "fit_plain.csv", "rb")  # noqa: SIM115 (closed below)

    monkeypatch.setattr("sys.stdin", Pipe)
    assert fitted(tmp_path, capsys, "-")[0] == plain
    Pipe.buffer.close()


def test_units_and_percents_are_understood_and_their_rounding_is_told(tmp_path, capsys):
    found, notes = fitted(tmp_path, capsys, CASES / "fit_human.csv")
    plain, _ = fitted(tmp_path, capsys, CASES / "fit_plain.csv")
    # 4.1K may be 4050 to 4150, and alpha moves by no more than the worst of both columns
    assert "(4.1K is 4100); such cells are rounded by up to 1.2%" in notes
    alpha, exact = (f["parameters"]["alpha"]["value"] for f in (found, plain))
    assert abs(alpha / exact - 1) < 0.0122 + 0.0044
    shutil.copy(CASES / "fit_percent.csv", tmp_path / "t.csv")
    out = tmp_path / "o.json"
    assert main([*FIT, str(tmp_path / "t.csv"), "--y", "kept", "--output", str(out)]) == 0
    assert "column 'kept': percents are parts of 1 (90% is 0.9)" in capsys.readouterr().err
    assert json.loads(out.read_text())["fits"][0]["record"]["target_range"] == [0.90, 0.97]


@pytest.mark.parametrize(
    "text,said",
    [
        (
            (CASES / "fit_ragged.csv").read_bytes(),
            "line 3 has 3 cells, the header in line 1 has 2 ",
        ),
        (b"", "empty, expected a line of column names"),
        (b" \n\n", "empty, expected"),
        (b"parameters,bits\n", "no rows below the column names parameters, bits"),
        (b"# only\n# words\n", "comments only"),
        (b"4072,11465\n7260,22688\n", "line 1 holds numbers only (4072, 11465), expected column"),
        (b"parameters,bits\n1e3\n", "line 2 has 1 cell, the header in line 1 has 2 (1e3): fill"),
        (b"Table 3\nparameters,bits\n1,2\n", "line 2 has 2 cells, the header in line 1 has 1"),
        (b'parameters,bits\n"1e3,5\n2e3,6\n', "line 2: unexpected end of data"),
        (b"PK\x03\x04....", "a spreadsheet or a zip archive: save the sheet as CSV"),
        (b"\x1f\x8b....", "gzip cannot be unpacked"),
        (gzip.compress(b"parameters,bits\n1,2\n" * 99, mtime=0)[:30], "gzip cannot be unpacked"),
        (b"PAR1....", "not a table"),
        (b'[{"parameters": 1}]', "JSON, expected a table: write it as CSV"),
        (b"parameters,bits\n1e3,5\0\n", "byte 22 is 0: not a text file"),
        (b"parameters,bits,bits\n1e3,5,6\n", "2 columns are named 'bits' (columns 2 and 3)"),
        (b"parameters, bits,bits \n1e3,5,6\n", "2 columns are named 'bits' (columns 2 and 3)"),
        (b"parameters,Bits\n1e3,5\n", "no column 'bits' (did you mean Bits?)"),
        (b"parameters,bits\n1e3,10^9\n", "column 'bits', line 2: '10^9' is no number: expected"),
        (b"parameters,bits\n70m,5\n", "column 'parameters', line 2: '70m' is no number"),
        (b"parameters,bits\n1e3,~5\n", "column 'bits', line 2: '~5' is no number"),
        (b"parameters;bits\n1e3;4,072\n", "line 2: '4,072' may be 4072 or 4.072: write which"),
        (
            b'parameters,bits\n1e3,"4,072"\n1e3,11465\n',
            "line 2: '4,072' may be 4072 or 4.072: write which",
        ),
        (b"parameters;bits\n4.072;1,5\n", "'4.072' may be 4072 or 4,072 beside decimal commas"),
        (b'parameters,bits\n1e3,"1,5"\n1e3,"1,234,567"\n', "has a decimal comma, but commas of"),
        (b"parameters,bits\n1e3,90%\n1e3,0.9\n", "line 3: '0.9' has no %, '90%' has one"),
        (b"parameters,bits\n1e3,5\n#2e3,6\n", "line 3 begins with # and has as many cells"),
        (b"parameters,bits\n1e3,\n2e3,NaN\n3e3,inf\n", "no row has a finite number in bits"),
        (b"parameters,bits\n0.0041,11465\n", "parameters = 0.0041 in line 2: below one; if param"),
        (b"parameters,bits\n0,11465\n", "parameters = 0 in line 2: below one"),
    ],
)
def test_what_cannot_be_understood_is_one_line_with_the_remedy(tmp_path, capsys, text, said):
    (tmp_path / "t.csv").write_bytes(text)
    assert main([*FIT, str(tmp_path / "t.csv"), "--y", "bits"]) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert error.startswith(f"capacity: error: {tmp_path / 't.csv'}: ") and said in error
    assert all(note.startswith("capacity: note: ") for note in notes)


def test_rows_without_a_number_are_left_out_by_one_rule_counted_and_named(tmp_path, capsys):
    rows = (CASES / "fit_plain.csv").read_text().splitlines()
    rows[3:3] = ["5000,NaN", "NA,17000", "6000,", "5000,inf", ","]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    plain, _ = fitted(tmp_path, capsys, CASES / "fit_plain.csv")
    found, notes = fitted(tmp_path, capsys, tmp_path / "t.csv")
    assert found["parameters"] == plain["parameters"]
    assert found["points"]["left_out"] == {
        "no finite number in bits": 3,
        "no finite number in parameters": 1,
    }
    assert "3 rows left out, no finite number in bits: lines 4, 6, 7\n" in notes
    assert "1 row left out, no finite number in parameters: line 5\n" in notes
    assert "1 row of empty cells left out (line 8)" in notes


def test_counts_in_millions_are_scaled_by_a_product_and_small_counts_are_told(tmp_path, capsys):
    table = pd.read_csv(CASES / "fit_plain.csv")
    (table / [1e3, 1]).to_csv(tmp_path / "t.csv", index=False)
    plain, _ = fitted(tmp_path, capsys, CASES / "fit_plain.csv")
    found, notes = fitted(tmp_path, capsys, tmp_path / "t.csv", "--x", "parameters=1e3*parameters")
    exact = plain["parameters"]["alpha"]["value"]
    assert found["parameters"]["alpha"]["value"] == pytest.approx(exact, rel=1e-9) and not notes
    _, notes = fitted(tmp_path, capsys, tmp_path / "t.csv")
    assert "parameters is at most 21.4: if parameters is in millions, say --x 'par" in notes


def test_a_variable_is_a_column_or_a_product_of_columns_numbers_and_variables():
    table = pd.DataFrame({"N": [2.0, 4.0], "C": [120.0, 480.0], "a/b": [1.0, 2.0], "y": [3.0, 5.0]})
    for text, values in {
        "C/6/N": [10.0, 20.0],
        "20*parameters": [40.0, 80.0],
        "1e9": [1e9, 1e9],
        "a/b": [1.0, 2.0],
        " C / 6 / N ": [10.0, 20.0],
    }.items():
        notes = []
        columns = Columns(y="y", x={"parameters": "N", "tokens": text})
        ready, named = points_table.prepare(table, columns, ["parameters", "tokens"], notes)
        assert ready[named.x["tokens"]].tolist() == values
    with pytest.raises(ValueError, match="no column 'D'"):
        points_table.prepare(table, Columns(y="y", x={"tokens": "20*D"}), ["tokens"], [])


def test_rows_of_one_run_are_one_cluster_unless_told_otherwise(tmp_path, capsys):
    args = ["fit", "chinchilla", str(CASES / "fit_checkpoints.csv"), "--y", "loss"]
    args += ["--x", "parameters=N", "--x", "tokens=D"]
    assert main(args) == 0
    out, notes = capsys.readouterr()
    assert "30 points in 6 clusters" in out and "30 rows of 6 runs in column 'run'" in notes
    assert main([*args, "--cluster", "none"]) == 0
    out, notes = capsys.readouterr()
    assert "30 points in 30 clusters" in out and not notes
    rows = (CASES / "fit_checkpoints.csv").read_text().replace("\nm1,", "\n,", 1)
    (tmp_path / "t.csv").write_text(rows)
    assert main([*args[:2], str(tmp_path / "t.csv"), *args[3:]]) == 2
    assert "column 'run' is empty, NA or None in line 7: a row needs" in capsys.readouterr().err


NUMBERS = st.floats(1e-6, 1e12).map(lambda x: float(f"{x:.9g}"))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([("plain", "."), ("grouped", "."), ("plain", ","), ("grouped", ",")]),
    st.booleans(),
)
def test_a_table_written_in_any_dialect_reads_back_to_the_same_numbers(
    tmp_path_factory, rows, separator, ending, encoding, style, packed
):
    grouped, dot = style
    if dot == "," and separator == ",":
        grouped, dot = "plain", "."

    def number(x):
        text = f"{x:,.7f}" if grouped == "grouped" else f"{x:.7f}"
        return text if dot == "." else text.translate(str.maketrans(",.", ".,"))

    def cell(text):
        special = any(c in text for c in f'"{separator}\r\n') or text.startswith("#")
        return '"' + text.replace('"', '""') + '"' if special else text

    lines = [["parameters", "model", "bits"]]
    lines += [[number(p), text, number(y)] for p, y, text in rows]
    content = ending.join(separator.join(map(cell, line)) for line in lines).encode(encoding)
    path = tmp_path_factory.mktemp("dialect") / "t.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    notes = []
    table = points_file.read(path, notes)
    ready, named = points_table.prepare(
        table, Columns(y="bits", x={"exposures": "parameters"}), ["exposures"], notes
    )
    for column, place in ((named.x["exposures"], 0), (named.y, 1)):
        expected = [float(f"{row[place]:.7f}") for row in rows]
        np.testing.assert_array_equal(ready[column], expected)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_cell_is_a_number_missing_or_one_line(text):
    try:
        (value,) = cell_numbers.parse([text], "c", ["line 2"], ",", [])
        assert isinstance(float(value), float)
    except ValueError as error:
        assert "column 'c', line 2" in str(error) and "\n" not in str(error).replace(repr(text), "")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "t.csv"
    path.write_bytes(content)
    try:
        assert len(points_file.read(path, []))
    except ConfigError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_one_budget_prints_no_interval_for_what_it_cannot_tell(capsys):
    args = ["fit", "chinchilla", str(CASES / "fit_one_budget.csv"), "--y", "loss"]
    args += ["--x", "parameters=N", "--x", "tokens=D", "--at", "parameters=1e9,tokens=1e11"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for name in ("e", "b", "beta"):
        # any number: which one of a flat valley is a matter of rounding, and so of the CPU
        assert re.search(rf"^    {name} +[\d.,e+-]+ +not identified", out, re.MULTILINE)
    assert re.search(r"^    alpha +0\.2669 +\[", out, re.MULTILINE)
    words = " ".join(out.split())
    assert "leave every fitted value as it is, because tokens is 4.4e+09 at every point" in words
    # the value is one of many, and which one is no matter of the points
    assert re.search(r"tokens = 1e\+11: [\d.]+ nats per token \(no interval: not identified", words)
    assert "beta" not in words.split("by other losses:")[1]


def _sweep(tmp_path):
    """Losses of a grid of sizes and tokens, three learning rates each, of which one is best."""
    dice = np.random.default_rng(0)
    n, d, lr = (a.ravel() for a in np.meshgrid([1e7, 3e7, 1e8, 3e8], [1e9, 3e9, 1e10], [1, 2, 3]))
    loss = 1.8 + 480 / n**0.35 + 2000 / d**0.35
    worse = np.where(lr == 2, 0.0, dice.uniform(0.05, 0.3, len(n)))
    noise = 0.002 * dice.standard_normal(len(n))
    table = pd.DataFrame({"N": n, "C": 6 * n * d, "D": d, "lr": lr, "loss": loss + worse + noise})
    table = table.sample(frac=1, random_state=1)
    table.to_csv(tmp_path / "sweep.csv", index=False)
    table[table.lr == 2].to_csv(tmp_path / "best.csv", index=False)


def test_the_best_of_each_group_is_fitted_and_its_bias_is_told(tmp_path, capsys):
    _sweep(tmp_path)

    def fit_it(name, *options, tokens="D"):
        out = tmp_path / "o.json"
        args = ["fit", "chinchilla", str(tmp_path / name), "--y", "loss", "--x", "parameters=N"]
        args += ["--x", f"tokens={tokens}", *options, "--output", str(out)]
        assert main(args) == 0
        return json.loads(out.read_text())["fits"][0]["record"], capsys.readouterr()

    best, _ = fit_it("best.csv")
    for groups, tokens in (("N,D", "D"), ("N, C/6/N", "C/6/N")):
        named = ", ".join(map(str.strip, groups.split(",")))
        found, told = fit_it("sweep.csv", "--best-per", groups, tokens=tokens)
        for name, entry in best["parameters"].items():
            assert found["parameters"][name]["value"] == pytest.approx(entry["value"], rel=1e-6)
        assert found["points"]["left_out"] == {f"not the best per {named}": 24}
        assert (
            f"best per {named}: 12 rows of 36 kept, the lowest loss of 3 rows each; the lowest of "
            "k noisy rows lies below their mean, here by 0.85 standard deviations" in told.err
        )
    tie, told = fit_it("sweep.csv", "--best-per", "N,D", "--tie", "alpha=beta")
    assert "alpha, beta" in told.out and "alpha" not in tie["parameters"]
    assert tie["parameters"]["beta"]["value"] == pytest.approx(0.35, abs=0.02)


def test_the_mean_of_the_largest_of_some_normal_numbers_is_the_published_one():
    """Closed forms: 0, 1 / sqrt(pi), 3 / (2 sqrt(pi)); k = 10 from tables (Teichroew 1956)."""
    root = np.sqrt(np.pi)
    for k, mean in ((1, 0.0), (2, 1 / root), (3, 1.5 / root), (10, 1.5387527308)):
        assert points_table.largest_of(k) == pytest.approx(mean, abs=1e-9)


def test_the_highest_is_the_best_of_what_is_held(tmp_path, capsys):
    table = pd.read_csv(CASES / "fit_plain.csv")
    table.to_csv(tmp_path / "t.csv", index=False)
    found, notes = fitted(tmp_path, capsys, tmp_path / "t.csv", "--best-per", "parameters")
    best = table.sort_values("bits").groupby("parameters").tail(1)
    assert found["points"]["fitted"] == 4 and "the highest bits of 2 rows each" in notes
    ratio = np.exp(np.log(best.bits / best.parameters).mean())
    assert found["parameters"]["alpha"]["value"] == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize(
    "options,said",
    [
        (["--best-per", "parameters,seed"], "no column 'seed'"),
        (["--best-per", "parameters", "--lower-bound", "low"], "a bound is no best, leave it out"),
        (["--tie", "alpha=beta"], "capacity_linear has no parameter"),
        (["--tie", "alpha"], "--tie alpha: expected PARAMETER=PARAMETER"),
        (["--fix", "gamma=1"], "capacity_linear has no parameter 'gamma'"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path, capsys, options, said):
    pd.read_csv(CASES / "fit_plain.csv").assign(low="false").to_csv(tmp_path / "t.csv", index=False)
    assert main([*FIT, str(tmp_path / "t.csv"), "--y", "bits", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_rows_that_decide_a_parameter_are_named_with_what_it_is_without_them(tmp_path, capsys):
    dice = np.random.default_rng(4)
    p = np.geomspace(1e3, 1e6, 24)
    y = 2.5 * p**1.05 * np.exp(0.01 * dice.standard_normal(24))
    y[20] *= 1.5
    pd.DataFrame({"parameters": p, "bits": y}).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "o.json"
    args = ["fit", "capacity_power", str(tmp_path / "t.csv"), "--y", "bits", "--delta", "inf"]
    assert main([*args, "--output", str(out)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    (row,) = json.loads(out.read_text())["fits"]
    assert row["influence"]["rows"] == [22] and row["influence"]["counted_by"] == "line"
    assert re.search(r"! 1 of 24 points \(line 22\) decides gamma: without it it is 1\.0[45]", told)
    pd.DataFrame({"parameters": p, "bits": y}).drop(20).to_csv(tmp_path / "t.csv", index=False)
    assert main([*args, "--output", str(out)]) == 0
    (other,) = json.loads(out.read_text())["fits"]
    assert other["values"] == pytest.approx(row["influence"]["values"], rel=1e-9)
    assert other["influence"] is None


def test_the_examples_of_the_help_work_as_printed(tmp_path, capsys, monkeypatch):
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(5e7, 5e9, 5), np.geomspace(1e9, 1e11, 4)))
    dice = np.random.default_rng(0)
    loss = (1.8 + 480 / n**0.35 + 2000 / d**0.35) * np.exp(0.002 * dice.standard_normal(20))
    table = pd.DataFrame({"N": n, "D": d, "size": n / 1e6, "C": 6 * n * d, "loss": loss})
    table.to_csv(tmp_path / "losses.csv", index=False)
    table.to_csv(tmp_path / "sweep.tsv.gz", index=False, sep="\t", compression="gzip")
    pocket = tmp_path / "results" / "studies" / "pocket"
    pocket.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[3] / "results" / "studies" / "pocket" / "runs.csv", pocket)
    monkeypatch.chdir(tmp_path)
    examples = FIT_TABLE_HELP.partition("examples:\n")[2].replace("\\\n", " ").splitlines()
    assert len(examples) == 4
    for example in examples:
        verb, *words = shlex.split(example)
        assert verb == "capacity" and main(words) == 0, example
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
    assert json.loads((tmp_path / "corner.json").read_text())["fits"]
