"""Records of studies that nobody trained: what a law says, and noise. So a page or a fit of any
study is there in an instant."""

import dataclasses
import hashlib
import math

import numpy as np

from capacity import records
from capacity.analysis.precision import bit_widths as precision
from capacity.analysis.text import forgetting
from capacity.analysis.text import membership_law as membership
from capacity.base.scores import write_scores
from capacity.fitting import capacity_forms, separation
from capacity.settings.quantize import specs
from capacity.study import load_study

ROWS = 120  # sequences of text that are scored on either side
LEFT_OUT = {"morris/forgetting@pocket": range(6, 18)}  # its curves take seconds to fit
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def plant(
    results,
    name,
    overrides=(),
    *,
    without=(),
    failed=(),
    interrupted=(),
    error="loss is not finite at step 7",
    git=COMMIT,
):
    """Write a record for every run of a study, but for those whose place is in `without`, `failed`
    or `interrupted`; returns the study."""
    study = load_study(name, list(overrides))
    about_precision = precision.asked(study.runs)
    without = without or LEFT_OUT.get(name, ())
    for i, config in enumerate(study.runs):
        folder = records.run_dir(results, config.run_id)
        if i in interrupted:
            folder.mkdir(parents=True)
            (folder / "checkpoint.safetensors").write_bytes(b"")
        elif i in failed:
            records.write(
                results,
                record(config, {}, i, git)
                | {
                    "status": "failed",
                    "convergence": None,
                    "error": {"reason": error, "traceback": None},
                },
            )
        elif i not in without:
            kind = {"uniform": uniform, "text": text}.get(config.data.kind, people)
            found = record(config, kind(config, results), i, git)
            records.write(results, found | (quantized(config, found) if about_precision else {}))
    return study


def record(config, measures, i, git=COMMIT):
    """A finished record; the newest of a study is its last one's."""
    gain = 0.03 if i % 7 == 3 else 0.004
    seen = max(1, round(config.exposures))
    return {
        "schema": 1,
        "run_id": config.run_id,
        "status": "finished",
        "study": None,
        "config": config.as_dict(),
        "identity": config.identity,
        "parameters": dict(config.parameters),
        "data": {
            "entropy_bits": float(config.entropy_bits),
            "load": config.entropy_bits / config.parameters["total"],
        },
        "training": {
            "steps": config.steps,
            "tokens": config.tokens,
            "flops": float(config.flops),
            "wall_s": 12.5,
            "stack": 1,
            "device": "cpu",
            "threads": 1,
            "precision": config.train.precision,
            "master_weights": "fp32",
            "exposures_min": seen,
            "exposures_mean": config.exposures,
            "exposures_max": seen + 1,
        },
        "measures": measures,
        "convergence": {"gain_last_tenth": gain},
        "error": None,
        "environment": {
            "capacity": "0.1.0",
            "git": git,
            "python": "3.11.9",
            "torch": "2.5.0",
            "numpy": "2.1.0",
            "platform": "Linux x86_64",
            "hardware": "a processor",
            "cores": 2,
        },
        "finished_at": f"2026-03-01T10:{i % 60:02d}:00+00:00",
    }


def dice(config, *more):
    """Random numbers that depend on the run alone."""
    return np.random.default_rng(
        int(hashlib.sha256(repr((config.run_id, *more)).encode()).hexdigest()[:12], 16)
    )


