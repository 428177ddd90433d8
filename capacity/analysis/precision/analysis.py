"""A study of precision from its records: what is kept, what is held at most, which form of law the
ladders follow, and the report."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import records, run_table
from capacity.analysis.precision import bit_widths as precision
from capacity.analysis.random.plateaus import rising
from capacity.analysis.table_checks import checked
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.files import plain
from capacity.fitting import fit as estimate
from capacity.fitting import intervals
from capacity.published import values as published
from capacity.published.values import wrapped as _wrap

SCHEMA = 1
FORMS = ("precision_effective", "precision_shifted", "precision_noise", "precision_storage")
UNITS = {
    "c": "of fp32's bits",
    "s": "of fp32's bits per bit of a code",
    "b0": "bits of a code",
    "a": "",
}
POOR = 0.1  # rms error of left-out rungs, as a part of fp32, above which no form is worth quoting
FEWEST_RUNGS = 4  # below these a ladder has no law
TOP = ("fp32", "cast bf16")  # not counted among them
# What the literature says of full models: id, way and rung, by kind of data ("people": all but
# random data and text)
EXPECTED = {
    "people": (("physics33/int8", "gptq maps", "int8"), ("physics33/int4", "gptq maps", "int4")),
    "uniform": (("morris/bf16_over_fp32", "trained", "bf16"),),
}
COMPARED = (("gptq", "rtn"), ("gptq maps", "rtn maps"), ("qat", "gptq"), ("qat", "rtn"))


def relative(chosen: pd.DataFrame) -> pd.DataFrame:
    """Capacity of each unit over the fp32 capacity of its shape (mean over seeds), signed for the
    pairs, clipped at zero for the laws."""
    base = (
        chosen[(chosen.way == "trained") & (chosen.rung == "fp32")]
        .groupby("label")
        .bits_per_parameter.mean()
        .rename("base")
    )
    out = chosen.join(base, on="label").dropna(subset="base")
    signed = out.bits_per_parameter / out.base
    return out.assign(signed=signed, relative=signed.clip(lower=0.0))


def law(units: pd.DataFrame, way: str, value: str) -> dict:
    """All forms fitted to one ladder: means over seeds of `value` (relative to fp32) against the
    bits b of a code, 32 and 16 for fp32 and bf16 on top of the ladder, clusters are shapes. Stored
    bits are what ways are compared by; scales add 16 bits to each row of a matrix, few in a wide
    model and 2 per weight in rows of 8, so that a law in stored bits would be one of the width. By
    form: parameters with intervals, rms residual, aicc, held_out (rms error of rungs that were left
    out of the fit, one at a time over all shapes), and which is preferred. {"reason"} where the
    ladder has too few rungs."""
    mean = on_ladder(units, way, value)
    if (rungs := mean[~mean.rung.isin(TOP)].rung.nunique()) < FEWEST_RUNGS:
        return {"reason": f"{rungs} rungs, a law needs {FEWEST_RUNGS}"}
    found: dict = {
        "reason": None,
        "rungs": rungs,
        "points": len(mean),
        "shapes": int(mean.label.nunique()),
        "forms": {},
    }
    for name in FORMS:
        try:
            found["forms"][name] = _fitted(name, mean)
        except ValueError as error:
            found["forms"][name] = {"reason": str(error)}
    ranked = [name for name, told in found["forms"].items() if told.get("held_out") is not None]
    found["preferred"] = min(
        ranked, key=lambda name: found["forms"][name]["held_out"], default=None
    )
    found["poor"] = (
        found["preferred"] is None or found["forms"][found["preferred"]]["held_out"] > POOR
    )
    return found


def on_ladder(units: pd.DataFrame, way: str, value: str) -> pd.DataFrame:
    """What `law` fits, a row per rung and shape: y, the mean of `value` over seeds, and x, the bits
    of a code; fp32 and the cast to bf16 are the top of every ladder."""
    on = units[
        (units.way == way)
        | ((units.way == "trained") & (units.rung == "fp32"))
        | ((units.way == "cast") & (units.rung == "cast bf16"))
    ]
    mean = on.groupby(["rung", "code_bits", "label"], as_index=False).agg(y=(value, "mean"))
    return mean.assign(x=mean.code_bits)


def points(mean: pd.DataFrame) -> estimate.Points:
    """Of rows of `on_ladder`; clusters are shapes."""
    return estimate.Points(
        {"bits_per_weight": mean.x.to_numpy()},
        mean.y.to_numpy(),
        cluster=mean.label.to_numpy(),
        convention={
            "x": "bits of a code",
            "y": "capacity / fp32 capacity of the shape, clipped at 0",
        },
    )


def _fitted(name: str, mean: pd.DataFrame) -> dict:
    fit = estimate.fit(name, points(mean), delta=np.inf)
    error = mean.y.to_numpy() - fit.predict({"bits_per_weight": mean.x.to_numpy()})
    n, k = len(mean), int(fit.free.sum()) + 1  # and the variance
    rss = float((error**2).sum())
    misses = []
    for rung in mean.rung.unique():
        rest, out = mean[mean.rung != rung], mean[mean.rung == rung]
        said = estimate.fit(name, points(rest), delta=np.inf, kept=4).predict(
            {"bits_per_weight": out.x.to_numpy()}
        )
        misses += list(said - out.y.to_numpy())
    told = {
        name: entry | {"unit": UNITS.get(name, entry["unit"])}
        for name, entry in intervals.of(fit).items()
    }  # y is a part of fp32's bits, x the bits of a code
    return {
        "reason": None,
        "formula": fit.form.formula,
        "parameters": told,
        "rms": math.sqrt(rss / n),
        "aicc": n * math.log(max(rss, 1e-300) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
        if n > k + 1
        else None,
        "held_out": float(np.sqrt(np.mean(np.square(misses)))),
        "warnings": list(fit.warnings),
        "valid": [float(mean.x.min()), float(mean.x.max())],
    }


def _verdicts(kept: pd.DataFrame, kind: str, table: pd.DataFrame) -> list[dict]:
    """What full models keep beside the published values, over shapes."""
    out, at = [], kept.set_index(["way", "rung"])
    for id, way, rung in EXPECTED.get(kind if kind in ("uniform", "text") else "people", ()):
        value = published.get(id)
        measured = {
            "value": None,
            "interval": None,
            "lacks": f"no full model was measured as {way} {rung}",
        }
        if (way, rung) in at.index:
            row = at.loc[(way, rung)]
            measured = {
                "value": float(row.kept),
                "interval": None if math.isnan(row.low) else [float(row.low), float(row.high)],
                "why": "one shape has no interval",
                "method": "Student's t over shapes",
            }
        scale = published.scale_of(
            value, (table.parameters_total.min(), table.parameters_total.max())
        )
        out.append(
            published.verdict(
                value.expected(),
                measured,
                at=f"{way} {rung}, {len(table.label.unique())} shapes",
                scale="published" if scale == "published" else "pocket",
            )
        )
    return out


def judge(
    rows: pd.DataFrame, table: pd.DataFrame, name: str, without_rows: list[str] | None = None
) -> dict:
    """Everything that precision.json says, JSON-able. ValueError, in one line, for a study without
    an fp32 run to compare with.

    without_rows: finished runs whose settings ask for quantization that their records do not have.
    """
    if not ((rows.way == "trained") & (rows.rung == "fp32")).any():
        raise ValueError(
            "no finished run in fp32 to compare with; a study of precision needs runs with "
            "train.precision=fp32 and train.qat=none"
        )
    kept, chosen = precision.kept(rows), precision.capacity(rows)
    units = relative(chosen)
    whole = _whole(rows)
    ladders = [way for way in precision.LADDERS if (rows.way == way).any()]
    laws = {
        way: {"capacity": law(units, way, "relative"), "kept": law(whole, way, "kept")}
        for way in ladders
    }
    tests = [
        row | {"question": question}
        for question, frame in (("capacity", units), ("kept", whole))
        for one, other in COMPARED
        for row in precision.paired(frame, "signed", one, other)
    ]
    states = table.status.value_counts()
    return plain(
        {
            "schema": SCHEMA,
            "study": name,
            "kind": str(table.kind.iloc[0]),
            "runs": len(table),
            "finished": int(states.get("finished", 0)),
            "failed": int(states.get("failed", 0)),
            "missing": int(states.get("missing", 0)),
            "conventions": {
                "bits": "strict bits" if table.kind.iloc[0] == "uniform" else "learned bits",
                "parameters": "total",
                "stored": "codes, scales, zero points and what is not quantized",
                "kept": "full models: largest load of a shape",
                "capacity": "largest over the study's loads",
                "intervals": "95%, Student's t over shapes; pairs: over (shape, seed)",
            },
            "kept": kept.to_dict("records"),
            "capacity": precision.capacities(chosen).to_dict("records"),
            "laws": laws,
            "paired": tests,
            "verdicts": _verdicts(kept, table.kind.iloc[0], table),
            "notes": _notes(table, chosen, name, without_rows or []),
            "run_ids": {
                **{
                    status: sorted(table.run_id[table.status == status])
                    for status in ("failed", "missing")
                },
                "without_rows": without_rows or [],
                **_flagged(table),
            },
            "fp32_of_data": _fullness(rows, table),
        }
    )


def _held_and_ceiling(table):
    """Bits and their ceiling of finished runs, whatever the kind of data."""
    names = (
        ("strict_bits", "strict_ceiling_bits")
        if "strict_bits" in table
        else ("bits", "ceiling_bits")
    )
    done = table[table.status == "finished"]
    return done, *(done[name].astype(float) for name in names)


def _flagged(table) -> dict[str, list[str]]:
    done, held, ceiling = _held_and_ceiling(table)
    return {
        "under_filled": sorted(done.run_id[held > DATA_LIMITED * ceiling]),
        "rising": sorted(done.run_id[rising(done)]),
    }


def _fullness(rows, table) -> dict[str, float] | None:
    """Part of its data that the fp32 model of each shape holds at the study's largest data:
    smallest and largest over shapes. Full models hold little of it."""
    done, held, ceiling = _held_and_ceiling(table)
    fp32 = rows.run_id[(rows.way == "trained") & (rows.rung == "fp32")]
    full = done.run_id.isin(set(fp32)) & (done.load == done.groupby("label").load.transform("max"))
    part = (held / ceiling)[full].groupby(done.label[full]).mean()
    return (
        None
        if part.empty
        else {
            "low": float(part.min()),
            "high": float(part.max()),
            "low_at": str(part.idxmin()),
            "high_at": str(part.idxmax()),
        }
    )


def _notes(table, chosen, name: str, without_rows: list[str]) -> list[str]:
    out = []
    for status in ("failed", "missing"):
        if ids := list(table.run_id[table.status == status]):
            out.append(f"{len(ids)} runs {status}: {', '.join(ids[:6])}{', ...' * (len(ids) > 6)}")
    if without_rows:
        out.append(
            f"{len(without_rows)} finished runs are not quantized yet, as their settings ask: "
            f"capacity measure --study {name}"
        )
    for way, rungs in chosen[chosen.limited].groupby("way").rung.unique().items():
        out.append(
            f"{way}: {', '.join(rungs)}: some shape holds nearly all of the study's largest data "
            f"there; more data would give more"
        )
    return out


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Units of full models with what they keep, signed for the pairs, clipped at zero for the
    laws."""
    full = rows[rows.load == rows.groupby("label").load.transform("max")]
    base = (
        full[(full.way == "trained") & (full.rung == "fp32")]
        .groupby(["label", "seed"])
        .held_bits.first()
        .rename("base")
    )
    out = full.join(base, on=["label", "seed"]).dropna(subset="base")
    signed = out.held_bits / out.base
    return out.assign(signed=signed, kept=signed.clip(lower=0.0))


