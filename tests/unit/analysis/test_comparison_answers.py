"""What comparisons say: of people, unasked beside the law and the page, and by the command."""

import json

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.comparison import command as verb
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.comparison import variants
from capacity.analysis.finding import Options
from capacity.base.table import Table
from capacity.base.words import digits
from capacity.cli.main import main
from capacity.report import text
from comparisons import PEOPLE, RANDOM, judged, planted_people, write  # noqa: F401
from planted import plant

# People, the best over settings


def test_people_are_compared_by_the_best_over_tried_settings(tmp_path):
    study = write(tmp_path, tmp_path / "r", PEOPLE)
    table = run_table.table(tmp_path / "r", study.runs)
    row = judged(study, tmp_path / "r", {"train.optimizer": "muon"}, {"train.optimizer": "adamw"})
    assert (
        row["best_of"] == {"A": 1, "B": 2}
        and row["pairs_of_runs"] == 4
        and row["units"] == 2
        and row["left_out"] == {}
    )
    best = table[table["train.optimizer"] == "adamw"].groupby(["exposures", "seed"]).bits.max()
    muon = table[table["train.optimizer"] == "muon"].groupby(["exposures", "seed"]).bits.sum()
    assert row["effect"] == pytest.approx(muon.mean() / best.mean())
    by_accuracy = judged(
        study, tmp_path / "r", {"train.optimizer": "muon"}, {"train.optimizer": "adamw"}, "accuracy"
    )
    assert by_accuracy["number"] == "column accuracy" and by_accuracy["units"] == 2
    told = variants.differences(study, table)
    assert [(c["at"], c["a"], c["b"]) for c in told["comparisons"]] == [
        ("100 exposures", "optimizer=muon", "optimizer=adamw"),
        ("200 exposures", "optimizer=muon", "optimizer=adamw"),
    ]
    full = judged(
        study,
        tmp_path / "r",
        {"train.optimizer": "muon"},
        {"train.optimizer": "adamw"},
        change=lambda t: t.assign(
            bits=np.where(
                (t.seed == 0) & (t["train.exposures"] == 200),
                0.999 * t.ceiling_bits,
                np.where(t["train.exposures"] == 200, 0.92 * t.ceiling_bits, t.bits),
            )
        ),
    )
    assert (
        full["left_out"] == {"holds over 95% of its data": 2} and full["pairs_of_runs"] == 2
    )  # by the mean over seeds: none is picked by its noise


def test_where_a_number_is_not_positive_differences_are_taken(tmp_path):
    study = write(tmp_path, tmp_path / "r", PEOPLE)
    row = judged(
        study,
        tmp_path / "r",
        {"train.optimizer": "muon"},
        {"train.optimizer": "adamw"},
        change=lambda t: t.assign(bits=t.bits - t.bits.median()),
    )
    assert row["what"] == "A - B" and row["effect"] == pytest.approx(
        row["mean"]["A"] - row["mean"]["B"]
    )


# What is said without being asked


def test_fit_laws_and_the_page_tell_the_differences_of_architectures(tmp_path):
    study = write(tmp_path, tmp_path, RANDOM)
    table = run_table.table(tmp_path, study.runs)
    found = kinds.analyse(study, table, tmp_path, Options(bootstraps=100))
    told = found.numbers["differences"]
    assert json.loads(found.json())["differences"] == told and told["reason"] is None
    (row,) = told["comparisons"]
    assert row["differs"] == "more" and row["effect"] == pytest.approx(1.2, rel=0.02)
    document = kinds.document(found)
    words = text.render(document)
    assert "Differences between architectures: strict bits per parameter" in words
    by_name = "mlp=gated, activation=silu stores more than mlp=standard, activation=gelu"
    assert by_name in " ".join(words.split())
    assert max(map(len, words.splitlines())) <= 80
    section = document.section("differences")
    (shown,) = [block for block in section.blocks if isinstance(block, Table)]
    assert digits(row["effect"], 4) in shown.rows[-1]
    plain = plant(tmp_path / "p", "pocket")
    table = run_table.table(tmp_path / "p", plain.runs)
    without = kinds.analyse(plain, table, tmp_path / "p", Options(bootstraps=100))
    assert "differences" not in without.numbers