def quantized(config, found):
    """What a run stores, and rows of quantization: b bits keep 1 - 2^(-1.5 (b - 1)) of the bits,
    GPTQ half a bit more."""
    p = config.parameters["total"]
    format_ = config.train.qat if config.train.qat != "none" else config.train.precision
    width = {"fp32": 32, "tf32": 32, "ternary": 2, "binary": 1}.get(format_) or (
        int(format_[3:]) if format_.startswith("int") else 16
    )
    storage = {"weights": format_, "bits": width * p, "bits_per_weight": float(width)}
    if not config.quantize.methods:
        return {"storage": storage}
    name, key = (
        ("memorization", "strict") if "memorization" in found["measures"] else ("knowledge", None)
    )
    bits = (found["measures"][name][key] if key else found["measures"][name])["bits"]

    def row(kept, width):
        return {
            "held_bits": bits * kept,
            "fraction_of_unquantized": kept,
            "bits_per_parameter": {n: bits * kept / q for n, q in config.parameters.items()},
            "stored_bits": width * p,
            "stored_bits_per_weight": float(width),
            "bits_per_stored_bit": bits * kept / width / p,
        }

    rows = []
    for spec in specs(config.quantize):
        noise = math.exp(dice(config, spec.method, spec.bits, spec.embeddings).normal(0, 0.01))
        kept = (
            1.0
            if spec.bits == 16
            else max(0.0, 1 - 2 ** (-1.5 * (spec.bits - 1 + 0.5 * (spec.method == "gptq")))) * noise
        )
        rows.append(
            dataclasses.asdict(spec) | row(kept, spec.bits) | {"quantized": {}, "skipped": []}
        )
    return {
        "storage": storage,
        "measures": found["measures"]
        | {"quantization": {"version": 1, "unquantized": row(1.0, 32), "rows": rows}},
    }


def uniform(config, results):
    """C = 3 P^1.02 / 1000^0.02 with a smooth corner and 1% of noise, both conventions."""
    from capacity.counts import uniform_ceiling_bits

    p, found = config.parameters["total"], {}
    noise = math.exp(dice(config).normal(0, 0.01))
    for way in ("strict", "paper"):
        ceiling = uniform_ceiling_bits(
            config.items, config.data.seq_len, config.data.vocab_size, way
        )
        bits = min(
            float(capacity_forms.smooth_corner(p, ceiling, 3.0 * (p / 1000) ** 0.02, 6.0)) * noise,
            ceiling,
        )
        found[way] = {
            "bits": bits,
            "ceiling_bits": ceiling,
            "fraction_of_ceiling": bits / ceiling,
            "bits_per_parameter": {"total": bits / p, "paper": bits / config.parameters["paper"]},
        }
    return {"memorization": found}


def people(config, results):
    """Part of R^max that is learned: 1 - exp(-E / 200), a tenth of it beside junk; 3% of noise."""
    part = (
        (1 - math.exp(-config.exposures / 200))
        * (0.1 if getattr(config.data, "other_parts", 0) else 1.0)
        * math.exp(dice(config).normal(0, 0.03))
    )
    bits, ceiling = min(part, 0.999) * config.entropy_bits, float(config.entropy_bits)
    return {
        "knowledge": {
            "p1_nats": 1.0,
            "p2_nats": 2.0,
            "bits": bits,
            "ceiling_bits": ceiling,
            "fraction_of_ceiling": bits / ceiling,
            "accuracy": min(part, 1.0),
            "bits_se_over_people": 0.01 * bits,
            "bits_per_parameter": {
                "total": bits / config.parameters["total"],
                "paper": bits / config.parameters["paper"],
            },
            "attributes": {"major": {"bits": 1.0, "accuracy": 0.5}},
            "context": "first",
        }
    }


