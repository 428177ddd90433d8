"""Two rulers on one model: what a model holds of facts, and of facts and their wording.

    R = bits of names and values / P       W = bits of wording / P       total = R + W

Where wording is drawn anew at every exposure none can be held, and R is all. Where every person has
one fixed text (`data.biographies=1`), its order and templates are as random as its values, and are
memorized with them; R counts them for nothing. The ratio

    rho = total of fixed wording / R of new wording

over pairs of runs of one size, people and seed (`ratios.paired`) says how far the second ruler
reads above the first one on the same capacity: 1 where wording costs nothing, and up to
(entropy of facts and wording) / (entropy of facts) where all of both is held.

Control: of new wording nothing can be known, so that what `measure.wording` gives there, W_0, is at
most 0 but for the noise of people; a value above 0 by its interval withholds rho, because then the
measure counts something else as wording.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting import ratios
from capacity.fitting.statistics import ALPHA, t_interval
from capacity.settings.data import BiosData

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
NEW = "new wording"
PAIR = ["size", "people", "exposures_planned", "system", "seed"]
MEASURED = ("wording_bits", "wording_shown_bits_per_text", "wording_ceiling_bits")
INPUTS = ("seed", "gain_last_tenth", "bits", *MEASURED)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Nobody has published both rulers on one model; the level of p decides what counts."""
    return [], {"order": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """Both rulers of a study of wording. ValueError, in one line, for a table that cannot be
    judged."""
    return analysed(study.runs, table, study.name)


def analysed(planned: Sequence[Config], table: Frame, name: str) -> Finding:
    """`analyse` of planned runs and their table alone."""
    absent = [name for name in MEASURED if name not in table]  # before a first run has them
    table = table.assign(**dict.fromkeys(absent, np.nan))
    table = checked(table, ["run_id", "status", *INPUTS], list(INPUTS), "fit")
    known = _described(planned)
    runs = planned_runs.beside(table, known)
    done = runs.status == "finished"
    if not done.any():
        raise ValueError(f"no run to judge: none of {len(runs)} finished")
    held = runs.wording_bits.astype(float).where(runs.texts > 0, 0.0)
    runs["r"] = runs.bits.astype(float) / runs.parameters
    runs["w"] = held / runs.parameters
    runs["total"] = runs.r + runs.w
    runs["control"] = runs.wording_shown_bits_per_text.astype(float).where(runs.texts == 0)
    controls = _controls(runs[done])
    numbers = head("wording", SCHEMA, name, _digest(runs)) | {
        "runs": len(runs),
        "finished": int(done.sum()),
        "arms": _arms(runs[done]),
        "controls": controls,
        "ratios": _ratios(runs[done], controls),
        "rising": sorted(runs.run_id[done & rising(runs)]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "people", "texts", "seed", "run_id"])
    return Finding("wording", "fit.json", plain(numbers), {"runs.csv": shown})


def _digest(runs: Frame) -> str:
    columns = ["run_id", "seed", "status", "r", "w", "control"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, arm (how wording is), texts (fixed ones of a person, 0: new),
    size, people, exposures_planned, parameters (paper's count), system (what else tells runs
    apart), most: entropy of facts, and of facts and wording, per parameter."""
    settings = [naming.settings(run) for run in runs]
    left = {"data.biographies", "data.n_people", "data.load", "train.exposures", "seed"}
    left |= {f"model.{name}" for name in ("n_layers", "d_model", "n_heads", "n_kv_heads")}
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in left and len({str(one.get(key)) for one in settings}) > 1
    ]
    rows = []
    for run, one in zip(runs, settings, strict=True):
        assert isinstance(run.data, BiosData)  # the others have no measure of wording
        texts = run.data.biographies or 0
        fixed = f"{texts} fixed texts" if texts > 1 else "one fixed text"
        rows.append(
            {
                "run_id": run.run_id,
                "arm": fixed if texts else NEW,
                "texts": texts,
                "size": run.shape,
                "people": run.items,
                "exposures_planned": float(run.exposures),
                "parameters": float(run.parameters["paper"]),
                "system": ", ".join(f"{k.rsplit('.', 1)[-1]} {one.get(k)}" for k in varied),
                "facts_most": run.entropy_bits / run.parameters["paper"],
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def _arms(done: Frame) -> list[dict[str, Any]]:
    """Means over seeds of every size and arm."""
    out = []
    keys = ["system", "parameters", "size", "people", "exposures_planned", "texts", "arm"]
    for key, mine in done.groupby(keys, sort=True):
        row: dict[str, Any] = dict(zip(keys, key, strict=True))
        several = len(mine) > 1
        most = mine.wording_ceiling_bits.astype(float).mean() / mine.parameters.iloc[0]
        row |= {
            "seeds": int(mine.seed.nunique()),
            "facts_most": float(mine.facts_most.iloc[0]),
            "wording_most": float(most),
        }
        for name in ("r", "w", "total"):
            row[name] = float(mine[name].mean())
            row[f"{name}_sd"] = float(mine[name].std()) if several else None
        out.append(row)
    return out


def _controls(done: Frame) -> list[dict[str, Any]]:
    """What the measure of wording gives where there is none to know, bits of a text, over runs."""
    out = []
    for system, mine in done[done.texts == 0].groupby("system", sort=True):
        values = mine.control.astype(float).to_numpy()
        low, high = t_interval(values)
        out.append(
            {
                "system": system,
                "runs": len(values),
                "value": float(values.mean()),
                "interval": None if math.isnan(low) else [low, high],
                "most": float(values.max()),
            }
        )
    return out


def _ratios(done: Frame, controls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """rho of every arm of fixed wording, and the ratio of R alone, by pairs."""
    out = []
    new = done[done.texts == 0].set_index(PAIR).r.astype(float)
    for (system, texts, arm), mine in done[done.texts > 0].groupby(["system", "texts", "arm"]):
        mine = mine.set_index(PAIR)
        both = sorted(set(mine.index) & set(new.index))
        row: dict[str, Any] = {"system": system, "texts": int(texts), "arm": arm}
        row |= {"pairs": len(both), "withheld": ""}
        above = [c for c in controls if c["system"] == system and c["interval"]]
        if any(one["interval"][0] > 0 for one in above):
            row["withheld"] = "wording that nobody could know counts bits (the control is above 0)"
        beside = np.array([new.loc[key] for key in both])
        for name in ("total", "r"):
            row[name] = None
            if len(both) >= 2 and beside.mean() > 0:
                values = mine.loc[both][name].astype(float).to_numpy()
                told = ratios.paired(values, beside, by=[key[0] for key in both])
                row[name] = {
                    "value": told["effect"],
                    "interval": told["interval"],
                    "p": told["p"],
                    "smallest_p": told["smallest_p"],
                }
        out.append(row)
    return out
