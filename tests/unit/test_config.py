"""Configuration: coupled numbers, and every way to get it wrong."""

import json
import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.compose import GROUPS, expand, load, load_many
from capacity.config import from_dict, known_keys
from settings_trees import tree

# Coupled numbers


def test_explicit_value_beats_the_preset_of_its_partner():
    config = load(["data.n_sequences=77"])  # the preset has data.load=4
    assert (config.data.n_sequences, config.data.load) == (77, None)
    config = load(["train.exposures=100"])  # the preset has train.steps=5000
    assert (config.train.steps, config.train.exposures) == (None, 100.0)
    config = load(
        ["data.n_sequences=77", "data=morris"]
    )  # the order of choice and value does not matter
    assert (config.data.n_sequences, config.data.load, config.data.vocab_size) == (77, None, 2048)


@pytest.mark.parametrize(
    "both", [["data.n_sequences=10", "data.load=2"], ["train.steps=500", "train.exposures=2"]]
)
def test_both_on_one_layer_are_refused(both):
    with pytest.raises(ConfigError) as error:
        load(both)
    for word in both + ["only one"]:
        assert word.split(".")[-1].split("=")[0] in str(error.value)


def test_neither_is_refused():
    with pytest.raises(ConfigError, match="train.steps, train.exposures: give one"):
        load(["train.steps=null"])


def test_later_layer_wins_over_the_partner_in_an_earlier_one():
    def data(*layers):
        config = load_many([[list(layer) for layer in layers]])[0]
        return config.data.n_sequences, config.data.load

    assert data(["data.n_sequences=10"], ["data.load=2"]) == (None, 2.0)
    assert data(["data.load=2"], ["data.n_sequences=10"]) == (10, None)
    assert data(["data.load=2"], ["data.n_sequences=10"], ["data.load=3"]) == (None, 3.0)
    assert data(["data.n_sequences=10"], [], ["seed=1"]) == (10, None)
    assert data(["data.n_sequences=10"], ["data.load=null"]) == (
        10,
        None,
    )  # null says nothing, it does not win
    with pytest.raises(ConfigError, match="only one"):
        data(["seed=1"], ["data.load=2", "data.n_sequences=10"])


# Bad input: one line that names the key, the value, what is allowed and the nearest match


