"""People one by one: sums against the record, held-out people, and how well they are told from
trained ones where that is known."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import capacity
from capacity import compose, records, run_table
from capacity.base import snapshots
from capacity.base.errors import ConfigError
from capacity.base.scores import people_totals, read_scores
from capacity.cli import dry_run
from capacity.cli.main import main
from capacity.data.snapshots import held_out_people, steps_of
from capacity.data.tiers import Tier, Tiers
from capacity.declare import registry as declared
from capacity.fitting import separation
from capacity.measure import people, registry
from capacity.measure.describe import describe
from capacity.measure.questions import Asking
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train.loop import Stack
from small_worlds import make

CPU = torch.device("cpu")
HALF_ULP = 2.0**-24  # relative rounding of float32; all terms of the sums are positive
PEOPLE, HELD_OUT = 60, 40
SMALL = [
    "data.n_people=60",
    "model=pocket",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "train=pocket_bios",
    "train.exposures=60",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "measure.evaluations=2",
    "cluster.device=cpu",
]
NAMES = ["data.first_names=5", "data.last_names=40"]
BIOS = [
    "data=bios_pocket",
    "data.seq_len=32",
    *NAMES,
    "data.years=3",
    "data.cities=4",
    "data.universities=4",
    "data.majors=4",
    "data.employers=6",
    *SMALL,
]
BIOD = ["data=biod_pocket", "data.seq_len=16", *NAMES, "data.attributes=2", *SMALL]
TIERS = "data.tiers=[0.1x8,0.3x4,0.6x1]"
MORE = f"measure.held_out_people={HELD_OUT}"


def train(results, *configs):
    outcome = execute(list(configs), Job(results, CPU))
    assert set(outcome.values()) == {"finished"}
    return [records.read(results, config.run_id) for config in configs]


def table_of(results, config):
    return read_scores(records.run_dir(results, config.run_id))


@pytest.fixture(scope="module")
def tiered(tmp_path_factory):
    results, config = tmp_path_factory.mktemp("people"), compose.load([*BIOS, TIERS, MORE])
    (record,) = train(results, config)
    return results, config, record, table_of(results, config)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Two runs on halves of one set of people, in one stack, and their tables by row of the set."""
    results = tmp_path_factory.mktemp("halves")
    more = [TIERS, "data.trained_on=half", "data.split_seed=4"]
    configs = [compose.load([*BIOS, *more, f"seed={seed}"]) for seed in (1, 2)]
    found = train(results, *configs)
    return results, configs, found, [table_of(results, config) for config in configs]


def counted(table):
    names = [c.removeprefix("nats.") for c in table if c.startswith("nats.")]
    return [name for name in names if name != "work_city"]


@pytest.mark.parametrize(
    "settings", [[*BIOS, TIERS], [*BIOS, "measure.people=25"], BIOD], ids=["tiers", "some", "biod"]
)
def test_means_of_its_columns_are_the_numbers_of_the_record(settings, tmp_path):
    config = compose.load(settings)
    (record,) = train(tmp_path, config)
    table, m = table_of(tmp_path, config), record["measures"]["knowledge"]
    assert "people" not in record["measures"] and len(table["person"]) == m["people_asked"]
    assert (table["trained"] == 1).all() and (np.diff(table["person"]) > 0).all()
    mean = {name: column.astype(np.float64).mean() for name, column in table.items()}
    close = pytest.approx(1, rel=2 * HALF_ULP)
    assert mean["name_nats"] / m["p1_nats"] == close
    values = sum(mean[f"nats.{name}"] for name in counted(table))
    attributes = m["attributes"]
    of_biod = config.data.kind == "biod"
    assert values / (m["p2_nats"] * (len(attributes) if of_biod else 1)) == close
    for name, one in attributes.items():
        assert mean[f"nats.{name}"] / one["nats"] == close
        assert mean[f"hit.{name}"] == pytest.approx(one["accuracy"], abs=HALF_ULP)
    asked = [mean[f"hit.{name}"] for name in counted(table) if name != "gender"]
    assert np.mean(asked) == pytest.approx(m["accuracy"], abs=HALF_ULP)
    types = {name: column.dtype.name for name, column in table.items()}
    assert {types.pop("person"), types.pop("exposures")} == {"int32"}
    assert {types.pop("trained"), types.pop("tier")} == {"uint8"} and set(types.values()) == {
        "float32"
    }
    size = (records.run_dir(tmp_path, config.run_id) / "scores.safetensors").stat().st_size
    row = 14 + 8 * len(attributes)
    assert row * len(table["person"]) <= size < row * len(table["person"]) + 2048  # and a header


