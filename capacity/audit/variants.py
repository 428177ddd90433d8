"""The same checkpoint with its linear weights rounded: what quantization forgets.

    int8, int4, ...     round to nearest
    int8-gptq, ...      GPTQ (Frantar et al., arXiv 2210.17323), block by block: the inputs of all
                        maps of a block are those behind the blocks that are rounded already

Maps of blocks get one scale and zero point per group of GROUP inputs of an output, or of the
largest divisor of its width below that, stored in fp16 and in the width of a code; embeddings,
norms and the head stay as they are. Maps that experts hold in one tensor are none of `nn.Linear`
and stay, too: `coded` tells the part of the weights that was rounded. Weights are rounded in place,
so that a variant takes no more memory than the checkpoint: load one for each.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capacity.audit.folder_model import FolderCheckpoint
from capacity.audit.logits import Checkpoint
from capacity.audit.own_run import RunCheckpoint
from capacity.base.errors import ConfigError
from capacity.edits import quantize
from capacity.edits.rounding import gptq, rtn
from capacity.parts import registry
from capacity.settings.quantize import STORAGE, Spec

NAME = re.compile(r"int([2-8])(-gptq)?")
GROUP = 128  # inputs that share a scale, as GPTQ's and AWQ's checkpoints have it
CALIBRATION = 32  # windows
DAMPING = 0.01
FORMATS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Variant:
    """A checkpoint whose weights were rounded. stored_bits: of all tensors, codes with their scales
    and zero points; coded: part of the weights that are codes; notes: sentences for a person."""

    name: str
    checkpoint: Checkpoint
    stored_bits: int
    coded: float
    notes: list[str]


def parse(text: str) -> list[str]:
    """Names of variants from a list such as int8,int4-gptq. ConfigError for others."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--quantize={text}: {name}: expected int2 to int8, each also with -gptq, such as "
                "int8,int4,int4-gptq"
            )
    if not names:
        raise ConfigError("--quantize: no variant; expected a list such as int8,int4")
    return list(dict.fromkeys(names))


def calibrated(name: str) -> bool:
    """Whether a variant needs calibration data."""
    return name.endswith("-gptq")


