"""Rulers of compression: hand cases of every formula, planted truth, bad input."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity import archive, counts
from capacity.analysis.compression import (
    analysis,
    constancy,
    density,
    formulas,
    knowledge,
    reading,
    words,
)
from capacity.cli.main import main
from capacity.data import text as pools
from capacity.feed import split
from capacity.report import markdown
from capacity.report import text as terminal
from capacity.settings.model import Model
from capacity.study import load_study

RESULTS = Path(__file__).parents[3] / "results"

# --- formulas, by hand


def test_information_capacity_by_hand():
    assert formulas.information_capacity(32.0, 3.0, 1024.0) == pytest.approx(2.9)
    assert formulas.information_capacity(32.0, 3.0, 1024.0, -24.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="flops=1"):
        formulas.information_capacity(8.0, 1.0, 1.0)


@pytest.mark.parametrize("kv", [2, 4])
def test_flops_of_a_decoded_token_are_those_of_the_published_script(kv):
    """Grouped queries and a gated MLP, its own assumptions: term by term as in its docstring."""
    L, d, heads, width, V, T = 3, 64, 4, 256, 1000, 1024
    model = Model(
        n_layers=L, d_model=d, n_heads=heads, n_kv_heads=kv, mlp="gated", mlp_ratio=4.0,
        activation="silu", norm="rmsnorm", bias=False, position="rotary",
    )  # fmt: skip
    d_k = d // heads
    maps = 2 * (2 * d * d + 2 * d * kv * d_k)
    core = 4 * heads * d_k * (T * (T - 1) // 2) / T
    published = L * (maps + core + 6 * d * width) + 2 * d * V
    assert counts.decoded_flops_per_token(model, V, T) == published
    plain = dataclasses.replace(model, mlp="standard", activation="gelu")
    assert published - counts.decoded_flops_per_token(plain, V, T) == L * 2 * d * width


def test_effective_parameters_lie_on_the_power_law_between_two_sizes():
    family = [(400.0, 1600.0), (100.0, 200.0)]  # bits grow as P^1.5
    assert formulas.effective_parameters(200 * 2**1.5, family) == pytest.approx(200.0)
    assert formulas.effective_parameters(200.0, family) == pytest.approx(100.0)
    assert formulas.effective_parameters(199.0, family) is None  # nothing is carried beyond sizes
    assert formulas.effective_parameters(1601.0, family) is None
    assert formulas.effective_parameters(300.0, family[:1]) is None
    assert formulas.effective_parameters(-3.0, family) is None


def test_pearson_and_fisher_by_hand():
    assert knowledge.pearson(np.array([[0, 0], [1, 1], [2, 1.0]])) == pytest.approx(math.sqrt(0.75))
    assert knowledge.pearson(np.array([[0, 1], [1, 1.0]])) is None
    low, high = knowledge.fisher_interval(0.5, 28)  # atanh 0.5 = 0.5493, 1.96 / 5 = 0.392
    assert (low, high) == (pytest.approx(0.1560, abs=1e-4), pytest.approx(0.7358, abs=1e-4))


# --- one number over sizes?

SIZES = {"2x8": 1000.0, "2x16": 4000.0, "2x32": 16000.0}


def family(gain, seeds=3, noise=0.002, tokens=None, study="s"):
    """Runs of three sizes; gain(parameters, log2 of FLOPs) in bits per token."""
    rng, rows = np.random.default_rng(0), []
    for size, p in SIZES.items():
        flops = 8 * p
        for seed in range(seeds):
            g = gain(p, math.log2(flops)) * (1 + noise * rng.standard_normal())
            rows.append({
                "study": study, "data": "random data", "side": "members", "variant": "",
                "amount": "load 5", "exposures": 600.0, "limited": "", "run_id": f"{size}{seed}",
                "size": size, "seed": str(seed), "parameters": p, "flops_decoded": flops,
                "gain_bits_per_token": g, "tokens": tokens(p) if tokens else 1e6,
                "ic": g / math.log2(flops),
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_planted_constant_is_not_called_otherwise():
    found = constancy.of_family(family(lambda p, log_flops: 0.25 * log_flops))
    low, high = found["ratio"]["interval"]
    assert low < 1 < high and found["spread"] < 0.01 and found["bent"] > 0.05
    assert found["ic"] == pytest.approx([0.25] * 3, rel=0.01)


def test_a_planted_bias_moves_the_ratio_and_bends_nothing():
    found = constancy.of_family(family(lambda p, log_flops: 0.25 * log_flops - 2.0))
    assert found["ratio"]["interval"][0] > 1 and found["bent"] > 0.05


def test_gain_that_is_linear_in_parameters_cannot_be_one_number():
    """Random data at one load: 3 bits per parameter on 5 bits of data per parameter."""
    rows = family(lambda p, _: 3 * 8 / 5, tokens=lambda p: 5 * p / 8)
    found = constancy.of_family(rows, common=True)
    assert found["growth"]["value"] == pytest.approx(1.0, abs=0.01)
    low, high = found["growth"]["interval"]
    assert low < 1 < high
    logs = [math.log2(8 * p) for p in SIZES.values()]
    equal, shared = found["ratio"]["value"], found["common"]["ratio"]["value"]
    assert equal == pytest.approx(logs[0] / logs[2], rel=0.01)  # falls as 1 / log2 FLOPs
    assert shared == pytest.approx(16 * logs[0] / logs[2], rel=0.01)
    assert found["common"]["bent"] < 0.001 < 0.05 < found["common"]["bent_in_p"]


def test_one_size_or_one_seed_cannot_tell():
    rows = family(lambda p, log_flops: log_flops)
    assert constancy.families(rows[rows["size"] == "2x8"]) == []
    (one,) = constancy.families(rows[rows.seed == "0"])
    assert one["ratio"]["interval"] is None and one["bent"] is None
    (together, *_) = constancy.together([one])
    assert (together["p"], together["interval"], together["verdict"]) == (None, None, "cannot tell")
    assert constancy.families(rows.assign(limited="corner")) == []
    assert constancy.families(rows.assign(ic=math.nan)) == []


def test_a_sign_needs_six_seeds():
    """The exact test over seeds: 2 / 2^5 is above 5%."""
    for seeds, verdict in ((5, "cannot tell"), (6, "rises")):
        found = constancy.families(family(lambda p, log: 0.3 * log - 2, seeds=seeds))
        (equal,) = [row for row in constancy.together(found) if row["what"] == constancy.EQUAL]
        assert (equal["units"], equal["verdict"]) == (seeds, verdict)
        assert equal["p"] == pytest.approx(2 / 2**seeds)


# --- compression and knowledge


def people(n, study="s", more=0.0, form="GPT2", seed=0, bend=0.0):
    """Groups of two runs on a line accuracy = 0.9 (1 - code), and so much more."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        code = 0.1 + 0.8 * rng.random()
        for run in range(2):
            y = 0.9 * (1 - code) + bend * (code - 0.5) ** 2 + more + 0.005 * rng.standard_normal()
            rows.append({
                "run_id": f"{form}{i}{run}", "study": study, "variant": form, "size": "2x8",
                "amount": f"N = {i}", "exposures": 100.0, "architecture": form,
                knowledge.X: code, "accuracy": y,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_planted_line_is_a_correlation_of_minus_one():
    found = knowledge.correlation(people(12), "accuracy")
    assert found["r"] < -0.999 and (found["runs"], found["groups"]) == (24, 12)
    assert found["interval"][0] <= found["r"] <= found["interval"][1] < -0.99
    wider = max(found["fisher"], found["bootstrap"], key=lambda ends: ends[1] - ends[0])
    assert found["interval"] == wider


def test_noise_has_an_interval_with_zero_in_it():
    rows = people(20).assign(accuracy=np.random.default_rng(5).random(40))
    low, high = knowledge.correlation(rows, "accuracy")["interval"]
    assert low < 0 < high


def test_three_groups_cannot_tell():
    found = knowledge.correlation(people(3), "accuracy")
    assert found["r"] is None and "3 groups" in found["why"]


@pytest.mark.parametrize(("groups", "verdict"), [(7, "more"), (5, "cannot tell")])
def test_a_form_that_answers_more_than_its_code_says(groups, verdict):
    rows = pd.concat([people(12), people(groups, more=0.1, form="ours", seed=1)])
    by_name = {row["architecture"]: row for row in knowledge.residuals(rows, "architecture")}
    ours = by_name["ours"]
    assert ours["line"] == pytest.approx(0.1, abs=0.01) and ours["verdict"] == verdict


def test_a_bent_relation_is_no_merit_of_a_form():
    """Forms that lie elsewhere on one curve: the line says more, the parabola does not."""
    rows = people(60, bend=1.5)
    ends = rows[(rows[knowledge.X] < 0.2)].assign(architecture="ours", variant="ours")
    inner = rows[(rows[knowledge.X] > 0.35) & (rows[knowledge.X] < 0.9)]
    found = knowledge.residuals(pd.concat([ends, inner]), "architecture")
    (ours,) = [row for row in found if row["architecture"] == "ours"]
    assert ours["line"] > 0.05 and ours["line_p"] < 0.05 and ours["verdict"] == "cannot tell"


def test_levels_of_studies_are_no_residuals():
    """A form is held against others of its own study."""
    other = people(8, study="t", more=0.3), people(8, study="t", more=0.3, form="ours", seed=1)
    found = knowledge.residuals(pd.concat([people(12), *other]), "architecture")
    (ours,) = [row for row in found if row["architecture"] == "ours"]
    assert ours["line"] == pytest.approx(0.0, abs=0.01) and ours["verdict"] == "cannot tell"


# --- density


def quantized(keeps):
    """Three models of two sizes; int8 keeps so much of bf16's bits in half the store."""
    rows = []
    for i, (model, p) in enumerate([("2x8", 1000), ("2x8", 1000), ("2x16", 4000), ("2x16", 4000)]):
        held = (3.0 + 0.01 * i) * p
        about = {"run_id": f"r{i}", "model": model, "seed": i, "symmetric": False}
        about |= {"granularity": "row", "group_size": 0, "embeddings": True, "scales": "fp16"}
        rows += [
            about | {"method": "none", "bits": 32, "held_bits": held, "stored_bits": 32 * p},
            about | {"method": "bf16", "bits": 16, "held_bits": held, "stored_bits": 16 * p},
            about | {"method": "rtn", "bits": 8, "held_bits": keeps * held, "stored_bits": 8 * p},
        ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("keeps", [1.0, 0.8, -0.5])
def test_an_edit_holds_per_stored_bit_what_was_planted(keeps):
    table = pd.DataFrame({
        "run_id": [f"r{i}" for i in range(4)], "status": "finished",
        "bits": 3000.0, "ceiling_bits": 9000.0,
    })  # fmt: skip
    study = load_study("pocket", [])
    object.__setattr__(study, "variants", {f"r{i}": "" for i in range(4)})
    (row,) = density.edits(study, table, quantized(keeps))
    assert row["ratio"] == pytest.approx(2 * keeps) and row["kept"] == pytest.approx(keeps)
    assert row["units"] == 4 and row["interval"] is not None and row["differs"] is None
    assert density.edits(study, table, quantized(keeps), {"r0", "r1", "r2", "r3"}) == []
    full = table.assign(bits=8999.0)  # holds all of its data: says nothing of the edit
    assert density.edits(study, full, quantized(keeps)) == []


def test_effective_size_is_read_off_the_reference_family():
    """Reference: 2, 3 and 4 bits per parameter at 1K, 4K and 16K; a variant with three bits at 2K
    parameters holds 6,000, between 2,000 and 12,000."""
    from capacity.analysis.comparison.runs import Runs

    rows = [
        ("b0", 0, "2x8", 1000.0, 2.0), ("b1", 0, "2x16", 4000.0, 3.0),
        ("b2", 0, "2x32", 16000.0, 4.0), ("a0", 0, "2x12", 2000.0, 3.0),
        ("a1", 0, "2x64", 64000.0, 3.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["run_id", "seed", "size", "parameters", "value"])
    runs = Runs(table, [], [], "", True, "facts")
    found = density.effective(runs, ["a0", "a1"], ["b0", "b1", "b2"])
    same = 1000 * 4 ** (math.log(3) / math.log(6))
    assert found["effective"] == pytest.approx(same / 2000) and found["effective_units"] == 1
    assert found["outside"] == 1 and found["effective_interval"] is None
    one = density.effective(runs, ["a0"], ["b0"])
    assert one["effective"] is None and one["why_not_effective"] == "one size of the reference"


# --- whole


@pytest.fixture(scope="module")
def found():
    studies = [load_study(n, []) for n in ("pocket", "physics33/06_architectures_100@pocket")]
    with archive.reading(RESULTS, [study.name for study in studies]):
        return analysis.analyse(studies, RESULTS)


def test_rows_are_what_records_say(found):
    runs = found.tables["runs.csv"].set_index("run_id")
    known = pd.read_csv(RESULTS / "studies" / "pocket" / "runs.csv").set_index("run_id")
    for run_id, row in runs.iterrows():
        held = known.strict_bits[run_id] / (known.n_sequences[run_id] * known.seq_len[run_id])
        assert row.gain_bits_per_token == pytest.approx(held)
        assert row.ic == pytest.approx(held / math.log2(row.flops_decoded))
    facts = found.tables["people.csv"]
    assert len(facts) == 15 and facts.architecture.nunique() == 5
    assert facts.bits_per_parameter.between(0, 1).all()


def test_pages_and_terminals_say_the_same_numbers(found):
    json.loads(found.json())
    told = words.document(found.numbers)
    page, lines = markdown.render(told), terminal.render(told).splitlines()
    assert max(map(len, lines)) <= 80
    first = found.numbers["together"][0]
    assert f"{first['ratio']:.3g}" in page and "**cannot tell**" in page
    short = terminal.render(words.brief(told)).splitlines()
    assert max(map(len, short)) <= 80 and len(short) < 50 < len(lines)


def test_code_lengths_of_biod_are_of_one_attribute():
    """Its record has the mean loss of an attribute, that of bioS the sum over attributes."""
    study = load_study("physics33/03_biod@pocket", [])
    with archive.reading(RESULTS, [study.name]):
        rows = reading.frame(reading.read([study], RESULTS).people).set_index("run_id")
        known = archive.unpack_records(RESULTS / "studies" / study.name / archive.RECORDS)
    for run_id, record in known.items():
        m, data = record["measures"]["knowledge"], record["config"]["data"]
        code = sum(one["nats"] for one in m["attributes"].values()) / math.log(2)
        per_bit = code / (data["attributes"] * data["chunks"] * math.log2(data["diversity"]))
        assert rows[knowledge.X][run_id] == pytest.approx(per_bit, rel=1e-4)


def test_studies_of_several_families_of_data_are_left_out():
    study = load_study("rulers/chain@pocket", [])
    with archive.reading(RESULTS, [study.name]):
        found = reading.read([study], RESULTS)
    assert not found.people and not found.texts
    (why,) = found.left_out.values()
    assert why == "runs on facts, random data and random rows and people: no line is common to them"


def test_characters_of_text_are_counted_by_token(tmp_path):
    study = load_study("morris/membership@pocket", [])
    run = min(study.runs, key=lambda run: run.items)
    dealt = split.of(run)
    texts = [dealt.pool.text(row) for row in dealt.scored[~dealt.seen].tolist()]
    tokens = len(texts) * run.data.seq_len
    octets, characters = reading._Characters().of(run, reading.HELD_OUT)
    assert octets == pytest.approx(sum(len(text.encode()) for text in texts) / tokens)
    assert characters == pytest.approx(sum(map(len, texts)) / tokens)
    gone = dataclasses.replace(run, data=dataclasses.replace(run.data, pool="0" * 16))
    assert pools.pool_digest(gone.data) == "0" * 16
    assert reading._Characters().of(gone, reading.HELD_OUT) is None


def test_the_verb_writes_a_page_tables_and_figures(tmp_path, capsys):
    folder = tmp_path / "studies" / "pocket"
    shutil.copytree(RESULTS / "studies" / "pocket", folder)
    assert main(["compression", "--results", str(tmp_path), "--format", "png"]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "compression"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {
        "README.md", "compression.json", "runs.csv", "sizes.csv",
        "figures/capacity.png", "figures/capacity.csv",
    }  # fmt: skip
    assert "one data set" in printed and "![" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "keeps no records"),
        (["pocket", "--window", "8"], "--window: is of one model and needs --text"),
        (["pocket"], "nothing to measure (pocket: no finished run)"),
        (["context/copy@pocket"], "nothing to measure"),
        (["a", "b", "--text", "t.txt"], "expected one model, not 2"),
        (["no_such_study"], "no_such_study"),
    ],
)
def test_bad_input_is_one_line(words, said, tmp_path, capsys):
    assert main(["compression", *words, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "compression").exists()


def test_families_of_text_and_of_random_data_share_a_table(found):
    rows = family(lambda p, log: 0.25 * log - 1, seeds=6).assign(data="text", side="held_out")
    rows["bits_per_character"] = [2.0 + 0.1 * int(seed) for seed in rows.seed]
    families = constancy.families(rows)
    told = words.document(
        found.numbers | {"families": families, "together": constancy.together(families)}
    )
    page = markdown.render(told)
    assert "held out, load 5, 600 exposures" in page and "**rises with size**" in page
    assert "Text, held out: Information Capacity of the largest" in page
    half = 2.5706 * 0.187083 / math.sqrt(6)  # Student's t of five degrees of freedom
    assert f"| 2x8 | 2.25 | [{2.25 - half:.2f}, {2.25 + half:.2f}] |" in page


def _same(told, known, at=""):
    if isinstance(known, dict):
        assert told.keys() == known.keys(), at
        for key in known:
            _same(told[key], known[key], f"{at}/{key}")
    elif isinstance(known, list):
        assert len(told) == len(known), at
        for i, (one, other) in enumerate(zip(told, known, strict=True)):
            _same(one, other, f"{at}[{i}]")
    else:
        assert told == (pytest.approx(known, rel=1e-6) if isinstance(known, float) else known), at


@pytest.mark.long
def test_committed_numbers_are_those_of_the_committed_records(monkeypatch):
    """They were made without the package that one text is in, which may be installed here."""
    count = reading._Characters._count
    monkeypatch.setattr(
        reading._Characters,
        "_count",
        lambda self, run, side: count(self, run, side) if run.data.source == "grammar" else None,
    )
    known = json.loads((RESULTS / "compression" / analysis.FILE).read_bytes())
    studies = [load_study(name, []) for name in known["studies"]]
    with archive.reading(RESULTS, known["studies"]):
        told = json.loads(analysis.analyse(studies, RESULTS).json())
    for one in (told, known):
        del one["versions"], one["inputs_sha256"]
    _same(told, known)
