"""Models loaded by `transformers`: equal logits and greedy generation for every form."""

import json

import pytest
import torch
from safetensors.torch import save_file

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.export import forms, huggingface
from capacity.model.gpt import GPT
from exports import greedy, loaded, theirs

SEQ = 12
LLAMA = {
    "position": "rotary",
    "norm": "rmsnorm",
    "mlp": "gated",
    "activation": "silu",
    "bias": False,
    "tied": False,
}
VARIANTS = {
    "gpt2": {},
    "gpt2 untied": {"tied": False},
    "gpt2 tanh": {"activation": "gelu_tanh"},
    "gpt2 relu": {"activation": "relu"},
    "gpt2 relu2": {"activation": "relu2"},
    "gpt2 silu": {"activation": "silu"},
    "gpt2 quarter": {"mlp_ratio": 1.0},
    "gpt2 no MLP": {"mlp_ratio": 0.0},
    "gpt2 grouped": {"n_kv_heads": 2},
    "gpt2 no bias": {"bias": False, "norm": "layernorm_no_bias"},
    "rotary": {"position": "rotary"},
    "rotary untied": {"position": "rotary", "tied": False},
    "rotary base": {"position": "rotary", "rotary_base": 500.0},
    "rotary grouped, no bias, no MLP": {
        "position": "rotary",
        "n_kv_heads": 1,
        "bias": False,
        "norm": "layernorm_no_bias",
        "mlp_ratio": 0.0,
    },
    "llama": LLAMA | {"mlp_ratio": 8 / 3, "mlp_multiple_of": 8},
    "llama tied, grouped": LLAMA | {"tied": True, "n_kv_heads": 2, "rotary_base": 77.0},
    "llama gelu, bias": LLAMA | {"activation": "gelu", "bias": True},
    "llama no MLP": LLAMA | {"mlp_ratio": 0.0, "mlp": "standard"},
    "llama no gate": LLAMA | {"mlp": "standard"},
    "llama no gate, bias": LLAMA
    | {"mlp": "standard", "activation": "gelu", "bias": True, "tied": True},
    "mistral": LLAMA | {"mlp_ratio": 3.5, "n_kv_heads": 1},
}
TYPES = {
    "gpt2": "GPT2LMHeadModel",
    "rotary": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}


def config_of(model, kind="uniform"):
    """A model of two layers and 24 values on uniform tokens (with BOS) or on a stream (without)."""
    data = (
        {"kind": "uniform", "vocab_size": 29, "seq_len": SEQ, "n_sequences": 10}
        if kind == "uniform"
        else {
            "kind": "biod",
            "n_people": 8,
            "seq_len": SEQ,
            "first_names": 4,
            "middle_names": 0,
            "last_names": 3,
            "attributes": 2,
            "diversity": 3,
            "alphabet": 5,
        }
    )
    return from_dict(
        {
            "data": data,
            "model": {"n_layers": 2, "d_model": 24, "n_heads": 4} | model,
            "train": {"steps": 10, "warmup_steps": 1},
        }
    )


def weights_of(config, seed=0):
    """Weights in which nothing is 0 or 1: logits of a few units, so that every tensor counts."""
    gpt = GPT(config.model, config.rows, config.data.seq_len, config.data.bos)
    noise = torch.randn(1, sum(gpt.sizes), generator=torch.Generator().manual_seed(seed))
    return gpt, gpt.init([seed]) + 0.25 * noise


