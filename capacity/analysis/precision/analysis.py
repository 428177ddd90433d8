"""A study of precision from its records: what is retained, what is held at most, and the law of bit
width that each method follows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity import records, run_table
from capacity.analysis import refused
from capacity.analysis.finding import Finding, Options
from capacity.analysis.finding import head as head_of
from capacity.analysis.precision import bit_widths
from capacity.analysis.table_checks import checked, rising
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.files import csv, plain
from capacity.base.frames import Column, Frame
from capacity.base.words import plural, some
from capacity.fitting import fit as estimate
from capacity.fitting import intervals, misfit
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

KIND, FILE, SCHEMA = "precision", "precision.json", 4
FORMS = ("precision_effective", "precision_shifted", "precision_noise", "precision_storage")
UNITS = {
    "c": "of fp32's bits",
    "s": "of fp32's bits per bit of a code",
    "b0": "bits of a code",
    "a": "",
}
POOR = 0.1  # rms error of left-out formats, as a part of fp32, above which no form is worth quoting
FEWEST_FORMATS = 4  # a method with fewer has no law
TOP = ("fp32", "cast bf16")  # not counted among them
# What the literature says of full models: id, method and format, by kind of data ("people": all but
# random data and text)
EXPECTED = {
    "people": (("physics33/int8", "gptq maps", "int8"), ("physics33/int4", "gptq maps", "int4")),
    "uniform": (("morris/bf16_over_fp32", "trained", "bf16"),),
}
RETAINED = "mean over models of the bits kept by full models / their bits in fp32"
COMPARED = (("gptq", "rtn"), ("gptq maps", "rtn maps"), ("qat", "gptq"), ("qat", "rtn"))


def analyse(study: Study, table: Frame, results: Path, options: Options) -> Finding:
    """What full models retain, what models hold at most, laws of bit width, pairs and verdicts.

    table: of `run_table.table`; the numbers of quantized models are read from the records under
    `results`. ValueError, in one line, where these carry no result.
    """
    inputs = ("run_id", "model", "seed", "status", "load", "kind")
    table = checked(table, inputs, ["load"], "analyse")
    rows, without_rows = rows_of(table, study.runs, results)
    result = numbers(rows, table, study.name, without_rows)
    rows = rows.sort_values(["method", "code_bits", "model", "load", "seed"])
    return Finding(KIND, FILE, result, {"rows.csv": rows, "runs.csv": table})


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside; no rule leaves runs out."""
    return [published.get(id).expected() for id, _, _ in _compared(study.runs[0].data.kind)], {}


def _compared(kind: str) -> tuple[tuple[str, str, str], ...]:
    """Entries of EXPECTED for a kind of data."""
    return EXPECTED.get(kind if kind in ("uniform", "text") else "people", ())


def relative(chosen: Frame) -> Frame:
    """Capacity of each unit over the fp32 capacity of its model (mean over seeds), signed for the
    pairs, clipped at zero for the laws."""
    fp32 = chosen[bit_widths.is_fp32(chosen)].groupby("model").bits_per_parameter.mean()
    out = chosen.join(fp32.rename("base"), on="model").dropna(subset="base")
    signed = out.bits_per_parameter / out.base
    return out.assign(signed=signed, relative=signed.clip(lower=0.0))


def law(units: Frame, method: str, value: str) -> dict[str, Any]:
    """All forms fitted to the formats of one method: means over seeds of `value` (relative to fp32)
    against the bits b of a code, with fp32 and bf16 at 32 and 16; clusters are models. Stored
    bits are what methods are compared by; scales add 16 bits to each row of a matrix, few in a wide
    model and 2 per weight in rows of 8, so that a law in stored bits would be one of the width. By
    form: parameters with intervals, rms residual, aicc, held_out (rms error of formats that were
    left out of the fit, one at a time over all models), lack_of_fit (formats off the law beyond
    what models differ from format to format), scatter by source, and which is preferred. Intervals
    are over formats and models, each of which a scatter may have in common (`fitting.misfit`).
    {"reason"} where
    the method has too few formats."""
    mean = of_method(units, method, value)
    if (formats := mean[~mean.format.isin(TOP)].format.nunique()) < FEWEST_FORMATS:
        return {"reason": f"{formats} formats, a law needs {FEWEST_FORMATS}"}
    result: dict[str, Any] = {
        "reason": None,
        "formats": formats,
        "points": len(mean),
        "models": int(mean.model.nunique()),
        "forms": {},
    }
    for name in FORMS:
        try:
            result["forms"][name] = _fitted(name, mean)
        except ValueError as error:
            result["forms"][name] = {"reason": str(error)}
    ranked = [name for name, row in result["forms"].items() if row.get("held_out") is not None]
    result["preferred"] = min(
        ranked, key=lambda name: result["forms"][name]["held_out"], default=None
    )
    result["poor"] = (
        result["preferred"] is None or result["forms"][result["preferred"]]["held_out"] > POOR
    )
    return result