def windows(tokens_D: Sequence[np.ndarray], window: int, most: int = CALIBRATION) -> Tensor:
    """Calibration data, int64 [n, window]: the first whole windows of these documents, one after
    the other; of shorter ones together."""
    stream = np.concatenate([np.asarray(ids, np.int64) for ids in tokens_D] or [np.empty(0)])
    n = min(most, len(stream) // window)
    if n:
        return torch.from_numpy(stream[: n * window].reshape(n, window).astype(np.int64))
    if len(stream) < 2:
        raise ConfigError("gptq: no document is left for calibration; give more others")
    return torch.from_numpy(stream[None].astype(np.int64))


def quantized(checkpoint: Checkpoint, name: str, rows_BT: Tensor | None = None) -> Variant:
    """Rounds the weights of a checkpoint in place. rows: calibration data of GPTQ (`windows`)."""
    match = NAME.fullmatch(name)
    assert match is not None, f"{name}: see `parse`"
    assert rows_BT is not None or not match[2], f"{name}: needs calibration data"
    bits, method = int(match[1]), "gptq" if match[2] else "rtn"
    with torch.no_grad():
        if isinstance(checkpoint, RunCheckpoint):
            stored, coded = _of_run(checkpoint, method, bits, rows_BT)
        else:
            assert isinstance(checkpoint, FolderCheckpoint)
            stored, coded = _of_folder(checkpoint, method, bits, rows_BT)
    checkpoint.function += f" {name}"
    if rows_BT is not None and method == "gptq":
        checkpoint.function += " " + hashlib.sha256(rows_BT.numpy().tobytes()).hexdigest()
    notes = []
    if coded < 0.5:
        notes.append(f"Only {100 * coded:.0f}% of the weights are maps that were rounded.")
    return Variant(name, checkpoint, stored, coded, notes)


def _spec(method: str, bits: int, width: int, rest: str) -> Spec:
    """Groups of GROUP inputs, or of the largest divisor of a width below it."""
    group = next(g for g in range(min(GROUP, width), 0, -1) if width % g == 0)
    damping = (DAMPING, False) if method == "gptq" else (None, None)
    return Spec(method, bits, False, "group", group, False, "fp16", rest, CALIBRATION, *damping)


def _of_run(
    checkpoint: RunCheckpoint, method: str, bits: int, rows_BT: Tensor | None
) -> tuple[int, float]:
    """Stored bits of a run after `edits.quantize`, and the part of its weights that are codes."""
    gpt = checkpoint.stack.gpt
    if gpt.qat is not None:
        raise ConfigError(f"{checkpoint.name}: its weights are trained quantized; no --quantize")
    width = math.gcd(*registry.inputs(checkpoint.run_config.model).values())
    if rows_BT is None:
        rows_BT = torch.zeros(1, 2, dtype=torch.int64)  # what rounding to nearest does not look at
    spec = _spec(method, bits, width, "fp32")
    rows_BT = rows_BT[:, : checkpoint.context].to(checkpoint.device)
    checkpoint.flat_P, report, stored = quantize.quantize(gpt, checkpoint.flat_P, rows_BT, spec)
    sizes = dict(zip((w.name for w in gpt.layout), gpt.sizes, strict=True))
    coded = sum(sizes[name] for name, about in report.items() if about is not None)
    return stored, coded / sum(gpt.sizes)


def _of_folder(
    checkpoint: FolderCheckpoint, method: str, bits: int, rows_BT: Tensor | None
) -> tuple[int, float]:
    """Stored bits of a model of `transformers`, and the part of its weights that are codes."""
    blocks = _blocks(checkpoint.model, checkpoint.name)
    every = sum(p.numel() for p in checkpoint.model.parameters())
    rest = FORMATS[next(iter(checkpoint.model.parameters())).dtype]
    codes, stored = 0, 0
    calls: list[tuple[tuple, dict]] = []
    if method == "gptq":
        assert rows_BT is not None
        calls = _inputs(checkpoint, blocks[0], rows_BT)
    for block in blocks:
        maps = list(_maps(block))
        grams = _grams(block, maps, calls) if method == "gptq" else {}
        for i, (module, transposed) in enumerate(maps):
            weight = module.weight.data
            w_OI = (weight.T if transposed else weight).float()
            spec = _spec(method, bits, w_OI.shape[1], rest)
            q_OI = gptq(w_OI, grams[i], spec) if method == "gptq" else rtn(w_OI, spec)
            weight.copy_(q_OI.T if transposed else q_OI)
            codes += w_OI.numel()
            stored += spec.stored_bits(1, *w_OI.shape)
        calls = [((_state(block(*args, **more)), *args[1:]), more) for args, more in calls]
    return stored + STORAGE[rest] * (every - codes), codes / every


def _blocks(model: Any, name: str) -> nn.ModuleList:
    """The blocks of a transformer: its list of modules that has as many as the model has layers."""
    config = model.config.get_text_config()
    n = getattr(config, "num_hidden_layers", None)
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == n]
    if not found:
        raise ConfigError(f"{name}: --quantize: no list of {n} blocks in {type(model).__name__}")
    return found[0]


def _maps(block: nn.Module) -> Iterator[tuple[Any, bool]]:
    """The maps of a block, and whether each has its weights as [in, out] (GPT-2's Conv1D)."""
    for module in block.modules():
        if isinstance(module, nn.Linear):
            yield module, False
        elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
            yield module, True


class _Reached(Exception):
    """The first block has its inputs."""


def _inputs(
    checkpoint: FolderCheckpoint, block: nn.Module, rows_BT: Tensor
) -> list[tuple[tuple, dict]]:
    """The arguments of the first block, one call per window."""
    calls: list[tuple[tuple, dict]] = []

    def stop(_module: nn.Module, args: tuple, more: dict) -> None:
        calls.append((args, more))
        raise _Reached

    handle = block.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        for row in rows_BT[:, : checkpoint.context].split(1):
            try:
                checkpoint.model(row.to(checkpoint.device), use_cache=False)
            except _Reached:
                pass
    finally:
        handle.remove()
    return calls


def _grams(
    block: nn.Module, maps: list[tuple[Any, bool]], calls: list[tuple[tuple, dict]]
) -> dict[int, Tensor]:
    """x^T x over the inputs of each map of a block, fp64 [in, in]."""
    width = [w.weight.shape[0 if transposed else 1] for w, transposed in maps]
    device = maps[0][0].weight.device if maps else None
    grams = {i: torch.zeros(n, n, dtype=torch.float64, device=device) for i, n in enumerate(width)}

    def seen(i: int) -> Any:
        def add(_module: nn.Module, args: tuple) -> None:
            x = args[0].reshape(-1, width[i]).float()
            grams[i].add_((x.T @ x).double())

        return add

    handles = [m.register_forward_pre_hook(seen(i)) for i, (m, _) in enumerate(maps)]
    try:
        for args, more in calls:
            block(*args, **more)
    finally:
        for handle in handles:
            handle.remove()
    return grams


def _state(answer: Any) -> Tensor:
    """The hidden states of what a block gives."""
    return answer[0] if isinstance(answer, tuple) else answer