def saved(found, folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(found.config | {"bos_token_id": found.start, "eos_token_id": None})
    )
    generation = {"suppress_tokens": [found.unknown]} if found.unknown is not None else {}
    (folder / "generation_config.json").write_text(
        json.dumps(generation | {"bos_token_id": found.start})
    )
    save_file(found.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["uniform", "biod"])
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_and_greedy_generation_are_those_of_the_run(name, kind, tmp_path):
    config = config_of(VARIANTS[name], kind)
    gpt, flat_MP = weights_of(config)
    found = huggingface.convert(config, {key: w[0] for key, w in gpt.named(flat_MP).items()})
    model = loaded(saved(found, tmp_path / "model"))
    assert type(model).__name__ == TYPES[name.split()[0].rstrip(",")]
    tokens = torch.randint(
        0,
        config.rows,
        (16, SEQ + (not config.data.bos)),
        generator=torch.Generator().manual_seed(1),
    )
    ours = gpt.logits(flat_MP, tokens[None])[0]
    largest = (ours - theirs(model, config, found.start, tokens)).abs().max()
    assert (
        largest < 2e-5 * ours.abs().max() and ours.std() > 0.5
    )  # measured: at most 9e-6, 2.2e-6 of the largest logit
    for prompt in tokens[:4, :3].tolist():
        given = [found.start, *prompt] if config.data.bos else prompt
        length = SEQ - len(given)
        told = model.generate(torch.tensor([given]), max_new_tokens=length, do_sample=False)[
            0
        ].tolist()
        assert (
            told[len(given) :] == greedy(gpt, flat_MP, prompt, len(prompt) + length)[len(prompt) :]
        )
    exact = {
        "gpt2",
        "gpt2 untied",
        "rotary",
        "rotary untied",
        "llama",
        "mistral",
        "llama tied, grouped",
        "llama gelu, bias",
    }
    if name in exact:  # no number is stored twice or made up
        unfolded = (
            config.parameters["total"]
            if kind == "biod" or config.model.position == "rotary"
            else config.parameters["paper"]
        )
        rows = 2 - config.model.tied  # of the token that pads, or of the BOS in the head
        if config.model.position == "rotary":
            rows -= 1  # the BOS has an embedding in the run, too
        more = rows * config.model.d_model * (kind == "uniform")
        assert model.num_parameters() == unfolded + more
    rotary = config.model.position == "rotary"
    biases = config.model.norm == "layernorm"
    assert (found.unknown is not None) == (kind == "uniform" and (rotary or not biases))
    assert (found.spare is not None) == (kind == "uniform" and not rotary)
    if found.spare is not None and found.unknown is None:
        with torch.no_grad():
            spare = model(tokens).logits[..., -1]
        assert bool((spare < huggingface.SILENT / 2).all())  # no part of a softmax in fp32
    assert any("repeated" in note for note in found.notes) == (
        "grouped" in name and "llama" not in name
    )
    assert any("has no gate" in note for note in found.notes) == ("no gate" in name)
    assert any("missing MLP" in note for note in found.notes) == ("no MLP" in name)


def test_differences_are_rounding(tmp_path):
    """In double precision the exported model lies no further from our fp32 logits than its own fp32
    ones do."""
    config = config_of({})
    gpt, flat_MP = weights_of(config)
    found = huggingface.convert(config, {key: w[0] for key, w in gpt.named(flat_MP).items()})
    folder, tokens = (
        saved(found, tmp_path / "model"),
        torch.randint(0, 29, (64, SEQ), generator=torch.Generator().manual_seed(1)),
    )
    exact = theirs(loaded(folder, torch.float64), config, 0, tokens)
    ours, single = gpt.logits(flat_MP, tokens[None])[0], theirs(loaded(folder), config, 0, tokens)
    assert (ours - exact).abs().max() < 3 * (single - exact).abs().max() < 1e-4


@pytest.mark.parametrize(
    "model, words",
    [
        ({"n_experts": 4}, ["model.n_experts=4", "fixed number of places"]),
        (
            {"norm": "rmsnorm"},
            [
                "model.position=learned, model.norm=rmsnorm, model.mlp=standard",
                "no architecture of transformers",
            ],
        ),
        ({"mlp": "gated"}, ["model.mlp=gated", "no architecture"]),
        ({"mlp": "gated", "position": "rotary"}, ["model.mlp=gated"]),
        (
            LLAMA | {"position": "learned"},
            ["model.position=learned", "rotary positions with RMSNorm"],
        ),
    ],
)
def test_what_transformers_does_not_have_is_refused_by_name(model, words):
    with pytest.raises(ConfigError) as error:
        forms.check(config_of(model))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(
        error.value
    )
    with pytest.raises(ConfigError, match="model.document_mask=true: cannot be exported"):
        forms.check(config_of({"document_mask": True}, "biod"))