def rows_of(table: pd.DataFrame, configs: list, results: Path) -> tuple[pd.DataFrame, list[str]]:
    """`precision.points` of the records, and the finished runs without the rows that their settings
    ask for; ValueError where a finished run does not say what it stores."""
    storage, silent = {}, []
    for run_id in table.run_id[table.status == "finished"]:
        stored = records.read(results, run_id).get("storage")
        silent += [run_id] * (stored is None)
        storage[run_id] = stored["bits_per_weight"] if stored else math.nan
    if silent:
        raise ValueError(
            f"run {silent[0]} and {len(silent) - 1} others were finished before records said what "
            f"a run stores; measure them again: "
            "capacity measure --study STUDY"
        )
    quantized = run_table.quantized_table(results, configs)
    have = set(quantized.run_id) if len(quantized) else set()
    without = [
        run.run_id
        for run in configs
        if run.quantize.methods and run.run_id in storage and run.run_id not in have
    ]
    return precision.points(table, quantized, configs, storage), without


def outcome(table, configs, results: Path, name: str) -> Outcome:
    """`judge` of a study of precision, with its tables, figure and report."""
    from capacity.analysis.precision.figures import kept_figure, ladder_figure, stored_figure

    table = checked(table, ("run_id", "label", "seed", "status", "load", "kind"), ["load"], "judge")
    rows, without_rows = rows_of(table, configs, results)
    found = judge(rows, table, name, without_rows)
    rows = rows.sort_values(["way", "code_bits", "label", "load", "seed"])
    figures = {
        "ladder": ladder_figure(found),
        "kept": kept_figure(found),
        "stored": stored_figure(found),
    }
    return Outcome(
        "precision",
        found,
        "precision.json",
        {"rows.csv": rows, "runs.csv": table},
        figures,
        report(found),
    )


