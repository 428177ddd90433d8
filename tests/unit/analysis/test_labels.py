"""Names of runs: plain values, variants in words, published forms."""

import numpy as np
import pandas as pd
import pytest

from capacity import naming
from capacity.analysis import labels


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (float("nan"), None),
        (np.float64("nan"), None),
        (pd.NA, None),
        (True, "true"),
        (np.bool_(False), "false"),
        (3, 3.0),
        (np.int64(3), 3.0),
        (0.5, 0.5),
        ("main", "main"),
    ],
)
def test_equal_settings_are_equal_however_a_table_holds_them(value, plain):
    found = labels.plain(value)
    assert found == plain and type(found) is type(plain)


def test_values_in_words():
    assert [naming.text(v) for v in (None, 50000.0, 0.00312345, "main")] == [
        "none",
        "50K",
        "0.003123",
        "main",
    ]
    assert naming.listed(["a", "", "b"]) == "a, b" and naming.listed(["", ""]) == ""
    assert labels.codes(["b", "a", "b"]) == [0, 1, 0]
    assert labels.tuples(pd.DataFrame({"a": [1, 2]}), []) == [(), ()]


def test_a_published_form_is_recognised_whatever_its_size_and_nothing_else_is():
    for name, form in naming.ARCHITECTURES.items():
        settings = {f"model.{key}": labels.plain(value) for key, value in form.items()}
        assert naming.architecture(settings | {"model.d_model": 64.0}) == name
        assert naming.architecture(settings | {"model.activation": "relu"}) == ""
    moe = {f"model.{k}": labels.plain(v) for k, v in naming.ARCHITECTURES["MoE"].items()}
    assert naming.architecture(moe | {"model.n_experts": 8.0}) == "MoE of 8"
    assert naming.architecture({}) == ""


def test_variants_are_called_by_all_settings_that_vary():
    settings = pd.DataFrame(
        {
            "model.mlp": ["standard", "gated", "gated"],
            "model.norm": ["layernorm", "rmsnorm", "rmsnorm"],
            "data.tag": ["none", "none", "main"],
        },
        dtype=object,
    )
    family = ["model.mlp", "model.norm"]
    assert labels.variants(settings, family, ["data.tag"], []) == [
        "mlp=standard, norm=layernorm, tag=none",
        "mlp=gated, norm=rmsnorm, tag=none",
        "mlp=gated, norm=rmsnorm, tag=main",
    ]
    assert labels.variants(settings, [], [], []) == ["", "", ""]
