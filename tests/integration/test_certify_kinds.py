"""Certificates of people, canaries and text: what was trained on comes back, and what is claimed is
what the model knows."""

import json
import math
import shutil

import numpy as np
import pytest

from capacity import records
from capacity.base.errors import ConfigError
from capacity.certify import restore
from capacity.cli.main import main
from capacity.compose import load
from capacity.feed import split
from command_line import one_line

SMALL = ["train.batch_size=8", "train.warmup_steps=5", "model.n_layers=1", "model.d_model=16"]
SMALL += ["model.n_heads=2", "cluster.device=cpu"]
BIOS = [
    "data=bios_pocket",
    "data.n_people=12",
    "model=pocket",
    "train=pocket_bios",
    "train.exposures=null",
    "train.steps=150",
    "measure.contexts=1",
    *SMALL,
]
BIOD = [
    "data=biod_pocket",
    "data.n_people=12",
    "data.load=null",
    "model=pocket",
    "train=pocket_bios",
    "train.exposures=null",
    "train.steps=60",
    *SMALL,
]
TEXT = [
    "data=text_pocket",
    "data.documents=300",
    "data.seq_len=16",
    "data.n_held_out=20",
    "data.tokens_per_parameter=null",
    "data.n_sequences=16",
    "data.n_reference=40",
    *SMALL,
]
CANARIES = ["data.canaries=3", "data.repeats=[0,2,8]"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results that the runs of this module share."""
    return tmp_path_factory.mktemp("certified") / "results"


@pytest.fixture
def train(results, capfd):
    """Trains a run once; its record."""

    def run(overrides):
        assert main(["train", *overrides, "--results", str(results)]) == 0
        capfd.readouterr()
        record = records.read(results, load(overrides).run_id)
        assert record is not None
        return record

    return run


@pytest.fixture
def certify(results, tmp_path, capfd):
    """A certificate of a run; its claims and its folder."""

    def run(record, *options):
        out = tmp_path / "certificate"
        shutil.rmtree(out, ignore_errors=True)
        command = ["certify", record["run_id"], *options, "--output", str(out)]
        capfd.readouterr()
        assert main([*command, "--results", str(results), "--json"]) == 0
        return json.loads(capfd.readouterr().out), out

    return run


def lines(folder, tmp_path):
    out = tmp_path / "data.jsonl"
    assert main(["certify", "--restore", str(folder), "--output", str(out)]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def people_of(overrides, tmp_path):
    """What `capacity data` says of the same people."""
    out = tmp_path / "people.jsonl"
    settings = [o for o in overrides if o.startswith("data")]
    assert main(["data", *settings, "--output", str(out)]) == 0
    told = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {one["person"]: one["attributes"] for one in told}


def test_values_of_people_come_back_and_are_what_the_record_has(train, certify, tmp_path, capfd):
    record = train(BIOS)
    claims, folder = certify(record)
    known = record["measures"]["knowledge"]
    asked = [name for name in known["attributes"] if name not in ("gender", "work_city")]
    held = 12 * sum(known["attributes"][name]["bits"] for name in asked)
    # one template, the same as in the record, by the same raw probabilities
    assert claims["entropy_bits"] - claims["ideal_bits"] == pytest.approx(held, abs=0.05)
    assert claims["recorded"]["bits"] == pytest.approx(held)
    assert -65 < claims["claimed_bits"] - held < 0.1
    assert claims["entropy_bits"] == pytest.approx(
        12 * sum(known["attributes"][name]["entropy_bits"] for name in asked)
    )
    told = people_of(BIOS, tmp_path)
    back = lines(folder, tmp_path)
    assert len(back) == 12
    for one in back:
        assert set(one["attributes"]) == set(asked)
        for name, value in one["attributes"].items():
            assert told[one["person"]][name] == value


def test_what_is_given_says_nothing_of_the_values(train, certify):
    """Two runs of one seed and other values would be given the same: prompts end where a value
    begins, and so many places are open as the longest value has."""
    record = train(BIOS)
    found = restore.restore(certify(record)[1])
    for mask in found.coded:
        first = int(mask.argmax())
        assert not mask[:first].any()
        assert mask[first : first + int(mask.sum())].all()
    people = len(found.header["people"])
    for k in range(len(found.header["attributes"])):
        mine = found.coded[k * people : (k + 1) * people]
        assert len(set(mine.sum(1).tolist())) == 1


def test_values_of_strings_come_back(train, certify, tmp_path):
    record = train(BIOD)
    claims, folder = certify(record)
    data = load(BIOD).data
    one = data.chunks * math.log2(data.diversity)
    assert claims["entropy_bits"] == pytest.approx(12 * data.attributes * one)
    told = people_of(BIOD, tmp_path)
    for one in lines(folder, tmp_path):
        for name, value in one["attributes"].items():
            assert told[one["person"]][name].replace(" ", "") == value.replace(" ", "")


@pytest.mark.parametrize("option", [[], ["--set"]])
def test_canaries_that_were_seen_come_back(train, certify, tmp_path, option):
    overrides = [*TEXT, *CANARIES, "train.steps=120"]
    record = train(overrides)
    claims, folder = certify(record, *option)
    dealt = split.of(load(overrides))
    wanted = dealt.canaries[dealt.repeats > 0]
    back = [line["tokens"] for line in lines(folder, tmp_path)]
    assert sorted(back) == sorted(wanted.tolist())
    assert option or back == wanted.tolist()
    orders = math.log2(math.factorial(6)) if option else 0
    assert claims["entropy_bits"] == pytest.approx(6 * 16 * math.log2(255) - orders)
    words = dealt.pool.words
    line = lines(folder, tmp_path)[0]
    assert line["text"] == "".join(words[token] for token in line["tokens"])


@pytest.mark.parametrize("option", [[], ["--set"]])
def test_text_is_compared_with_a_run_that_has_not_seen_it(train, certify, tmp_path, option):
    mine = [*TEXT, "train.steps=200"]
    theirs = [*TEXT, "data.trained_on=others", "train.steps=60"]
    record, other = train(mine), train(theirs)
    claims, folder = certify(record, "--reference", other["run_id"], *option)
    reference = 8 * (folder / "reference.bin").stat().st_size
    assert claims["entropy_bits"] == reference
    assert claims["claimed_bits"] == reference - 8 * (folder / "code.bin").stat().st_size
    assert claims["claimed_bits"] > 300  # sixteen rows, two hundred times
    dealt = split.of(load(mine))
    wanted = dealt.pool.tokens_NS[dealt.trained].tolist()
    back = [line["tokens"] for line in lines(folder, tmp_path)]
    assert back == (sorted(wanted) if option else wanted)
    # the other way round it is the other's rows that are coded, which that one holds
    turned, _ = certify(other, "--reference", record["run_id"])
    assert turned["rows"] == 40 and turned["claimed_bits"] > 0


def test_a_run_that_holds_nothing_claims_nothing(train, results, capfd, tmp_path):
    new = train([*TEXT, "train.steps=6", "train.lr=1e-6"])
    other = train([*TEXT, "data.trained_on=others", "train.steps=15"])  # how often tokens come
    command = ["certify", new["run_id"], "--reference", other["run_id"]]
    assert main([*command, "--output", str(tmp_path / "c"), "--results", str(results)]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert "nothing is held" in text
    assert "(p = 1)" in text
    header = json.loads((tmp_path / "c" / "header.json").read_text())
    assert header["claims"]["claimed_bits"] < 0 and header["claims"]["log2_p"] == 0


def test_a_changed_code_of_the_reference_is_refused(train, certify, capfd):
    mine = [*TEXT, "train.steps=200"]
    theirs = [*TEXT, "data.trained_on=others", "train.steps=60"]
    _, folder = certify(train(mine), "--reference", train(theirs)["run_id"])
    content = bytearray((folder / "reference.bin").read_bytes())
    content[5] ^= 4
    (folder / "reference.bin").write_bytes(content)
    assert main(["certify", "--restore", str(folder)]) == 2
    assert "reference.bin: block 1 of 1" in one_line(capfd.readouterr().err)


def test_text_alone_and_references_that_do_not_fit_are_refused(train, results, capfd, tmp_path):
    mine, bios = train([*TEXT, "train.steps=200"]), train(BIOS)
    knows = train([*TEXT, "data.trained_on=reference", "train.steps=20"])
    apart = train([*TEXT, "data.split_seed=1", "train.steps=20"])
    passages = train([*TEXT, *CANARIES, "data.canary_text=pool", "train.steps=20"])

    def refused(run, *options):
        command = ["certify", run["run_id"], *options, "--output", str(tmp_path / "c")]
        assert main([*command, "--results", str(results)]) == 2
        assert not (tmp_path / "c").exists()
        return one_line(capfd.readouterr().err)

    assert "it has no canaries: give --reference" in refused(mine)
    assert "data.canary_text=pool: give --reference" in refused(passages)
    assert "does not read the same text" in refused(mine, "--reference", bios["run_id"])
    assert "does not read the same text" in refused(mine, "--reference", apart["run_id"])
    assert "trained on every row" in refused(mine, "--reference", knows["run_id"])
    assert "are known exactly" in refused(bios, "--reference", mine["run_id"])


def test_rows_that_the_reference_has_seen_as_well_are_left_out():
    from capacity.certify import texts

    mine = load([*TEXT, "train.steps=200"])
    whole = texts.members(mine, load([*TEXT, "data.trained_on=others", "train.steps=60"]))
    half = load([*TEXT, "data.trained_on=half", "train.steps=20"])
    part, dealt = texts.members(mine, half), split.of(half)
    known = {tuple(row) for row in dealt.pool.tokens_NS[dealt.trained].tolist()}
    left = [row for row in whole.rows.tolist() if tuple(row) not in known]
    assert len(whole.rows) == 16 and 0 < len(left) < 16
    assert part.rows.tolist() == left
    with pytest.raises(ConfigError, match="every row"):
        texts.members(mine, mine)
    assert np.isnan(whole.bits)
