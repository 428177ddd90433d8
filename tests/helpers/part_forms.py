"""Models with every part of blocks, in a size at which a test takes a moment."""

import dataclasses

import pytest
import torch

from capacity.model.gpt import GPT
from capacity.settings.model import Model

V, S, D = 23, 9, 12
PLAIN = Model(n_layers=2, d_model=D, n_heads=2)
SMALL = {"engram_rows": 11, "engram_width": 3}
BANKS = {"banks_units": (3, 2), "banks_branching": 3}
FORMS = {
    "linear": {"mixer": "linear"},
    "grouped linear": {"mixer": "linear", "n_kv_heads": 1},
    "based": {"mixer": "based", "mixer_gate": True},
    "gla": {"mixer": "gla", "mixer_init": "mimetic", "mixer_conv": True, "mixer_key": 5},
    "gated gla": {"mixer": "gla", "mixer_gate": True, "canon": "AB"},
    "ssd": {"mixer": "ssd", "bias": False},
    "mamba": {"mixer": "ssd", "mixer_conv": True, "mixer_gate": True},
    "delta": {"mixer": "delta"},
    "gated delta": {
        "mixer": "delta",
        "mixer_decay": True,
        "mixer_conv": True,
        "mixer_gate": True,
    },
    "titans": {"mixer": "titans"},
    "gated titans": {"mixer": "titans", "mixer_conv": True, "mixer_gate": True, "mixer_key": 5},
    "lstm": {"mixer": "lstm"},
    "stem": {"channel": "stem", "channel_layers": (1,), "activation": "silu"},
    "keys": {"channel": "keys", "keys_side": 5, "keys_choices": 3, "keys_width": 4},
    "keys, no gate": {"channel": "keys", "channel_layers": (1,), "keys_gate": False},
    "peer": {
        "channel": "keys",
        "keys_side": 5,
        "keys_choices": 3,
        "keys_width": 4,
        "keys_expert": True,
        "keys_gate": False,
    },
    "shared keys": {
        "channel": "keys",
        "keys_side": 5,
        "keys_choices": 3,
        "keys_width": 4,
        "keys_shared": True,
    },
    "banks": {"channel": "banks", **BANKS},
    "banks of documents": {
        "channel": "banks",
        "channel_layers": (1,),
        "banks_of": "document",
        "mlp": "gated",
        "canon": "CD",
        **BANKS,
        "banks_prefix": 1,
    },
    "loops": {"loops": 3},
    "low rank": {"map_rank": 5},
    "low rank, more": {
        "map_rank": 3,
        "n_kv_heads": 1,
        "mlp": "gated",
        "bias": False,
        "canon": "BD",
    },
    "engram": {"memory": "engram", "memory_layers": (1,), **SMALL},
    "engram, longer": {"memory": "engram", "engram_longest": 4, "engram_conv": False, **SMALL},
    "canon": {"canon": "ABCD"},
    "gated canon": {"canon": "ABCD", "mlp": "gated", "bias": False},
    "canon with experts": {"canon": "ABC", "n_experts": 3, "eval_capacity_factor": 9.0},
    "shared experts": {
        "n_experts": 3,
        "n_shared": 1,
        "expert_rounds": 2,
        "router_shift": 0.1,
        "eval_capacity_factor": 9.0,
    },
    "all": {"canon": "ABCD", "channel": "stem", "memory": "engram", "mixer": "linear", **SMALL},
}
MODELS = {name: dataclasses.replace(PLAIN, **form) for name, form in FORMS.items()}
forms = pytest.mark.parametrize("name", FORMS)
both = pytest.mark.parametrize("bos", [True, False])


def built_model(model, bos=True, seeds=(0,), scale=6.0):
    """A model with weights large enough that every path through it matters."""
    gpt = GPT(model, V, S, bos)
    flat = gpt.init(list(seeds))
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(9))
    return gpt, flat + (scale - 1) * flat * gpt.decay_mask() + 0.1 * noise


def tokens(bos=True, members=1, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, V, (members, n, S + (not bos)), generator=generator)
