"""Streams of biographies: one text without gaps, the same after every interruption, exposures as a
reader counts."""

import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import hashing
from capacity.feed import feed, stream
from capacity.feed.stream import MemberStream, Population

CPU = torch.device("cpu")
WORLD = {
    "kind": "bios",
    "seq_len": 24,
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


def make(n=40, steps=500, batch=4, seed=1, exposures=None, **data):
    train = {
        "batch_size": batch,
        "warmup_steps": 1,
        **({"exposures": exposures} if exposures else {"steps": steps}),
    }
    return from_dict({"data": WORLD | {"n_people": n} | data, "train": train, "seed": seed})


def biod(n=40, **data):
    return from_dict(
        {
            "data": {
                "kind": "biod",
                "n_people": n,
                "seq_len": 24,
                "first_names": 20,
                "middle_names": 0,
                "last_names": 50,
                "attributes": 2,
                "chunks": 2,
                "diversity": 5,
                "alphabet": 9,
            }
            | data,
            "train": {"steps": 500, "batch_size": 4},
            "seed": 1,
        }
    )


def joined(windows):
    """The stream that overlapping windows were cut from; consecutive windows share exactly one
    token."""
    assert (windows[1:, 0] == windows[:-1, -1]).all()
    return torch.cat([windows[:1, 0], windows[:, 1:].reshape(-1)]).tolist()


def documents(tokens):
    """Texts of a stream from EOS to EOS; the last one may be cut off."""
    out = []
    for token in tokens:
        if token == 0:
            out.append([])
        out[-1].append(token)
    return out


class Reader:
    """Reads who is written about, from the text alone."""

    def __init__(self, member, people):
        self.world = member.world
        content = self.world.lexicon.content
        first, _, last = self.world.names.parts(torch.arange(people))
        text = [
            ["".join(content["tokens"][row] for row in content["pieces"][p]) for p in pieces]
            for pieces in (
                content["first"],
                content["last"][""]["pieces"]
                if "" in content["last"]
                else content["last"]["'s"]["pieces"],
            )
        ]
        names = [
            text[0][f] + text[1][w].removesuffix("'s")
            for f, w in zip(first.tolist(), last.tolist(), strict=True)
        ]
        self.person = {name: i for i, name in enumerate(names)}
        assert len(self.person) == people

    def person_of(self, document):
        """The person of a document, or None where it is cut off within the name."""
        words = [
            self.world.lexicon.content["tokens"][row]
            for row in document
            if 0 < row < self.world.lexicon.rows
        ]
        return self.person.get("".join(words[:2]))

    def people(self, tokens):
        people = [self.person_of(d) for d in documents(tokens)]
        assert None not in people[:-1]
        return people if people[-1] is not None else people[:-1]

    def tagged(self, document):
        return [place for place, row in enumerate(document) if row == self.world.lexicon.rows]


def run_through(config, cuts=(), most=10**9):
    """All windows of a run and the cursor that a checkpoint after each step holds; `cuts`: steps of
    an interruption."""
    cursor, step, rows, saved = torch.zeros(1, feed.CURSOR, dtype=torch.int64), 0, [], []
    at = feed.StreamFeed([config], CPU)
    while step < config.steps:
        for tokens in at.chunk(cursor, step, min(most, config.steps - step)):
            rows.append(tokens[0])
            step += 1
            saved.append(cursor.clone())
            if step in cuts:  # what lies in memory is lost, the cursor of the checkpoint stays
                at, cursor = feed.StreamFeed([config], CPU), cursor.clone()
                break
    return torch.cat(rows), saved, at


KINDS = {
    "online": make,
    "pairs": lambda: make(order="pairs", biographies=2),
    "biod": biod,
    "pure": lambda: make(other_people=90, other_parts=2, tag="main"),
    "mixed": lambda: make(
        other_people=90, other_parts=2, main_parts=3, windows="mixed", tag="other"
    ),
}


@pytest.fixture(params=KINDS, ids=str)
def config(request):
    return KINDS[request.param]()


# ------------------------------------------------------------------------------------ one long text


def test_windows_are_cut_from_one_stream_of_whole_renderings(config):
    """Every token of the stream is predicted once, in order, and the stream is the renderings one
    after the other."""
    member = MemberStream(config, CPU)
    windows = member.windows([0] * 4, 0, 300)
    assert windows.shape == (300, 25) and windows.dtype == torch.int32
    assert int(windows.min()) == 0 and int(windows.max()) < config.rows
    streams = [windows]
    if getattr(config.data, "windows", "") == "pure" and config.data.other_parts:
        is_main, _ = member._split(0, 300)
        assert int(is_main.sum()) == 100
        streams = [windows[is_main], windows[~is_main]]
    for number, some in enumerate(streams):
        tokens = joined(some)
        pieces = member._render(0, 1000, number)
        slow = [
            t
            for row in pieces.tolist()
            for p in row
            for t in (
                member.world.lexicon.pieces[p]
                if p < len(member.world.lexicon.pieces)
                else member.world.pieces.tokens[
                    member.world.pieces.start[p] : member.world.pieces.start[p]
                    + member.world.pieces.length[p]
                ].tolist()
            )
        ]
        assert tokens == slow[: len(tokens)]


def test_windows_do_not_depend_on_how_many_are_asked_for_at_once(config):
    member = MemberStream(config, CPU)
    whole = member.windows([0] * 4, 0, 120)
    cursors = [member.cursor_at(k) for k in range(121)]
    for k in (1, 7, 60, 119):
        other = MemberStream(config, CPU)
        assert (other.windows(cursors[k], k, 120 - k) == whole[k:]).all()
        assert other.cursor_at(120) == cursors[120]
        assert (
            MemberStream(config, CPU).windows(cursors[k], k, 1).tolist()
            == whole[k : k + 1].tolist()
        )


@pytest.mark.parametrize("chunk_tokens", [1, 1000, 2**18])
def test_a_run_goes_on_identically_from_every_checkpoint(config, monkeypatch, chunk_tokens):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", chunk_tokens)
    config = from_dict(
        {**config.as_dict(), "train": {**config.as_dict()["train"], "steps": 60, "warmup_steps": 1}}
    )
    whole, saved, last = run_through(config)
    assert whole.shape == (60 * 4, 25)
    for k in (1, 9, 10, 11, 20, 59) if chunk_tokens != 1000 else range(1, 60):
        again, cursor = feed.StreamFeed([config], CPU), saved[k - 1].clone()
        steps = range(k, min(k + 12, 60))  # a chunk may hold more
        for step, tokens in zip(steps, again.chunk(cursor, k, 12), strict=False):
            assert (tokens[0] == whole[4 * step : 4 * step + 4]).all()
    cut, _, end = run_through(config, cuts=(5, 10, 11, 37, 59), most=7)
    assert (cut == whole).all()
    assert end.exposures(0, 60) == last.exposures(0, 60)


def test_members_of_a_stack_see_what_each_would_see_alone(monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", 2000)
    configs = [
        make(n=40, seed=1),
        make(n=60, seed=2, vocabulary="pools"),
        make(n=50, seed=1, vocabulary="pools", order="fixed"),
    ]
    alone = [
        run_through(from_dict({**c.as_dict(), "train": {**c.as_dict()["train"], "steps": 50}}))[0]
        for c in configs
    ]
    together, cursor, step = feed.StreamFeed(configs, CPU), torch.zeros(3, 4, dtype=torch.int64), 0
    while step < 50:
        for tokens in together.chunk(cursor, step, 50 - step):
            for m in range(3):
                assert (tokens[m] == alone[m][4 * step : 4 * step + 4]).all()
            step += 1
    assert not (alone[0] == alone[1]).all()


def test_runs_of_another_seed_see_other_people_and_orders():
    a, b = (MemberStream(make(seed=seed), CPU).windows([0] * 4, 0, 50) for seed in (1, 2))
    assert float((a == b).double().mean()) < 0.3


# ---------------------------------------------------------------------------------------- exposures


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(0, 2**62), st.integers(1, 6))
def test_everybody_takes_turns_and_keeps_a_distance(count, key, turns):
    people, exposure = Population(7, count, key).turn(torch.arange(turns * count))
    assert exposure.tolist() == [r // count for r in range(turns * count)]
    last = {}
    for place, person in enumerate(people.tolist()):
        assert 7 <= person < 7 + count
        assert place - last.get(person, -(10**9)) - 1 >= stream.gap(count)
        last[person] = place
    for turn in people.view(turns, count):
        assert len(turn.unique()) == count


def test_the_order_of_people_is_new_every_time():
    people, _ = Population(0, 50, hashing.key(0, "turns")).turn(torch.arange(50 * 300))
    orders = people.view(300, 50)
    assert len(set(map(tuple, orders.tolist()))) == 300
    first = (
        orders[:, 0].bincount(minlength=50)[:25].double()
    )  # the first half comes first, each of it as often
    assert float(((first - 12) ** 2 / 12).sum()) < 24 + 4 * 48**0.5


@pytest.mark.parametrize("steps", [1, 33, 250, 500])
def test_counted_exposures_are_those_of_a_reader(config, steps):
    """EOS-separated documents, read by their names; fewest and most differ by one at most, but for
    one that is cut."""
    steps = min(steps, 250) if config.data.kind == "biod" else steps
    config = from_dict(
        {
            **config.as_dict(),
            "train": {**config.as_dict()["train"], "steps": steps, "warmup_steps": 0},
        }
    )
    windows, _, at = run_through(config)
    member, reader = (
        at.members[0],
        Reader(at.members[0], 40 + getattr(config.data, "other_people", 0)),
    )
    if member.pure:
        is_main, _ = member._split(0, len(windows))
        windows = windows[is_main]
    tokens = joined(windows)[:-1]  # the last token of a window is the first of the next
    whole = documents(joined(windows))
    people = [p for p in map(reader.person_of, whole[:-1]) if p < 40]
    started = [p for p in reader.people(tokens) if p < 40]
    counted = at.exposures(0, steps)
    seen, begun = (collections.Counter(some) for some in (people, started))
    assert counted["min"] in {min(seen[i] for i in range(40)), min(begun[i] for i in range(40))}
    # where the stream ends within a name, the reader cannot tell whose it is
    begun_at_all = -(-(len(people) + 1) // 40)
    assert counted["max"] in {max(seen.values(), default=0), max(begun.values()), begun_at_all}
    assert counted["max"] - counted["min"] <= 1
    assert abs(counted["mean"] - len(people) / 40) <= 1.01 / 40
    assert max(begun.values()) - min(begun[i] for i in range(40)) <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exposures", [25, 100])
def test_asked_exposures_are_realised(kind, exposures):
    """Steps derived from exposures show every person so often, within one percent and a turn's
    edge."""
    config = KINDS[kind]()
    tree = config.as_dict()
    config = from_dict(
        {
            **tree,
            "train": {**tree["train"], "steps": None, "exposures": exposures, "warmup_steps": 1},
        }
    )
    member = MemberStream(config, CPU)
    count = config.steps * config.train.batch_size
    member.windows([0] * 4, 0, count)
    counted = member.exposures(member.cursor_at(count))
    assert counted["mean"] == pytest.approx(exposures, rel=0.01, abs=0.1)
    assert config.exposures == pytest.approx(exposures, rel=0.01)
    assert counted["max"] - counted["min"] <= 1


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"other_people": 90, "other_parts": 7, "windows": "mixed"},
        {"other_people": 90, "other_parts": 3},
        {"other_people": 90, "other_parts": 1, "main_parts": 40, "windows": "mixed"},
    ],
    ids=str,
)
def test_no_window_shows_a_person_twice(others):
    config = make(n=24, seq_len=48, **others)
    member = MemberStream(config, CPU)
    reader = Reader(member, 24 + others.get("other_people", 0))
    for window in member.windows([0] * 4, 0, 400):
        tokens = window.tolist()
        people = [
            p for p in map(reader.person_of, documents(tokens[tokens.index(0) :])) if p is not None
        ]
        assert len(set(people)) == len(people)
    with pytest.raises(ConfigError, match="data.n_people=8"):
        make(n=8, seq_len=48)