def test_exposures_and_tiers_are_those_that_the_run_has_counted(tiered):
    _, _, record, table = tiered
    trained = table["trained"] == 1
    t = record["training"]
    # a text that had begun counts in the most of the record, not here
    assert table["exposures"][trained].mean() == pytest.approx(t["exposures_mean"], rel=1e-12)
    assert table["exposures"][trained].min() == t["exposures_min"]
    for one in t["tiers"]:
        mine = table["tier"] == one["tier"]
        assert mine.sum() == one["items"]
        assert table["exposures"][mine].mean() == pytest.approx(one["exposures_mean"], rel=1e-12)
    assert not table["tier"][~trained].any() and not table["exposures"][~trained].any()


def test_nothing_but_the_table_changes_without_held_out_people(tiered, tmp_path):
    _, config, record, table = tiered
    other = compose.load([*BIOS, TIERS])
    assert other.run_id == config.run_id
    (without,) = train(tmp_path, other)
    assert set(without["measures"]) == {"knowledge"}
    assert without["measures"]["knowledge"] == record["measures"]["knowledge"]
    plain, trained = table_of(tmp_path, other), table["trained"] == 1
    assert plain.keys() == table.keys() - {"frequency_nats"}
    for name, column in plain.items():
        np.testing.assert_array_equal(column, table[name][trained])


OTHERS = ["data.other_people=40", "data.other_parts=2"]


@pytest.mark.parametrize(
    "settings",
    [BIOS, [*BIOS, TIERS], [*BIOS, *OTHERS], [*BIOS, *OTHERS, "data.windows=mixed"], BIOD],
    ids=["plain", "tiers", "pure", "mixed", "biod"],
)
def test_the_mean_exposures_of_a_record_tell_those_of_each_person(settings):
    """What a run that is measured again has: no cursor, but the mean."""
    stream = Stack([compose.load(settings)], CPU).feed.members[0]
    cursor, first = [0] * 4, 0
    for windows in (1, 7, 100, 233):
        stream.windows(cursor, first, windows)
        first += windows
        cursor = stream.cursor_at(first)
        count_N = stream.counts(cursor)
        mean = stream.exposures(cursor)["mean"]
        assert 0 < int(count_N.sum()) == round(mean * PEOPLE) or first == 1
        assert torch.equal(stream.counts_of(round(mean * PEOPLE)), count_N)


@pytest.mark.parametrize("kind", ["bios", "others", "biod"])
def test_nobody_who_is_held_out_has_the_name_of_another_person(kind):
    more = {"first_names": 5, "last_names": 30, "middle_names": 0}
    if kind == "others":
        more |= {"other_people": 40, "other_parts": 1}
    world = make(60, 3, "biod" if kind == "biod" else "bios", **more)

    def scorer(tokens_BT):
        shape = len(tokens_BT), tokens_BT.shape[1] - 1
        return torch.ones(shape), torch.zeros(shape, dtype=torch.bool)

    others = people.held_out(world, 50, Asking(scorer))
    taken = 100 if kind == "others" else 60
    assert others["person"].tolist() == list(range(taken, taken + 50))
    everybody = torch.arange(taken + 50)
    names = set(zip(*(part.tolist() for part in world.names.parts(everybody)), strict=True))
    assert len(names) == taken + 50


@pytest.mark.parametrize("settings", [BIOS, BIOD], ids=["bios", "biod"])
def test_a_model_that_knows_nobody_cannot_tell_who_was_trained_on(settings, tmp_path):
    """Untrained weights. Of 5 seeds more than one misses 0.5 with a probability of 2%."""
    held = []
    for seed in range(5):
        config = compose.load([*settings, "data.n_people=90", "measure.held_out_people=90"])
        config = dataclasses.replace(config, seed=seed)
        stack = Stack([config], CPU)
        parts, table = registry.measure_all(
            stack, stack.gpt.init([seed])[0], 0, registry.Asked(tmp_path, [])
        )
        assert len(table["person"]) == 180 and not table["exposures"].any()
        membership = parts["people"]["membership"]
        assert membership["frequency_nats"]["auc"] == 0.5  # nothing was shown
        low, high = membership["nats"]["auc_interval"]
        held.append(low <= 0.5 <= high and high - low < 0.25)
    assert sum(held) >= 4


