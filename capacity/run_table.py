"""Records as tables: one row per planned run, which laws are fitted to, and one per run and variant
of quantization."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity import counts
from capacity.config import Config
from capacity.data import text
from capacity.records import read

if TYPE_CHECKING:
    import pandas


def shape_labels(configs: list[Config]) -> dict[str, str]:
    """run_id -> name of its architecture, such as 1x16; settings that tell equal names apart are
    added to them."""
    models = [dataclasses.asdict(config.model) for config in configs]
    shapes = [(model["n_layers"], model["d_model"]) for model in models]
    varied = [
        name
        for name in (models[0] if models else {})
        if name not in ("n_layers", "d_model")
        and len({(shape, model[name]) for shape, model in zip(shapes, models)}) > len(set(shapes))
    ]
    return {
        config.run_id: " ".join([config.shape] + [f"{name}={model[name]}" for name in varied])
        for config, model in zip(configs, models)
    }


def table(results: Path, configs: list[Config]) -> pandas.DataFrame:
    """One row per planned run, also for failed and missing ones; numbers of unfinished runs are
    NaN.

    Columns: run_id, label (shape), seed, status (finished, failed, missing), error, kind, parameter
    counts by convention, n_sequences or n_people, entropy_bits, load, steps, tokens, flops, recipe,
    wall_s, gain_last_tenth, and those of the measure, see `_memorization` and `_knowledge`.
    """
    import pandas

    rows = []
    labels = shape_labels(configs)
    for config in configs:
        record = read(results, config.run_id)
        finished = record is not None and record["status"] == "finished"
        row = {
            "run_id": config.run_id,
            "label": labels[config.run_id],
            "seed": config.seed,
            "status": record["status"] if record else "missing",
            "error": "",
            "precision": config.train.precision,
            "kind": config.data.kind,
            "vocab_size": config.rows,
            "seq_len": config.data.seq_len,
            config.data.size_key: config.items,
            "entropy_bits": config.entropy_bits,
            "load": config.entropy_bits / config.parameters["total"],
            "steps": config.steps,
            "tokens": config.tokens,
            "flops": config.flops,
            "lr": config.train.lr,
            "batch_size": config.train.batch_size,
            "gain_last_tenth": math.nan,
            "wall_s": math.nan,
        }
        row |= {f"parameters_{name}": p for name, p in config.parameters.items()}
        row |= columns(config, record if finished else None)
        if record and record["status"] == "failed":
            row["error"] = record["error"]["reason"]
        elif finished:
            gain = record["convergence"]["gain_last_tenth"]
            row["gain_last_tenth"] = math.nan if gain is None else gain
            row["wall_s"] = record["training"]["wall_s"] / record["training"]["stack"]
        rows.append(row)
    return pandas.DataFrame(rows)


def columns(config: Config, record: dict | None) -> dict[str, Any]:
    """What the measure of a run's kind of data says, as columns of `table`; NaN without a
    record."""
    return COLUMNS.get(config.data.kind, _knowledge)(config, record)


def quantized_table(results: Path, configs: list[Config]) -> pandas.DataFrame:
    """One row per finished run and variant of quantization, method none (32 bits) for the
    unquantized model; runs without the measure have none.

    Columns: run_id, label, seed, kind, precision, entropy_bits, load, exposures, parameter counts
    by convention; the fields of `quantize.spec.Spec`; held_bits, what else was evaluated,
    fraction_of_unquantized, bits_per_parameter (total), stored_bits, stored_bits_per_weight,
    bits_per_stored_bit.
    """
    import pandas

    rows, labels = [], shape_labels(configs)
    for config in configs:
        record = read(results, config.run_id)
        found = record["measures"].get("quantization") if record else None
        about = {
            "run_id": config.run_id,
            "label": labels[config.run_id],
            "seed": config.seed,
            "kind": config.data.kind,
            "precision": config.train.precision,
            "entropy_bits": config.entropy_bits,
            "load": config.entropy_bits / config.parameters["total"],
            "exposures": config.exposures,
        }
        about |= {f"parameters_{name}": p for name, p in config.parameters.items()}
        for row in (
            [{"method": "none", "bits": 32} | found["unquantized"], *found["rows"]] if found else []
        ):
            numbers = {
                name: value for name, value in row.items() if not isinstance(value, (dict, list))
            }
            rows.append(
                about | numbers | {"bits_per_parameter": row["bits_per_parameter"]["total"]}
            )
    return pandas.DataFrame(rows)


def _memorization(config: Config, record: dict | None) -> dict[str, float]:
    """Bits and ceilings by convention; without a record the ceilings are those expected of
    `counts.uniform_ceiling_bits`."""
    row = {}
    for convention in ("strict", "paper"):
        measured = (
            record["measures"]["memorization"][convention]
            if record
            else {
                "bits": math.nan,
                "ceiling_bits": counts.uniform_ceiling_bits(
                    config.items, config.data.seq_len, config.data.vocab_size, convention
                ),
            }
        )
        row |= {f"{convention}_{name}": measured[name] for name in ("bits", "ceiling_bits")}
    return row


def _knowledge(config: Config, record: dict | None) -> dict[str, Any]:
    """Expected and counted exposures, bits, their standard error over people, ceiling, losses,
    accuracy; the same by attribute (bits_major, accuracy_major, ...); extraction_accuracy; all
    settings of data, model and train by dotted key."""
    row: dict[str, Any] = {"exposures": config.exposures, "ceiling_bits": config.entropy_bits}
    for section in ("data", "model", "train"):
        row |= {
            f"{section}.{key}": value
            for key, value in dataclasses.asdict(getattr(config, section)).items()
        }
    for name in ("exposures_min", "exposures_mean", "exposures_max"):
        row[name] = record["training"][name] if record else math.nan
    measured = record["measures"]["knowledge"] if record else {"attributes": {}}
    for name in ("bits", "bits_se_over_people", "p1_nats", "p2_nats", "accuracy"):
        row[name.removesuffix("_over_people")] = measured.get(name, math.nan)
    for name, attribute in measured["attributes"].items():
        row |= {f"bits_{name}": attribute["bits"], f"accuracy_{name}": attribute["accuracy"]}
    extraction = record["measures"].get("extraction") if record else None
    row["extraction_accuracy"] = extraction["accuracy"] if extraction else math.nan
    return row


def _text(config: Config, record: dict | None) -> dict[str, Any]:
    """What the run was trained on, tokens per parameter, losses in bits per token, and by attack
    AUC, F1 and their intervals; all settings of data, model and train by dotted key."""
    row: dict[str, Any] = {
        "exposures": config.exposures,
        "trained_on": config.data.trained_on,
        "pool": text.pool_digest(config.data),
        "tokens_per_parameter": config.trained_items
        * config.data.seq_len
        / config.parameters["total"],
    }
    for section in ("data", "model", "train"):
        row |= {
            f"{section}.{key}": value
            for key, value in dataclasses.asdict(getattr(config, section)).items()
        }
    measured = (
        record["measures"]["text"] if record else {"members": {}, "held_out": {}, "membership": {}}
    )
    row |= {
        "n_members": measured.get("n_members", math.nan),
        "n_others": measured.get("n_held_out", math.nan),
    }
    row |= {
        name: measured.get(name, math.nan)
        for name in ("bits", "bag_of_words_auc", "bag_of_words_sd")
    }
    for side in ("members", "held_out"):
        row |= {
            f"{side}_{name}": measured[side].get(name, math.nan)
            for name in ("loss_bits_per_token", "correct", "extraction_strength")
        }
        for prefix, rate in measured[side].get("extractable", {}).items():
            row[f"{side}_extractable_{prefix}"] = rate
    for level in measured.get("canaries", []):
        row["exposure_at_most"] = level["at_most"]
        row |= {f"{name}_{level['repeats']}": level[name] for name in ("exposure", "extractable")}
    for attack, found in measured["membership"].items():
        row |= {
            f"{attack}_{name}": value
            for name, value in found.items()
            if not isinstance(value, list)
        }
        row |= {
            f"{attack}_auc_low": found["auc_interval"][0],
            f"{attack}_auc_high": found["auc_interval"][1],
        }
    return row


COLUMNS = {"uniform": _memorization, "text": _text}
