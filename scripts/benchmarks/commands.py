"""What a person waits for: fits and their bootstraps, and whole commands."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import installed, spread, timed
from capacity.fitting import bootstrap, forms
from capacity.fitting import fit as estimate


def fits(device: torch.device, repeats: int, out: dict) -> dict:
    """Seconds of a fit from all starts and of 4,000 cluster bootstraps of it (two starts each), of
    500 runs, on one core."""
    rng, found = np.random.default_rng(0), {}
    p, load = (
        np.repeat(np.geomspace(4e3, 1e6, 25), 20),
        np.tile(np.repeat([0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.3, 1.5, 1.7, 2.2], 2), 25),
    )
    n, d = np.repeat(np.geomspace(5e7, 1.6e10, 25), 20), np.tile(np.geomspace(1e9, 3e11, 20), 25)
    shapes = np.repeat(np.arange(25), 20)
    for name, x, truth in (
        (
            "smooth_corner",
            {"parameters": p, "ceiling_bits": load * 3.6 * p},
            {"alpha": 3.6, "k": 5.0},
        ),
        (
            "chinchilla",
            {"parameters": n, "tokens": d},
            {"e": 1.82, "a": 482.0, "b": 2085.4, "alpha": 0.348, "beta": 0.366},
        ),
    ):
        noise = 0.02 * rng.standard_normal(25)[shapes] + 0.01 * rng.standard_normal(500)
        points = estimate.Points(x, forms.form(name).predict(x, truth) * np.exp(noise), shapes)
        fitted = estimate.fit(name, points)
        found[name] = {
            "fit": spread(
                [timed(device, lambda: estimate.fit(name, points)) for _ in range(repeats)]
            ),
            "bootstraps": spread(
                [
                    timed(device, lambda: bootstrap.draw(fitted, 4000))
                    for _ in range(min(repeats, 3))
                ]
            ),
        }
        print(
            f"  {name:14s} fit {found[name]['fit']['median']:6.3f} s, 4,000 bootstraps over 500 "
            f"runs {found[name]['bootstraps']['median']:6.1f} s",
            flush=True,
        )
    return found


def start(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Seconds of whole processes: what a person waits for."""
    if not installed("hydra"):
        print("  hydra is not installed")
        return None
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "many.yaml"
        study.write_text(
            "question: how long does planning take?\ngrids:\n- model.d_model: [8, 16, 24, 32]\n  "
            "train.lr: [0.01, 0.02]\n"
            '  data.load: [1, 2, 3, 4, 5]\n  seed: "range(0,25)"\n'
        )
        for name, command in {
            "capacity --help": ["-m", "capacity", "--help"],
            "settings of a run": ["-m", "capacity", "train", "--print-config"],
            "planning 1,000 runs": [
                "-m",
                "capacity",
                "sweep",
                str(study),
                "--dry-run",
                "--results",
                folder,
            ],
            "import torch": ["-c", "import torch"],
        }.items():
            seconds = [
                timed(
                    torch.device("cpu"),
                    lambda: subprocess.run(
                        [sys.executable, *command], check=True, capture_output=True
                    ),
                )
                for _ in range(min(repeats, 5) + 1)
            ][1:]
            found[name] = spread(seconds)
            print(
                f"  {name:22s} {found[name]['median']:6.2f} s ({found[name]['low']:.2f} to "
                f"{found[name]['high']:.2f})",
                flush=True,
            )
    return found