def planted(seed=0, sd=1.0):
    """Nats of 1,500 trained people in two tiers, and of 2,000 others."""
    rng = np.random.default_rng(seed)
    n, m = 1500, 2000
    tier = np.r_[np.repeat([1, 2], [500, 1000]), np.zeros(m)].astype(np.uint8)
    shift = np.array([0.0, 2.0, 0.5])[tier]
    table = {
        "person": np.arange(n + m, dtype=np.int32),
        "trained": (tier > 0).astype(np.uint8),
        "tier": tier,
        "exposures": np.where(tier > 0, 9, 0).astype(np.int32),
        "name_nats": (10 - shift + rng.normal(0, sd, n + m)).astype(np.float32),
    }
    table["frequency_nats"] = (20 + rng.normal(0, 1, n + m)).astype(np.float32)
    for name in ("gender", "major", "work_city"):
        table[f"nats.{name}"] = (5 + rng.normal(0, sd, n + m)).astype(np.float32)
        table[f"hit.{name}"] = (rng.random(n + m) < 0.3).astype(np.float32)
    return table, Tiers((Tier(1, 500, 2), Tier(2, 1000, 1)))


def test_planted_nats_are_told_apart_exactly_as_counted_by_hand():
    table, tiers = planted()
    out = people.measure(table, tiers)
    name, seen = table["name_nats"].astype(float), table["trained"] == 1
    values = table["nats.gender"].astype(float) + table["nats.major"].astype(float)
    assert out["n_trained"] == 1500 and out["n_held_out"] == 2000
    by_frequency = -table["frequency_nats"].astype(float)
    scores = {"name_nats": -name, "nats": -(name + values), "frequency_nats": by_frequency}
    for attack, score in scores.items():
        parts = [(out, seen)]
        parts += [(one, table["tier"] == one["tier"]) for one in out["tiers"]]
        for part, mine in parts:
            got = part["membership"][attack]
            above = score[mine][:, None] > score[~seen][None, :]
            equal = score[mine][:, None] == score[~seen][None, :]
            assert got["auc"] == pytest.approx((above + equal / 2).mean(), rel=1e-12)
            threshold = np.sort(score[~seen])[::-1][20]  # 1% of 2,000 may pass
            assert got["tpr_at_0.01"] == (score[mine] > threshold).mean()
            assert got["tpr_at_0.001"] is None  # of 2,000, 2 false positives
            assert got == separation.statistics(score[mine], score[~seen])
    for part, mine in ((out["trained"], seen), (out["held_out"], ~seen)):
        assert part["name_nats"] == pytest.approx(name[mine].mean())
        assert part["value_nats"] == pytest.approx(values[mine].mean())
        assert part["accuracy"] == pytest.approx(table["hit.major"][mine].mean())
        spread = name[mine].std(ddof=1) / math.sqrt(mine.sum())
        assert part["name_nats_se"] == pytest.approx(spread)
    # shifts of 2 and 0.5 standard deviations: AUC = Phi(shift / sqrt 2), se at most 0.01
    for one, wanted in zip(out["tiers"], (0.921, 0.638), strict=True):
        low, high = one["membership"]["name_nats"]["auc_interval"]
        assert low - 0.02 < wanted < high + 0.02


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_who_knows_how_often_each_value_was_shown_is_counted_as_by_hand(kind):
    if kind == "biod":
        world = make(30, 3, "biod", attributes=2, chunks=2, diversity=3, alphabet=9)
        rows = {
            k: [tuple(r) for r in world.chunks(torch.arange(50))[:, k].tolist()] for k in (0, 1)
        }
        sizes = dict.fromkeys(rows, 9)
    else:
        world = make(30, 3, cities=6, majors=5, universities=0, employers=0, years=0)
        sizes = world.data.attribute_sizes
        rows = {name: world.values(name, torch.arange(50)).tolist() for name in sizes}
    seen = [3 * (i % 4) for i in range(30)]
    person = torch.tensor([2, 17, 30, 49])
    e, wanted = sum(seen) / 30, np.zeros(4)
    for name, values in rows.items():
        for j, i in enumerate(person.tolist()):
            shown = sum(seen[p] for p in range(30) if values[p] == values[i])
            wanted[j] -= math.log((shown + e) / (sum(seen) + sizes[name] * e))
    got = people.frequencies(world, person, torch.tensor(seen))
    np.testing.assert_allclose(got, wanted, rtol=4 * HALF_ULP)


