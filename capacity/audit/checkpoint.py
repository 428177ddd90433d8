"""MODEL of `capacity audit`: the id of a run, a folder, a GGUF file, or a name on the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError, one_line
from capacity.base.words import some

if TYPE_CHECKING:
    import torch

    from capacity.audit.logits import Checkpoint

RUN = re.compile(r"[0-9a-f]{4,12}")
HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
READ = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # of the hub; nothing pickled
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load(
    name: str,
    results: Path,
    device: torch.device | None = None,
    dtype: str | None = None,
) -> Checkpoint:
    """The model that a name stands for, in memory.

    What exists on this disk comes first, then 4 to 12 hexadecimal digits as the id of a run of the
    results folder, then the hub. dtype: fp32, bf16 or fp16 instead of the format that weights are
    stored in; of a run its own. ConfigError, in one line, for what cannot be had."""
    import torch

    place = device or torch.device("cpu")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype}: expected one of {', '.join(DTYPES)}")
    if not os.path.exists(name) and RUN.fullmatch(name.strip().lower()):
        from capacity.audit.own_run import RunCheckpoint

        return RunCheckpoint(results, name, place)
    from capacity.audit.folder_model import FolderCheckpoint

    path = _file(Path(name)) if os.path.exists(name) else _from_hub(name)
    return FolderCheckpoint(path, name, place, None if dtype is None else DTYPES[dtype])


def _file(path: Path) -> Path:
    """The folder, or the GGUF file in it."""
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ConfigError(
                f"{path}: expected a folder with config.json and safetensors, a .gguf file, the id "
                "of a run, or a name on the hub"
            )
        return path
    if (path / "config.json").is_file() and (path / "record.json").is_file():
        raise ConfigError(f"{path}: the folder of a run; give its id, {path.name}, instead")
    quantized = sorted(path.glob("*.gguf"))
    if (path / "config.json").is_file() or not quantized:
        return path
    if len(quantized) > 1:
        names = some([one.name for one in quantized], 4)
        raise ConfigError(f"{path}: several GGUF files, name one of them: {names}")
    return quantized[0]


def _from_hub(name: str) -> Path:
    """The copy in the hub's cache, after what it does not have yet was downloaded."""
    if not HUB.fullmatch(name):
        raise ConfigError(f"{name}: no such file or folder, and no name on the hub (OWNER/NAME)")
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=READ)
    except Exception as error:  # many families: no network, no such name, no access
        raise ConfigError(
            f"{name}: no such folder here, no run, and not from the hub: {type(error).__name__}: "
            f"{one_line(error)}" + ("; HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "")
        ) from None
    return Path(folder)
