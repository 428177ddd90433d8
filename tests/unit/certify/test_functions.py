"""Functions of fixed operations against torch's own, and sums that do not depend on their order."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.certify import functions as f

WIDE = torch.linspace(-60, 60, 60001, dtype=torch.float64)


def relative(got, want):
    return float(((got - want).abs() / want.abs().clamp(min=1e-300)).max())


@pytest.mark.parametrize(
    "name, x, error",
    [
        ("exp", WIDE, 5e-16),
        ("tanh", WIDE, 1e-15),
        ("tanh", WIDE / 1e4, 1e-15),
        ("sigmoid", WIDE, 1e-15),
        ("log", torch.logspace(-200, 200, 60001, dtype=torch.float64), 1e-15),
        ("log", 1 + torch.logspace(-12, 0, 4001, dtype=torch.float64), 1e-15),
    ],
)
def test_a_function_is_that_of_the_library_to_its_last_places(name, x, error):
    x = x[x != 0]
    assert relative(getattr(f, name)(x), getattr(torch, name)(x)) < error


def test_angles_turn_as_in_the_library_for_all_positions_that_a_model_has():
    x = torch.linspace(-9000, 9000, 40001, dtype=torch.float64)
    cos, sin = f.cos_sin(x)
    assert float((cos - x.cos()).abs().max()) < 1e-12
    assert float((sin - x.sin()).abs().max()) < 1e-12


def test_erf_has_the_error_that_its_source_states():
    assert float((f.erf(WIDE / 10) - torch.erf(WIDE / 10)).abs().max()) < 1.5e-7


def test_softplus_is_exact_where_it_is_small_and_where_it_is_large():
    want = torch.tensor([math.log1p(math.exp(x)) for x in (-40.0, -1.0, 0.0, 3.0, 40.0)])
    got = f.softplus(torch.tensor([-40.0, -1.0, 0.0, 3.0, 40.0], dtype=torch.float64))
    assert relative(got.float(), want) < 1e-6
    assert float(got[0]) == pytest.approx(math.exp(-40), rel=1e-12)


def test_the_ends_of_exp_and_log():
    ends = torch.tensor([-math.inf, -2000.0, 0.0, 2000.0], dtype=torch.float64)
    assert f.exp(ends).tolist() == [0.0, 0.0, 1.0, math.inf]
    assert f.log(torch.zeros(1, dtype=torch.float64)).tolist() == [-math.inf]


def test_a_large_tensor_has_the_numbers_of_its_parts():
    x = torch.linspace(-5, 5, 3 * f.AT_ONCE + 7, dtype=torch.float64).view(1, -1)
    assert torch.equal(f.exp(x)[0, -7:], f.exp(x[0, -7:]))


@given(st.integers(0, 2**32), st.integers(1, 200), st.sampled_from([1e-6, 1.0, 1e6]))
def test_a_sum_and_a_product_do_not_depend_on_the_order_of_summands(seed, n, scale):
    stream = torch.Generator().manual_seed(seed)
    a = torch.randn(3, n, generator=stream, dtype=torch.float64) * scale
    b = torch.randn(n, 4, generator=stream, dtype=torch.float64)
    order = torch.randperm(n, generator=stream)
    assert torch.equal(f.total(a, 1), f.total(a[:, order], 1))
    assert torch.equal(f.product(a, b), f.product(a[:, order], b[order]))
    # also where it is added up one by one
    (x, ex), (y, ey) = (f.whole(m, d, (53 - f._log2(n)) // 2) for m, d in ((a, 1), (b, 0)))
    one_by_one = sum(x[:, k, None] * y[None, k] for k in range(n))
    assert torch.equal(f.product(a, b), one_by_one * f._power(ex) * f._power(ey))


def test_sums_and_products_are_those_of_the_library_to_fp32():
    a, b = torch.randn(5, 30, 64), torch.randn(5, 64, 7)
    assert torch.allclose(f.product(a.double(), b.double()), a.double() @ b.double(), atol=1e-4)
    assert torch.allclose(f.total(a.double(), [1, 2]), a.double().sum([1, 2]), atol=1e-10)
    assert torch.allclose(f.running_total(a.double(), 1), a.double().cumsum(1), atol=1e-10)
    assert f.total(a.double(), 2, keepdim=True).shape == (5, 30, 1)


def test_sums_of_nothing_and_of_zeros_are_zero():
    assert f.total(torch.zeros(2, 0, dtype=torch.float64), 1).tolist() == [0.0, 0.0]
    assert f.total(torch.zeros(2, 3, dtype=torch.float64), 1).tolist() == [0.0, 0.0]
