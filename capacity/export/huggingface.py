"""A trained model as a folder that `transformers` loads with AutoModelForCausalLM and
AutoTokenizer; `transformers` is not needed here.

What a run computes is one of three architectures of that package, or none:

    learned positions, LayerNorm                gpt2
    rotary positions, LayerNorm                 gpt_neox with sequential residuals
    rotary positions, RMSNorm                   llama, or mistral where that is the form's name

The exported model computes the same function of the same fp32 numbers. What a run leaves out and an
architecture has is made up for exactly: missing biases are zeros; a missing MLP is one hidden unit
with zero weights; the second factor of a gated MLP is 1 where the run has no gate; heads of keys
and values that serve several heads of queries are repeated where the architecture has as many of
both. Maps that are products of two factors (`model.map_rank`) are multiplied out.

The learned BOS vector only ever stands in front of a sequence. With learned positions it is
therefore part of position 0: that row becomes p_0 + bos - e_0, e_0 the embedding of token 0, and a
text starts with token 0, so that no row is added for it and the head stays tied. Random tokens need
a row that pads, which the run does not have: behind a LayerNorm with biases its logit is the same
very low number whatever the text (`_silent_row`), so that the distribution over the next token is
that of the run; elsewhere it has to be left out. With rotary positions no row of positions can take
the BOS vector: it becomes one more token, behind the others, whose logit the run does not know; it
has to be left out of a softmax, and `generate` never writes it.

Refused, in one line, is what would be another function: experts, a memory, another mixer or
channel, Canon layers, attention within documents, pairs of settings that no architecture has.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from capacity import naming, records
from capacity.base import files as storage
from capacity.base.errors import ConfigError
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.export import data, forms, tokenizer
from capacity.export import model_card as card
from capacity.model import low_rank
from capacity.model.gpt import GPT, NORM_EPS
from capacity.settings.model import Model
from capacity.train import checkpoint

SILENT = -100.0  # logit of a token that is never meant: its probability is 0 in fp32
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "silu": "silu",
    "relu": "relu",
    "relu2": "relu2",
}  # names there


@dataclass
class Export:
    """A model in the words of `transformers`."""

    config: dict
    tensors: dict[str, Tensor]
    start: int  # the token that opens every sequence
    notes: list[str] = field(
        default_factory=list
    )  # how it differs from what was trained, in sentences
    unknown: int | None = None  # a token without a logit of its own
    spare: int | None = None  # a token that only pads


def export(results: Path, run_id: str, folder: Path) -> Export:
    """Write config.json, generation_config.json, model.safetensors, tokenizer files and README.md
    of a finished run to a new or empty folder, whole or not at all. ConfigError for a run or a
    folder that cannot be, or a model that `transformers` has no form for."""
    record = records.read(results, run_id)
    if record is None or record["status"] != "finished":
        raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(results)}")
    data.check_empty(folder, "--output")
    kept.load(results, record["config"]["data"])
    config = from_record(record["config"])
    forms.check(config)
    gpt = GPT(
        config.model,
        config.rows,
        config.data.seq_len,
        config.data.bos,
        qat=config.train.qat,
        qat_embeddings=config.train.qat_embeddings,
        qat_only=config.train.qat_only,
    )
    flat_P = gpt.used(
        checkpoint.load_weights(
            records.run_dir(results, run_id) / "weights.safetensors", gpt, run_id
        )
    )
    exported = convert(config, {name: w[0] for name, w in gpt.named(flat_P[None]).items()})
    files = {
        name: text.encode() for name, text in tokenizer.files(config.data, exported.start).items()
    }
    ends = {
        "bos_token_id": exported.start,
        "eos_token_id": None if config.data.kind == "uniform" else 0,
    }
    pads = (exported.spare or exported.unknown) if config.data.kind == "uniform" else 0
    padding: dict[str, Any] = {"pad_token_id": pads}
    generation = ends | {
        "pad_token_id": pads,
        "max_length": config.data.seq_len,
        "do_sample": False,
    }
    if unused := list(range(config.rows, exported.config["vocab_size"])):
        padding["unused_token_ids"] = unused  # rows of no token of the run, see `capacity.bits`
    never = exported.unknown if exported.spare is None else exported.spare
    generation |= {} if never is None else {"suppress_tokens": [never]}
    files |= {
        "config.json": _json(exported.config | ends | padding),
        "generation_config.json": _json(generation),
        "model.safetensors": save(exported.tensors, metadata={"format": "pt"}),
        "README.md": card.card(record, config, exported).encode(),
    }
    _write(folder, files)
    return exported


def convert(config: Config, w: dict[str, Tensor]) -> Export:
    """The model of a run with weights w by name (`model.gpt._layout`), fp32."""
    kind = forms.check(config)
    common = {
        "vocab_size": config.rows,
        "tie_word_embeddings": config.model.tied,
        "dtype": "float32",
        "torch_dtype": "float32",
        "use_cache": True,
    }
    exported = Export(common, {}, 0)
    if config.model.map_rank is not None:
        w = low_rank.multiplied(w)
        exported.notes.append(
            f"Maps of blocks were trained as products of two factors of rank "
            f"{config.model.map_rank}; here they are multiplied out, so that this model has other "
            "parameters, and another number of them, than were trained."
        )
    embedding, head = w["token.weight"], None if config.model.tied else w["head.weight"]
    w = dict(w)
    if config.data.bos and config.model.position == "learned":
        first = w["position.weight"][0].double() + w["bos"].double() - embedding[0].double()
        w["position.weight"] = torch.cat([first.float()[None], w["position.weight"][1:]])
        exported.notes.append(
            "The learned BOS vector is part of position 0: every sequence starts with token 0, "
            "whose embedding is taken off "
            "there."
        )
        if config.data.kind == "uniform":
            embedding, head = _with_spare_row(w, embedding, head, exported)
    elif config.data.bos:
        embedding, head = (
            torch.cat([embedding, w["bos"][None]]),
            None if head is None else torch.cat([head, torch.zeros_like(head[:1])]),
        )
        exported.start = exported.unknown = exported.config["vocab_size"]
        exported.config["vocab_size"] += 1
        exported.notes.append(
            f"The learned BOS vector is token {exported.start}, which opens every sequence. The "
            f"run has no logit for it: "
            "leave it out before a softmax (logits[..., :-1]); generate never writes it."
        )
    if config.model.norm == "layernorm_no_bias":
        exported.notes.append("Biases of norms are zeros.")
    {"gpt2": _gpt2, "gpt_neox": _gpt_neox, "llama": _llama}[kind](
        config, w, embedding, head, exported
    )
    exported.tensors = {
        name: tensor.contiguous().clone() for name, tensor in exported.tensors.items()
    }
    return exported


def _with_spare_row(
    w: dict[str, Tensor], embedding: Tensor, head: Tensor | None, exported: Export
) -> tuple[Tensor, Tensor | None]:
    """Embedding and head with one row more, which pads and stands for unknown words."""
    exported.spare = exported.config["vocab_size"]
    exported.config["vocab_size"] += 1
    row = _silent_row(w["norm.weight"], w.get("norm.bias"))
    if row is None:
        exported.unknown, row = exported.spare, torch.zeros_like(embedding[0])
        logit_note = (
            "The run has no logit for it: leave it out before a softmax (logits[..., :-1]); "
            "generate never writes it."
        )
    else:
        logit_note = (
            f"Its logit is about {SILENT:g} whatever the text, so that a softmax does not see it."
        )
    exported.notes.append(
        f"Token {exported.spare} is not of the run: it pads, and is the unknown token. {logit_note}"
    )
    both = [None if part is None else torch.cat([part, row[None]]) for part in (embedding, head)]
    assert both[0] is not None
    return both[0], both[1]


def _silent_row(gain: Tensor, bias: Tensor | None) -> Tensor | None:
    """A row u of the head whose logit is SILENT behind a LayerNorm, whatever its input; None where
    fp32 cannot hold it.

    What the norm gives is gain * n + bias with sum(n) = 0, so for u = c / gain the logit u . (gain
    * n + bias) = c sum(bias / gain) does not depend on n. c is limited so that rounding, at most c
    D eps in n and its sum, moves the logit by less than 10.
    """
    if bias is None or bool((gain.abs() < 1e-6).any()):
        return None
    ratio = float((bias.double() / gain.double()).sum())
    if ratio == 0.0 or abs(SILENT / ratio) * len(gain) > 10 / torch.finfo(torch.float32).eps / 4:
        return None
    return (SILENT / ratio / gain.double()).float()


def _gpt2(
    config: Config, w: dict[str, Tensor], embedding: Tensor, head: Tensor | None, exported: Export
) -> None:
    """Maps are [in, out] there as here (Conv1D), queries, keys and values side by side."""
    model = config.model
    exported.config |= {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": model.d_model,
        "n_layer": model.n_layers,
        "n_head": model.n_heads,
        "n_positions": config.data.seq_len,
        "n_inner": model.mlp_width or 1,
        "activation_function": ACTIVATIONS[model.activation],
        "layer_norm_epsilon": NORM_EPS,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
    out = {
        "transformer.wte.weight": embedding,
        "transformer.wpe.weight": w["position.weight"],
    } | _norm(w, "norm", "transformer.ln_f")
    for layer in range(model.n_layers):
        at, there = f"blocks.{layer}.", f"transformer.h.{layer}."
        qkv, bias = (
            torch.cat(parts, -1)
            for parts in zip(*_heads(model, w, at, exported.notes), strict=True)
        )
        up, down = _mlp(model, w, at, exported.notes)
        out |= _norm(w, at + "norm1", there + "ln_1") | _norm(
            w, at + "norm2", there + "ln_2", model.d_model
        )
        out |= _map(there + "attn.c_attn", qkv, bias) | _map(
            there + "attn.c_proj", w[at + "out.weight"], w.get(at + "out.bias")
        )
        out |= _map(there + "mlp.c_fc", *up) | _map(there + "mlp.c_proj", *down)
    exported.tensors = out | ({} if head is None else {"lm_head.weight": head})


def _gpt_neox(
    config: Config, w: dict[str, Tensor], embedding: Tensor, head: Tensor | None, exported: Export
) -> None:
    """Maps are [out, in] there, with queries, keys and values of one head side by side."""
    model = config.model
    rotation = {
        "rotary_pct": 1.0,
        "rotary_emb_base": model.rotary_base,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": model.rotary_base,
            "partial_rotary_factor": 1.0,
        },
    }
    exported.config |= {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "intermediate_size": model.mlp_width or 1,
        "hidden_act": ACTIVATIONS[model.activation],
        "max_position_embeddings": config.data.seq_len,
        "layer_norm_eps": NORM_EPS,
        "use_parallel_residual": False,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        **rotation,
    }
    out = {"gpt_neox.embed_in.weight": embedding} | _norm(w, "norm", "gpt_neox.final_layer_norm")
    for layer in range(model.n_layers):
        at, there = f"blocks.{layer}.", f"gpt_neox.layers.{layer}."
        qkv, bias = (
            torch.cat([part.unflatten(-1, (model.n_heads, -1)) for part in parts], -1).flatten(-2)
            for parts in zip(*_heads(model, w, at, exported.notes), strict=True)
        )
        up, down = _mlp(model, w, at, exported.notes)
        out |= _norm(w, at + "norm1", there + "input_layernorm") | _norm(
            w, at + "norm2", there + "post_attention_layernorm", model.d_model
        )
        for name, (weight, offset) in {
            "attention.query_key_value": (qkv, bias),
            "attention.dense": (w[at + "out.weight"], w.get(at + "out.bias")),
            "mlp.dense_h_to_4h": up,
            "mlp.dense_4h_to_h": down,
        }.items():
            out |= _map(there + name, weight, offset, transposed=True)
    exported.tensors = out | ({} if head is None else {"embed_out.weight": head})


def _llama(
    config: Config, w: dict[str, Tensor], embedding: Tensor, head: Tensor | None, exported: Export
) -> None:
    """Maps are [out, in] there. A rotation acts on the pairs (i, i + K/2) of a head there as here,
    so that nothing is permuted."""
    model = config.model
    form = naming.architecture(
        {f"model.{name}": naming.plain(value) for name, value in dataclasses.asdict(model).items()}
    )
    mistral = form == "Mistral" and not model.bias
    exported.config |= {
        "architectures": ["MistralForCausalLM" if mistral else "LlamaForCausalLM"],
        "model_type": "mistral" if mistral else "llama",
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.d_model // model.n_heads,
        "intermediate_size": model.mlp_width or 1,
        "hidden_act": ACTIVATIONS[model.activation],
        "max_position_embeddings": config.data.seq_len,
        "rms_norm_eps": NORM_EPS,
        "attention_dropout": 0.0,
        "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
    }
    gated = model.mlp == "gated" or not model.mlp_width
    exported.config |= (
        {"sliding_window": None}
        if mistral
        else {"attention_bias": model.bias, "mlp_bias": model.bias or not gated}
    )
    if not gated:
        exported.notes.append(
            "The MLP has no gate: the second factor of this architecture's is a map of zeros with "
            "biases of 1."
        )
    out = {"model.embed_tokens.weight": embedding, "model.norm.weight": w["norm.weight"]}
    for layer in range(model.n_layers):
        at, there = f"blocks.{layer}.", f"model.layers.{layer}."
        widths = [model.d_model, *[model.kv_heads * (model.d_model // model.n_heads)] * 2]
        maps: dict[str, Any] = dict(
            zip(
                ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
                _split(w, at + "qkv", widths),
                strict=True,
            )
        )
        maps["self_attn.o_proj"] = w[at + "out.weight"], w.get(at + "out.bias")
        up, down = _mlp(model, w, at, exported.notes)
        gate, other = (
            (w[at + "gate.weight"], w.get(at + "gate.bias")) if gated and model.mlp_width else up,
            up,
        )
        if not gated:
            other = torch.zeros_like(up[0]), torch.ones(model.mlp_width)
        out[there + "input_layernorm.weight"] = w[at + "norm1.weight"]
        out[there + "post_attention_layernorm.weight"] = w.get(
            at + "norm2.weight", torch.ones(model.d_model)
        )
        for name, (weight, offset) in maps.items():
            out |= _map(there + name, weight, offset, transposed=True, bias=model.bias)
        for name, (weight, offset) in {
            "mlp.gate_proj": gate,
            "mlp.up_proj": other,
            "mlp.down_proj": down,
        }.items():
            out |= _map(there + name, weight, offset, transposed=True, bias=model.bias or not gated)
    exported.tensors = out | ({} if head is None else {"lm_head.weight": head})


def _heads(
    model: Model, w: dict[str, Tensor], at: str, notes: list[str]
) -> list[tuple[Tensor, Tensor]]:
    """Weight [D, D] and bias [D] of queries, keys and values, those of keys and values repeated to
    as many heads as queries have."""
    wide = model.kv_heads * (model.d_model // model.n_heads)
    out, each = [], model.n_heads // model.kv_heads
    for i, (weight, bias) in enumerate(_split(w, at + "qkv", [model.d_model, wide, wide])):
        both = [weight, torch.zeros(weight.shape[1]) if bias is None else bias]
        if i and each > 1:
            both = [
                x.unflatten(-1, (model.kv_heads, -1)).repeat_interleave(each, -2).flatten(-2)
                for x in both
            ]
        out.append(tuple(both))
    if each > 1:
        _note(
            notes,
            f"Heads of keys and values are repeated {each} times, because this architecture has "
            f"one for each head of queries.",
        )
    if not model.bias:
        _note(notes, "Biases are zeros.")
    return out


def _split(
    w: dict[str, Tensor], name: str, widths: list[int]
) -> list[tuple[Tensor, Tensor | None]]:
    weights, bias = w[name + ".weight"].split(widths, -1), w.get(name + ".bias")
    return list(
        zip(weights, [None] * len(widths) if bias is None else bias.split(widths), strict=True)
    )


def _mlp(
    model: Model, w: dict[str, Tensor], at: str, notes: list[str]
) -> list[tuple[Tensor, Tensor | None]]:
    """Weight [in, out] and bias of the maps into the hidden units and back; one unit of zeros where
    the run has none."""
    if model.mlp_width:
        return [(w[at + name + ".weight"], w.get(at + name + ".bias")) for name in ("up", "down")]
    _note(notes, "A missing MLP is one hidden unit with zero weights.")
    return [(torch.zeros(model.d_model, 1), None), (torch.zeros(1, model.d_model), None)]


def _norm(w: dict[str, Tensor], name: str, there: str, absent: int = 0) -> dict[str, Tensor]:
    """Gain and bias of a LayerNorm; ones and zeros, of width `absent`, in front of an MLP that the
    run does not have."""
    gain = w[name + ".weight"] if name + ".weight" in w else torch.ones(absent)
    return {there + ".weight": gain, there + ".bias": w.get(name + ".bias", torch.zeros_like(gain))}


def _map(
    there: str, weight: Tensor, offset: Tensor | None, transposed: bool = False, bias: bool = True
) -> dict[str, Tensor]:
    """A linear map with weight [in, out] under its name there, with a bias of zeros where there has
    to be one."""
    offset = torch.zeros(weight.shape[1]) if offset is None else offset
    return {there + ".weight": weight.T if transposed else weight} | (
        {there + ".bias": offset} if bias else {}
    )


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def _json(tree: dict) -> bytes:
    return (json.dumps(tree, indent=1) + "\n").encode()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """All files, in a folder that appears with all of them or not at all."""
    folder = folder.absolute()
    part = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for name, data in files.items():
            storage.write_atomic(part / name, data)
        os.replace(part, folder)  # an empty folder gives way
    finally:
        shutil.rmtree(part, ignore_errors=True)