BAD = [
    (["model.d_modle=8"], ["model.d_modle", "did you mean model.d_model?"]),
    (["modle.d_model=8"], ["modle.d_model", "did you mean model.d_model?"]),
    (["data.d_model=8"], ["data.d_model", "did you mean model.d_model?"]),
    (["d_model=8"], ["d_model", "did you mean model.d_model?"]),
    (["zzzz=1"], ["zzzz", "no such setting"]),
    (["+model.dropout=0.1"], ["model.dropout", "no such setting"]),
    (["layers=2"], ["layers: no such setting (did you mean model.n_layers?)"]),
    (["train.learning_rate=1"], ["train.learning_rate", "(did you mean train.lr?)"]),
    (["~seed"], ["~seed: changes nothing", "seed=..."]),
    (["~train.exposures"], ["~train.exposures: changes nothing", "no value"]),
    (["~model.dropout"], ["model.dropout: no such setting"]),
    (["~data"], ["~data: expected the name of a choice of data"]),
    (["model.d_model=wide"], ["model.d_model=wide", "a whole number from 1 to 65536"]),
    (["model.d_model=8.5"], ["model.d_model=8.5", "a whole number"]),
    (["model.d_model=true"], ["model.d_model=true", "a whole number"]),
    (["model.d_model=null"], ["model.d_model=null", "a whole number"]),
    (["model.d_model=0"], ["model.d_model=0", "from 1"]),
    (["model.d_model=[8,16]"], ["model.d_model=[8, 16]", "a whole number"]),
    (["model.d_model=8,16"], ["model.d_model=8,16", "several values"]),
    (["seed=range(2)"], ["seed=range(2)", "several values"]),
    (["model.tied=1"], ["model.tied=1", "true or false"]),
    (["train.lr=0"], ["train.lr=0", "> 0"]),
    (["train.lr=nan"], ["train.lr=nan", "a number > 0"]),
    (["train.lr=inf"], ["train.lr=inf", "a number > 0"]),
    (["train.lr=fast"], ["train.lr=fast", "a number"]),
    (["train.beta2=1.0"], ["train.beta2=1.0", "0.0 to 0.999999"]),
    (["train.weight_decay=-0.1"], ["train.weight_decay=-0.1", ">= 0"]),
    (["train.precision=fp8"], ["train.precision=fp8", "fp32, tf32, bf16, fp16"]),
    (
        ["train.qat=int7"],
        ["train.qat=int7", "int8, int6, int5, int4, int3, int2, ternary, binary", "did you mean"],
    ),
    (["train.qat=3.5"], ["train.qat=3.5", "expected one of none, int8"]),
    (["train.weights=bf16"], ["train.weights=bf16", "bf16_stochastic"]),
    (
        ["train.qat=int4", "quantize=row"],
        ["quantize.methods=[bf16,rtn,gptq]", "train.qat=int4", "quantize=none"],
    ),
    (
        ["model.position=learnt"],
        ["model.position=learnt", "learned, rotary", "did you mean learned?"],
    ),
    (["wandb.mode=on"], ["wandb.mode=", "disabled, offline, online"]),
    (["wandb.mode=ofline"], ["wandb.mode=ofline", "did you mean offline?"]),
    (["cluster.workers=0"], ["cluster.workers=0", "from 1"]),
    (["seed=-1"], ["seed=-1", "from 0"]),
    (["seed=9223372036854775808"], ["seed=9223372036854775808", "9223372036854775807"]),
    (["model=rotray"], ["model=rotray", "gpt, gpt2_moe", "pocket, rotary", "did you mean rotary?"]),
    (["model=8"], ["model=8", "gpt, gpt2_moe", "pocket, rotary"]),
    (["model={d_model:8}"], ["model={d_model:8}", "the name of a choice"]),
    (["data=uniform,morris"], ["data=uniform,morris", "several values"]),
    (["wandb=offline"], ["wandb=offline", "wandb.mode="]),
    (["model.d_model"], ["model.d_model", "key=value"]),
    (["stauts"], ["stauts", "key=value", "status"]),
    (["=8"], ["=8"]),
    (["model.d_model=[8"], ["model.d_model=[8"]),
    (["data.load=${nope}"], ["nope"]),
    (["model.d_model=${nope}"], ["nope"]),
    (["model.d_model=${oc.env:NO_SUCH_VARIABLE}"], ["NO_SUCH_VARIABLE"]),
    (["data.load=???"], ["load"]),
    (["~data.load"], ["data.n_sequences, data.load", "give one"]),
    (["model.n_heads=3"], ["model.n_heads=3", "model.d_model=32", "1, 2, 4, 8, 16, 32"]),
    (
        ["train.warmup_steps=5000"],
        ["train.warmup_steps=5000: must be less than train.steps=5000", "train.warmup_steps=500"],
    ),
    (
        ["train.steps=100"],
        [
            "train.warmup_steps=200: must be less than train.steps=100",
            "give train.warmup_steps=10 (at most 99)",
            "(train.warmup_steps: conf/train/adamw.yaml; train.steps: command line)",
        ],
    ),
    (
        ["train.exposures=3", "data.n_sequences=64"],
        ["less than the 3 steps of train.exposures=3", "give train.warmup_steps=0 (at most 2)"],
    ),
    (["data.load=1e308"], ["data.load=1e+308"]),
    (["train.exposures=1e308"], ["train.exposures=1e+308"]),
    (["model.mlp_ratio=1e308"], ["model.mlp_ratio=1e+308"]),
    (["data.n_sequences=1099511627776", "data.seq_len=65536"], ["1099511627776", "65536", "2^48"]),
    (["model.d_model=" + "9" * 5000], ["model.d_model"]),
]


@pytest.mark.parametrize("overrides, words", BAD, ids=lambda value: " ".join(value)[:40])
def test_bad_input_is_one_clear_line(overrides, words):
    with pytest.raises(ConfigError) as error:
        load(overrides)
    text = str(error.value)
    assert [word for word in words if word not in text] == []
    assert "\n" not in text and len(text) < 400


@pytest.mark.parametrize(
    "bad, word",
    [
        (None, "expected named settings"),
        ([1], "expected named settings"),
        ({"model": 3}, "model=3"),
        ({"model": None}, "model=None"),
        ({1: 2}, "1: no such setting"),
        ({"model": {1: 2}}, "model.1: no such setting"),
        ({"data": {"kind": "facts"}}, "data.kind=facts"),
    ],
)
def test_bad_trees(bad, word):
    with pytest.raises(ConfigError, match=re.escape(word)):
        from_dict(bad)


