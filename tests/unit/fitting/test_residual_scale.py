"""Residuals of fits on which no parameter acts."""

import warnings

import numpy as np
import pytest

from capacity.fitting.fit import fit
from capacity.fitting.points import Points


@pytest.mark.parametrize("delta", [None, np.inf])
def test_points_on_which_the_form_is_cut_off_have_no_noise_and_no_warning(delta):
    """F1 of 1 everywhere: no parameter moves a fitted value, so that all weights were 0 / 0."""
    t = np.array([1.0, 2.0, 4.0, 8.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit("membership", Points({"tokens_per_parameter": t}, np.ones(4)), delta=delta)
    assert found.sigma == 0.0
