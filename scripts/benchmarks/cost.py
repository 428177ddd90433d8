"""The cost model: its coefficients from the times of random shapes, and its error on shapes that
it was not fitted to and on stacks of the pocket studies.

A machine is seldom at rest. Every shape is timed in turns with one reference, both in seconds of
CPU, and what is kept is the median ratio; the reference's own seconds are its quickest. One thread.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.models import SIZES, config, trainer
from benchmarks.timing import installed, per_step
from benchmarks.training import speed
from capacity import cost, work
from capacity.base.errors import ConfigError
from capacity.config import Config, from_dict
from capacity.sweep.packs import Limits, make_stacks

FITTED, HELD_OUT = (1, 48), (2, 20)  # a seed of the draw, and how many shapes
SLICE_S = 0.04  # CPU seconds of a shape between two of the reference
MOST = {"cpu": (1e9, 4), "cuda": (2e12, 64)}  # FLOP of a step, members of a stack
WORLD = {
    "kind": "bios",
    "n_people": 1000,
    "years": 10,
    "first_names": 20,
    "middle_names": 0,
    "last_names": 100,
    "templates": 2,
    "cities": 20,
    "universities": 30,
    "majors": 10,
    "employers": 26,
    "vocabulary": "world",
}
TEXT = {
    "kind": "text",
    "source": "grammar",
    "documents": 2000,
    "n_sequences": 300,
    "n_held_out": 100,
}
LLAMA = {"mlp": "gated", "norm": "rmsnorm", "activation": "silu", "bias": False, "mlp_ratio": 8 / 3}
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # settings of model and training
    "plain": ({}, {}),
    "rotary": ({"position": "rotary", "tied": False}, {}),
    "no MLP": ({"mlp_ratio": 0.0}, {}),
    "gated": (LLAMA, {}),
    "experts": ({"n_experts": 4}, {}),
    "two experts": ({"n_experts": 8, "top_k": 2}, {}),
    "Muon": ({}, {"optimizer": "muon"}),
    "int4": ({}, {"qat": "int4"}),
    "binary": ({}, {"qat": "binary"}),
}
PRECISIONS = ("tf32", "bf16", "fp16")
STUDIES = (
    "pocket",
    "pocket_budget",
    "optimizers",
    "precision/uniform@pocket",
    "precision/bios@pocket",
    "morris/uniform_fp32@pocket",
    "morris/vocabulary@pocket",
    "morris/length@pocket",
    "morris/text_grid@pocket",
    "physics33/01_peak_1000@pocket",
    "physics33/03_biod@pocket",
    "physics33/04_peak_100@pocket",
    "physics33/06_architectures_100@pocket",
    "physics33/07_gated_mlp@pocket",
    "physics33/09_moe@pocket",
    "physics33/10_junk@pocket",
)


@dataclass(frozen=True)
class Timed:
    """A stack and the seconds of its step by one thread."""

    name: str
    runs: list[Config]
    seconds: float


def draw(seed: int, number: int, device: str) -> list[tuple[str, list[Config]]]:
    """Random shapes as stacks, by the name of their form; sizes are even in their logarithm."""
    random_of, out = random.Random(seed), []
    most_flop, most_members = MOST[device]
    while len(out) < number:
        head, heads = random_of.choice([2, 4, 8, 16, 32]), random_of.choice([1, 2, 4, 8])
        form = random_of.choice(["plain", "plain", "plain", *FORMS])
        length = random_of.choice([8, 16, 32, 64, 100, 128, 256])
        batch = round(math.exp(random_of.uniform(math.log(4), math.log(128))))
        vocab = random_of.choice([16, 64, 256, 512, 1024, 2048, 4096])
        kind = random_of.choice(["uniform", "uniform", "uniform", "bios", "text"])
        members = random_of.choice([1, 1, 2, most_members])
        layers = random_of.choice([1, 2, 3, 4])
        data = {
            "uniform": {"vocab_size": vocab, "seq_len": length, "n_sequences": 1000},
            "bios": WORLD | {"seq_len": length},
            "text": TEXT | {"seq_len": length, "vocab_size": 256},
        }[kind]
        model, train = FORMS[form]
        shape = {"n_layers": layers, "d_model": head * heads, "n_heads": heads}
        try:
            runs = [
                from_dict(
                    {
                        "data": data,
                        "model": shape | model,
                        "train": {"steps": 10**6, "batch_size": batch} | train,
                        "seed": s,
                    }
                )
                for s in range(members)
            ]
        except ConfigError:  # such as an odd head with rotary positions
            continue
        if sum(run.flops / run.steps for run in runs) <= most_flop:
            out.append((f"{form}, {kind}", runs))
    return out


class InTurns:
    """Times stacks in turns with a reference, so that a load on the machine slows both."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats = device, repeats
        self.reference = trainer([config(SIZES["0.02M"], 256, 64, 16, 0, "fp32")], device)
        self.reference(5)
        self.quickest = math.inf

    def of(self, runs: list[Config]) -> float:
        """Steps of the stack in units of the reference's."""
        run = trainer(runs, self.device)
        run(2)
        steps = max(1, min(500, int(SLICE_S / max(1e-5, per_step(self.device, run, 2)))))
        beside, here = [per_step(self.device, self.reference, 2)], []
        for _ in range(self.repeats):
            here.append(per_step(self.device, run, steps))
            beside.append(per_step(self.device, self.reference, 2))
        self.quickest = min(self.quickest, *beside)
        around = zip(here, beside, beside[1:], strict=False)
        return statistics.median(x / math.sqrt(a * b) for x, a, b in around)


