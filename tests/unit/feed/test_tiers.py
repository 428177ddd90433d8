"""Turns at different rates: every item of a tier exactly as often as its rate says, at a distance,
and counts that are those of somebody who reads along."""

import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.config import from_dict
from capacity.data import hashing
from capacity.data.tiers import Tier, Tiers
from capacity.feed import feed
from capacity.feed.stream import MemberStream
from capacity.feed.tiers import Turns

CPU = torch.device("cpu")
KEY, TIER_KEY = hashing.key(1, "turns"), hashing.key(1, "tiers")
SOME = Tiers((Tier(1, 3, 8), Tier(2, 7, 4), Tier(3, 20, 1)))
WORLD = {
    "kind": "bios",
    "n_people": 40,
    "seq_len": 8,
    "first_names": 20,
    "middle_names": 0,
    "last_names": 50,
    "years": 0,
    "cities": 6,
    "universities": 0,
    "majors": 5,
    "employers": 0,
    "templates": 4,
    "vocabulary": "world",
}


@st.composite
def tiers(draw):
    exponents = sorted(draw(st.sets(st.integers(0, 5), min_size=1, max_size=4)), reverse=True)
    base = exponents[-1]
    return Tiers(
        tuple(
            Tier(i + 1, draw(st.integers(1, 40)), 2 ** (e - base)) for i, e in enumerate(exponents)
        )
    )


def shown(some, n, key=KEY, tier_key=TIER_KEY):
    return Turns(some, CPU).turn(key, tier_key, torch.arange(n))


@settings(max_examples=40, deadline=None)
@given(tiers(), st.integers(0, 2**62 - 1))
def test_a_cycle_shows_every_item_exactly_as_often_as_its_rate(some, key):
    item, exposure = shown(some, 3 * some.cycle, key)
    rate = {tier.number: tier.rate for tier in some.tiers}
    tier_N = Turns(some, CPU).tier_N(TIER_KEY).tolist()
    assert collections.Counter(tier_N) == {tier.number: tier.items for tier in some.tiers}
    for cycle in item.view(3, some.cycle):
        seen = cycle.bincount(minlength=some.items).tolist()
        assert seen == [rate[tier] for tier in tier_N]
    # the exposures of one item are 0, 1, 2, ... in their order
    for i in range(some.items):
        mine = exposure[item == i].tolist()
        assert mine == list(range(3 * rate[tier_N[i]]))


@settings(max_examples=40, deadline=None)
@given(tiers(), st.integers(0, 2**62 - 1))
def test_no_item_comes_again_within_the_gap_nor_twice_in_a_block(some, key):
    item, _ = shown(some, 2 * some.cycle, key)
    last = {}
    for place, one in enumerate(item.tolist()):
        assert place - last.get(one, -(10**9)) - 1 >= some.gap
        last[one] = place
    tier_N = Turns(some, CPU).tier_N(TIER_KEY)
    for tier in some.tiers:
        mine = item[tier_N[item] == tier.number].view(-1, tier.items)
        assert all(len(block.unique()) == tier.items for block in mine)


@settings(max_examples=60, deadline=None)
@given(tiers(), st.integers(0, 1000))
def test_counts_are_those_of_a_reader(some, n):
    item, _ = shown(some, n)
    counted = Turns(some, CPU).counts(KEY, TIER_KEY, n)
    assert counted.tolist() == item.bincount(minlength=some.items).tolist()


def test_whose_turn_it_is_follows_from_the_number_of_the_rendering_alone():
    turns, n = Turns(SOME, CPU), 4 * SOME.cycle
    whole = turns.turn(KEY, TIER_KEY, torch.arange(n))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    some = turns.turn(KEY, TIER_KEY, order)
    assert torch.equal(some[0], whole[0][order]) and torch.equal(some[1], whole[1][order])