def text(config, results):
    """Losses of members lower by a gap that falls with tokens per parameter, scores of all
    sequences, canaries by a law, forgetting by powers."""
    data, draw, p = config.data, dice(config), config.parameters["total"]
    t = config.trained_items * data.seq_len / p
    rows = np.arange(3 * ROWS)
    seen = {
        "members": rows >= ROWS,
        "half": np.random.default_rng(config.seed).random(len(rows)) < 0.5,
        "reference": rows >= ROWS,
        "others": rows < 0,
    }[data.trained_on]
    hard = np.random.default_rng(7).normal(80, 10, len(rows))
    gap = {"members": 60 / (1 + t), "half": 25.0, "reference": 3.0, "others": 0.0}[data.trained_on]
    loss = (hard + draw.normal(0, 2, len(rows)) - gap * seen).astype(np.float32)
    mine = rows < ROWS + min(ROWS, 20 + int(6 * t)) if data.trained_on == "members" else rows >= 0
    write_scores(
        records.run_dir(results, config.run_id),
        {
            "row": rows[mine].astype(np.int64),
            "seen": seen[mine].astype(np.uint8),
            "zlib": np.full(int(mine.sum()), 30, np.int32),
            **{
                name: sign * loss[mine]
                for name, sign in (
                    ("loss", 1),
                    ("min_k", -1),
                    ("min_k_plus", -1),
                    ("suffix_loss", 1),
                    ("correct", 1),
                    ("tail", 1),
                    ("recall", -1),
                )
            },
        },
        config.run_id,
    )
    other = ~seen & mine if (~seen & mine).any() else rows < ROWS
    member = seen & mine if seen.any() else rows >= ROWS
    told = separation.statistics(-loss[member], -loss[other])
    if (
        data.trained_on == "members"
    ):  # exactly on the law, so that a fit is asked for what it must find
        told |= {
            "f1_median": float(membership.repaired(t, 1.4, 0.5, 2.5)) - 0.004 * abs(draw.normal())
        }
    per_token = 1 / (math.log(2) * data.seq_len)
    found = {
        "version": 2,
        "n_members": ROWS,
        "n_held_out": ROWS,
        "bits": float(config.trained_items * 3.0),
        "tokens_per_parameter": {"total": t},
        "members": {"loss_bits_per_token": float(loss[member].mean()) * per_token},
        "held_out": {"loss_bits_per_token": float(loss[other].mean()) * per_token},
        "membership": {"loss": told},
        "bag_of_words_auc": 0.5,
        "bag_of_words_sd": 0.02,
        "recall_prefix": {"row": int(np.flatnonzero(~seen & mine)[0]) if seen.any() else 0},
        "split": {"by": "window"},
        "overlap": {"tokens": 13, "sequences": 0, "fraction": 0.0, "limit": 0.01},
    }
    if data.canaries:
        found["canaries"] = [_canaries(config, level, p) for level in data.repeats]
        if data.last_view is not None:
            found["views"] = _views(config, draw)
    return {"text": found}


def _canaries(config, level, p):
    """Exposures by a line in log2 of views and parameters, from the ranks of single canaries."""
    draw, n, others = np.random.default_rng([level, config.seed, p]), config.data.canaries, 4096
    seen = level * (1 if config.data.last_view is not None else config.exposures)
    bits = draw.exponential(1.44, n)
    if level:
        line = 2.0 * math.log2(seen) + 3.0 * math.log2(p / 4000)
        bits = np.maximum(bits, line + 1.5 * draw.standard_normal(n))
    exposures = np.log2(others + 1) - np.log2(1 + draw.binomial(others, 2.0**-bits))
    extracted = (draw.random(n) < level / 64).astype(int)
    return {
        "repeats": level,
        "at_most": math.log2(others + 1),
        "exposure": float(exposures.mean()),
        "exposures": exposures.tolist(),
        "extractable": float(extracted.mean()),
        "extracted": extracted.tolist(),
    }


def _views(config, draw):
    """Losses at probes: each canary falls by a power law after its last view."""
    views = np.repeat(config.data.repeats, 6)
    last = np.where(views > 0, config.steps // 4, 0)
    step = np.unique(
        np.concatenate(
            [[0], config.steps // 4 + np.geomspace(1, config.steps // 2, 24).astype(int)]
        )
    )
    rows = []
    for at in step:
        memory = np.where(
            (views > 0) & (at >= last),
            forgetting.value(
                "power", np.maximum(at - last, 0), 12.0 * np.maximum(views, 1) ** 0.4, 60.0, 0.6
            ),
            0.0,
        )
        rows.append(
            (14.0 - memory / config.data.seq_len + draw.normal(0, 0.01, len(views))).tolist()
        )
    return {
        "last_update": last.tolist(),
        "views": views.tolist(),
        "step": step.tolist(),
        "loss_bits_per_token": rows,
    }