def report(found: dict) -> str:
    """At most 80 columns."""
    c = found["conventions"]
    lines = [
        *_wrap(f"Precision: {found['study']}", ""),
        "",
        *_wrap(
            f"{found['finished']} of {found['runs']} runs finished ({found['failed']} failed, "
            f"{found['missing']} missing). {c['bits'].capitalize()}, "
            f"{c['parameters']} parameters.",
            "",
        ),
        "",
        *_wrap(
            "kept: what a model trained full still holds, beside fp32. capacity: the most that a "
            "shape holds over the study's data sizes, bits per "
            f"parameter. Intervals {c['intervals']}.",
            "",
        ),
    ]
    if part := found["fp32_of_data"]:
        lines += _wrap(
            f"At the study's largest data fp32 models hold {part['low']:.0%} ({part['low_at']}) to "
            f"{part['high']:.0%} ({part['high_at']}) of it.",
            "",
        )
    most = {(row["way"], row["rung"]): row for row in found["capacity"]}
    kept = {(row["way"], row["rung"]): row for row in found["kept"]}
    last = None
    for way, rung in dict.fromkeys([*most, *kept]):
        head = {"trained": "trained in", "cast": "cast after training"}.get(
            way
        ) or precision.LADDERS.get(way, way)
        if head != last:
            lines += (
                ["", f"{'':28s}stored  kept, % [95%]          capacity [95%]", head]
                if last is None
                else [head]
            )
            last = head
        lines.append(_line(way, rung, kept.get((way, rung)), most.get((way, rung))))
    lines += ["", *_laws(found), "", *_pairs(found)]
    if found["verdicts"]:
        lines += ["", "Beside published values", *published.lines(found["verdicts"])]
        if any(row["scale"] != "published" for row in found["verdicts"]):
            lines += published.caveat("pocket", "models of another size")
    if found["notes"]:
        lines += [
            "",
            "Notes",
            *(line for note in found["notes"] for line in _wrap(note, "  - ", "    ")),
        ]
    return "\n".join(lines)


