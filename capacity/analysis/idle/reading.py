"""What the runs of a study of parts are: which parts a model has, what of it is idle, by which
recipe it was trained, and what each run may say of capacity.

system     the parts of which a token uses a share: experts, engram, stem, keys, peer, banks; the
           plain model has none
form       all else that a model is beside its sizes: mixer, norm, activation, positions (a number)
condition  the data but for their amount, exposures, precision and optimizer: one law is about one
size       layers and width
recipe     values of the settings that the study chooses among (`best_over`)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import labels, planned_runs
from capacity.analysis.table_checks import checked, rising, shown_rising
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.frames import Frame
from capacity.naming import Value
from capacity.parts import registry

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.settings.model import Model

PLAIN = "plain"
# by family of data: bits that a run holds, all that its data can give, in the convention of its law
BITS = {
    "random data": ("strict_bits", "strict_ceiling_bits"),
    "facts": ("bits", "ceiling_bits"),
}
READ = "rows_read"  # share of the rows of the least used table that training reads
TRAINING = ("exposures", "precision", "weights", "qat", "optimizer")  # of a condition
RATES = ("train.lr", "train.table_lr")  # what has to be tuned
SIZES = {"n_layers", "d_model", "n_heads", "n_kv_heads", "mlp_ratio", "mlp_multiple_of"}
PARTS = {"channel", "memory"}  # settings that choose parts, and owners of settings of parts
EXPERTS = {
    "n_experts",
    "top_k",
    "capacity_factor",
    "eval_capacity_factor",
    "balance_weight",
    "table_std",
}
# of a part, the settings that make another system of it
VARIANTS = {
    "experts": ("n_shared", "expert_rounds", "router_score", "router_shift", "router_z"),
    "keys": ("keys_shared",),
}
SYSTEMS = {name for names in VARIANTS.values() for name in names}
PEER = "peer"  # product keys that find experts of one hidden unit (arXiv 2407.04153)


def idle_kinds(model: Model, rows: int) -> list[str]:
    """The parts of which a token leaves something idle; rows: of the vocabulary."""
    return sorted(k for k in registry.kinds(model) if registry.PARTS[k].count(model, rows).idle)


def system(run: Config) -> str:
    """What the parts of a run are called; PLAIN where a token uses all of it. Experts and keys of
    other settings than the usual ones are called by them."""
    kinds = idle_kinds(run.model, run.rows)
    called = [PEER if kind == "keys" and run.model.keys_expert else kind for kind in kinds]
    usual = {f.name: f.default for f in dataclasses.fields(run.model)}
    names = [name for kind in kinds for name in VARIANTS.get(kind, ())]
    differ = {name: value for name in names if (value := getattr(run.model, name)) != usual[name]}
    more = [f"{name}={str(value).lower()}" for name, value in differ.items()]
    return " ".join([" + ".join(called), *more]).strip() or PLAIN


def described(runs: Sequence[Config], best_over: Sequence[str]) -> Frame:
    """A row per planned run: run_id, system, form, condition, called (the condition in words, empty
    where a study has one), size, model (size and system, and what else tells two apart), amount of
    data, recipe (plain values of `best_over`, None where a setting does nothing to the model),
    tables (whether it reads any), idle_by (its idle parameters by kind of part), p, p_active,
    p_idle: parameters, of people without the rows of tokens that no text has, as everywhere where
    bits of people are divided by parameters."""
    rows = [_row(run, best_over) for run in runs]
    conditions = [dict(row["condition"]) for row in rows]
    varied = [key for key in conditions[0] if len({one.get(key) for one in conditions}) > 1]
    out: Frame = pd.DataFrame(rows)
    out["called"] = [", ".join(_words(k, one.get(k)) for k in varied) for one in conditions]
    for name in ("condition", "form"):
        out[name] = labels.codes([row[name] for row in rows])
    out["model"] = _names(runs, out)
    return out


def _row(run: Config, best_over: Sequence[str]) -> dict[str, Any]:
    model, counted = run.model, run.parameters
    settings = naming.settings(run)
    parts = registry.count(model, run.rows + run.data.bos)
    facts = labels.family(run) == "facts"
    unused = run.rows - run.resolved.used_rows if facts else 0
    p = counted["paper"] if facts else counted["total"]
    idle = parts.idle - unused * parts.by_token
    tables = registry.has_tables(model)
    return {
        "run_id": run.run_id,
        "system": system(run),
        "form": form(run),
        "condition": _condition(settings),
        "size": run.shape,
        "amount": next(
            (key, settings[key])
            for key in ("data.load", "data.n_sequences", "data.n_people")
            if settings.get(key) is not None
        ),
        "recipe": tuple(
            None if name == "train.table_lr" and not tables else settings.get(name)
            for name in best_over
        ),
        "tables": tables,
        "p": float(p),
        "p_active": float(p - idle),
        "p_idle": float(idle),
        "idle_by": registry.idle(model, run.rows + run.data.bos),
    }


def form(run: Config) -> tuple[Any, ...]:
    """What a model is beside sizes and idle parts."""
    idle = set(idle_kinds(run.model, run.rows))
    dense = tuple(sorted(registry.kinds(run.model) - idle - {"mlp"}))
    kept = [
        (f.name, labels.plain(getattr(run.model, f.name)))
        for f in dataclasses.fields(run.model)
        if f.name not in SIZES | PARTS | EXPERTS | SYSTEMS
        and not (f.metadata["of"] and f.metadata["of"][0] in PARTS)
    ]
    return (dense, *kept)


def _condition(settings: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    data = {k: v for k, v in settings.items() if k.startswith("data.") and k not in naming.AMOUNTS}
    training = {f"train.{name}": settings.get(f"train.{name}") for name in TRAINING}
    return tuple(sorted((data | training).items()))


def _words(name: str, value: Value) -> str:
    short = name.rsplit(".", maxsplit=1)[-1]
    return f"{naming.text(value)} exposures" if short == "exposures" else f"{short} {value}"


def _names(runs: Sequence[Config], rows: Frame) -> list[str]:
    """Size and system; settings of the model that tell equal names apart stand behind."""
    names = [
        size if system == PLAIN else f"{size} {system}"
        for size, system in zip(rows["size"], rows.system, strict=True)
    ]
    models = [dataclasses.asdict(run.model) for run in runs]
    out = []
    for name, form, one in zip(names, rows.form, models, strict=True):
        alike = [
            m
            for m, other, f in zip(models, names, rows.form, strict=True)
            if other == name and f == form
        ]
        differs = [key for key in one if len({str(m[key]) for m in alike}) > 1]
        out.append(" ".join([name, *(f"{key}={one[key]}" for key in differs)]))
    return out


def joined(table: Frame, known: Frame, family: str) -> Frame:
    """The checked table of runs with what is known of them, held (bits), most (what the data give),
    class, still_rising, shown_rising and rows_read. ValueError, in one line, for a table that
    cannot be read.

    class: missing, failed, unlearned (no positive bits), data_limited, corner or full; only full
    runs measure capacity, see `thresholds`."""
    bits, most = BITS[family]
    numbers = ["seed", bits, most, "gain_last_tenth", *[READ][: READ in table]]
    runs = checked(table, ["run_id", "status", bits, most], numbers, "fit")
    runs = planned_runs.beside(runs, known)
    held, ceiling = runs[bits].astype(float), runs[most].astype(float)
    kind = np.select(
        [~(held > 0), held > DATA_LIMITED * ceiling, ceiling < CORNER * held],
        ["unlearned", "data_limited", "corner"],
        "full",
    )
    read = runs[READ].astype(float) if READ in runs else np.nan
    done = runs.status == "finished"
    return runs.assign(
        held=held,
        most=ceiling,
        rows_read=read,
        still_rising=rising(runs),
        shown_rising=done & shown_rising(runs),
        **{"class": np.where(done, kind, runs.status)},
    )
