"""Records as tables: one row per planned run, which laws are fitted to, and one per run and variant
of quantization. Columns of measured numbers are those that `capacity.declare` names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity import counts, naming
from capacity.config import Config
from capacity.data import text
from capacity.declare import registry
from capacity.naming import Names
from capacity.records import read
from capacity.settings.data import text_data
from capacity.settings.field import applies
from capacity.settings.fresh import fresh_data, sequence_bits

if TYPE_CHECKING:
    import pandas


def model_names(configs: list[Config], names: Names | None = None) -> dict[str, str]:
    """run_id -> name of its architecture, such as 1x16; settings that tell equal names apart are
    added to them, or what the study calls a model with these settings (`names`), as "1x16 ours". Of
    people the curve says that."""
    models = [dataclasses.asdict(config.model) for config in configs]
    shapes = [(model["n_layers"], model["d_model"]) for model in models]
    varied = [
        name
        for name in (models[0] if models else {})
        if name not in ("n_layers", "d_model")
        and len({(shape, model[name]) for shape, model in zip(shapes, models, strict=True)})
        > len(set(shapes))
    ]
    rows = [{f"model.{key}": naming.plain(value) for key, value in one.items()} for one in models]
    of_models = {
        name: conditions
        for name, conditions in (names or {}).items()
        if all(key.startswith("model.") for key in conditions)
    }
    called = [
        naming.given(of_models, row) if config.data.kind in ("uniform", "text") else ""
        for config, row in zip(configs, rows, strict=True)
    ]
    told: dict[str, list[str]] = {}  # by name, the settings that tell its runs apart
    for name in set(called):
        alike = [model for model, other in zip(models, called, strict=True) if other == name]
        told[name] = [key for key in varied if not name or len({m[key] for m in alike}) > 1]
    out = {}
    for config, model, name in zip(configs, models, called, strict=True):
        settings = [f"{key}={model[key]}" for key in told[name]]
        out[config.run_id] = " ".join(filter(None, [config.shape, name, *settings]))
    return out


def table(results: Path, configs: list[Config], names: Names | None = None) -> pandas.DataFrame:
    """One row per planned run, also for failed and missing ones; numbers of unfinished runs are
    NaN. names: those that the study gives its variants.

    Columns: run_id, model, seed, status (finished, failed, missing), error, kind, parameter
    counts by convention, n_sequences or n_people, entropy_bits, load, steps, tokens, flops, recipe,
    wall_s, gain_last_tenth, and those of the measures, see `columns`.
    """
    import pandas

    rows = []
    called = model_names(configs, names)
    for config in configs:
        record = read(results, config.run_id)
        finished = record is not None and record["status"] == "finished"
        row = {
            "run_id": config.run_id,
            "model": called[config.run_id],
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
        row["parameters_idle"] = config.idle_parameters
        row |= columns(config, record if finished else None)
        if record and record["status"] == "failed":
            row["error"] = record["error"]["reason"]
        elif record and finished:
            gain = record["convergence"]["gain_last_tenth"]
            row["gain_last_tenth"] = math.nan if gain is None else gain
            row["wall_s"] = record["training"]["wall_s"] / record["training"]["stack"]
        rows.append(row)
    return pandas.DataFrame(rows)


def columns(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """What the plan and the measures of a run say, as columns of `table`.

    All columns that measures of its kind of data name, NaN where the record does not have them, and
    families of columns (bits_major, loss_auc, exposure_4, exposures_mean_tier_1) as the record has
    them.
    """
    row = PLANNED.get(config.data.kind, _facts)(config, record)
    for tier in (record["training"].get("tiers") or ()) if record else ():
        for which in ("min", "mean", "max"):
            row[f"exposures_{which}_tier_{tier['tier']}"] = tier[f"exposures_{which}"]
    for measure in registry.about(config.data.kind):
        for one in measure.fields:
            if one.column and not one.is_family and not one.optional:
                row.setdefault(one.column, math.nan)
    for value in registry.numbers(record["measures"] if record else {}):
        if name := registry.column(value):
            row[name] = value.value
    return row


def quantized_table(
    results: Path, configs: list[Config], names: Names | None = None
) -> pandas.DataFrame:
    """One row per finished run and variant of quantization, method none (32 bits) for the
    unquantized model; runs without the measure have none. names: as of `table`.

    Columns: run_id, model, seed, kind, precision, entropy_bits, load, exposures, parameter counts
    by convention; the fields of `settings.quantize.Spec`; held_bits, what else was evaluated,
    fraction_of_unquantized, bits_per_parameter (total), stored_bits, stored_bits_per_weight,
    bits_per_stored_bit.
    """
    import pandas

    measure = registry.MEASURES["quantization"]
    rows, called = [], model_names(configs, names)
    for config in configs:
        record = read(results, config.run_id)
        measured = record["measures"].get(measure.name) if record else None
        about = {
            "run_id": config.run_id,
            "model": called[config.run_id],
            "seed": config.seed,
            "kind": config.data.kind,
            "precision": config.train.precision,
            "entropy_bits": config.entropy_bits,
            "load": config.entropy_bits / config.parameters["total"],
            "exposures": config.exposures,
        }
        about |= {f"parameters_{name}": p for name, p in config.parameters.items()}
        about["parameters_idle"] = config.idle_parameters
        if record and config.data.kind == "corpus":  # by which laws refuse runs
            asked = record["measures"].get("knowledge", {})
            about["unasked_fraction"] = asked.get("unasked_fraction", math.nan)
        for row in (
            [{"method": "none", "bits": 32} | measured["unquantized"], *measured["rows"]]
            if measured
            else []
        ):
            numbers = {
                value.name(value.field.column): value.value
                for value in registry.row_numbers(measure, row)
                if value.field is not None and value.field.column
            }
            rows.append(about | numbers)
    return pandas.DataFrame(rows)


def settings(config: Config) -> dict[str, Any]:
    """All settings of data, model and train by dotted key, but for those of parts that the model
    does not have."""
    return {
        f"{section}.{field.name}": naming.without_id(field.name, getattr(part, field.name))
        for section, part in ((name, getattr(config, name)) for name in ("data", "model", "train"))
        for field in dataclasses.fields(part)
        if applies(part, field)
    }


def _random(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """Of random data the ceilings: without a record those expected of
    `counts.uniform_ceiling_bits`."""
    if record is not None:
        return {}
    row = {}
    for convention in ("strict", "paper"):
        row[f"{convention}_bits"] = math.nan
        row[f"{convention}_ceiling_bits"] = counts.uniform_ceiling_bits(
            config.items, config.data.seq_len, config.rows, convention
        )
    return row


def _mixed(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """Of people and random rows: exposures, expected and counted over both, and settings."""
    row = {"exposures": config.exposures, **settings(config)}
    for name in ("exposures_min", "exposures_mean", "exposures_max"):
        row[name] = record["training"][name] if record else math.nan
    return row


def _facts(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """Of people: exposures, expected and counted, what the facts hold, and settings."""
    row = {
        "exposures": config.exposures,
        "ceiling_bits": config.entropy_bits,
        **settings(config),
    }
    for name in ("exposures_min", "exposures_mean", "exposures_max"):
        row[name] = record["training"][name] if record else math.nan
    return row


def _text(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """Of text: what the run was trained on, tokens per parameter, and settings."""
    data, more = text_data(config.data), {}
    if record and (used := record["parameters"].get("used")):  # older records do not say it
        tokens = config.trained_items * data.seq_len
        more = {"parameters_used": used, "tokens_per_parameter_used": tokens / used}
        for name in ("used_rows", "fitting_vocab_size"):
            if name in record["data"]:
                more[name] = record["data"][name]
    return more | {
        "exposures": config.exposures,
        "trained_on": data.trained_on,
        "pool": text.pool_digest(data),
        "tokens_per_parameter": config.trained_items * data.seq_len / config.parameters["total"],
        **settings(config),
    }


def _context(config: Config, record: dict[str, Any] | None) -> dict[str, Any]:
    """Of sequences that are new: what a sequence asks for, the state that may keep it, and
    settings."""
    data = fresh_data(config.data)
    return {
        "context_ceiling_bits": sequence_bits(data),
        "state_numbers": counts.state_numbers(config.model, data.said + 1),
        **settings(config),
    }


# What a plan knows by its kind of data; all others are about people.
PLANNED: dict[str, Callable[[Config, dict[str, Any] | None], dict[str, Any]]] = {
    "uniform": _random,
    "mixed": _mixed,
    "text": _text,
    "copy": _context,
    "mqar": _context,
}