def test_runs_of_a_stack_have_keys_of_their_own():
    turns, n = Turns(SOME, CPU), 2 * SOME.cycle
    keys = [(hashing.key(s, "turns"), hashing.key(s, "tiers")) for s in (1, 2)]
    each = [turns.turn(*pair, torch.arange(n)) for pair in keys]
    member = torch.arange(2 * n) % 2
    one, two = (torch.tensor(some)[member] for some in zip(*keys, strict=True))
    item, exposure = turns.turn(one, two, torch.arange(2 * n) // 2)
    for m in (0, 1):
        assert torch.equal(item[member == m], each[m][0])
        assert torch.equal(exposure[member == m], each[m][1])
    assert not torch.equal(each[0][0], each[1][0])


def test_every_round_has_another_order_and_every_item_any_place_in_it():
    some = Tiers((Tier(1, 10, 2), Tier(2, 40, 1)))
    item, _ = shown(some, 400 * some.cycle)
    tier_N = Turns(some, CPU).tier_N(TIER_KEY)
    first = torch.nonzero(tier_N == 1)[:, 0]
    item = item.view(400, some.cycle)
    assert len(set(map(tuple, item.tolist()))) == 400
    # parts: 5 + 10 items of one half, 5 + 10 of the other; the 5 are anywhere among 15
    at = torch.isin(item[:, :15], first).sum(0).double()
    expected = 400 * 5 / 15
    # 15 places, of each round exactly 5 hold one: chi-squared of 14 degrees of freedom, scaled by
    # the variance of draws without replacement
    chi = float(((at - expected) ** 2 / (expected * (1 - 5 / 15))).sum()) * 14 / 15
    assert chi < 14 + 5 * (2 * 14) ** 0.5


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.integers(0, 2**62 - 1))
def test_permutations_of_ranges_of_their_own_are_those_of_one_range(sizes, key):
    index = torch.cat([torch.arange(n) for n in sizes])
    n = torch.repeat_interleave(torch.tensor(sizes), torch.tensor(sizes))
    out = hashing.permute_by(key, index, n)
    wanted = torch.cat([hashing.permute(key, torch.arange(k), k) for k in sizes])
    assert torch.equal(out, wanted)


# ------------------------------------------------------------------------------------------ streams


def config(steps=400, seed=1, **data):
    return from_dict(
        {
            "data": WORLD | {"tiers": ["0.1x4", "0.3x2", "0.6x1"]} | data,
            "train": {"batch_size": 4, "warmup_steps": 1, "steps": steps},
            "seed": seed,
        }
    )


MIXED = {"other_people": 90, "other_parts": 2, "main_parts": 3, "tag": "other"}


def read(config, cuts=()):
    at, cursor = feed.StreamFeed([config], CPU), torch.zeros(1, feed.CURSOR, dtype=torch.int64)
    step, rows = 0, []
    while step < config.steps:
        for tokens in at.chunk(cursor, step, config.steps - step):
            rows.append(tokens[0])
            step += 1
            if step in cuts:
                at, cursor = feed.StreamFeed([config], CPU), cursor.clone()
                break
    return torch.cat(rows), at


@pytest.mark.parametrize("data", [{}, MIXED, MIXED | {"windows": "mixed"}])
def test_a_stream_that_goes_on_shows_and_counts_the_same(data):
    whole, at = read(config(**data))
    again, resumed = read(config(**data), cuts=(1, 57, 300))
    assert torch.equal(whole, again)
    assert at.tiers(0, 400) == resumed.tiers(0, 400)
    assert at.exposures(0, 400) == resumed.exposures(0, 400)


@pytest.mark.parametrize("data", [{}, MIXED, MIXED | {"windows": "mixed"}])
def test_tiers_of_a_stream_are_seen_at_their_rates(data):
    _, at = read(config(**data))
    parts, whole = at.tiers(0, 400), at.exposures(0, 400)
    assert [part["items"] for part in parts] == [4, 12, 24]
    per_rate = [part["exposures_mean"] / part["rate"] for part in parts]
    cycles = whole["mean"] * 40 / (4 * 4 + 12 * 2 + 24)
    for part, mean in zip(parts, per_rate, strict=True):
        assert abs(mean - cycles) <= 1 / part["rate"]
        assert part["exposures_max"] - part["exposures_min"] <= 1
    assert sum(p["exposures_mean"] * p["items"] for p in parts) == pytest.approx(40 * whole["mean"])
    assert int(at.counts(0, 400).sum()) == round(40 * whole["mean"])


