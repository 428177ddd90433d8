"""Does A store more than B: pairs of runs, what they could show, and what is said without being
asked."""

import json
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity import records, run_table
from capacity.analysis import kinds
from capacity.analysis.comparison import command as verb
from capacity.analysis.comparison import judgement, pairs, variants, wording
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.document import Document
from capacity.analysis.finding import Options
from capacity.base.table import Table
from capacity.base.words import digits
from capacity.cli.main import main
from capacity.fitting import statistics
from capacity.report import text
from capacity.study import load_study
from planted import plant, record

RANDOM = """
question: does a gated MLP store more?
pins: [data=uniform, data.vocab_size=64, data.seq_len=16, model=gpt, model.n_layers=2, train=adamw, train.exposures=200, train.warmup_steps=10]
grids:
  - form: [{model.mlp: standard, model.activation: gelu}, {model.mlp: gated, model.activation: silu}]
    size: [{model.d_model: 8, model.n_heads: 2}, {model.d_model: 16, model.n_heads: 4}]
    data.load: [1.0, 5.0, 6.5]
    seed: [0, 1, 2]
"""  # noqa: E501
PEOPLE = """
question: which optimizer?
scale: pocket
pins: [data=bios_pocket, model=pocket, train=pocket_bios, data.n_people=200, model.d_model=16, model.n_heads=2]
best_over: [train.lr]
grids:
  - train.exposures: [100, 200]
    seed: [0, 1]
    optimizer:
      - {train.optimizer: adamw, train.lr: 0.02}
      - {train.optimizer: adamw, train.lr: 0.04}
      - {train.optimizer: muon, train.lr: 0.03}
"""  # noqa: E501
GATED = {"model.mlp": "gated"}, {"model.mlp": "standard"}


def write(here, results, text=RANDOM, better=1.2, keep=lambda config: True):
    """A study with records by `keep`; random data: C = 3 P, `better` times that with a gated MLP,
    1% of noise, and never above the ceiling."""
    from capacity.counts import uniform_ceiling_bits

    (here / "s.yaml").write_text(text)
    if text != RANDOM:
        return plant(results, str(here / "s.yaml"))
    study, dice = load_study(str(here / "s.yaml"), []), np.random.default_rng(0)
    for i, config in enumerate(study.runs):
        p, ways = config.parameters["total"], {}
        held = (
            3.0
            * p
            * (better if config.model.mlp == "gated" else 1.0)
            * math.exp(dice.normal(0, 0.01))
        )
        for way in ("strict", "paper"):
            most = uniform_ceiling_bits(
                config.items, config.data.seq_len, config.data.vocab_size, way
            )
            bits = min(held, 0.999 * most)
            ways[way] = {
                "bits": bits,
                "ceiling_bits": most,
                "fraction_of_ceiling": bits / most,
                "bits_per_parameter": {
                    "total": bits / p,
                    "paper": bits / config.parameters["paper"],
                },
            }
        if keep(config):
            records.write(results, record(config, {"memorization": ways}, i))
    return study


def judged(study, results, a, b, value=None, change=lambda table: table):
    runs = compared_runs.read(study, change(run_table.table(results, study.runs)), value)
    found = pairs.pair(
        runs, compared_runs.select(runs, a), compared_runs.select(runs, b), set(a) | set(b)
    )
    return judgement.corrected([{"a": "A", "b": "B"} | judgement.judge(runs, found)], runs.stores)[
        0
    ]


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    here = tmp_path_factory.mktemp("gated")
    return write(here, here / "results"), here / "results"


# Planted differences


STORES = SimpleNamespace(number="bits", stores=True, kind="random data")


def simulated(d, size, seed):
    """A comparison of pairs whose log ratios are d; shapes and seeds have noise of their own that
    both sides share."""
    dice = np.random.default_rng(len(d))
    shared = np.exp(0.3 * dice.standard_normal(50)[size] + 0.2 * dice.standard_normal(50)[seed])
    frame = pd.DataFrame(
        {
            "value_a": 3 * shared * np.exp(d),
            "value_b": 3 * shared,
            "size": [f"2x{s}" for s in size],
            "seed": seed,
            "left_out": "",
        }
    )
    for side in "ab":
        frame = frame.assign(
            **{
                f"rising_{side}": False,
                f"parameters_{side}": 1.0,
                f"run_id_{side}": [f"{side}{i}" for i in range(len(d))],
            }
        )
    row = judgement.judge(STORES, pairs.Paired(frame, {"A": 0, "B": 0}, {}, {"A": 1, "B": 1}))
    return {"a": "A", "b": "B"} | row


