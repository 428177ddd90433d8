"""What weights of b bits hold: formats of training, quantization after it, and quantization-aware
training side by side.

A method reaches fewer bits per weight (`METHODS`), a format is one width of its codes. Two
questions are asked of each format, and they have different answers. *Retained*: the share that a
model still holds there which was trained full, on the most data of the study, beside the fp32 model
of the same model, data and seed. *Capacity*: what the model holds there at the size of
the study's data at which it holds most; a model that is not full has larger margins and survives
coarser rounding.

x of the laws are the bits of a code; the bits that are really stored, codes, scales, zero points
and all that is not quantized, per weight, stand beside them. y is capacity per parameter (total
count), clipped at zero, because a model that predicts worse than a uniform guess can be replaced by
one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from capacity.analysis import pairing
from capacity.base.frames import Frame
from capacity.base.words import digits, ends, plural
from capacity.fitting.statistics import t_interval

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.settings.train import Train

FORMATS = (
    "precision",
    "weights",
    "qat",
    "qat_embeddings",
)  # train settings that say in what a model was trained
HELD = {"uniform": "strict_bits", "text": "bits"}  # by kind of data; of people "bits"
# method -> words; formats of training are points of their own
METHODS = {
    "rtn": "rounded to nearest, all tensors",
    "gptq": "GPTQ, all tensors",
    "qat": "trained quantized, all tensors",
    "rtn maps": "rounded to nearest, maps only",
    "gptq maps": "GPTQ, maps only",
    "qat maps": "trained quantized, maps only",
}
TRAINED = {
    "fp32": "fp32",
    "tf32": "TF32 products",
    "bf16": "bf16 products",
    "fp16": "fp16 products, loss scale",
    "bf16_stochastic": "bf16 weights, stochastic",
    "bf16_nearest": "bf16 weights, nearest",
}
# part of the data bits from which data, not the model, are the limit (strict ceilings are 3% to 10%
# below all bits)
HELD_WHOLE = 0.85
CODE_BITS = {
    "ternary": math.log2(3),
    "binary": 1.0,
}  # of train.qat; the others have their number in the name
PARTS = (
    "run_id",
    "model",
    "seed",
    "load",
    "method",
    "format",
    "code_bits",
    "parameters",
    "held_bits",
    "stored_bits_per_weight",
)


def asked(runs: Sequence[Config]) -> bool:
    """Whether a study is about precision: its settings quantize, or its runs are trained in several
    formats."""
    formats = {tuple(getattr(run.train, name) for name in FORMATS) for run in runs}
    return len(formats) > 1 or any(run.quantize.methods for run in runs)


def points(
    table: Frame, quantized: Frame, configs: Sequence[Config], storage: dict[str, float]
) -> Frame:
    """One row per finished run and format that it was measured in: the columns PARTS, and
    bits_per_parameter, bits_per_stored_bit.

    table: of `run_table.table`; quantized: of `run_table.quantized_table`; storage: run_id ->
    stored bits per weight of the run itself. method: of METHODS, "trained" or "cast"; symmetric or
    grouped variants have it in their name. held_bits of trained
    formats are in the arithmetic of training, all others in fp32.
    """
    trained = {run.run_id: run for run in configs}
    rows = []
    for row in table[table.status == "finished"].itertuples():
        run = trained[row.run_id]
        method, format, code = trained_as(run.train)
        rows.append(
            (
                row.run_id,
                row.model,
                row.seed,
                row.load,
                method,
                format,
                code,
                row.parameters_total,
                getattr(row, HELD.get(row.kind, "bits")),
                storage[row.run_id],
            )
        )
    for row in quantized[quantized.method != "none"].itertuples() if len(quantized) else []:
        method, format = _after(row)
        rows.append(
            (
                row.run_id,
                row.model,
                row.seed,
                row.load,
                method,
                format,
                float(row.bits),
                row.parameters_total,
                row.held_bits,
                row.stored_bits_per_weight,
            )
        )
    out = pd.DataFrame(rows, columns=list(PARTS))
    return out.assign(
        bits_per_parameter=out.held_bits / out.parameters,
        bits_per_stored_bit=out.held_bits / out.parameters / out.stored_bits_per_weight,
    )


def trained_as(train: Train) -> tuple[str, str, float]:
    """Method, format and bits of a code of a run as it was trained."""
    if train.qat != "none":
        other = [train.precision] * (train.precision != "fp32") + [train.weights] * (
            train.weights != "fp32"
        )
        method = "qat" if train.qat_embeddings else "qat maps"
        return (
            " ".join([method, *other]),
            train.qat,
            CODE_BITS.get(train.qat) or float(train.qat.removeprefix("int")),
        )
    if train.weights != "fp32":
        return "trained", train.weights, 16.0
    return "trained", train.precision, {"fp32": 32.0, "tf32": 32.0}.get(train.precision, 16.0)


def _after(row: Any) -> tuple[str, str]:
    """Method and format of a variant of quantization after training."""
    if row.method in ("bf16", "fp16"):
        return "cast", f"cast {row.method}"
    more = ["symmetric"] * bool(row.symmetric) + [row.granularity] * (row.granularity != "row")
    more += [f"{row.group_size:g}"] * (row.granularity == "group")
    return " ".join(
        [row.method if row.embeddings else f"{row.method} maps", *more]
    ), f"int{row.bits:g}"


def full_models(rows: Frame) -> Frame:
    """Units of full models, at the largest load of each model, beside which an fp32 run of the same
    data and seed stands: signed, the part of its bits that is held; retained, the same clipped at
    zero for the laws."""
    full = rows[rows.load == rows.groupby("model").load.transform("max")]
    fp32 = full[is_fp32(full)].groupby(["model", "seed"]).held_bits.first().rename("base")
    out = full.join(fp32, on=["model", "seed"]).dropna(subset="base")
    signed = out.held_bits / out.base
    return out.assign(signed=signed, retained=signed.clip(lower=0.0))


def base(rows: Frame) -> dict[str, Any]:
    """What the full fp32 models hold, whose parts are retained: bits per parameter over (model,
    seed), mean, low and high (95%, Student's t; NaN of one model), models, and empty: why nothing
    can be retained of it, or None.

    Models that learned nothing hold a little more or less than nothing, each by its own seed, so
    that these are independent of each other there whatever their size."""
    full = full_models(rows)
    held = full[is_fp32(full)].bits_per_parameter.to_numpy(float)
    low, high = t_interval(held)
    summary = {"low": low, "high": high, "models": len(held), "empty": None}
    if not len(held):
        return summary | {"mean": math.nan}
    empty = None
    summary["mean"] = float(held.mean())
    if not low > 0:
        reach = "one model" if math.isnan(low) else f"95% {ends([low, high])}"
        empty = (
            f"full fp32 models are not shown to hold anything ({digits(summary['mean'])} bits per "
            f"parameter, {reach}, {plural(len(held), 'model')})"
        )
    return summary | {"empty": empty}


def is_fp32(rows: Frame) -> Any:
    """Which rows are of models trained and measured in fp32."""
    return (rows.method == "trained") & (rows.format == "fp32")


def retained(rows: Frame) -> Frame:
    """What full models retain: one row per method and format with retained (mean over models of the
    mean over seeds of `full_models`), low and high (95%, Student's t over models),
    models, and stored bits per weight."""
    units = full_models(rows)
    by_model = units.groupby(["method", "format", "code_bits", "model"], as_index=False).agg(
        retained=("signed", "mean"), stored=("stored_bits_per_weight", "mean")
    )
    return _over_models(by_model, "retained")


def capacity(rows: Frame) -> Frame:
    """The most that a model holds in a format over the data sizes of the study: one row per method,
    format and unit (model, seed), bits per parameter at the load whose mean over seeds is the
    largest; limited: whether that is the largest load of the method and nearly all of it is held,
    so that more data would give more."""
    mean = rows.groupby(["method", "format", "model", "load"]).bits_per_parameter.mean()
    best = (
        mean.groupby(["method", "format", "model"])
        .idxmax()
        .map(lambda key: key[-1])
        .rename("best_load")
    )
    chosen = rows.join(best, on=["method", "format", "model"])
    chosen = chosen[chosen.load == chosen.best_load]
    most = rows.groupby(["method", "model"]).load.max().rename("most")
    chosen = chosen.join(most, on=["method", "model"])
    return chosen.assign(
        limited=(chosen.best_load == chosen.most)
        & (chosen.bits_per_parameter > HELD_WHOLE * chosen.load)
    )[[*PARTS, "bits_per_parameter", "bits_per_stored_bit", "limited"]].reset_index(drop=True)


def capacities(chosen: Frame) -> Frame:
    """`capacity` over models: method, format, code_bits, capacity (bits per parameter), low, high,
    models, stored, per_stored_bit, loads."""
    by_model = chosen.groupby(["method", "format", "code_bits", "model"], as_index=False).agg(
        capacity=("bits_per_parameter", "mean"),
        stored=("stored_bits_per_weight", "mean"),
        load=("load", "first"),
        seeds=("seed", "nunique"),
    )
    out = _over_models(by_model, "capacity")
    loads = by_model.groupby(["method", "format"]).load.agg(["min", "max"])
    out = out.join(loads, on=["method", "format"]).rename(
        columns={"min": "load_low", "max": "load_high"}
    )
    return out.assign(per_stored_bit=out.capacity / out.stored)


def _over_models(by_model: Frame, number: str) -> Frame:
    rows = []
    for (method, format, code), part in by_model.groupby(
        ["method", "format", "code_bits"], sort=False
    ):
        low, high = t_interval(part[number])
        rows.append(
            {
                "method": method,
                "format": format,
                "code_bits": code,
                number: part[number].mean(),
                "low": low,
                "high": high,
                "models": len(part),
                "stored": part.stored.mean(),
            }
        )
    order = {method: i for i, method in enumerate(("trained", "cast", *METHODS))}
    out = pd.DataFrame(
        rows, columns=["method", "format", "code_bits", number, "low", "high", "models", "stored"]
    )
    out = out.assign(order=out.method.map(lambda method: order.get(method, len(order))))
    return out.sort_values(
        ["order", "method", "code_bits", "format"],
        ascending=[True, True, False, True],
        ignore_index=True,
    ).drop(columns="order")


def paired(values: Frame, number: str, one: str, other: str) -> list[dict[str, Any]]:
    """By format, by how much method `one` exceeds method `other` in pairs of one model and seed:
    mean, its 95% interval over pairs (Student's t), pairs, wins.

    values: rows with run_id, model, seed, method, format and the number. Pairs of one model are
    taken as independent: seeds differ in data and weights.
    """
    sides = [values[(values.method == method) & values[number].notna()] for method in (one, other)]
    equal = ["format", "code_bits", "model", "seed"]
    try:
        pairs = pairing.matched(sides[0], sides[1], equal).frame
    except pairing.SeveralPartners as error:
        raise ValueError(
            f"{one} beside {other}: run {error.row} has several partners of its model and seed; "
            "a study of precision has one run of each model, data size, seed and format"
        ) from None
    out = []
    for (format, code), part in pairs.groupby(["format", "code_bits"]):
        difference = (part[f"{number}_a"] - part[f"{number}_b"]).to_numpy()
        low, high = t_interval(difference)
        out.append(
            {
                "format": format,
                "code_bits": code,
                "one": one,
                "other": other,
                "difference": float(difference.mean()),
                "low": low,
                "high": high,
                "pairs": len(part),
                "wins": int((difference > 0).sum()),
            }
        )
    return sorted(out, key=lambda row: -row["code_bits"])
