"""Cells of facts against sums over facts that are written out, from a trained run's table."""

import json
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from capacity import records
from capacity.base.scores import read_scores
from capacity.compose import load
from capacity.measure import fact_cells
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.remeasure import remeasure
from capacity.run.run import execute
from small_worlds import make

CPU = torch.device("cpu")
SMALL = ["data=bios_pocket", "data.n_people=60", "data.seq_len=32", "data.first_names=5"]
SMALL += ["data.last_names=40", "data.years=3", "data.cities=4", "data.universities=4"]
SMALL += ["data.majors=4", "data.employers=6", "data.tiers=[0.1x8,0.3x4,0.6x1]"]
SMALL += ["data.value_zipf=1.0", "model=pocket", "model.d_model=16", "model.n_heads=2"]
SMALL += ["model.n_layers=1", "train=pocket_bios", "train.exposures=40", "train.batch_size=8"]
SMALL += ["train.warmup_steps=10", "measure.evaluations=1", "measure.fact_cells=true"]
SMALL += ["cluster.device=cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    results, config = tmp_path_factory.mktemp("cells"), load(SMALL)
    assert execute([config], Job(results, CPU)) == {config.run_id: "finished"}
    return results, config, records.read(results, config.run_id)


def facts(world, table):
    """Every fact with what is counted and known of it, one by one."""
    d, n = world.data, world.n_people
    seen = table["exposures"][:n]
    out = []
    for a, name in enumerate(one for one in d.attribute_sizes if one != "gender"):
        value = world.values(name, torch.arange(n)).tolist()
        shown = defaultdict(int)
        for v, texts in zip(value, seen.tolist(), strict=True):
            shown[v] += texts
        order = sorted(range(world.sizes[name]), key=lambda v: (-shown[v], v))
        chance = world.chances(name)
        for i, v in enumerate(value):
            held = float(table[f"nats.{name}"][i]) / math.log(2)
            out.append(
                {
                    "key": (
                        a,
                        int(table["tier"][i]),
                        math.floor(2 * math.log2(1 + order.index(v))),
                    ),
                    "log2_texts": math.log2(seen[i]),
                    "log2_value_texts": math.log2(shown[v]),
                    "hits": float(table[f"hit.{name}"][i]),
                    "bits": d.value_bits(name) - held,
                    "own_bits": -math.log2(chance[v]) - held,
                }
            )
    return out


def test_cells_are_sums_of_single_facts(trained):
    results, config, record = trained
    part = record["measures"]["fact_cells"]
    table = read_scores(records.run_dir(results, config.run_id))
    names = {k: config.data.__getattribute__(k) for k in ("first_names", "last_names", "years",
             "cities", "universities", "majors", "employers")}  # fmt: skip
    more = {"months": 12, "days": 28, "middle_names": 0, "templates": 2, "vocabulary": "world"}
    world = make(60, config.seed, value_zipf=1.0, seq_len=32, **names, **more)
    cells = defaultdict(lambda: defaultdict(float))
    single = facts(world, table)
    for one in single:
        cell = cells[one["key"]]
        cell["facts"] += 1
        for name in ("log2_texts", "log2_value_texts", "hits", "bits", "own_bits"):
            cell[name] += one[name]
        for name in ("hits", "bits", "own_bits"):
            cell[f"{name}_squared"] += one[name] ** 2
    found = part["cells"]
    keys = list(zip(found["attribute"], found["tier"], found["rank"], strict=True))
    assert keys == sorted(cells)
    for name in cells[keys[0]]:
        want = [cells[key][name] for key in keys]
        # six digits of every sum
        assert found[name] == pytest.approx(want, rel=1e-5, abs=1e-5), name
    assert part["facts"] == len(single) == 5 * 60 and part["people_unseen"] == 0
    assert part["texts"] == table["exposures"].sum()
    assert part["own_bits_per_fact"] == pytest.approx(np.mean([one["own_bits"] for one in single]))


def test_means_over_facts_are_those_of_knowledge(trained):
    part, m = (trained[2]["measures"][name] for name in ("fact_cells", "knowledge"))
    assert part["accuracy"] == pytest.approx(m["accuracy"], abs=1e-6)
    bits = np.mean([m["attributes"][name]["bits"] for name in part["attributes"]])
    assert part["bits_per_fact"] == pytest.approx(bits, abs=1e-5)
    assert len(json.dumps(part)) < 50_000
    lines = describe(trained[2], trained[0])
    assert "300 in" in lines and "against its own chance" in lines


def test_measuring_again_gives_the_same_and_can_leave_them_out(trained):
    results, config, record = trained
    again = remeasure(results, config.run_id, CPU, config)["measures"]["fact_cells"]
    assert again == record["measures"]["fact_cells"]
    without = load([*SMALL[:-2], "measure.fact_cells=false", SMALL[-1]])
    assert without.run_id == config.run_id
    assert "fact_cells" not in remeasure(results, config.run_id, CPU, without)["measures"]


def test_classes_of_ranks_are_half_octaves():
    rank = np.arange(1, 3000)
    exact = [(one * one).bit_length() - 1 for one in rank.tolist()]
    assert fact_cells.rank_class(rank).tolist() == exact
    assert fact_cells.rank_class(np.array([1, 2, 3, 4, 5, 6])).tolist() == [0, 2, 3, 4, 4, 5]