def test_every_architecture_stands_beside_the_first(tmp_path):
    study = plant(tmp_path, "physics33/06_architectures_100@pocket")
    table = run_table.table(tmp_path, study.runs)
    told = variants.differences(study, table)
    assert told["first"] == "GPT2" and [c["a"] for c in told["comparisons"]] == [
        "GPT2 1/4",
        "GPT2 no MLP",
        "LLaMA",
        "Mistral",
    ]
    assert all(
        c["units"] == 3 and c["over_sizes"]["interval"] is None and c["differs"] is None
        for c in told["comparisons"]
    )
    shuffled = variants.differences(study, table.sample(frac=1, random_state=1))
    assert json.dumps(shuffled) == json.dumps(told)  # the order of a table is free
    from capacity.report import page

    found = kinds.analyse(study, table, tmp_path, Options(bootstraps=100))
    request = page.Request(study.name, study, table, tmp_path, [])
    content = page.build(request, found).decode()
    section = content[content.index('<section id="differences">') :]
    section = section[: section.index("</section>")]
    assert (
        section.count('<th scope="row">') == 4
        and "against GPT2" in section
        and ">Mistral<" in section
        and '<a href="#differences">' in content
    )


# The command


def test_the_command_prints_and_writes_every_comparison(tmp_path, capsys):
    study = write(tmp_path, tmp_path / "r", PEOPLE)
    command = ["compare", str(tmp_path / "s.yaml"), "--results", str(tmp_path / "r")]
    assert (
        main(
            [
                *command,
                "--a",
                "train.optimizer=muon",
                "--b",
                "train.optimizer=adamw,train.lr=0.02",
                "--b",
                "train.optimizer=adamw,train.lr=0.04",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert (
        max(map(len, out.splitlines()[:-4])) <= 80  # then paths
        and out.count("=> ") == 2
        and "corrected for 2 comparisons" in " ".join(out.split())
    )
    path = tmp_path / "r" / "studies" / study.name / "compare.json"
    told = json.loads(path.read_text())
    pictures = [str(path.parent / "figures" / f"compare.{kind}") for kind in ("png", "pdf", "csv")]
    assert out.splitlines()[-4:] == [str(path), *pictures]
    assert [row["b"] for row in told["comparisons"]] == [
        "train.optimizer=adamw,train.lr=0.02",
        "train.optimizer=adamw,train.lr=0.04",
    ]
    assert (
        len(told["inputs_sha256"]) == 64
        and told["versions"]["capacity"]
        and told["convention"]["p"]
    )
    runs = compared_runs.read(study, run_table.table(tmp_path / "r", study.runs))
    again = verb.against(
        study,
        runs,
        "train.optimizer=muon",
        ["train.optimizer=adamw,train.lr=0.02", "train.optimizer=adamw,train.lr=0.04"],
    )
    assert again == told


def test_without_sides_it_names_what_varies(tmp_path, capsys):
    write(tmp_path, tmp_path / "r", PEOPLE)
    assert main(["compare", str(tmp_path / "s.yaml"), "--results", str(tmp_path / "r")]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "train.exposures: 100, 200",
        "train.lr: 0.02, 0.03, 0.04",
        "train.optimizer: adamw, muon",
    ]
    assert "compare needs --a KEY=VALUE and --b KEY=VALUE" in err and err.count("\n") == 1
    assert not (tmp_path / "r" / "studies").exists()


@pytest.mark.parametrize(
    "args, words",
    [
        (
            ["--a", "train.optimiser=muon", "--b", "train.optimizer=adamw"],
            ["train.optimiser: no such setting", "did you mean train.optimizer?"],
        ),
        (
            ["--a", "train.optimizer=lion", "--b", "train.optimizer=adamw"],
            ["train.optimizer=lion: no run has it", "adamw, muon"],
        ),
        (["--a", "muon", "--b", "train.optimizer=adamw"], ["'muon': expected KEY=VALUE"]),
        (["--a", "train.lr=0.03,train.lr=0.02", "--b", "train.lr=0.02"], ["train.lr: named twice"]),
        (["--a", "train.lr=0.04", "--b", "train.lr=0.040"], ["A and B share 4 run(s)"]),
        (
            ["--a", "train.lr=0.04", "--b", "train.lr=0.02", "--value", "acuracy"],
            ["--value acuracy: no numeric column", "did you mean accuracy?"],
        ),
        (
            ["--a", "train.lr=0.04", "--b", "train.lr=0.02", "--value", "model"],
            ["--value model: no numeric column"],
        ),
    ],
    ids=lambda x: " ".join(x)[:40],
)
def test_bad_sides_are_one_line_with_code_2_and_write_nothing(planted_people, capsys, args, words):
    file, results = planted_people
    assert main(["compare", file, "--results", str(results), *args]) == 2
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.count("\n") == 1
        and err.startswith("capacity: error: ")
        and [w for w in words if w not in err] == []
    )
    assert not (results / "studies").exists()


def test_text_needs_a_column_and_nothing_finished_is_said(tmp_path, capsys):
    plant(tmp_path, "morris/membership@pocket")
    assert main(["compare", "morris/membership@pocket", "--results", str(tmp_path)]) == 2
    assert "name a column with --value" in capsys.readouterr().err
    assert main(["compare", "pocket", "--results", str(tmp_path / "none")]) == 2
    assert "no finished run" in capsys.readouterr().err
