"""Values of lists by Zipf's law: how often they come, the entropies that follow, and which parts
refuse what they cannot say of them."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from capacity.base.errors import ConfigError
from capacity.certify import data as certificates
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import lexicons
from capacity.data.biographies import Worlds
from capacity.inspection.data import _read_by
from capacity.measure import knowledge
from capacity.settings import popularity
from small_worlds import make

CPU = torch.device("cpu")
PEOPLE = torch.arange(40_000)
LISTS = {"cities": 7, "universities": 5, "majors": 4, "employers": 9}
SMALL = {"first_names": 400, "last_names": 1000, "months": 3, "days": 4, "years": 2}
SMALL |= LISTS | {"vocabulary": "world"}


@pytest.fixture(scope="module")
def world():
    return make(500, 3, value_zipf=1.0, **SMALL)


@pytest.mark.parametrize("name", ["birth_city", "university", "major", "employer"])
def test_ranks_are_drawn_by_the_law_and_their_entropy_is_exact(world, name):
    """The probabilities of an independent sum; how often values come is theirs by chi squared."""
    size = world.sizes[name]
    law = 1 / np.arange(1, size + 1)
    law /= law.sum()
    chances = world.chances(name).numpy()
    assert np.sort(chances)[::-1] == pytest.approx(law, abs=2 / popularity.GRID)
    came = np.bincount(world.values(name, PEOPLE).numpy(), minlength=size)
    assert chisquare(came, chances * len(PEOPLE)).pvalue > 1e-3
    entropy = -(law * np.log2(law)).sum()
    assert world.data.value_bits(name) == pytest.approx(entropy, abs=1e-8)
    assert entropy < math.log2(size)


def test_dates_and_gender_are_drawn_alike_and_nothing_moves_without_the_law(world):
    plain = make(500, 3, **SMALL)
    for name in ("birth_date", "gender"):
        assert torch.equal(world.values(name, PEOPLE), plain.values(name, PEOPLE))
        assert world.data.value_bits(name) == math.log2(world.sizes[name])
    assert plain.data.attribute_bits == sum(math.log2(n) for n in plain.sizes.values())
    assert not torch.equal(world.values("major", PEOPLE), plain.values("major", PEOPLE))
    assert world.data.attribute_bits == sum(map(world.data.value_bits, world.sizes))


def test_which_value_is_popular_follows_from_the_seed_also_in_a_stack(world):
    seeds = (3, 4, 5, 6)
    each = [world.with_seed(seed) for seed in seeds]
    most = {int(one.chances("employer").argmax()) for one in each}
    assert len(most) > 1
    together = Worlds(world.data, lexicons.of(world.data), 500, seeds, CPU)
    member = torch.arange(len(seeds)).repeat(100)
    person = torch.arange(100).repeat_interleave(len(seeds))
    for name in world.sizes:
        both = together.of(member).values(name, person)
        for m, one in enumerate(each):
            assert torch.equal(both[member == m], one.values(name, person[member == m]))


def test_the_city_of_work_has_the_entropy_of_employers_as_they_are_drawn(world):
    city = world.values("work_city", PEOPLE).numpy()
    came = np.bincount(city) / len(city)
    came = came[came > 0]
    drawn = -(came * np.log2(came)).sum()
    assert knowledge._place_bits(world) == pytest.approx(drawn, abs=0.02)


def test_extreme_exponents_keep_whole_probabilities():
    assert sum(popularity.shares(300, 4.0)) == popularity.GRID
    assert min(popularity.shares(300, 4.0)) == 0  # never drawn, and adds no bits
    assert 0 < popularity.entropy_bits(300, 4.0) < popularity.entropy_bits(300, 3.0)
    assert popularity.entropy_bits(1, 2.0) == 0


def made(data):
    return from_dict({"data": data, "train": {"steps": 1000}})


def test_identity_and_load_know_the_law():
    base = {"kind": "bios", "seq_len": 16, "n_people": 300} | SMALL
    plain, zipf = (made(base | more) for more in ({}, {"value_zipf": 1.0}))
    assert made(base | {"value_zipf": 0.0}).run_id == plain.run_id != zipf.run_id
    less = sum(math.log2(n) - popularity.entropy_bits(n, 1.0) for n in LISTS.values())
    assert plain.entropy_bits - zipf.entropy_bits == pytest.approx(300 * less)


def test_what_cannot_be_said_is_refused_by_name():
    zipf = ["data=bios_pocket", "data.value_zipf=1.0"]
    with pytest.raises(ConfigError, match=r"^data.value_zipf=1: a certificate counts values as"):
        certificates.of_run(load(zipf), None, None, as_set=False, whole_texts=False)
    with pytest.raises(ConfigError, match=r"data.value_zipf=1.0: data.kind=mixed"):
        load(["data=mixed", "data.n_people=64", "data.load=null", "data.n_rows=64",
              "data.value_zipf=1.0"])  # fmt: skip
    with pytest.raises(ConfigError, match=r"data.value_zipf=5(\.0)?: .*4"):
        load([*zipf[:1], "data.value_zipf=5"])
    with pytest.raises(ConfigError, match=r"^measure.inside=8: .* data.value_zipf=1; leave one"):
        load([*zipf, "data.questions=true", "measure.inside=8"])
    cells = "measure.fact_cells=true"
    with pytest.raises(ConfigError, match=r"^measure.fact_cells=true: .* data.kind=biod"):
        load(["data=biod_pocket", cells])
    with pytest.raises(ConfigError, match=r"^measure.fact_cells=true: .* data.other_people=50"):
        load([*zipf, cells, "data.other_people=50", "data.other_parts=1"])
    with pytest.raises(ConfigError, match=r"^measure.fact_cells=true: with train.start_from"):
        load([*zipf, cells, "train.start_from=0123456789ab"])


def test_a_file_of_such_people_is_read_by_how_often_values_came(tmp_path):
    zipf, plain = load(["data=bios_pocket", "data.value_zipf=1.0"]), load(["data=bios_pocket"])
    assert "data.value_bits=alternatives" in _read_by(plain, tmp_path / "people.jsonl")
    assert "data.value_bits=alternatives" not in _read_by(zipf, tmp_path / "people.jsonl")