def studies(n_sizes, n_seeds, times, shift=0.0, sd=0.03, of_size=0.0):
    size, seed = np.repeat(np.arange(n_sizes), n_seeds), np.tile(np.arange(n_seeds), n_sizes)
    dice = np.random.default_rng(1)
    return [
        simulated(
            shift
            + of_size * dice.standard_normal(n_sizes)[size]
            + sd * dice.standard_normal(len(size)),
            size,
            seed,
        )
        for _ in range(times)
    ]


@pytest.mark.parametrize(
    "n_sizes, n_seeds", [(3, 2), (4, 2), (6, 2)], ids=["6 pairs", "8 pairs", "12 pairs"]
)
def test_the_stated_difference_is_shown_in_four_of_five_studies(n_sizes, n_seeds):
    n, sd = n_sizes * n_seeds, 0.03
    rows = judgement.corrected(studies(n_sizes, n_seeds, 1, sd=sd), True)
    assert rows[0]["detectable"]["effect"] == pytest.approx(
        math.expm1(statistics.standardized_effect(n) * rows[0]["sd"]), rel=1e-3
    )
    told = [
        judgement.corrected([row], True)[0]["differs"]
        for row in studies(n_sizes, n_seeds, 180, statistics.standardized_effect(n) * sd)
    ]
    assert (
        np.mean([side == "more" for side in told]) == pytest.approx(0.8, abs=0.065)
        and "less" not in told
    )


def test_no_difference_is_seldom_called_one():
    together = studies(4, 2, 450)
    told = [judgement.corrected([row], True)[0]["differs"] for row in together]
    assert 0.02 < np.mean([side is not None for side in told]) < 0.07
    several = [
        any(row["differs"] for row in judgement.corrected(together[i : i + 3], True))
        for i in range(0, 450, 3)
    ]
    assert np.mean(several) < 0.1  # 5% and three standard errors of 150 studies
    inside = [row["interval"][0] < 1 < row["interval"][1] for row in together]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_only_the_interval_over_sizes_holds_for_other_sizes():
    """Sizes whose true differences scatter about 0: over pairs these count as known, so for other
    sizes that interval is too short."""
    rows = studies(5, 2, 200, sd=0.01, of_size=0.03)
    covered = [
        np.mean([r["interval"][0] < 1 < r["interval"][1] for r in part])
        for part in (rows, [row["over_sizes"] for row in rows])
    ]
    assert covered[0] < 0.91 and covered[1] == pytest.approx(0.95, abs=0.04)


def test_a_difference_has_to_be_shown_by_interval_and_test():
    five = judgement.corrected(studies(5, 1, 1, shift=0.5), True)[0]
    assert five["interval"][0] > 1 and five["p"] == 2 / 32 and five["differs"] is None
    assert (
        "below 6 the exact test cannot reach 5%" in five["verdict"]
        and five["detectable"]["by"] == "interval alone"
    )
    six = judgement.corrected(studies(6, 1, 1, shift=0.5), True)[0]
    assert (
        six["differs"] == "more"
        and six["verdict"] == "A stores more than B at these sizes, and over sizes"
    )
    several = judgement.corrected(studies(6, 1, 2, shift=0.5), True)
    assert [row["differs"] for row in several] == [None, None] and several[0]["p_holm"] == 2 * six[
        "p"
    ]  # 0.0625
    assert "below 7" in several[0]["verdict"] and "among 2 comparisons" in several[0]["verdict"]
    less = judgement.corrected(studies(6, 1, 1, shift=-0.5), False)[0]
    assert less["differs"] == "less" and less["verdict"].startswith("A has less than B")
    one = judgement.corrected(studies(1, 1, 1, shift=0.5), True)[0]
    assert (
        one["interval"] is None
        and one["detectable"]["effect"] is None
        and "one pair" in one["verdict"]
    )