def of_method(units: Frame, method: str, value: str) -> Frame:
    """What `law` fits, a row per format and model: y, the mean of `value` over seeds, and x, the
    bits of a code. fp32 and the cast to bf16 belong to every method."""
    on = units[
        (units.method == method)
        | ((units.method == "trained") & (units.format == "fp32"))
        | ((units.method == "cast") & (units.format == "cast bf16"))
    ]
    mean = on.groupby(["format", "code_bits", "model"], as_index=False).agg(y=(value, "mean"))
    return mean.assign(x=mean.code_bits)


def points(mean: Frame) -> estimate.Points:
    """Of rows of `of_method`; clusters are models."""
    return estimate.Points(
        {"bits_per_weight": mean.x.to_numpy()},
        mean.y.to_numpy(),
        cluster=mean.model.to_numpy(),
        convention={
            "x": "bits of a code",
            "y": "capacity / fp32 capacity of the model, clipped at 0",
        },
    )


def _fitted(name: str, mean: Frame) -> dict[str, Any]:
    fit = estimate.fit(name, points(mean), delta=np.inf)
    error = mean.y.to_numpy() - fit.predict({"bits_per_weight": mean.x.to_numpy()})
    n, k = len(mean), int(fit.free.sum()) + 1  # and the variance
    rss = float((error**2).sum())
    misses = []
    for format in mean.format.unique():
        rest, out = mean[mean.format != format], mean[mean.format == format]
        predicted = estimate.fit(name, points(rest), delta=np.inf, kept=4).predict(
            {"bits_per_weight": out.x.to_numpy()}
        )
        misses += list(predicted - out.y.to_numpy())
    groups = {"formats": mean.format.to_numpy(), "models": mean.model.to_numpy()}
    parameters = {
        name: entry | {"unit": UNITS.get(name, entry["unit"])}
        for name, entry in intervals.of(fit, groups=groups).items()
    }  # y is a part of fp32's bits, x the bits of a code
    return {
        "reason": None,
        "formula": fit.form.formula,
        "parameters": parameters,
        "lack_of_fit": misfit.lack_of_fit(fit, mean.format, mean.model),
        "scatter": misfit.scatter(fit, groups),
        "rms": math.sqrt(rss / n),
        "aicc": n * math.log(max(rss, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        if n > k + 1
        else None,
        "held_out": float(np.sqrt(np.mean(np.square(misses)))),
        "warnings": list(fit.warnings),
        "valid": [float(mean.x.min()), float(mean.x.max())],
    }


def _verdicts(rows: Frame, retained: Frame, kind: str, table: Frame) -> list[dict[str, Any]]:
    """What full models retain beside the published values, over models."""
    out, at = [], retained.set_index(["method", "format"])
    empty = bit_widths.base(rows)["empty"]
    for id, method, format in _compared(kind):
        value = published.get(id)
        measured = {
            "value": None,
            "interval": None,
            "lacks": f"no full model was measured as {method} {format}",
        }
        if (method, format) in at.index:
            row = at.loc[(method, format)]
            measured = {
                "value": float(row.retained),
                "interval": None if math.isnan(row.low) else [float(row.low), float(row.high)],
                "why": "one model has no interval",
                "method": "Student's t over models",
                "dof": float(row.models) - 1.0,
                "spread": "absolute",
                "form": RETAINED,
                "knows": ["models", "training (seeds)"],
            }
            if empty:  # a part of nothing is no part
                measured |= {"interval": None, "why": empty}
        scale = published.scale_of(
            value, (table.parameters_total.min(), table.parameters_total.max())
        )
        out.append(
            published.verdict(
                value.expected(),
                measured,
                at=f"{method} {format}, {len(table.model.unique())} models",
                scale="published" if scale == "published" else "pocket",
            )
        )
    return out


def numbers(
    rows: Frame, table: Frame, name: str, without_rows: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that precision.json says, JSON-able. ValueError, in one line, for a study without
    an fp32 run to compare with.

    rows: of `bit_widths.points`. without_rows: finished runs whose settings ask for quantization
    that their records do not have.
    """
    if not bit_widths.is_fp32(rows).any():
        raise ValueError(
            "no finished run in fp32 to compare with; a study of precision needs runs with "
            "train.precision=fp32 and train.qat=none"
        )
    retained, chosen = bit_widths.retained(rows), bit_widths.capacity(rows)
    units, whole = relative(chosen), bit_widths.full_models(rows)
    methods = [method for method in bit_widths.METHODS if (rows.method == method).any()]
    states, kind = table.status.value_counts(), str(table.kind.iloc[0])
    return plain(
        {
            **head_of(KIND, SCHEMA, name, _inputs_sha256(rows, table)),
            "data_kind": kind,
            "runs": len(table),
            **{status: int(states.get(status, 0)) for status in ("finished", "failed", "missing")},
            "conventions": {
                "bits": "strict bits" if kind == "uniform" else "learned bits",
                "parameters": "total",
                "stored": "codes, scales, zero points and what is not quantized",
                "retained": "full models: largest load of a model",
                "capacity": "largest over the study's loads",
                "intervals": "95%, Student's t over models; pairs: over (model, seed)",
            },
            "base": bit_widths.base(rows),
            "retained": retained.to_dict("records"),
            "capacity": bit_widths.capacities(chosen).to_dict("records"),
            "laws": {
                method: {
                    "capacity": law(units, method, "relative"),
                    "retained": law(whole, method, "retained"),
                }
                for method in methods
            },
            "paired": [
                row | {"question": question}
                for question, frame in (("capacity", units), ("retained", whole))
                for one, other in COMPARED
                for row in bit_widths.paired(frame, "signed", one, other)
            ],
            "verdicts": _verdicts(rows, retained, kind, table),
            "notes": _notes(table, rows, chosen, name, without_rows),
            "run_ids": {
                **{
                    status: sorted(table.run_id[table.status == status])
                    for status in ("failed", "missing")
                },
                "without_rows": list(without_rows),
                **_flagged(table),
            },
            "fp32_of_data": _fullness(rows, table),
        }
    )


def _inputs_sha256(rows: Frame, table: Frame) -> str:
    """Digest of what is analysed: a row per run and format, and the state of every planned run; in
    an order of its own, so that the order of a table is free."""
    used = rows[[*bit_widths.PARTS]].sort_values(["run_id", "method", "format"], ignore_index=True)
    states = table[["run_id", "status"]].sort_values("run_id", ignore_index=True)
    return hashlib.sha256(csv(used) + csv(states)).hexdigest()


def _held_and_ceiling(table: Frame) -> tuple[Frame, Column, Column]:
    """Finished runs, their bits and the ceiling of these, whatever the kind of data."""
    names = ("bits", "ceiling_bits")
    if "strict_bits" in table:
        names = ("strict_bits", "strict_ceiling_bits")
    done = table[table.status == "finished"]
    held, ceiling = (done[name].astype(float) for name in names)
    return done, held, ceiling


def _flagged(table: Frame) -> dict[str, list[str]]:
    done, held, ceiling = _held_and_ceiling(table)
    return {
        "data_limited": sorted(done.run_id[held > DATA_LIMITED * ceiling]),
        "rising": sorted(table.run_id[rising(table)]),
    }


def _fullness(rows: Frame, table: Frame) -> dict[str, Any] | None:
    """Part of its data that the fp32 model of each model holds at the study's largest data:
    smallest and largest over models. Full models hold little of it."""
    done, held, ceiling = _held_and_ceiling(table)
    fp32 = done.run_id.isin(set(rows.run_id[bit_widths.is_fp32(rows)]))
    full = fp32 & (done.load == done.groupby("model").load.transform("max"))
    part = (held / ceiling)[full].groupby(done.model[full]).mean()
    if part.empty:
        return None
    return {
        "low": float(part.min()),
        "high": float(part.max()),
        "low_at": str(part.idxmin()),
        "high_at": str(part.idxmax()),
    }


def _notes(
    table: Frame, rows: Frame, chosen: Frame, name: str, without_rows: Sequence[str]
) -> list[str]:
    out = []
    for status in ("failed", "missing"):
        if ids := list(table.run_id[table.status == status]):
            out.append(f"{plural(len(ids), 'run')} {status}: {some(ids)}")
    out += refused.describe(table)
    if without_rows:
        out.append(
            f"{plural(len(without_rows), 'finished run')} not quantized yet, as their settings "
            f"ask: capacity measure --study {name}"
        )
    if empty := bit_widths.base(rows)["empty"]:
        out.append(f"{empty}: what is retained of it says nothing of formats")
    for method, formats in chosen[chosen.limited].groupby("method").format.unique().items():
        out.append(
            f"{method}: {', '.join(formats)}: some model holds nearly all of the study's largest "
            f"data there; more data would give more"
        )
    return out


def rows_of(table: Frame, configs: Sequence[Config], results: Path) -> tuple[Frame, list[str]]:
    """`bit_widths.points` of the records, and the finished runs without the rows that their
    settings ask for; ValueError where a finished run does not say what it stores."""
    storage: dict[str, float] = {}
    silent: list[str] = []
    for run_id in table.run_id[table.status == "finished"]:
        record = records.read(results, run_id) or {}
        if (stored := record.get("storage")) is None:
            silent.append(run_id)
        else:
            storage[run_id] = stored["bits_per_weight"]
    if silent:
        others = f" and {plural(len(silent) - 1, 'other')}" if len(silent) > 1 else ""
        raise ValueError(
            f"run {silent[0]}{others}: finished before records said what a run stores; measure "
            "again: capacity measure --study STUDY"
        )
    used = set(table.run_id[table.status != "refused"])
    quantized = run_table.quantized_table(results, [c for c in configs if c.run_id in used])
    have = set(quantized.run_id) if len(quantized) else set()
    if have:  # as the study calls them
        called = dict(zip(table.run_id, table.model, strict=True))
        quantized = quantized.assign(model=quantized.run_id.map(called))
    without = [
        run.run_id
        for run in configs
        if run.quantize.methods and run.run_id in storage and run.run_id not in have
    ]
    return bit_widths.points(table, quantized, configs, storage), without
