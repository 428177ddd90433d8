"""Numbers by tier against sums that are written out, and a run with tiers from its settings to its
record, its table and what is printed of it."""

import json
import math

import numpy as np
import pytest
import torch

from capacity import records, run_table
from capacity.base.scores import read_scores
from capacity.cli.main import main
from capacity.compose import load
from capacity.data.tiers import Tier, Tiers
from capacity.fitting import separation
from capacity.measure import tiers as by_tier
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.run import execute
from small_worlds import make

CPU = torch.device("cpu")
SKEWED = [
    "data=bios_pocket",
    "data.n_people=60",
    "data.seq_len=32",
    "data.first_names=5",
    "data.last_names=40",
    "data.years=3",
    "data.cities=4",
    "data.universities=4",
    "data.majors=4",
    "data.employers=6",
    "data.tiers=[0.1x8,0.3x4,0.6x1]",
    "model=pocket",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "train=pocket_bios",
    "train.exposures=40",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "measure.evaluations=2",
    "cluster.device=cpu",
]
THREE = Tiers((Tier(1, 5, 8), Tier(2, 15, 2), Tier(3, 40, 1)))


def classes(some=THREE, seed=0):
    number = np.repeat([tier.number for tier in some.tiers], [tier.items for tier in some.tiers])
    return by_tier.Classes(some, torch.from_numpy(np.random.default_rng(seed).permutation(number)))


def small(kind="bios"):
    if kind == "biod":
        return make(60, 3, "biod", attributes=2, chunks=2, diversity=5, alphabet=9)
    return make(60, 3, cities=6, majors=5, universities=0, employers=0, years=0, vocabulary="world")


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_means_and_standard_errors_are_those_of_the_people_of_a_tier(kind):
    world, of = small(kind), classes()
    rng = np.random.default_rng(1)
    asked = torch.from_numpy(np.sort(rng.permutation(60)[:41]))
    bits, right = rng.normal(9, 3, 41), rng.random(41)
    for one in by_tier.measure(of, world, asked, bits, right):
        mine = [i for i, p in enumerate(asked.tolist()) if int(of.tier_N[p]) == one["tier"]]
        assert one["people_asked"] == len(mine)
        assert one["bits"] == pytest.approx(sum(bits[i] for i in mine) / len(mine))
        spread = sum((bits[i] - one["bits"]) ** 2 for i in mine) / (len(mine) - 1)
        assert one["bits_se"] == pytest.approx(math.sqrt(spread / len(mine)))
        assert one["accuracy"] == pytest.approx(sum(right[i] for i in mine) / len(mine))


def test_who_knows_frequencies_alone_is_counted_as_by_hand():
    """Bits log2 D + log2 q with q the share of showings of a value, accuracy of the value that was
    shown most often."""
    world, of = small(), classes()
    everybody = torch.arange(60)
    out = by_tier.measure(of, world, everybody, np.zeros(60), np.zeros(60))
    rate = {1: 8, 2: 2, 3: 1}
    tier = of.tier_N.tolist()
    bits, hits = dict.fromkeys(rate, 0.0), dict.fromkeys(rate, 0.0)
    counted = [name for name in world.data.attribute_sizes if name != "gender"]
    for name, size in world.data.attribute_sizes.items():
        value = world.values(name, everybody).tolist()
        shown = [sum(rate[tier[i]] for i in range(60) if value[i] == v) for v in range(size)]
        best = max(range(size), key=lambda v, shown=shown: (shown[v], -v))
        for i in range(60):
            bits[tier[i]] += math.log2(size) + math.log2(shown[value[i]] / sum(shown))
            hits[tier[i]] += (value[i] == best) / len(counted) * (name in counted)
    for one in out:
        assert one["frequency_bits"] == pytest.approx(bits[one["tier"]] / one["people"])
        assert one["accuracy_most_shown"] == pytest.approx(hits[one["tier"]] / one["people"])


def test_a_person_who_is_nearly_all_that_is_shown_is_guessed_without_being_known():
    some = Tiers((Tier(1, 1, 4096), Tier(2, 59, 1)))
    out = by_tier.measure(
        classes(some), small(), torch.arange(60), np.zeros(60), np.full(60, math.nan)
    )
    assert out[0]["accuracy_most_shown"] == 1.0 and out[0]["bits_se"] is None
    assert out[0]["frequency_bits"] > 0.9 * (1 + math.log2(6) + math.log2(5))
    assert out[0]["accuracy"] is None and out[1]["frequency_bits"] < 0