@pytest.mark.parametrize(
    "good, bad",
    [
        ({"model__n_heads": 4}, {"model__n_heads": 3}),
        (
            {"model__position": "rotary", "model__n_heads": 4},
            {"model__position": "rotary", "model__n_heads": 8},
        ),  # head size 1
        ({"model__mlp_ratio": 1.3}, {"model__mlp_ratio": -0.1}),
        ({"train__warmup_steps": 59}, {"train__warmup_steps": 60}),
        (
            {"train__steps": None, "train__exposures": 2, "train__warmup_steps": 9},
            {"train__steps": None, "train__exposures": 2, "train__warmup_steps": 10},
        ),  # 2 x 40 / 8 = 10 steps
        (
            {"data__n_sequences": 2**40, "data__seq_len": 256},
            {"data__n_sequences": 2**40, "data__seq_len": 257},
        ),
        ({"data__vocab_size": 2}, {"data__vocab_size": 1}),
        ({"train__final_lr_fraction": 1.0}, {"train__final_lr_fraction": 1.01}),
    ],
)
def test_limits_are_where_they_are_said_to_be(good, bad):
    from_dict(tree(**good))
    with pytest.raises(ConfigError):
        from_dict(tree(**bad))


EXTREME = st.sampled_from(
    [
        1,
        2,
        0.5,
        2**31 - 1,
        2**40,
        2**62,
        10**30,
        1e18,
        1e300,
        1.7e308,
        5e-324,
        -0.0,
        math.nan,
        math.inf,
        -1,
    ]
)
ANYTHING = st.one_of(
    EXTREME,
    st.recursive(
        st.one_of(
            EXTREME,
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.sampled_from(["rotary", "bf16"]),
        ),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=3,
    ),
)


def is_sound(config):
    """What must hold of every Config that was let through."""
    text = json.dumps(config.identity, allow_nan=False)
    assert json.loads(text) == config.identity
    assert re.fullmatch("[0-9a-f]{12}", config.run_id)
    assert from_dict(config.as_dict()).run_id == config.run_id
    assert (
        config.items >= 1
        and config.steps >= 1
        and math.isfinite(config.entropy_bits)
        and math.isfinite(config.flops)
    )


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(known_keys()), ANYTHING, max_size=4))
def test_any_values_give_a_sound_config_or_a_config_error(values):
    changes = {key.replace(".", "__"): value for key, value in values.items()}
    for key, partner in (("data__load", "data__n_sequences"), ("train__exposures", "train__steps")):
        if changes.get(key) is not None:  # else nearly every example would end at "both given"
            changes.setdefault(partner, None)
    try:
        is_sound(from_dict(tree(**changes)))
    except ConfigError as error:
        assert "\n" not in str(error)


KEYS = st.sampled_from(
    known_keys() + list(GROUPS) + ["wandb", "hydra", "hydra.run", "data@x", "data@model"]
)
PREFIXES = st.sampled_from(["", "", "", "+", "++", "~"])
VALUES = st.one_of(
    st.sampled_from(
        [
            "8",
            "0",
            "-1",
            "0.5",
            "1e308",
            "nan",
            "inf",
            "-inf",
            "null",
            "true",
            "'8'",
            "",
            "???",
            "rotary",
            "gpt",
            "morris",
            "[1,2]",
            "{a:1}",
            "${seed}",
            "${nope}",
            "${",
            "${oc.env:HOME}",
            "1,2",
            "range(3)",
            "choice(1,2)",
            "glob(*)",
            "interval(0,1)",
            "int(3.7)",
            "sort(2,1)",
            "shuffle(1,2)",
            "tag(a,3)",
            "str(3)",
            "float(x)",
        ]
    ),
    st.text(max_size=6),
    st.integers().map(str),
    st.floats().map(str),
)


OVERRIDE = st.tuples(PREFIXES, KEYS, VALUES).map(lambda t: f"{t[0]}{t[1]}={t[2]}") | st.text(
    max_size=10
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OVERRIDE, max_size=3))
def test_any_overrides_give_a_sound_config_or_a_config_error(overrides):
    try:
        is_sound(load(overrides))
    except ConfigError as error:
        assert "\n" not in str(error)
    try:
        expand(overrides)
    except ConfigError as error:
        assert "\n" not in str(error)
