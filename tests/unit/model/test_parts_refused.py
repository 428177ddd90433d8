"""Parts of blocks: what does not go together is refused by name."""

import pytest

from capacity.base.errors import ConfigError
from capacity.config import from_dict


def config(train=None, **model):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
            "train": {"steps": 60, "warmup_steps": 5} | (train or {}),
            "model": {"d_model": 8, "n_heads": 4, "n_layers": 2} | model,
        }
    )


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"engram_rows": 64}, ["model.engram_rows=64", "model.memory=engram", "none"]),
        ({"memory_layers": [1]}, ["model.memory_layers=[1]", "model.memory=engram"]),
        ({"channel_layers": [1]}, ["model.channel_layers=[1]", "model.channel=stem", "mlp"]),
        (
            {"memory": "engram", "memory_layers": [0, 2]},
            ["model.memory_layers=[0,2]", "layers 0 to 1"],
        ),
        ({"channel": "stem", "mlp_ratio": 0}, ["model.channel=stem", "model.mlp_ratio=0"]),
        ({"channel": "stem", "n_experts": 4}, ["model.channel=stem", "model.n_experts=4"]),
        ({"canon": "AD", "n_experts": 4}, ["model.canon=AD", "no place for D", "A, B, C"]),
        ({"canon": "BC", "mlp_ratio": 0}, ["model.canon=BC", "no place for C", "A, B"]),
        ({"canon": "CD", "channel": "keys"}, ["no place for D", "A, B, C"]),
        ({"channel": "keys", "keys_width": 5}, ["model.keys_width=5", "even"]),
        (
            {"channel": "keys", "keys_side": 3},
            ["model.keys_choices=4", "model.keys_side=3"],
        ),
        ({"channel": "stem", "keys_heads": 3}, ["model.keys_heads=3", "model.channel=keys"]),
        ({"canon": "BA"}, ["model.canon=BA", "in this order"]),
        ({"table_std": 0.1}, ["model.table_std=0.1", "model.memory=engram"]),
        ({"mixer": "linear", "position": "rotary"}, ["model.position=rotary", "attention"]),
        ({"keys_expert": True}, ["model.keys_expert=true", "model.channel=keys"]),
        ({"keys_shared": True}, ["model.keys_shared=true", "model.channel=keys"]),
        ({"mixer": "lstm", "canon": "AC"}, ["model.canon=AC", "no place for A"]),
        ({"mixer": "lstm", "mixer_conv": True}, ["model.mixer_conv=true", "model.mixer=gla"]),
        ({"loops": 0}, ["model.loops=0"]),
        ({"banks_units": [3]}, ["model.banks_units=[3]", "model.channel=banks"]),
        ({"channel": "banks", "banks_units": []}, ["model.banks_units=[]", "[8,4]"]),
        ({"channel": "banks", "mlp_ratio": 0}, ["model.channel=banks", "model.mlp_ratio=0"]),
        ({"channel": "banks", "n_experts": 4}, ["model.channel=banks", "model.n_experts=4"]),
        ({"channel": "banks", "banks_of": "document"}, ["banks_of=document", "banks_of=sequence"]),
        ({"channel": "banks", "banks_prefix": 8}, ["banks_prefix=8", "seq_len=8", "at most 7"]),
        (
            {"channel": "banks", "banks_branching": 65536},
            ["model.banks_branching=65536", "level 2", "2147483648"],
        ),
        ({"map_rank": 0}, ["model.map_rank=0"]),
        ({"map_rank": 9}, ["model.map_rank=9", "model.d_model", "1 to 8"]),
        ({"map_rank": 4, "n_kv_heads": 1}, ["model.map_rank=4", "keys and values", "1 to 2"]),
        ({"map_rank": 5, "mlp_ratio": 0.5}, ["model.map_rank=5", "MLP's width", "1 to 4"]),
        ({"map_rank": 2, "mixer": "linear"}, ["model.map_rank=2", "model.mixer=linear"]),
        ({"map_rank": 2, "channel": "keys"}, ["model.map_rank=2", "model.channel=keys"]),
        ({"map_rank": 2, "n_experts": 4}, ["model.map_rank=2", "model.n_experts=4"]),
        ({"map_rank": 2, "memory": "engram"}, ["model.map_rank=2", "model.memory=engram"]),
        ({"n_shared": 1}, ["model.n_shared=1", "model.n_experts=0"]),
        ({"router_score": "sigmoid"}, ["model.router_score=sigmoid", "model.n_experts=0"]),
        (
            {"n_experts": 4, "router_shift": 0.1, "train": {"weights": "bf16_nearest"}},
            ["model.router_shift=0.1", "train.weights=fp32"],
        ),
        ({"train": {"qat": "int4", "qat_only": "experts"}}, ["train.qat_only", "n_experts=0"]),
        ({"mixer": "gla", "position": "rotary"}, ["model.position=rotary", "model.mixer=gla"]),
        ({"mixer": "delta", "n_kv_heads": 1}, ["model.n_kv_heads=1", "mixer=delta", "linear"]),
        ({"mixer": "titans", "mixer_decay": True}, ["model.mixer_decay", "mixer=delta", "titans"]),
        ({"mixer_conv": True}, ["model.mixer_conv=true", "model.mixer=gla", "attention"]),
        ({"mixer": "ssd", "mixer_decay": True}, ["model.mixer_decay", "model.mixer=delta", "ssd"]),
        ({"mixer": "gla", "mixer_init": "mimic"}, ["model.mixer_init=mimic", "mimetic"]),
        ({"memory": "engrams"}, ["model.memory=engrams", "did you mean engram"]),
        ({"train": {"table_lr": 3.0}}, ["train.table_lr=3", "no part", "stem"]),
        ({"train": {"table_clip": 0.5}}, ["train.table_clip=0.5", "no part"]),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(bad, words):
    with pytest.raises(ConfigError) as error:
        config(**bad)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_two_spellings_of_all_layers_are_one_run():
    every = config(memory="engram", memory_layers=[1, 0])
    assert every.run_id == config(memory="engram").run_id
    assert from_dict(every.as_dict()).run_id == every.run_id
    assert config(memory="engram", memory_layers=[1]).run_id != every.run_id