def model_of_cost(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Coefficients of `capacity.cost`, and how far its predictions are off."""
    if not installed("scipy") or not installed("tokenizers"):
        print("  scipy and tokenizers are not installed")
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    turns = InTurns(device, repeats)
    sets = {
        "fitted": draw(*FITTED, device.type),
        "held_out": draw(*HELD_OUT, device.type),
        "studies": of_studies(),
    }
    ratios = {name: [turns.of(runs) for _, runs in sets[name]] for name in sets}
    precisions = {name: _factor(turns, name) for name in PRECISIONS}
    torch.set_num_threads(before)
    reference_s = at_rest(turns.quickest, device.type, out)
    timed = {
        name: [
            Timed(called, runs, ratio * reference_s)
            for (called, runs), ratio in zip(shapes, ratios[name], strict=True)
        ]
        for name, shapes in sets.items()
    }
    return summary(timed, precisions, device.type, out) | {
        "reference_s": reference_s,
        "quickest_s": turns.quickest,
    }


def at_rest(quickest: float, device: str, out: dict) -> float:
    """Seconds of the reference's step by one thread on a machine at rest: the quickest that was
    seen, or what the part `stacks` says of it, if that is less (it may be of a quieter hour)."""
    if "stacks" not in out or device != "cpu":
        return quickest
    found = speed(out["stacks"]["rows"], out["threads"])
    names = ("step_s", "flop_per_s", "value_s")
    known = replace(cost.GUESSES[device], **{name: found[name] for name in names})
    run = config(SIZES["0.02M"], 256, 64, 16, 0, "fp32")
    return float(min(quickest, known.seconds([run]) / run.steps))


def summary(
    timed: dict[str, list[Timed]], precisions: dict[str, float], device: str, out: dict
) -> dict:
    """Coefficients by the stacks that are fitted, and the errors on all."""
    rendering = out.get("render", {}).get("tokens_per_s", {}).get("bios", {}).get("median")
    precision, threads = ("fp32", out.get("threads", 1)) if device == "cpu" else ("bf16", 1)
    rate = out["machine"][f"{precision}_flop_per_s"]["median"] / threads if "machine" in out else 0
    terms = fitted(timed["fitted"], 1 / rate if rate else 0.0)
    terms |= {"rendered": 1 / rendering if rendering else 0.0}
    known = replace(cost.GUESSES[device], terms=terms, precisions=precisions)
    found = {"terms": terms, "precisions": precisions, "errors": {}, "rows": {}}
    print("  term        seconds of one unit")
    for name, seconds in terms.items():
        print(f"  {name:11s} {seconds:.3g}")
    for name, stacks in timed.items():
        if not stacks:
            continue
        rows = [_row(one, known) for one in stacks]
        found["rows"][name], found["errors"][name] = rows, errors(rows)
        told = found["errors"][name]
        print(
            f"  {name:9s} {told['within']} of {told['of']} within {cost.NEAR:.0%}, "
            f"median {told['median']:.0%}, 80% of them within {told['p80']:.0%}"
        )
    return found


def fitted(stacks: list[Timed], least_flop_s: float = 0.0) -> dict[str, float]:
    """Seconds of a unit of each term, none below zero, by least squares of relative errors. A FLOP
    takes as long as in a large product or longer: small shapes, whose time goes elsewhere, do not
    say, and without this bound wide models would seem free."""
    from scipy.optimize import lsq_linear

    names = [name for name in work.TERMS if name != "rendered"]
    units = np.array(
        [
            [
                work.operations(one.runs[0])
                if name == "operation"
                else sum(work.of_member(run)[name] for run in one.runs)
                for name in names
            ]
            for one in stacks
        ]
    )
    seconds = np.array([one.seconds for one in stacks])
    scale = np.maximum(units.max(0), 1.0)
    least = np.array([least_flop_s if name == "flop" else 0.0 for name in names]) * scale
    found = lsq_linear(
        units / scale / seconds[:, None], np.ones(len(seconds)), (least, np.inf), method="bvls"
    ).x
    return {name: float(x) for name, x in zip(names, found / scale, strict=True)}


def errors(rows: list[dict]) -> dict[str, float]:
    """How far predictions are off: the median, what four in five stay below, how many are near."""
    off = sorted(abs(row["predicted_s"] / row["measured_s"] - 1) for row in rows)
    return {
        "median": statistics.median(off),
        "p80": off[math.ceil(0.8 * len(off)) - 1],
        "within": sum(x <= cost.NEAR for x in off),
        "of": len(off),
    }


def of_studies() -> list[tuple[str, list[Config]]]:
    """One stack of each pocket study, the one of middle cost."""
    if not installed("hydra"):
        print("  hydra is not installed: no studies")
        return []
    from capacity.study import load_study

    out = []
    for name in STUDIES:
        try:
            runs = load_study(name, []).runs
        except ConfigError as error:
            print(f"  {name}: {error}")
            continue
        stacks = make_stacks(runs, math.inf, Limits(most=runs[0].cluster.stack))
        out.append((name, stacks[len(stacks) // 2]))
    return out


def _factor(turns: InTurns, precision: str) -> float:
    """Seconds in a precision over those in fp32, of the geometric mean shape."""
    ratios = []
    for name in ("0.02M", "0.1M"):
        one, other = (
            turns.of([config(SIZES[name], 256, 64, 16, 0, p)]) for p in ("fp32", precision)
        )
        ratios.append(other / one)
    return statistics.geometric_mean(ratios)


def _row(one: Timed, speed: cost.Speed) -> dict[str, Any]:
    run = one.runs[0]
    return {
        "name": one.name,
        "model": run.shape,
        "heads": run.model.n_heads,
        "rows": run.rows,
        "seq_len": run.data.seq_len,
        "batch": run.train.batch_size,
        "precision": run.train.precision,
        "members": len(one.runs),
        "measured_s": one.seconds,
        "predicted_s": speed.step_seconds(one.runs),
    }