def test_needed_pairs_are_the_first_that_suffice():
    for sd, effect in ((0.02, 0.05), (0.1, 0.05), (0.3, 0.1), (0.001, 0.1)):
        n = statistics.needed_replicates(sd, effect)
        assert sd * statistics.standardized_effect(n) <= effect and (
            n == statistics.fewest_replicates() == 6
            or sd * statistics.standardized_effect(n - 1) > effect
        )
    assert statistics.needed_replicates(100.0, 0.001) is None
    effects = [statistics.detectable(1.0, n)["effect"] for n in range(2, 60)]
    assert all(math.isfinite(e) for e in effects) and effects == sorted(effects, reverse=True)
    assert 1.2 < statistics.standardized_effect(6) / effects[
        4
    ] < 1.3 and statistics.standardized_effect(10) / effects[8] == pytest.approx(1, abs=0.03)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_is_the_step_down_of_bonferroni(p):
    told = statistics.holm(p)
    known = [(x, y) for x, y in zip(p, told, strict=True) if x is not None]
    assert [y is None for y in told] == [x is None for x in p]
    assert all(x <= y <= min(1.0, len(known) * x) for x, y in known)
    for (_x, y), (_other, its) in pairwise(sorted(known)):
        assert y <= its
    for level in (0.01, 0.05, 0.3):  # the definition: reject in order until one fails
        ordered, rejected = sorted(x for x, _ in known), 0
        while rejected < len(ordered) and ordered[rejected] * (len(ordered) - rejected) <= level:
            rejected += 1
        assert sum(y <= level for _, y in known) == rejected


# Which runs are pairs


def test_runs_that_differ_in_one_thing_are_pairs_and_what_the_data_decide_is_left_out(gated):
    row = judged(*gated, *GATED)
    assert (row["pairs_of_runs"], row["units"], row["left_out"]) == (
        12,
        6,
        {"data_limited": 6},
    )  # 2 sizes, 3 seeds; the third load fits
    assert (
        row["sizes"] == ["2x8", "2x16"]
        and row["seeds"] == [0, 1, 2]
        and row["alone"] == {"A": 0, "B": 0}
    )
    assert (
        row["effect"] == pytest.approx(1.2, rel=0.02)
        and row["differs"] == "more"
        and row["p"] == 2 / 64 == 2 * row["smallest_p"]
    )
    assert row["also_differ"] == {"model.activation": ["silu", "gelu"]}
    assert row["parameters"]["A"] != row["parameters"]["B"]  # so numbers per parameter are compared
    back = judged(*gated, *reversed(GATED))
    assert (
        back["effect"] == pytest.approx(1 / row["effect"])
        and back["differs"] == "less"
        and back["p"] == row["p"]
    )


def test_missing_partners_and_other_seeds_are_counted_and_no_pairs(tmp_path):
    results = tmp_path / "results"
    study = write(
        tmp_path,
        results,
        keep=lambda c: not (c.model.mlp == "gated" and c.seed == 2 and c.model.d_model == 8),
    )
    row = judged(study, results, *GATED)
    assert (
        row["units"] == 5
        and row["alone"] == {"A": 0, "B": 3}
        and row["differs"] is None
        and "below 6" in row["verdict"]
    )
    write(
        tmp_path,
        (other := tmp_path / "other"),
        keep=lambda c: c.seed == 0 or c.model.mlp == "gated",
    )
    assert judged(study, other, *GATED)["seeds"] == [0]
    write(
        tmp_path,
        (none := tmp_path / "none"),
        keep=lambda c: (c.seed == 0) == (c.model.mlp == "gated"),
    )
    with pytest.raises(
        ValueError, match="no run of A has one of B with equal seed, exposures, amount"
    ):
        judged(study, none, *GATED)


def test_if_the_data_decide_every_pair_it_says_so(tmp_path):
    study = write(tmp_path, tmp_path / "r", keep=lambda c: c.data.load == 1.0)
    row = judged(study, tmp_path / "r", *GATED)
    assert (
        row["effect"] is None
        and row["verdict"]
        == "nothing to compare: the data decide, not the model: 6 pairs (data_limited)"
    )
    told = variants.differences(study, run_table.table(tmp_path / "r", study.runs))
    shown = text.render(wording.added(Document("a study", []), told))
    says = "None: every pair is limited by its data, not by the model: no difference between models"
    assert says in " ".join(shown.split())


