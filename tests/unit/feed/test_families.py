"""People and random rows in one stream: everybody and every row exactly as often as the rates say,
tokens that are those of the world, the same after an interruption and beside other members."""

import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import resolve
from capacity.feed import feed

CPU = torch.device("cpu")
WORLD = {
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
MIXED = WORLD | {"kind": "mixed", "n_people": 40, "n_rows": 60, "row_len": 7}


def make(seed=1, steps=200, **data):
    train = {"batch_size": 4, "warmup_steps": 1, "steps": steps}
    return from_dict({"data": MIXED | data, "train": train, "seed": seed})


def read(configs, steps, cuts=()):
    """Tokens [M, windows, T + 1] of a feed that begins anew at the cuts, and exposures."""
    at, rows, step = feed.StreamFeed(configs, CPU), [], 0
    cursor = torch.zeros(len(configs), feed.CURSOR, dtype=torch.int64)
    while step < steps:
        for tokens in at.chunk(cursor, step, steps - step):
            rows.append(tokens)
            step += 1
            if step in cuts:
                at, cursor = feed.StreamFeed(configs, CPU), cursor.clone()
                break
    exposures = [at.exposures(m, steps) for m in range(len(configs))]
    return torch.stack(rows, 1).flatten(1, 2), exposures, at


def documents(windows, marker):
    """What stands between markers and EOS; the last may be cut off."""
    assert (windows[1:, 0] == windows[:-1, -1]).all()
    out = []
    for token in torch.cat([windows[:1, 0], windows[:, 1:].reshape(-1)]).tolist():
        if token in (0, marker):
            out.append([])
        out[-1].append(token)
    return out


@pytest.mark.parametrize("rates", [{}, {"person_rate": 3}, {"row_rate": 2}])
def test_every_row_and_person_is_read_as_often_as_the_rates_say(rates):
    config = make(steps=300, **rates)
    (windows,), (exposures,), at = read([config], 300)
    world = at.members[0].world
    marker, ids = config.rows - 1, world.rows(torch.arange(60)).tolist()
    assert all(0 < i < marker for row in ids for i in row)
    number = {tuple(row): i for i, row in enumerate(ids)}
    assert len(number) == 60
    found = documents(windows, marker)[:-1]  # the last one may be cut off
    rows = [d[1:] for d in found if d[0] == marker]
    seen = collections.Counter(number[tuple(row)] for row in rows)  # whole and unchanged
    people = len(found) - len(rows)
    cycle = 40 * rates.get("person_rate", 1) + 60 * rates.get("row_rate", 1)
    cycles, left = divmod(len(found), cycle)
    assert cycles > 3
    a_row = rates.get("row_rate", 1)
    for i in range(60):
        assert cycles * a_row <= seen[i] <= (cycles + 1) * a_row
    counts = at.members[0].family_counts(len(found))
    assert counts["rows"].tolist() == [seen[i] for i in range(60)]
    assert int(counts["people"].sum()) == people
    a_person = rates.get("person_rate", 1)
    assert counts["people"].min() >= cycles * a_person
    assert counts["people"].max() <= (cycles + 1) * a_person
    everybody = torch.cat([counts["people"], counts["rows"]])
    assert exposures["min"] == int(everybody.min())
    assert exposures["mean"] == pytest.approx(len(found) / 100)


def test_mean_tokens_of_a_rendering_are_those_that_are_read():
    config = make(steps=400, person_rate=2)
    (windows,), _, _ = read([config], 400)
    found = documents(windows, config.rows - 1)[:-1]
    lengths = torch.tensor([float(len(d)) for d in found])
    # lengths of texts vary; within four standard errors of their mean
    error = 4 * lengths.std() / len(lengths) ** 0.5
    assert abs(lengths.mean() - config.resolved.tokens_of(config.items)) < error


def test_without_rows_the_stream_is_that_of_people_alone():
    bios = from_dict(
        {
            "data": WORLD | {"kind": "bios", "n_people": 40},
            "train": {"batch_size": 4, "warmup_steps": 1, "steps": 50},
            "seed": 1,
        }
    )
    alone = make(n_rows=0, steps=50)
    assert torch.equal(read([bios], 50)[0], read([alone], 50)[0])
    assert (bios.rows, bios.parameters) == (alone.rows, alone.parameters)
    assert bios.exposures == alone.exposures and bios.entropy_bits == alone.entropy_bits


def test_without_people_the_stream_holds_rows_alone():
    config = make(n_people=0, steps=50)
    (windows,), _, _ = read([config], 50)
    assert 0 not in windows and (windows == config.rows - 1).any()
    assert config.entropy_bits == pytest.approx(60 * config.resolved.row_bits)


@pytest.mark.parametrize("chunk_tokens", [1, 900, 2**18])
def test_an_interrupted_stream_and_one_beside_others_are_the_same(chunk_tokens, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_TOKENS", chunk_tokens)
    configs = [make(seed, row_rate=2) for seed in (1, 4, 2)]
    together, exposures, at = read(configs, 60)
    assert at.groups == [[0, 1, 2]]
    for m, config in enumerate(configs):
        alone, its_exposures, _ = read([config], 60)
        assert torch.equal(together[m], alone[0]) and exposures[m] == its_exposures[0]
        again, _, _ = read([config], 60, cuts=(1, 17, 40))
        assert torch.equal(alone, again)


def test_tokens_of_rows_are_uniform_and_do_not_depend_on_how_many_there_are():
    config = make(n_rows=4000)
    world = feed.StreamFeed([config], CPU).members[0].world
    rows = world.rows(torch.arange(4000))
    assert torch.equal(rows[:60], world.rows(torch.arange(60)))
    counts = rows.flatten().bincount(minlength=config.rows)[1:-1].double()
    expected = rows.numel() / len(counts)
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    dof = len(counts) - 1
    assert abs(chi2 - dof) < 5 * (2 * dof) ** 0.5  # of a fixed seed
    other = feed.StreamFeed([make(seed=2, n_rows=4000)], CPU).members[0].world
    agree = (rows == other.rows(torch.arange(4000))).double().mean()
    assert abs(agree - 1 / len(counts)) < 5 * (1 / len(counts) / rows.numel()) ** 0.5


@settings(max_examples=60, deadline=None)
@given(st.floats(0.02, 0.98), st.floats(2.0, 40.0))
def test_a_share_and_a_load_are_split_to_the_nearest_row(share, load):
    names = {"first_names": 400, "last_names": 1000, "seq_len": 8}
    config = make(n_people=None, n_rows=None, load=load, random_share=share, **names)
    resolved = config.resolved
    people, rows = resolved.split(config.items)
    assert people + rows == config.items and people >= 1 and rows >= 1
    bits = load * config.parameters["total"]
    person = resolved.fact_bits(people) - resolved.fact_bits(people - 1)
    # each family is rounded to whole items, one of which may go to the other
    assert abs(config.entropy_bits - bits) <= 2 * max(resolved.row_bits, person) + 1e-6

    def off(n):
        random = n * resolved.row_bits
        return abs(random / (random + resolved.fact_bits(config.items - n)) - share)

    near = [off(n) for n in (rows - 1, rows + 1) if 1 <= n < config.items]
    assert all(off(rows) <= other + 1e-12 for other in near)
    same = make(n_people=people, n_rows=rows, **names)
    assert same.run_id == config.run_id


def test_used_rows_are_those_that_the_stream_has():
    for other in ({}, {"n_people": 0}, {"n_people": 0, "row_vocab": 9}, {"row_vocab": 5}):
        config = make(steps=400, **{"n_rows": 400} | other)
        (windows,), _, _ = read([config], 400)
        assert len(windows.unique()) <= resolve.of(config.data).used_rows <= config.rows
        if not config.data.has_people:
            assert len(windows.unique()) == resolve.of(config.data).used_rows


@pytest.mark.parametrize(
    "data, words",
    [
        ({"n_rows": None}, "data.n_rows: with data.n_people=40"),
        ({"n_people": None, "n_rows": None}, "data.n_people, data.load: give one of the two"),
        ({"n_people": None, "load": 2.0}, "data.load=2 and data.n_rows=60"),
        ({"n_people": 0, "n_rows": 0}, "nothing to train on"),
        ({"row_vocab": 999}, "data.row_vocab=999: the vocabulary has"),
        ({"row_len": 25}, "data.row_len=25: a row is asked for in one window"),
        ({"row_rate": 2, "person_rate": 2}, "data.row_rate=2 and data.person_rate=2"),
        ({"n_people": 0, "row_rate": 2}, "there is only one family"),
        ({"n_people": 2, "n_rows": 2}, "could show a person or row twice"),
        ({"other_people": 50, "other_parts": 1}, "data.other_people=50: data.kind=mixed"),
        ({"tag": "main"}, "data.tag=main: random rows have a marker"),
        ({"zipf": 1.0}, "data.zipf=1.0: data.kind=mixed"),
        ({"tiers": ["0.5x1", "0.5x2"]}, "data.tiers="),
        ({"questions": True}, "data.questions=True"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(data, words):
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as error:
        make(**data)
    assert words in str(error.value)


def test_a_mask_of_documents_is_refused():
    with pytest.raises(ConfigError, match="model.document_mask=true: random rows"):
        model = {"position": "rotary", "document_mask": True}
        from_dict({"data": MIXED, "model": model, "train": {"steps": 200}})
