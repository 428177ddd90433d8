"""Runs on random halves of one set of people: the set is one, halves are exact, by tiers, and every
person of the set is the same for all runs."""

import collections
import dataclasses

import pytest
import torch

from capacity import compose
from capacity.base.errors import ConfigError
from capacity.data import checks, hashing, lexicons
from capacity.data.biographies import BiosWorld
from capacity.data.halves import Halves
from capacity.feed import feed
from capacity.feed.stream import MemberStream

CPU = torch.device("cpu")
N = 60
BIOS = [
    "data=bios_pocket",
    f"data.n_people={N}",
    "data.seq_len=32",
    "data.first_names=5",
    "data.last_names=40",
    "data.trained_on=half",
    "data.split_seed=7",
    "train=pocket_bios",
    "train.batch_size=4",
    "train.warmup_steps=10",
]
TIERS = "data.tiers=[0.1x8,0.3x4,0.6x1]"


def world(seed, *more):
    config = compose.load([*BIOS, *more, f"seed={seed}"])
    return BiosWorld(config.data, lexicons.of(config.data), N, seed, CPU)


def rows(one):
    return one.names.index(torch.arange(2 * N)) - one.names.skip


@pytest.mark.parametrize("sizes", [[60], [6, 18, 36], [1, 1], [13, 40, 3, 4]])
def test_a_run_and_those_it_leaves_out_are_the_whole_set_and_half_of_every_tier(sizes):
    n, halves = sum(sizes), Halves(sizes, CPU)
    for key in (hashing.key(3, "half"), hashing.key(4, "half")):
        row_N = halves.row(key, torch.arange(2 * n))
        assert row_N.sort().values.tolist() == list(range(2 * n))
        tier_of_row = torch.repeat_interleave(torch.arange(len(sizes)), 2 * torch.tensor(sizes))
        of_place = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        assert torch.equal(tier_of_row[row_N[:n]], of_place)
        assert torch.equal(tier_of_row[row_N[n:]], of_place)


def test_who_is_shown_is_drawn_anew_by_every_seed_and_alike_for_everybody():
    """Of 400 seeds each of 2 N people is shown binomially often: by chance one of 120 is more than
    4 standard deviations off in less than one draw of a hundred, and two people are shown together
    in (N - 1) / (2 N - 1) / 2 of all."""
    shown = torch.zeros(400, 2 * N)
    halves = Halves([N], CPU)
    for seed in range(400):
        shown[seed, halves.row(hashing.key(seed, "half"), torch.arange(N))] = 1
    off = (shown.mean(0) - 0.5) / (0.25 / 400) ** 0.5
    assert off.abs().max() < 4 and 0.7 < float(off.std()) < 1.3
    both = (shown.T @ shown) / 400
    both = both[~torch.eye(2 * N, dtype=torch.bool)]
    assert float(both.mean()) == pytest.approx((N - 1) / (2 * N - 1) / 2, rel=1e-5)


@pytest.mark.parametrize("more", [[], [TIERS], ["data.value_zipf=1.0", "data.skip=9"]])
def test_a_person_of_the_set_is_the_same_for_every_run(more):
    one, other = world(1, *more), world(2, *more)
    mine, theirs = rows(one).argsort(), rows(other).argsort()
    assert not torch.equal(mine, theirs)
    for exposure in (0, 5):
        at = torch.full((2 * N,), exposure)
        assert torch.equal(one.render(mine, at), other.render(theirs, at))
    for name in (*one.attributes, "gender"):
        assert torch.equal(one.values(name, mine), other.values(name, theirs))
    names = set(zip(*(part.tolist() for part in one.names.parts(mine)), strict=True))
    assert len(names) == 2 * N
    another = world(1, *more, "data.split_seed=8")
    assert torch.equal(rows(another), rows(one))  # the half is the seed's, the people are not
    assert not torch.equal(another.values("birth_date", mine), one.values("birth_date", mine))