@pytest.mark.parametrize("skip", [0, 30])
def test_people_of_the_text_are_those_of_the_turns(skip):
    """Names read from the tokens of the stream come as often as counted, also behind other
    people."""
    rows, at = read(config(skip=skip))
    member = at.members[0]
    tokens = torch.cat([rows[:, :-1].reshape(-1), rows[-1:, -1]])
    pieces, everybody = member.world.pieces, torch.arange(40)
    names = member.world.names.parts(everybody)
    assert len({tuple(int(part[i]) for part in names) for i in range(40)}) == 40
    counted = at.counts(0, 400)
    end = (tokens == 0).nonzero()[:, 0]
    assert abs(len(end) - 1 - int(counted.sum())) <= 1  # EOS stands in front of each text
    first = pieces.tokens[pieces.start[member.world.names.first[names[0]]]]
    seen = collections.Counter(tokens[end[:-1] + 1].tolist())
    wanted = collections.Counter()
    for i in range(40):
        wanted[int(first[i])] += int(counted[i])
    assert sum(abs(seen[t] - wanted[t]) for t in wanted) <= 1


def test_members_of_a_stack_read_what_they_read_alone():
    configs = [config(steps=60, seed=s) for s in (1, 2)] + [config(steps=60, tiers=[])]
    alone = [read(c)[0] for c in configs]
    together, cursor, step = feed.StreamFeed(configs, CPU), torch.zeros(3, 4, dtype=torch.int64), 0
    while step < 60:
        for tokens in together.chunk(cursor, step, 60 - step):
            for m in range(3):
                assert torch.equal(tokens[m], alone[m][4 * step : 4 * step + 4])
            step += 1
    assert together.tiers(2, 60) is None and together.tiers(0, 60) is not None


def test_without_tiers_counts_are_those_of_equal_turns():
    config_ = config(tiers=[])
    _, at = read(config_)
    counted, said = at.counts(0, 400), at.exposures(0, 400)
    assert int(counted.min()) == said["min"] and float(counted.double().mean()) == said["mean"]
    assert MemberStream(config_, CPU).tier_N().unique().tolist() == [1]


# ---------------------------------------------------------------------------------------- sequences


def sequences(seed=1, kind="uniform", **data):
    some = {"kind": kind, "n_sequences": 60, "seq_len": 8, "tiers": ["0.1x8", "0.4x2", "0.5x1"]}
    if kind == "text":
        some |= {"vocab_size": 256, "documents": 100, "n_held_out": 20}
    return from_dict(
        {
            "data": some | data,
            "train": {"steps": 100, "batch_size": 7, "warmup_steps": 1},
            "seed": seed,
        }
    )


@pytest.mark.parametrize("kind", ["uniform", "text"])
def test_rows_of_batches_come_as_often_as_counted(kind):
    config = sequences(kind=kind)
    table, cursor = feed.TableFeed([config], CPU), torch.zeros(1, feed.CURSOR, dtype=torch.int64)
    rows = {tuple(row.tolist()): i for i, row in enumerate(table.member_tokens(0))}
    seen = collections.Counter()
    for tokens in table.chunk(cursor, 0, 100):
        seen.update(rows[tuple(row.tolist())] for row in tokens[0])
    _, tier_N = table.classes(0)
    assert table.orders[0].counts(700).tolist() == [seen[i] for i in range(60)]
    parts, whole = table.tiers(0, 100), table.exposures(0, 100)
    assert [part["items"] for part in parts] == [6, 24, 30]
    for part in parts:
        mine = [seen[i] for i in range(60) if tier_N[i] == part["tier"]]
        assert part["exposures_min"] == min(mine) and part["exposures_max"] == max(mine)
        assert part["exposures_max"] - part["exposures_min"] <= 1
    assert whole["mean"] == pytest.approx(700 / 60)
    assert whole["min"] == min(seen[i] for i in range(60)) and whole["max"] == max(seen.values())


def test_batches_from_any_step_on_are_those_of_the_whole():
    order = feed.TableFeed([sequences()], CPU).orders[0]
    whole = order.steps(7, 0, 100)
    assert (order.steps(7, 33, 40) == whole[33:73]).all()


def test_members_of_text_keep_their_tiers_whatever_the_seed_of_the_run():
    one, two, other = (
        feed.TableFeed([config], CPU).classes(0)[1].tolist()
        for config in (
            sequences(seed=1, kind="text"),
            sequences(seed=2, kind="text"),
            sequences(seed=1, kind="text", split_seed=1),
        )
    )
    assert one == two != other


def test_without_tiers_a_table_has_none():
    table = feed.TableFeed([sequences(tiers=[])], CPU)
    assert table.classes(0) is None and table.tiers(0, 100) is None