def run(config, results, stop=lambda: False):
    return execute([config], Job(results, CPU, stop=stop))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    results, config = tmp_path_factory.mktemp("tiers"), load(SKEWED)
    assert run(config, results) == {config.run_id: "finished"}
    return results, config, records.read(results, config.run_id)


def test_a_record_has_bits_and_exposures_by_tier_that_add_up_to_its_totals(finished):
    _, config, record = finished
    m, t = record["measures"]["knowledge"], record["training"]
    assert [one["items"] for one in t["tiers"]] == [6, 18, 36]
    assert [one["people"] for one in m["tiers"]] == [6, 18, 36]
    assert sum(one["people"] * one["bits"] for one in m["tiers"]) == pytest.approx(m["bits"])
    assert sum(one["people"] * one["accuracy"] for one in m["tiers"]) == pytest.approx(
        60 * m["accuracy"]
    )
    total = sum(one["items"] * one["exposures_mean"] for one in t["tiers"])
    assert total == pytest.approx(60 * t["exposures_mean"])
    assert abs(t["exposures_mean"] - 40) < 0.5
    cycles = t["exposures_mean"] * 60 / (6 * 8 + 18 * 4 + 36)
    for one in t["tiers"]:
        low, high = math.floor(one["rate"] * cycles - 1), math.ceil(one["rate"] * cycles + 1)
        assert low <= one["exposures_min"] <= one["exposures_mean"] <= one["exposures_max"] <= high
    # seen eight times as often is known better, by far more than these standard errors
    most, least = m["tiers"][0], m["tiers"][-1]
    assert most["bits"] - least["bits"] > 5 * math.hypot(most["bits_se"], least["bits_se"])


def test_a_table_has_columns_by_tier(finished):
    results, config, record = finished
    row = run_table.table(results, [config]).iloc[0]
    first = record["measures"]["knowledge"]["tiers"][0]
    assert row["bits_tier_1"] == first["bits"] and row["accuracy_se_tier_1"] == first["accuracy_se"]
    assert row["exposures_mean"] == record["training"]["exposures_mean"]


def stopped(config, results, *stops):
    """Run a config, interrupted after so many polls of each start, to its end."""
    for at in stops:
        seen = []

        def stop(at=at, seen=seen):
            seen.append(1)
            return len(seen) > at

        assert run(config, results, stop) == {config.run_id: "interrupted"}
    assert run(config, results) == {config.run_id: "finished"}
    return records.read(results, config.run_id)


def files(results, config, *names):
    return [(records.run_dir(results, config.run_id) / name).read_bytes() for name in names]


def test_a_resumed_run_with_tiers_is_the_same_bit_for_bit(finished, tmp_path):
    results, config, record = finished
    again = stopped(config, tmp_path, 31, 150)
    assert again["measures"] == record["measures"]
    assert again["training"]["tiers"] == record["training"]["tiers"]
    weights = "weights.safetensors"
    assert files(results, config, weights) == files(tmp_path, config, weights)


@pytest.mark.parametrize("more", ["data.trained_on=half", "data.value_zipf=1.0"])
def test_halves_and_skewed_values_resume_bit_for_bit(tmp_path, more):
    config = load([*SKEWED, "train.exposures=20", more])
    record = stopped(config, tmp_path / "whole")
    again = stopped(config, tmp_path / "cut", 57)
    assert again["measures"] == record["measures"]
    assert again["training"]["tiers"] == record["training"]["tiers"]
    kept = ("weights.safetensors", "scores.safetensors")
    assert files(tmp_path / "whole", config, *kept) == files(tmp_path / "cut", config, *kept)


def test_it_is_printed_and_planned(here, capfd):
    assert main(["train", *SKEWED, "--dry-run"]) == 0
    planned = capfd.readouterr().out
    for words in ("tiers", "tier 1: 6 people (10.0%), rate 8", "tier 3: 36 people (60.0%), rate 1"):
        assert words in planned
    assert main(["train", *SKEWED]) == 0
    printed = capfd.readouterr().out
    assert "60 people, on average seen" in printed and "  tier   people      seen" in printed
    assert max(map(len, (planned + printed).splitlines())) <= 80
    run_id = load(SKEWED).run_id
    before = json.loads((here / "results" / "runs" / run_id / "record.json").read_text())
    assert main(["measure", run_id]) == 0
    after = json.loads((here / "results" / "runs" / run_id / "record.json").read_text())
    assert before["measures"]["knowledge"]["tiers"] == after["measures"]["knowledge"]["tiers"]


