"""Grids and GPTQ against hand-made and independent oracles."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.edits import rounding
from grids import spec

BITS = (8, 6, 5, 4, 3, 2)
KINDS = (("tensor", None), ("row", None), ("group", 8))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(n, width, seed=1):
    """Correlated inputs [n, width] whose spectrum falls from 1 to 0.01."""
    turn = torch.linalg.qr(normal(width, width, seed=seed).double())[0]
    return normal(n, width, seed=seed + 1).double() * torch.logspace(0, -2, width).double() @ turn


# Grids


def test_grids_by_hand():
    w = torch.tensor([[-1.0, 0.1, 0.6, 2.0]])
    # 2 bits, asymmetric: scale 3 / 3, zero point 1, codes 0, 1, 2, 3
    assert rounding.rtn(w, spec(bits=2)).tolist() == [[-1.0, 0.0, 1.0, 2.0]]
    # 3 bits, symmetric: scale 4 / 7, codes -4 .. 3 around the zero point; 2.0 lies half a step
    # above the highest
    assert rounding.rtn(w, spec(bits=3, symmetric=True))[0].tolist() == pytest.approx(
        [k * 4 / 7 for k in (-2, 0, 1, 3)]
    )
    one_sided = torch.tensor([[1.0, 2.0, 3.0]])  # the grid always has a zero
    assert rounding.rtn(one_sided, spec(bits=2)).tolist() == [[1.0, 2.0, 3.0]]
    assert not rounding.rtn(torch.zeros(2, 4), spec(bits=2)).any()


@given(
    st.sampled_from(BITS),
    st.booleans(),
    st.sampled_from(KINDS),
    st.sampled_from(["fp32", "fp16", "bf16"]),
    st.integers(0, 99),
    st.sampled_from([1.0, 1e-4, 1e-7, 50.0]),
)
def test_no_weight_moves_by_more_than_half_a_step_and_a_grid_has_no_more_values_than_codes(
    bits, symmetric, kind, scales, seed, size
):
    w = normal(6, 16, seed=seed) * size
    s = spec(bits=bits, symmetric=symmetric, granularity=kind[0], group_size=kind[1], scales=scales)
    rows = rounding.rows_of(w, s)
    moved = rounding.rtn(w, s)
    step = rounding.fit(rows, bits, symmetric, scales).scale
    assert ((rounding.rows_of(moved, s) - rows).abs() <= step * 0.5 * (1 + 1e-5)).all()
    assert max(len(row.unique()) for row in rounding.rows_of(moved, s)) <= 2**bits
    assert len(step) == s.grids(1, 6, 16)
    stored = step.to(rounding.FLOATS[scales])
    assert torch.equal(
        stored.double(), step
    )  # a scale is a number of the format that it is counted in


def test_a_finer_grid_is_never_coarser_for_its_own_rows():
    w = normal(8, 64)
    for bits in BITS:
        error = [
            float((rounding.rtn(w, spec(bits=bits, granularity=g, group_size=n)) - w).norm())
            for g, n in KINDS
        ]
        assert error[2] < error[1] < error[0]


def test_groups_are_quantized_by_themselves():
    w = normal(5, 24)
    s = spec(bits=3, granularity="group", group_size=8)
    parts = [rounding.rtn(part.clone(), spec(bits=3)) for part in w.split(8, dim=1)]
    assert torch.equal(rounding.rtn(w, s), torch.cat(parts, 1))


# GPTQ


def brain_surgeon(w, hessian, s):
    """The same method in its first form (the paper's equations 2 and 3): after each column the
    others take the optimal update, and its row and column leave the inverse by Gaussian
    elimination. No Cholesky factor, no blocks."""
    w, inverse, out = (
        w.double().clone(),
        torch.linalg.inv(hessian),
        torch.zeros(w.shape, dtype=torch.float64),
    )
    whole = rounding.fit(w, s.bits, s.symmetric, s.scales)
    for c in range(w.shape[1]):
        if s.granularity == "group" and c % s.group_size == 0:
            whole = rounding.fit(w[:, c : c + s.group_size], s.bits, s.symmetric, s.scales)
        out[:, c] = whole.nearest(w[:, c : c + 1])[:, 0]
        w -= ((w[:, c] - out[:, c]) / inverse[c, c])[:, None] * inverse[c]
        inverse = inverse - inverse[:, c : c + 1] @ inverse[c : c + 1] / inverse[c, c]
    return out.float()


@pytest.mark.parametrize("granularity, group", [("row", None), ("group", 8)])
def test_gptq_is_optimal_brain_surgery_in_a_fixed_order(granularity, group):
    w, x = normal(10, 32), inputs(200, 32)
    gram = x.T @ x
    for bits in (4, 3):
        s = spec("gptq", bits, granularity=granularity, group_size=group)
        damped = gram + 0.01 * gram.diagonal().mean() * torch.eye(32).double()
        assert torch.equal(rounding.gptq(w, gram, s), brain_surgeon(w, damped, s))


def test_two_columns_by_hand():
    """The second weight moves to the least-squares optimum beside the rounded first one before it
    is rounded itself."""
    w, gram = (
        torch.tensor([[1.4, 3.0, 0.0]]),
        torch.tensor([[4.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]]).double(),
    )
    s = spec(
        "gptq", 2, damping=1e-12
    )  # scale 1, codes 0 .. 3: 1.4 -> 1, error 0.4, the second 3 + 0.4 x 2 / 2 = 3.4 -> 3
    assert rounding.gptq(w, gram, s).tolist() == [[1.0, 3.0, 0.0]]
    w[0, 1], w[0, 2] = 2.3, 3.0  # 2.3 + 0.4 = 2.7 -> 3, where rounding to nearest says 2
    assert rounding.gptq(w, gram, s).tolist() == [[1.0, 3.0, 3.0]] and rounding.rtn(
        w, spec(bits=2)
    ).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("granularity, group", KINDS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_beats_rounding_on_correlated_inputs_at_every_width(
    granularity, group, symmetric, act_order
):
    w, x = normal(48, 64), inputs(1000, 64)
    gram = x.T @ x
    for bits in BITS:
        kind = {
            "bits": bits,
            "symmetric": symmetric,
            "granularity": granularity,
            "group_size": group,
        }
        best = rounding.gptq(w, gram, spec("gptq", act_order=act_order, **kind))
        nearest = rounding.rtn(w, spec(**kind))
        direct = float((x @ (w.double() - best.double()).T).square().sum())
        assert rounding.output_error(w, best, gram)[0] == pytest.approx(direct, rel=1e-9)
        assert direct < 0.8 * rounding.output_error(w, nearest, gram)[0], bits
        assert (best - w).norm() > (nearest - w).norm()  # it pays with the weights themselves


@given(
    st.sampled_from(BITS), st.booleans(), st.sampled_from(KINDS), st.booleans(), st.integers(0, 99)
)
def test_gptq_is_rounding_where_inputs_do_not_correlate(bits, symmetric, kind, act_order, seed):
    w = normal(7, 16, seed=seed)
    gram = torch.diag(torch.rand(16, generator=torch.Generator().manual_seed(seed)).double())
    gram[3] = 0.0  # an input that is never there
    kind = {
        "bits": bits,
        "symmetric": symmetric,
        "granularity": kind[0],
        "group_size": kind[1],
        "scales": "fp16",
    }
    assert torch.equal(
        rounding.gptq(w, gram, spec("gptq", act_order=act_order, **kind)),
        rounding.rtn(w, spec(**kind)),
    )


@given(
    st.sampled_from([1, 3, 8, 32, 100]),
    st.sampled_from([("row", None), ("tensor", None), ("group", 8)]),
    st.booleans(),
    st.integers(0, 9),
)
def test_blocks_of_columns_change_nothing(columns, kind, act_order, seed):
    w, x = normal(5, 32, seed=seed), inputs(100, 32, seed=seed)
    s = spec("gptq", 3, granularity=kind[0], group_size=kind[1], act_order=act_order)
    assert torch.equal(rounding.gptq(w, x.T @ x, s, columns), rounding.gptq(w, x.T @ x, s, 32))


def test_order_of_inputs_matters_only_without_act_order():
    w, x = normal(6, 16), inputs(200, 16)
    shuffle = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for act_order in (False, True):
        s = spec("gptq", 3, act_order=act_order)
        plain = rounding.gptq(w, x.T @ x, s)
        moved = rounding.gptq(w[:, shuffle], x[:, shuffle].T @ x[:, shuffle], s)
        assert torch.equal(moved, plain[:, shuffle]) == act_order


def test_outputs_do_not_share_anything_but_the_hessian():
    w, x = normal(6, 16), inputs(200, 16)
    s = spec("gptq", 3)
    assert torch.equal(rounding.gptq(w, x.T @ x, s)[2:3], rounding.gptq(w[2:3], x.T @ x, s))
