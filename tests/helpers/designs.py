"""Spaces, searches and planted lines for tests of designs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capacity.design import optimal
from capacity.design import search as searches
from capacity.design import space as spaces


@pytest.fixture(scope="module")
def space():
    return spaces.space_of("design", [], Path("nowhere"), "cpu")


@pytest.fixture(scope="module")
def formats():
    return spaces.space_of("design@ladder", [], Path("nowhere"), "cpu", spaces.Choice(formats=True))


def line(levels, noise=1.0, **changes):
    """Effects of a straight line measured at these levels; the slope is asked for."""
    x = np.asarray(levels, float)
    ones = np.ones((1, len(x)))
    base = optimal.Effects(
        slope=np.stack([ones, ones * x], axis=-1),
        usable=ones,
        bias=0 * ones,
        noise=noise * ones,
        own=0 * ones,
        trend=0 * ones,
        scatter=np.zeros(1),
        bend=0.0,
        cluster=None,
        contrast=np.array([[0.0, 1.0]]),
        prior=np.array([50.0, 50.0]),
    )
    return replace(base, **changes)


def search(effects, cost, budget, most, done=None):
    return searches.Search(effects=effects, cost=cost, budget=budget, most=most, done=done)


def best(effects, cost, budget, most, done=None, polish=True):
    return searches.best(search(effects, cost, budget, most, done), polish)