# ----------------------------------------------------------------------------------------- mixtures


@pytest.mark.parametrize("main, other", [(1, 7), (3, 2), (1, 1), (5, 1)])
@pytest.mark.parametrize("tag", ["none", "main", "other"])
@pytest.mark.parametrize("windows", ["pure", "mixed"])
def test_mixtures_have_their_exact_parts_and_tags(main, other, tag, windows):
    config = make(
        other_people=90,
        other_parts=other,
        main_parts=main,
        windows=windows,
        tag=tag,
        other_order="fixed",
        other_biographies=1,
    )
    member = MemberStream(config, CPU)
    reader = Reader(member, 130)
    cut, block = member.windows([0] * 4, 0, 60 * (main + other)), main + other
    if windows == "pure":
        is_main, rank = member._split(0, len(cut))
        assert (is_main.view(-1, block).sum(1) == main).all()  # exact in every block
        assert sorted(rank[is_main].tolist()) == list(range(60 * main))
        groups = [
            (documents(joined(cut[is_main])), True),
            (documents(joined(cut[~is_main])), False),
        ]
    else:
        everything = documents(joined(cut))
        groups = [(everything, None)]
        kinds = [reader.person_of(d) < 40 for d in everything[:-1]]
        blocks = torch.tensor(kinds[: len(kinds) // block * block]).view(-1, block)
        assert (blocks.sum(1) == main).all()
        if block > 2:
            assert len(blocks.unique(dim=0)) > 1  # in an order of the block's own
    for some, wanted in groups:
        for document in some[:-1]:
            ours = reader.person_of(document) < 40
            assert wanted is None or ours == wanted
            marked = tag == ("main" if ours else "other")
            assert reader.tagged(document) == (
                [1] if marked else []
            )  # right behind EOS, nowhere else
    others = collections.defaultdict(set)
    for some, _ in groups:
        for document in some[:-1]:
            if reader.person_of(document) >= 40:
                others[reader.person_of(document)].add(tuple(document))
    assert others and all(len(texts) == 1 for texts in others.values())  # other_biographies=1


def test_the_main_stream_is_the_same_with_and_without_others():
    """What is measured is shown as it would be alone; only windows of other people come between."""
    plain = MemberStream(make(), CPU).windows([0] * 4, 0, 50)
    member = MemberStream(make(other_people=90, other_parts=3), CPU)
    mixed = member.windows([0] * 4, 0, 200)
    assert (mixed[member._split(0, 200)[0]] == plain).all()


@pytest.mark.parametrize("windows", ["pure", "mixed"])
def test_repetitive_others_take_turns_too(windows):
    config = make(other_people=24, other_parts=7, windows=windows)
    member = MemberStream(config, CPU)
    cut = member.windows([0] * 4, 0, 800)
    reader = Reader(member, 64)
    if windows == "pure":
        cut = cut[~member._split(0, 800)[0]]
    count = collections.Counter(p for p in reader.people(joined(cut)) if p >= 40)
    assert set(count) == set(range(40, 64)) and max(count.values()) - min(count.values()) <= 1


@pytest.mark.parametrize(
    "data, key",
    [
        ({"other_people": 10}, "data.other_parts=0"),
        ({"other_parts": 2}, "data.other_people=0"),
        ({"tag": "other"}, "data.tag=other"),
        ({"other_people": 961, "other_parts": 1}, "data.n_people=40"),
        ({"same_sentences": True}, "data.same_sentences"),
    ],
)
def test_impossible_mixtures_are_refused(data, key):
    with pytest.raises(ConfigError, match=key):
        make(**data)