def test_who_is_known_by_heart_is_told_apart_in_full():
    table, tiers = planted(sd=0.0)
    table["name_nats"] = np.where(table["trained"], 0, 9).astype(np.float32)
    out = people.measure(table, tiers)
    assert out["membership"]["nats"]["auc"] == 1.0
    table["name_nats"][:] = 3
    same = people.measure(table, tiers)["membership"]["nats"]
    assert same["auc"] == 0.5 and same["tpr_at_0.01"] == 0.0


def test_a_record_says_how_well_trained_people_are_told_from_others(tiered):
    results, config, record, table = tiered
    m = record["measures"]["people"]
    assert (m["n_trained"], m["n_held_out"]) == (PEOPLE, HELD_OUT)
    assert (table["trained"] == 0).sum() == HELD_OUT
    assert table["person"][table["trained"] == 0].min() == PEOPLE
    assert m == people.measure(table, config.tiers)
    assert [one["n_trained"] for one in m["tiers"]] == [6, 18, 36]
    low, _ = m["membership"]["nats"]["auc_interval"]
    assert low > 0.5 and m["trained"]["name_nats"] < m["held_out"]["name_nats"]
    row = run_table.table(results, [config]).iloc[0]
    assert row["people_nats_auc"] == m["membership"]["nats"]["auc"]
    first = m["tiers"][0]["membership"]["name_nats"]
    assert row["people_tier_1_name_nats_auc"] == first["auc"]
    for value in declared.numbers({"people": m}):
        assert value.field is not None
    printed = describe(record, results).splitlines()
    assert any("held out" in line for line in printed)
    assert max(map(len, printed[:-1])) <= 80


def test_all_of_a_set_of_people_are_asked_by_every_run_on_half_of_them(halves):
    _, configs, found, tables = halves
    order = [table["row"].argsort() for table in tables]
    seen = np.stack([t["trained"][at] for t, at in zip(tables, order, strict=True)])
    tier = np.stack([t["tier"][at] for t, at in zip(tables, order, strict=True)])
    for table, at, config, record in zip(tables, order, configs, found, strict=True):
        assert table["row"][at].tolist() == list(range(2 * PEOPLE))
        assert (table["trained"] == 1).sum() == (table["trained"] == 0).sum() == PEOPLE
        assert not table["exposures"][table["trained"] == 0].any()
        for one in record["training"]["tiers"]:
            mine = table["tier"] == one["tier"]
            shown = mine & (table["trained"] == 1)
            assert mine.sum() == 2 * shown.sum() == 2 * one["items"]
            assert table["exposures"][shown].mean() == pytest.approx(one["exposures_mean"])
        assert record["measures"]["people"] == people.measure(table, config.tiers)
    assert (tier[0] == tier[1]).all() and (seen[0] != seen[1]).any()
    # guessers of values that were shown: which values a person has is the same for both
    assert np.isfinite(tables[0]["frequency_nats"]).all()


def test_a_tier_is_told_from_those_who_would_be_in_it(halves):
    _, configs, found, tables = halves
    table, out = tables[0], found[0]["measures"]["people"]
    name_N, values_N, _ = people_totals(table)
    for one in out["tiers"]:
        mine = table["tier"] == one["tier"]
        seen = table["trained"] == 1
        score = -(name_N + values_N)
        wanted = separation.statistics(score[mine & seen], score[mine & ~seen])
        assert one["membership"]["nats"] == wanted
    assert out["n_held_out"] == PEOPLE and held_out_people(configs[0]) == PEOPLE


@pytest.mark.long
def test_a_run_on_a_half_has_alone_what_it_has_in_a_stack(halves, tmp_path):
    _, configs, found, tables = halves
    (alone,) = train(tmp_path, configs[1])
    assert alone["measures"] == found[1]["measures"]
    for name, column in table_of(tmp_path, configs[1]).items():
        np.testing.assert_array_equal(column, tables[1][name])


@pytest.mark.long
def test_a_stack_gives_each_run_what_it_has_alone(tiered, tmp_path):
    _, config, record, table = tiered
    other = compose.load([*BIOS, TIERS, MORE, "seed=5"])
    together = train(tmp_path, config, other)
    assert together[0]["training"]["stack"] == 2
    assert together[0]["measures"] == record["measures"]
    for name, column in table_of(tmp_path, config).items():
        np.testing.assert_array_equal(column, table[name])