def _line(way, rung, kept, most) -> str:
    words = precision.TRAINED.get(rung, rung) if way == "trained" else rung.removeprefix("cast ")
    stored = (most or kept)["stored"]
    first = "-" if kept is None else f"{100 * kept['kept']:6.1f} {_ends(kept, 100)}"
    second = "-" if most is None else f"{most['capacity']:6.3f} {_ends(most, 1)}"
    return f"  {words:26s}{stored:>6.2f} {first:23s} {second}"


def _ends(row, times) -> str:
    if row["low"] is None:
        return "(one shape)"
    low, high = (times * row[end] for end in ("low", "high"))
    digits = 0 if max(-low, high) >= 1000 else 1 if times > 1 or max(-low, high) >= 10 else 2
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def _laws(found) -> list[str]:
    lines = _wrap(
        "Laws of the bits b of a code, R as a part of fp32's; left out: rms error of rungs that "
        "the fit did not see; the form with the least of "
        "these first",
        "",
    )
    for question, words in (("kept", "kept by full models"), ("capacity", "capacity")):
        for way, both in found["laws"].items():
            told = both[question]
            if told["reason"]:
                lines += _wrap(f"{words}, {way}: {told['reason']}", "  ", "    ")
                continue
            fits = sorted(
                (form for form in told["forms"].values() if not form["reason"]),
                key=lambda form: form["held_out"],
            )
            best = ", ".join(
                f"{key} = {_value(entry)}" for key, entry in fits[0]["parameters"].items()
            )
            others = "; ".join(
                f"{form['formula'].removeprefix('R = ')} {form['held_out']:.3f}"
                for form in fits[1:]
            )
            poor = "no form fits; least bad: " if told["poor"] else ""
            lines += _wrap(
                f"{words}, {way}: {poor}{fits[0]['formula']}, {best}; left out "
                f"{fits[0]['held_out']:.3f} (others: {others})",
                "  ",
                "    ",
            )
    return lines


def _value(entry) -> str:
    ends = (
        ""
        if entry["low"] is None or entry["high"] is None
        else f" [{entry['low']:.3g}, {entry['high']:.3g}]"
    )
    return f"{entry['value']:.3g}{ends}"


def _pairs(found) -> list[str]:
    lines = ["Pairs of the same shape and seed, difference of the part of fp32"]
    for question, words in (("capacity", "capacity"), ("kept", "kept by full models")):
        rows = [row for row in found["paired"] if row["question"] == question]
        for one, other in COMPARED:
            part = [row for row in rows if (row["one"], row["other"]) == (one, other)]
            if part:
                told = ", ".join(
                    f"{row['rung']} {row['difference']:+.3f} [{row['low']:+.3f}, "
                    f"{row['high']:+.3f}]"
                    if row["low"] is not None
                    else f"{row['rung']} {row['difference']:+.3f}"
                    for row in part
                )
                lines += _wrap(f"{words}, {one} - {other}: {told}", "  ", "    ")
    return lines
