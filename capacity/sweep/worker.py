"""`capacity worker --pack FILE`: train the runs of one pack file and say how it goes as JSON lines on standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from capacity.config import ConfigError, from_dict
from capacity.data import lexicon


def read_pack(path: Path) -> dict:
    """A pack file with its runs as Configs; ConfigError if it cannot be read or holds anything impossible."""
    try:
        pack = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    missing = {"schema", "study", "results", "device", "threads", "runs"} - (pack.keys() if isinstance(pack, dict) else set())
    if missing:
        raise ConfigError(f"{path}: not a pack file: no {sorted(missing)[0]}")
    try:
        for run in pack["runs"]:
            lexicon.load(Path(pack["results"]), run["data"].get("lexicon"))
        pack["runs"] = [from_dict(run) for run in pack["runs"]]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return pack


def work(path: Path, parent: int | None) -> int:
    """Run a pack; returns 0 if every run finished, 1 if one failed or is held elsewhere, 130 after an interruption.

    With `parent`, the id of the process that started it, the worker checkpoints and stops when that process is gone.
    """
    pack = read_pack(path)
    import torch  # after the pack was found to be good

    from capacity.mirror import Mirror
    from capacity.environment import pick_device
    from capacity.run import Stop, execute

    torch.set_num_threads(pack["threads"])
    stop = Stop(parent)

    def report(event: dict) -> None:
        try:
            print(json.dumps(event), flush=True)
        except OSError:  # nobody listens any more; stop() sees that the parent is gone
            sys.stdout = open(os.devnull, "w")

    results = Path(pack["results"])
    with Mirror(pack["runs"], results, pack["study"]):
        outcome = execute(pack["runs"], results, pick_device(pack["device"]), pack["study"], report, stop)
    report({"event": "outcome", "outcome": outcome})
    if "interrupted" in outcome.values():
        return 130
    return 0 if set(outcome.values()) <= {"finished"} else 1
