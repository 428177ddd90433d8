"""Data sets of one seed that skip each other's items: the same list, cut in two."""

import numpy as np
import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import lexicons, uniform
from capacity.data.biographies import WORLDS

CPU = torch.device("cpu")
SMALL = [
    "data.first_names=5",
    "data.middle_names=0",
    "data.last_names=40",
]
BIOS = ["data=bios_pocket", *SMALL, "data.years=3", "data.templates=2"]
BIOD = ["data=biod_pocket", *SMALL]


def test_uniform_sequences_behind_skip_are_those_of_a_larger_set():
    for length in (7, 8):  # whole blocks of words, and not
        whole = uniform.tokens(3, 50, length, 17)
        assert np.array_equal(uniform.tokens(3, 19, length, 17, 31), whole[31:])
        assert np.array_equal(uniform.tokens(3, 20, length, 17), whole[:20])


def world(kind, n, skip=0):
    config = load(
        ["train=pocket_bios", *(BIOS if kind == "bios" else BIOD)]
        + [f"data.n_people={n}", f"data.skip={skip}"]
    )
    return WORLDS[kind](config.data, lexicons.of(config.data), config.items, 4, CPU)


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_people_behind_skip_are_those_of_a_larger_world_in_names_values_and_texts(kind):
    whole, rest = world(kind, 100), world(kind, 60, 40)
    here = torch.arange(60)
    exposure = here % 7
    assert torch.equal(rest.render(here, exposure), whole.render(here + 40, exposure))
    for one, other in zip(rest.names.parts(here), whole.names.parts(here + 40), strict=True):
        assert torch.equal(one, other)
    if kind == "bios":
        for name in (*rest.attributes, "gender"):
            assert torch.equal(rest.values(name, here), whole.values(name, here + 40))


@pytest.mark.parametrize(("kind", "n"), [("bios", 161), ("biod", 161)])
def test_more_names_than_there_are_behind_skip_are_refused(kind, n):
    assert world(kind, 160, 40).n_people == 160
    with pytest.raises(ConfigError, match="behind data.skip=40"):
        world(kind, n, 40)


def test_what_a_corpus_or_text_has_cannot_be_skipped():
    with pytest.raises(ConfigError, match="data.skip: a setting of data.kind=uniform"):
        from_dict({"data": {"kind": "text", "skip": 3}})