@pytest.mark.parametrize("more", [[], [TIERS]], ids=["even", "tiers"])
def test_exposures_of_the_set_are_counted_exactly(more):
    """Against somebody who reads every rendering and writes down whom of the set it is about."""
    config = compose.load([*BIOS, *more, "seed=3"])
    stream = MemberStream(config, CPU)
    stream.windows([0] * feed.CURSOR, 0, 300)
    cursor = stream.cursor_at(300)
    count_N, index = stream.counts(cursor), rows(stream.world)
    rendered = stream._render(0, cursor[0], 0)
    read = [_row(stream.world, set(pieces.tolist())) for pieces in rendered]
    assert len(read) == cursor[0] == int(count_N.sum()) > 3 * N
    times = collections.Counter(read)
    assert [times[row] for row in index[:N].tolist()] == count_N.tolist()
    assert not any(times[row] for row in index[N:].tolist())


def _row(world, pieces):
    """Who of the set a rendering is about: the only one whose first and last name are there."""
    first, _, last = world.names.parts(torch.arange(2 * N))
    found = [
        row
        for row, one, other in zip(rows(world).tolist(), first, last, strict=True)
        if int(world.names.first[one]) in pieces
        and pieces & set(world.names.last_GN[:, other].tolist())
    ]
    assert len(found) == 1
    return found[0]


def test_a_stack_of_halves_reads_what_each_reads_alone():
    short = [*BIOS, TIERS, "train.steps=40", "train.exposures=null"]
    configs = [compose.load([*short, f"seed={seed}"]) for seed in (1, 5, 2)]

    def read(some):
        at, cursor, out = feed.StreamFeed(some, CPU), torch.zeros(len(some), feed.CURSOR).long(), []
        while len(out) < 40:
            out += list(at.chunk(cursor, len(out), 40 - len(out)))
        return torch.stack(out), at

    together, at = read(configs)
    assert at.groups == [[0, 1, 2]]
    for m, config in enumerate(configs):
        alone, other = read([config])
        assert torch.equal(together[:, m : m + 1], alone)
        assert torch.equal(at.counts(m, 40), other.counts(0, 40))
        assert at.tiers(m, 40) == other.tiers(0, 40)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["data.other_people=9", "data.other_parts=1"], "data.other_people=9"),
        (["measure.held_out_people=9"], "measure.held_out_people=9"),
        (["measure.people=9"], "measure.people=9"),
        (["data.n_people=101"], "data.n_people of at most 100"),
        (["data.n_people=1", "data.seq_len=8"], "data.n_people=1"),
        (["data.trained_on=members"], "data.split_seed=7"),
        (["data.trained_on=others"], "expected one of members, half"),
        (["data=mixed", "data.n_rows=50"], "data.kind=mixed"),
        (["data=biod_pocket"], "data.trained_on"),
    ],
)
def test_what_cannot_be_halved_is_refused_by_name(more, words):
    settings = [s for s in BIOS if s.split("=")[0] not in {m.split("=")[0] for m in more}]
    if more[0].startswith("data="):
        settings = [s for s in BIOS if not s.startswith(("data=", "data.first", "data.last",
                                                         "data.seq", "data.split"))]  # fmt: skip
    with pytest.raises(ConfigError) as error:
        compose.load([*more, *settings])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_half_cannot_start_from_weights_that_may_have_seen_the_others():
    config = compose.load(BIOS)
    train = dataclasses.replace(config.train, start_from="abc")
    with pytest.raises(ConfigError, match="train.start_from=abc"):
        checks.check_held_out(config.data, N, config.measure, train)


def test_runs_of_before_keep_their_ids_and_the_set_is_part_of_the_identity():
    plain = [s for s in BIOS if not s.startswith(("data.trained_on", "data.split_seed"))]
    assert {"trained_on", "split_seed"}.isdisjoint(compose.load(plain).identity["data"])
    ids = {
        compose.load([*plain, *more]).run_id
        for more in (
            [],
            ["data.trained_on=half"],
            ["data.trained_on=half", "data.split_seed=1"],
            ["data.trained_on=half", "seed=1"],
        )
    }
    assert len(ids) == 4
