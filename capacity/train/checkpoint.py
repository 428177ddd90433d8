"""Exact training state of one member in a safetensors file, and final weights by name. No pickle
anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.files import write_atomic, write_together
from capacity.model.gpt import GPT
from capacity.train.loop import State
from capacity.train.loss_scale import new_scaling

NEW = {
    "scaling_M3": new_scaling(1, torch.device("cpu"))[0]
}  # of checkpoints from before there was such a thing
TENSORS = (
    "flat_MP",
    "m_MP",
    "v_MP",
    "alive_M",
    "dead_step_M",
    "loss_sum_M",
    "scaling_M3",
    "cursor_MC",
)


def save_states(paths: dict[int, tuple[Path, str]], state: State, wall_s: float) -> None:
    """Write members of a stack's state; `load_states` restores them bit for bit. paths: by member
    where it goes, and its run id.

    They are replaced one right behind the other, when all are on disk: members that were left at
    different steps could not go on as one stack.
    """
    write_together(
        (path, _packed(state, member, run_id, wall_s)) for member, (path, run_id) in paths.items()
    )


def save_state(path: Path, state: State, member: int, run_id: str, wall_s: float) -> None:
    """`save_states` of one member."""
    save_states({member: (path, run_id)}, state, wall_s)


def _packed(state: State, member: int, run_id: str, wall_s: float) -> bytes:
    tensors = {name: getattr(state, name)[member].detach().cpu().clone() for name in TENSORS}
    meta = {"run_id": run_id, "step": state.step, "logged": state.logged[member], "wall_s": wall_s}
    meta |= {"order": state.order, "changes": state.changes[member]}
    return save(tensors, metadata={"capacity": json.dumps(meta)})


def read_meta(path: Path) -> dict | None:
    """Step, run id and training time of a checkpoint, and how its steps were made (`State.order`,
    `State.changes`), or None if there is no file. ConfigError if it is not one."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["capacity"])
            known = {
                name: meta[name] for name in ("run_id", "step", "logged", "wall_s")
            }  # KeyError: of another version
            # older ones do not say how their steps were made
            return known | {"order": meta.get("order"), "changes": meta.get("changes", [])}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: not a checkpoint ({error}); remove it to train the run from the start"
        ) from None


def load_states(paths: list[Path], device: torch.device) -> State:
    """Join the checkpoints of the members of a stack, which must stand at one step, into a state on
    the device."""
    metas = [meta for path in paths if (meta := read_meta(path)) is not None]
    assert len(metas) == len(paths), "a member has no checkpoint"
    assert len({meta["step"] for meta in metas}) == 1, "members stand at different steps"
    members = []
    for path in paths:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            members.append(
                [file.get_tensor(name) if name in names else NEW[name] for name in TENSORS]
            )
    tensors = {
        name: torch.stack(parts)
        for name, parts in zip(TENSORS, zip(*members, strict=True), strict=True)
    }
    cursor_MC = tensors.pop("cursor_MC")  # stays on the CPU
    orders = [meta["order"] for meta in metas]
    return State(
        step=metas[0]["step"],
        logged=[meta["logged"] for meta in metas],
        order=orders[0] if all(one == orders[0] for one in orders) else None,
        changes=[list(meta["changes"]) for meta in metas],
        cursor_MC=cursor_MC,
        **{name: tensor.to(device) for name, tensor in tensors.items()},
    )


def save_weights(path: Path, gpt: GPT, flat_P: torch.Tensor, run_id: str) -> None:
    """Final fp32 weights of one member, by name, atomically."""
    named = {name: w[0].detach().cpu().contiguous() for name, w in gpt.named(flat_P[None]).items()}
    write_atomic(path, save(named, metadata={"run_id": run_id}))


def load_weights(path: Path, gpt: GPT, run_id: str) -> torch.Tensor:
    """The flat row [P] of a weights file; ConfigError if it is absent or does not have this shape's
    tensors."""
    try:
        with safe_open(path, "pt") as file:
            owner = (file.metadata() or {}).get("run_id")
            if owner != run_id:
                raise ConfigError(f"{path}: these are the weights of run {owner}")
            names = list(file.keys())
            have = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            want = {w.name: w.shape for w in gpt.layout}
            if have != want:
                wrong = sorted(n for n in have.keys() | want.keys() if have.get(n) != want.get(n))[
                    0
                ]
                raise ConfigError(
                    f"{path}: {wrong} has shape {have.get(wrong)}, the run's model has "
                    f"{want.get(wrong)}"
                )
            return torch.cat([file.get_tensor(w.name).reshape(-1) for w in gpt.layout])
    except FileNotFoundError:
        note = records.pruned(path.parents[2], run_id, path.name)
        if note is not None:
            raise ConfigError(
                f"{path}: removed by `capacity prune` at {note['at']}; the run's record is as it "
                f"was; remove {path.parent} to train the run anew"
            ) from None
        raise ConfigError(f"{path}: no such file; the run has no final weights") from None
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a weights file ({error})") from None