def test_what_is_not_a_comparison_is_refused_in_one_line(gated):
    study, results = gated
    for a, b, says in (
        ({"data.load": 5.0}, {}, "A and B share"),
        (
            {"model.mlp": "gated", "data.load": 5.0},
            {"model.mlp": "standard", "data.load": None},
            "B has no finished run",
        ),
        ({"data.load": 5.0, "model.mlp": "gated"}, {"data.load": 6.5}, None),
        ({"model.d_model": 16.0}, {"model.d_model": 8.0}, None),
    ):
        if says is None:
            assert judged(study, results, a, b)["units"] > 1
            continue
        with pytest.raises(ValueError) as refused:
            judged(study, results, a, b)
        assert says in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_listed_can_be_named(gated, planted_people):
    file, results = planted_people
    for study, folder in (
        gated,
        (load_study(file, []), results),
        (load_study("physics33/05_architectures_1000", []), None),
    ):
        table = run_table.table(folder or results, study.runs)
        if folder is None:  # nothing has run: what varies is in the plan
            table = table.assign(status="finished", bits=1e5, bits_se=0.0, gain_last_tenth=0.0)
        runs = compared_runs.read(study, table)
        for key, values in compared_runs.varies(runs).items():
            assert len(values) > 1
            told = [compared_runs.parse(f"{key}={value}", runs)[key] for value in values]
            assert len(set(told)) == len(values) and set(told) == set(runs.table[key])
    assert compared_runs.parse("model.mlp_ratio=2.667, model.mlp=gated", runs) == {
        "model.mlp_ratio": 8 / 3,
        "model.mlp": "gated",
    }
    assert len(compared_runs.select(runs, {"architecture": "LLaMA"})) > 10 and set(
        compared_runs.varies(runs)["architecture"]
    ) == {"GPT2", "GPT2 1/4", "GPT2 no MLP", "LLaMA", "Mistral"}


def test_several_partners_have_to_be_told_apart(tmp_path):
    study = write(tmp_path, tmp_path / "r", PEOPLE.replace("best_over: [train.lr]\n", ""))
    with pytest.raises(
        ValueError, match="several partners, which differ in train.lr: name more settings"
    ):
        judged(study, tmp_path / "r", {"train.optimizer": "muon"}, {"train.optimizer": "adamw"})
    row = judged(
        study,
        tmp_path / "r",
        {"train.optimizer": "muon"},
        {"train.optimizer": "adamw", "train.lr": 0.04},
    )
    assert row["pairs_of_runs"] == 4 and row["units"] == 2


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
    assert row["effect"] == pytest.approx(math.exp(np.log(muon / best).mean()))
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
    assert "mlp=gated stores more than mlp=standard" in " ".join(words.split())
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
        max(map(len, out.splitlines()[:-1])) <= 80
        and out.count("=> ") == 2
        and "corrected for 2 comparisons" in " ".join(out.split())
    )
    path = tmp_path / "r" / "studies" / study.name / "compare.json"
    told = json.loads(path.read_text())
    assert out.splitlines()[-1] == str(path) and [row["b"] for row in told["comparisons"]] == [
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
            ["--a", "train.lr=0.04", "--b", "train.lr=0.02", "--value", "label"],
            ["--value label: no numeric column"],
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


@pytest.fixture(scope="module")
def planted_people(tmp_path_factory):
    here = tmp_path_factory.mktemp("people")
    write(here, here / "r", PEOPLE)
    return str(here / "s.yaml"), here / "r"


def test_text_needs_a_column_and_nothing_finished_is_said(tmp_path, capsys):
    plant(tmp_path, "morris/membership@pocket")
    assert main(["compare", "morris/membership@pocket", "--results", str(tmp_path)]) == 2
    assert "name a column with --value" in capsys.readouterr().err
    assert main(["compare", "pocket", "--results", str(tmp_path / "none")]) == 2
    assert "no finished run" in capsys.readouterr().err
