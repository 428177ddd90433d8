"""An optional copy of a run's files in wandb, made by a process of its own that only reads them:
settings with what follows from them, the lines of metrics.jsonl, and the numbers of the record. A
run is called by what tells it apart in words, and has its id.

So no key, no network, a slow or a broken server can neither stop nor slow a run: training never
calls wandb. Messages of the mirror go to wandb.log in the first run's folder; its files (mode
offline) to results/wandb/, from where `wandb sync` sends them (`offline`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from capacity import records
from capacity.base import files
from capacity.base.words import count
from capacity.config import Config
from capacity.declare import registry

POLL_SECONDS = 2.0
GRACE_SECONDS = 60.0  # for uploads after the last run has ended
# how long `capacity train`, its record written, waits for its mirror before it leaves it behind
WAIT_SECONDS = 10.0
TOLD = "wandb.json"  # in the first run's folder: what the mirror is to say besides
TRAINED = ("exposures_min", "exposures_mean", "exposures_max", "steps_skipped", "loss_scale")


class Mirror:
    """Starts the mirror of some runs, if their settings ask for one, and tells it at the end that
    they have ended.

    It then finishes by itself; only a caller with nothing left to do should wait for it
    (`wait_seconds`).
    """

    def __init__(
        self,
        configs: list[Config],
        results: Path,
        study: str | None,
        wait_seconds: float = 0.0,
        variants: Mapping[str, str] | None = None,
    ) -> None:
        """variants: by run id what a run of the study is called beside its size and data, where
        that says something."""
        self.wandb, self.configs, self.results, self.study = (
            configs[0].wandb,
            configs,
            results,
            study,
        )
        self.wait_seconds, self.variants = wait_seconds, variants or {}
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Mirror:
        if self.wandb.mode != "disabled":
            folder = records.run_dir(self.results, self.configs[0].run_id)
            files.make_folder(folder)
            command = [
                sys.executable,
                "-m",
                "capacity.run.mirror",
                str(self.results),
                self.wandb.mode,
                self.wandb.project,
                self.wandb.entity or "",
                self.study or "",
                *[c.run_id for c in self.configs],
            ]
            descriptions = {
                c.run_id: about(c, self.variants.get(c.run_id, "")) for c in self.configs
            }
            # a pipe that is full would hold up the training
            files.write_json(folder / TOLD, descriptions)
            with open(folder / "wandb.log", "ab") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process is not None:
            if self.process.stdin is not None:
                self.process.stdin.close()  # the mirror sees by this that the runs have ended
            try:
                if self.process.wait(self.wait_seconds):
                    print(
                        "capacity: wandb mirror stopped early; see wandb.log in the run's folder "
                        "(the run is unaffected)",
                        file=sys.stderr,
                    )
            except subprocess.TimeoutExpired:
                pass  # it ends by itself after GRACE_SECONDS


def about(config: Config, variant: str = "") -> dict:
    """What the mirror says of a run besides its files: its name, and numbers that follow from its
    settings."""
    items = f"{count(config.items)} {config.data.unit}"
    parts = [variant] * bool(variant) + [config.shape, items]
    parts += [f"{count(config.exposures)} exposures", f"seed {config.seed}"]
    plan = {
        "run_id": config.run_id,
        "shape": config.shape,
        "variant": variant or None,
        "items": config.items,
        "unit": config.data.unit,
        "entropy_bits": config.entropy_bits,
        "load": config.entropy_bits / config.parameters["total"],
        "parameters": config.parameters,
        "rows": config.rows,
        "steps": config.steps,
        "exposures": config.exposures,
        "tokens": config.tokens,
        "flops": config.flops,
    }
    return {"name": ", ".join(parts), "plan": plan}


def offline(results: Path, run_ids: Iterable[str]) -> list[Path]:
    """Folders that runs have left in results/wandb/ without a network, the oldest first; a run that
    was interrupted has several."""
    folder = results / "wandb"
    return sorted(path for run_id in run_ids for path in folder.glob(f"offline-run-*-{run_id}"))


def follow(results: Path, run_ids: list[str], settings: dict, ended: Callable[[], bool]) -> None:
    """Copy metrics lines and final numbers of the runs to wandb until `ended()` and all is
    copied."""
    import wandb

    descriptions = settings.get("runs", {})
    runs, copied = {}, dict.fromkeys(run_ids, 0)
    last_round = False
    while True:
        last_round = ended()
        for run_id in run_ids:
            lines = records.read_metrics(results, run_id)
            config_file = records.run_dir(results, run_id) / "config.json"
            if run_id not in runs and config_file.exists():
                runs[run_id] = wandb.init(
                    project=settings["project"],
                    entity=settings["entity"] or None,
                    group=settings["study"] or None,
                    mode=settings["mode"],
                    id=run_id,
                    name=descriptions.get(run_id, {}).get("name", run_id),
                    resume="allow",
                    dir=str(results),
                    reinit="create_new",
                    config=json.loads(config_file.read_bytes())
                    | {"plan": descriptions.get(run_id, {}).get("plan", {"run_id": run_id})},
                    settings=wandb.Settings(
                        init_timeout=20, silent=True, console="off", x_disable_stats=True
                    ),
                )
            if run_id in runs:
                for line in lines[copied[run_id] :]:
                    runs[run_id].log(
                        {k: v for k, v in line.items() if k != "step"}, step=line["step"]
                    )
                copied[run_id] = max(copied[run_id], len(lines))
        if last_round:
            break
        time.sleep(POLL_SECONDS)
    for run_id, run in runs.items():
        record = records.read(results, run_id)
        if record is not None:
            for name, value in summary(record).items():
                run.summary[name] = value
        run.finish()


def summary(record: dict) -> dict:
    """The final numbers of a record: state, how it was trained, and all measured numbers that a
    table of runs has, by the names of its columns; of a failed run why it failed."""
    out = {"status": record["status"]}
    if record["status"] == "failed":
        return out | {"error": record["error"]["reason"]}
    training = record["training"]
    out |= {name: training[name] for name in TRAINED if name in training}
    out["wall_s"] = training["wall_s"] / training["stack"]  # its share of the stack
    if (gain := record["convergence"]["gain_last_tenth"]) is not None:
        out["gain_last_tenth"] = gain
    if stored := record.get("storage"):
        out["stored_bits_per_weight"] = stored["bits_per_weight"]
    return out | registry.summary(record["measures"])


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("results", "mode", "project", "entity", "study"):
        parser.add_argument(name)
    parser.add_argument("run_ids", nargs="+")
    args = parser.parse_args()
    runs = _descriptions(Path(args.results), args.run_ids[0])
    os.set_blocking(sys.stdin.fileno(), False)
    deadline: list[float] = []

    def ended() -> bool:
        if not deadline and _at_end(sys.stdin.fileno()):  # the training process closed it or died
            deadline.append(time.monotonic() + GRACE_SECONDS)
            _end_at(GRACE_SECONDS)
        return bool(deadline)

    try:
        follow(Path(args.results), args.run_ids, vars(args) | {"runs": runs}, ended)
        return 0
    except ImportError:
        print("wandb cannot be imported: pip install wandb", file=sys.stderr)
    except Exception as error:  # whatever wandb raises, it is the mirror's end and nobody else's
        print(f"mirror ended: {type(error).__name__}: {error}", file=sys.stderr)
    os._exit(1)  # without wandb's own waiting at exit


def _descriptions(results: Path, run_id: str) -> dict:
    """What the training process has left for the mirror beside its files, which goes with that."""
    path = records.run_dir(results, run_id) / TOLD
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    finally:
        path.unlink(missing_ok=True)


def _at_end(file: int) -> bool:
    """Whether a pipe that does not block has been closed at its other end."""
    try:
        return os.read(file, 1) == b""
    except BlockingIOError:
        return False


def _end_at(seconds: float) -> None:
    import threading

    timer = threading.Timer(seconds, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