@pytest.mark.long
def test_a_finished_run_is_measured_again_with_and_without_them(here, capfd):
    settings = [*BIOS, TIERS, MORE]
    assert main(["train", *settings]) == 0
    config, results = compose.load(settings), here / "results"
    run_id = config.run_id
    before, table = records.read(results, run_id), table_of(results, config)
    assert main(["measure", run_id]) == 0
    assert records.read(results, run_id)["measures"] == before["measures"]
    for name, column in table_of(results, config).items():
        np.testing.assert_array_equal(column, table[name])
    assert main(["measure", run_id, "measure.held_out_people=0"]) == 0
    assert "people" not in records.read(results, run_id)["measures"]
    assert len(table_of(results, config)["person"]) == PEOPLE
    assert main(["measure", run_id, "measure.held_out_people=50"]) == 0
    assert records.read(results, run_id)["measures"]["people"]["n_held_out"] == 50
    capfd.readouterr()
    assert main(["show", run_id]) == 0
    shown = capfd.readouterr().out
    assert "scores.safetensors" in shown and "single people" in shown


@pytest.mark.parametrize(
    "settings, words",
    [
        ([*BIOS, "measure.held_out_people=141"], "60 of 200 different names are taken already"),
        ([*BIOS, "data.skip=100", MORE, "measure.held_out_people=41"], "give at most 40"),
        ([*BIOD, "measure.held_out_people=141"], "give at most 140"),
        ([*BIOS, "measure.held_out_people=1"], "give 0 or at least 2"),
        ([*BIOS, MORE, "train.start_from=0123456789ab"], "train.start_from=0123456789ab"),
    ],
)
def test_held_out_people_who_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words) as told:
        compose.load(settings)
    assert "measure.held_out_people=" in str(told.value)
    compose.load([*BIOS, "measure.held_out_people=140"])


@pytest.mark.parametrize("data", [BIOS, BIOD])
def test_snapshots_have_every_person_and_end_with_the_scores_of_the_run(data, tmp_path):
    """Also of those held out, whom the model does not come to know."""
    config = compose.load([*data, MORE, "measure.snapshots=4"])
    train(tmp_path, config)
    found = snapshots.read(records.run_dir(tmp_path, config.run_id))
    assert found["step"].tolist() == list(steps_of(4, config.steps))
    assert np.bincount(found["kind"]).tolist() == [PEOPLE, HELD_OUT]
    scores = table_of(tmp_path, config)
    name_N, values_N, right_N = people_totals(scores)
    assert found["item"].tolist() == scores["person"].tolist()
    for name, ours in {"name_nats": name_N, "value_nats": values_N, "accuracy": right_N}.items():
        assert found[name].shape == (4, PEOPLE + HELD_OUT)
        assert found[name][-1] == pytest.approx(ours, rel=1e-5, abs=1e-6)
    known = found["value_nats"][:, :PEOPLE].mean(1)
    assert known[-1] < known[0]
    table = capacity.load(config.run_id, results=tmp_path).snapshots
    assert list(table) == ["step", "item", "kind", "name_nats", "value_nats", "accuracy"]
    assert set(table.kind) == {"trained", "held out"}
    told = " ".join(" ".join(dry_run.describe(config, tmp_path)).split())
    assert "4 steps at which every person is scored, at most about" in told


def test_snapshots_of_people_leave_the_training_as_it_is_and_go_on(tmp_path):
    """Of a stack, and of a run that is stopped and goes on."""
    both = [compose.load([*BIOS, "measure.snapshots=5", f"seed={s}"]) for s in (0, 1)]
    train(tmp_path / "stack", *both)
    calls = iter([False] * 30 + [True] * 999)
    cut = Job(tmp_path / "cut", CPU, stop=lambda: next(calls))
    assert execute([both[1]], cut) == {both[1].run_id: "interrupted"}
    train(tmp_path / "cut", both[1])
    train(tmp_path / "plain", compose.load([*BIOS, "seed=1"]))
    folders = [records.run_dir(tmp_path / name, both[1].run_id) for name in ("stack", "cut")]
    one, two = (snapshots.read(folder) for folder in folders)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    plain = records.run_dir(tmp_path / "plain", both[1].run_id) / records.WEIGHTS
    assert plain.read_bytes() == (folders[0] / records.WEIGHTS).read_bytes()
