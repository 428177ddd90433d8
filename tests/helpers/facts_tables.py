"""Planted tables of studies of facts."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from capacity.analysis import facts
from capacity.analysis.facts import arms
from capacity.analysis.facts.reading import prepare
from capacity.analysis.finding import Options
from capacity.published.expects import check_expects
from capacity.report import text
from capacity.study import Study

BITS = 30.0  # per person
SHAPES = {"2x16": (2, 16), "2x24": (2, 24), "2x32": (2, 32), "2x48": (2, 48)}
DEFAULTS = {
    "data.n_people": 800,
    "data.load": None,
    "data.biographies": None,
    "data.other_parts": 0,
    "data.other_people": 0,
    "data.tag": "none",
    "data.order": "permute",
    "data.lexicon": None,
    "model.mlp": "standard",
    "model.mlp_ratio": 4.0,
    "model.n_kv_heads": None,
    "model.tied": True,
    "model.bias": True,
    "model.norm": "layernorm",
    "model.activation": "gelu",
    "model.n_experts": 0,
    "train.exposures": 200.0,
    "train.steps": None,
    "train.lr": 0.01,
    "train.batch_size": 16,
    "train.weight_decay": 0.0,
}
LLAMA = {
    "model.mlp": "gated",
    "model.mlp_ratio": 8 / 3,
    "model.tied": False,
    "model.bias": False,
    "model.norm": "rmsnorm",
    "model.activation": "silu",
}


def run(shape="2x16", seed=0, r=2.0, noise=0.0, status="finished", rng=None, **settings):
    """A row of the table of runs that learned r bits per parameter (times noise), or all of its
    data if less."""
    layers, d = SHAPES[shape]
    s = (
        DEFAULTS
        | {"model.n_layers": layers, "model.d_model": d, "model.n_heads": d // 8}
        | settings
    )
    p = 300 * d + layers * (12 * d * d + 13 * d) + 2 * d
    n = s["data.n_people"]
    ceiling = n * BITS
    share = 1.0 + (noise * rng.standard_normal() if rng else 0.0)
    bits = min(r * p * share, 0.985 * ceiling * (1 + 0.05 * (share - 1)))
    e = s["train.exposures"] or 100.0
    known = status == "finished"
    return {
        "run_id": "",
        "model": shape,
        "seed": seed,
        "status": status,
        "error": "" if status != "failed" else "loss is nan",
        "kind": "bios",
        "n_people": n,
        "exposures": e,
        "exposures_min": e - 1,
        "exposures_mean": e,
        "exposures_max": e + 1,
        "steps": 1000,
        "tokens": 10**6,
        "flops": 1e12,
        "wall_s": 60.0,
        "lr": s["train.lr"],
        "batch_size": s["train.batch_size"],
        "precision": "fp32",
        "vocab_size": 333,
        "seq_len": 64,
        "parameters_total": p + 10 * d,
        "parameters_paper": p,
        "parameters_non_embedding": p - 300 * d,
        "parameters_active": p,
        "bits": bits if known else np.nan,
        "bits_se": 0.0 if known else np.nan,
        "ceiling_bits": ceiling,
        "accuracy": bits / ceiling if known else np.nan,
        "p1_nats": 7.0,
        "p2_nats": 1.0,
        "gain_last_tenth": 0.004 if known else np.nan,
        "bits_major": 3.0,
        "accuracy_major": 0.9,
        "extraction_accuracy": np.nan,
    } | s


def table(rows):
    frame = pd.DataFrame(rows)
    frame["run_id"] = [f"r{i:04d}" for i in range(len(frame))]
    return frame


def grid(shapes=SHAPES, seeds=(0, 1, 2), people=(800, 2400), r=2.0, noise=0.02, draw=0, **settings):
    rng = np.random.default_rng(draw)
    return [
        run(shape, seed, r, noise, rng=rng, **({"data.n_people": n} | settings))
        for n in people
        for shape in shapes
        for seed in seeds
    ]


def study(expects=(), **fields):
    base = Study(
        "physics33/planted@pocket",
        Path("x.yaml"),
        "does it find what was planted?",
        [],
        [],
        [],
        "pocket",
    )
    return dataclasses.replace(base, expects=check_expects([entry(**e) for e in expects]), **fields)


def entry(**fields):
    return (
        {
            "name": "a value",
            "quantity": "peak_ratio",
            "source": "arXiv 2404.05405, section 5 (Result 1)",
            "evidence": "p",
        }
        | ({} if {"range", "tolerance"} & set(fields) else {"range": [1.8, 2.3]})
        | fields
    )


def analysed(rows, *expects, n_boot=500, **fields):
    """What is found in a planted table."""
    return facts.analyse(study(expects, **fields), table(rows), Path(), Options(n_boot))


def printed(found):
    """The document in one line of text."""
    return " ".join(text.render(facts.document(found)).split())


def arms_of(rows, best_over=()):
    runs = prepare(table(rows), best_over)
    return runs, arms.arms(runs)


PAIR = {"quantity": "ratio", "where": {"model.mlp": "gated"}, "against": {"model.mlp": "standard"}}