SMALL = ["model=pocket", "model.d_model=16", "model.n_heads=2", "model.n_layers=1"] + [
    "train.batch_size=8",
    "train.warmup_steps=10",
    "train.exposures=null",
    "train.steps=300",
    "train.lr=0.01",
    "measure.evaluations=2",
    "cluster.device=cpu",
    "data.tiers=[0.1x8,0.3x4,0.6x1]",
    "data.n_sequences=60",
]
RANDOM = ["data=uniform", "data.vocab_size=16", "data.seq_len=8", "data.load=null", *SMALL]
TEXT = ["data=text_pocket", "data.documents=200", "data.vocab_size=256", "data.seq_len=8"] + [
    "data.tokens_per_parameter=null",
    "data.n_held_out=40",
    *SMALL,
]


def test_random_data_has_bits_by_tier_that_add_up(tmp_path):
    config = load(RANDOM)
    assert run(config, tmp_path) == {config.run_id: "finished"}
    record = records.read(tmp_path, config.run_id)
    m = record["measures"]["memorization"]
    assert [one["sequences"] for one in m["tiers"]] == [6, 18, 36]
    assert sum(one["sequences"] * one["bits"] for one in m["tiers"]) == pytest.approx(
        m["strict"]["bits"]
    )
    most, least = m["tiers"][0], m["tiers"][-1]
    assert most["bits"] - least["bits"] > 3 * math.hypot(most["bits_se"], least["bits_se"])
    assert "bits per sequence" in describe(record, tmp_path)


def test_text_has_bits_extraction_and_membership_by_tier(tmp_path):
    config = load(TEXT)
    assert run(config, tmp_path) == {config.run_id: "finished"}
    record = records.read(tmp_path, config.run_id)
    m = record["measures"]["text"]
    scores = read_scores(records.run_dir(tmp_path, config.run_id))
    # losses of single sequences are kept in fp32
    held = sum(one["sequences"] * one["bits"] for one in m["tiers"])
    assert held == pytest.approx(m["bits"], rel=1e-5)
    others = -scores["loss"][scores["tier"] == 0].astype(float)
    assert len(others) == 40 and ((scores["tier"] == 0) == (scores["seen"] == 0)).all()
    for one in m["tiers"]:
        mine = scores["tier"] == one["tier"]
        assert one["sequences"] == mine.sum()
        assert one["extractable"] == pytest.approx((scores["tail"][mine] >= 4).mean())
        wanted = separation.statistics(-scores["loss"][mine].astype(float), others)
        assert one["membership"]["loss"] == wanted
    aucs = [one["membership"]["loss"]["auc"] for one in m["tiers"]]
    assert min(aucs) > 0.9
    most, least = m["tiers"][0], m["tiers"][-1]
    assert most["bits"] - least["bits"] > 3 * math.hypot(most["bits_se"], least["bits_se"])
    row = run_table.table(tmp_path, [config]).iloc[0]
    assert row["tier_1_loss_auc"] == aucs[0] and row["loss_auc"] == m["membership"]["loss"]["auc"]
    printed = describe(record, tmp_path)
    # the last line is the path of the record
    assert "AUC (loss)" in printed and max(map(len, printed.splitlines()[:-1])) <= 80


def test_the_table_of_laws_has_the_exposures_of_every_class(tmp_path):
    """The columns that the reference names are those that analysis reads."""
    config = load(SKEWED)
    assert set(execute([config], Job(tmp_path, CPU)).values()) == {"finished"}
    row = run_table.table(tmp_path, [config]).iloc[0]
    tiers = records.read(tmp_path, config.run_id)["training"]["tiers"]
    assert len(tiers) == 3
    for tier in tiers:
        for which in ("min", "mean", "max"):
            assert row[f"exposures_{which}_tier_{tier['tier']}"] == tier[f"exposures_{which}"]
