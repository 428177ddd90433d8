"""Several sources of variation, against statsmodels, against likelihoods written out, and by the
coverage of intervals of planted studies."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2, norm

from capacity.fitting import random_effects

sm = pytest.importorskip("statsmodels.api")


def nested(rng, texts=8, splits=2, runs=2, sd=(1.0, 0.7, 0.5)):
    text = np.repeat(np.arange(texts), splits * runs)
    split = np.repeat(np.arange(texts * splits), runs)
    x = rng.normal(size=len(text))
    levels = (texts, texts * splits, len(text))
    noise = [rng.normal(0, s, n) for s, n in zip(sd, levels, strict=True)]
    y = 3 + 0.5 * x + noise[0][text] + noise[1][split] + noise[2]
    return pd.DataFrame({"y": y, "x": x, "text": text, "split": split})


def sources(table):
    return {
        "training": np.eye(len(table)),
        "split": random_effects.shared(table.split),
        "text": random_effects.shared(table.text),
    }


def test_nested_sources_are_those_of_statsmodels():
    table = nested(np.random.default_rng(0))
    design = np.column_stack([np.ones(len(table)), table.x])
    found = random_effects.effects(table.y, design, sources(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = sm.MixedLM.from_formula(
            "y ~ x", table, groups="text", re_formula="1", vc_formula={"split": "0 + C(split)"}
        ).fit(reml=True)
    # its search ends within 1e-4 or so of the largest likelihood
    assert found.beta == pytest.approx(other.fe_params.to_numpy(), rel=1e-4)
    assert found.variances["text"] == pytest.approx(float(other.cov_re.iloc[0, 0]), rel=0.01)
    assert found.variances["split"] == pytest.approx(float(other.vcomp[0]), rel=0.01)
    assert found.variances["training"] == pytest.approx(float(other.scale), rel=0.01)
    errors = [found.error(np.eye(2)[i]) for i in range(2)]
    assert errors == pytest.approx(other.bse_fe.to_numpy(), rel=0.05)


def test_a_balanced_nested_study_has_the_degrees_of_freedom_of_its_top():
    """Means of texts are independent, so the overall mean has Student's t of texts - 1 exactly."""
    table = nested(np.random.default_rng(1))
    table["y"] -= 0.5 * table.x
    found = random_effects.effects(table.y, np.ones((len(table), 1)), sources(table))
    means = table.groupby("text").y.mean()
    assert min(found.variances.values()) > 0
    assert found.dof([1.0]) == pytest.approx(7, rel=1e-3)
    assert found.beta[0] == pytest.approx(means.mean(), rel=1e-9)
    assert found.error([1.0]) == pytest.approx(means.std() / np.sqrt(8), rel=1e-3)


def test_studies_with_known_variances_are_a_meta_analysis():
    """Restricted likelihood and Paule and Mandel's estimate are equal where all variances are."""
    from statsmodels.stats.meta_analysis import combine_effects

    y, v = np.array([3.2, 3.4, 3.62, 3.1]), np.full(4, 0.05**2)
    found = random_effects.effects(y, np.ones((4, 1)), {"study": np.eye(4)}, v)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = combine_effects(y, v, method_re="iterated", use_t=True)
    assert found.variances["study"] == pytest.approx(other.tau2, rel=1e-4)
    low, high, dof = found.interval([1.0])
    ends = other.summary_frame().loc["random effect", ["ci_low", "ci_upp"]]
    assert (low, high) == pytest.approx(tuple(ends), rel=1e-4) and dof == pytest.approx(3, rel=1e-3)
    told = random_effects.lack_of_fit(y, np.ones((4, 1)), v)
    assert told["chi2"] == pytest.approx(other.q) and told["dof"] == 3
    assert told["p"] == pytest.approx(chi2.sf(other.q, 3))


def test_two_groups_leave_one_degree_of_freedom_however_many_runs_they_have():
    table = nested(np.random.default_rng(2), texts=2, splits=1, runs=40, sd=(1.0, 0.0, 0.5))
    kernels = {"training": np.eye(80), "text": random_effects.shared(table.text)}
    found = random_effects.effects(table.y - 0.5 * table.x, np.ones((80, 1)), kernels)
    assert found.variances["text"] > 0 and found.dof([1.0]) == pytest.approx(1, abs=0.01)


def test_a_source_that_does_not_vary_or_vary_apart_is_left_out():
    table = nested(np.random.default_rng(3))
    kernels = sources(table) | {"study": random_effects.shared(np.zeros(len(table)))}
    kernels["same"] = 3 * random_effects.shared(table.text + 100)
    found = random_effects.effects(table.y, np.ones((len(table), 1)), kernels)
    assert list(found.variances) == ["training", "split", "text"]


def test_bounds_are_the_censored_likelihood():
    rng, x = np.random.default_rng(4), np.column_stack([np.ones(20), np.arange(20.0)])
    sd, y = rng.uniform(0.5, 2, 20), x @ [1, 0.5] + 2 * rng.normal(size=20)
    bound, y = y > 8, np.minimum(y, 8)
    found = random_effects.effects(y, x, {"points": np.eye(20)}, sd**2, bound)
    own = np.sqrt(sd**2 + found.variances["points"])

    def against(beta):
        z = (y - x @ beta) / own
        return -(norm.logpdf(z)[~bound].sum() + norm.logsf(z)[bound].sum())

    best = minimize(against, [0, 0], tol=1e-10)
    assert bound.sum() > 3 and found.beta == pytest.approx(best.x, abs=1e-4)
    step = 1e-3 * np.eye(2)
    curve = [
        [
            (against(best.x + a + b) - against(best.x + a) - against(best.x + b) + best.fun) / 1e-6
            for a in step
        ]
        for b in step
    ]
    assert found.covariance == pytest.approx(np.linalg.inv(curve), rel=0.02)


@pytest.mark.parametrize("text,split", [(0.0, 0.0), (0.0, 0.8), (0.8, 0.3)])
def test_intervals_hold_the_planted_mean(text, split):
    """In 95% of studies or more: variances that are estimated as 0 make intervals too wide, never
    too narrow. Those of runs as replicates hold it in half where texts or splits differ."""
    rng, hits, before, studies = np.random.default_rng(5), 0, 0, 60
    for _ in range(studies):
        table = nested(rng, texts=5, sd=(text, split, 0.5))
        y = table.y - 0.5 * table.x
        low, high, _ = random_effects.effects(y, np.ones((20, 1)), sources(table)).interval([1.0])
        hits += low <= 3 <= high
        before += abs(y.mean() - 3) < 2.093 * y.std() / np.sqrt(20)
    assert hits / studies > 0.95 - 3 * np.sqrt(0.05 * 0.95 / studies)
    assert text < 0.5 or before / studies < 0.8
