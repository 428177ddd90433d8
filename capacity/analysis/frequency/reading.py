"""What the runs of a study of frequency are: which size, which skew, and what each class of people
gave.

system    what of data, model and training tells runs apart beside size, skew, amount and seed
size      layers and width
rates     how the rates of people differ, in words; "even" where all are alike
point     a class of one run: times seen (counted, mean over its people), accuracy (values written
          exactly), guess (what always answering the value that was shown most often gets there),
          bits of a person with their standard error over people
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import planned_runs
from capacity.analysis.table_checks import checked, rising
from capacity.base.frames import Frame
from capacity.settings.data import BiodData, BiosData, CorpusData

if TYPE_CHECKING:
    from capacity.config import Config

EVEN = "even"
SKEWS = ("data.tiers", "data.zipf", "data.zipf_tiers")
SIZES = ("n_layers", "d_model", "n_heads", "n_kv_heads")
AMOUNTS = ("data.n_people", "data.load")
INPUTS = ("run_id", "seed", "status", "gain_last_tenth", "bits", "accuracy")
ALL_GUESS = "accuracy_most_frequent"  # of runs that see people evenly


def skewed(run: Config) -> bool:
    """Whether a run sees people at different rates."""
    data = run.data
    return isinstance(data, BiosData | BiodData | CorpusData) and bool(data.tiers or data.zipf)


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, size, rates, parameters (of the paper's count),
    people."""
    settings = [naming.settings(run) for run in runs]
    left = {f"model.{name}" for name in SIZES} | set(SKEWS) | set(AMOUNTS) | {"seed"}
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in left and len({str(one.get(key)) for one in settings}) > 1
    ]
    rows: list[dict[str, Any]] = []
    for run, one in zip(runs, settings, strict=True):
        more = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(more),
                "size": run.shape,
                "rates": _skew(run),
                "people": run.items,
                "parameters": float(run.parameters["paper"]),
                "exposures_mean": float(run.exposures),
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def _skew(run: Config) -> str:
    data = run.data
    if not skewed(run) or not isinstance(data, BiosData | BiodData | CorpusData):
        return EVEN
    return f"zipf {data.zipf:g}" if data.zipf else " ".join(data.tiers)


def joined(table: Frame, known: Frame) -> Frame:
    """The checked table of runs with what is known of them, and still_rising. ValueError, in one
    line, for a table that cannot be read."""
    numbers = ["seed", "gain_last_tenth", "bits", "accuracy"]
    runs = checked(table, list(INPUTS), numbers, "fit")
    runs = planned_runs.beside(runs, known)
    return runs.assign(still_rising=rising(runs))


def points(runs: Frame) -> Frame:
    """A row per class of each finished run, the most seen first; an even run is one class, and
    people who were never seen are one of tier 0 where a run asked about them."""
    out: list[dict[str, Any]] = []
    for _, run in runs[runs.status == "finished"].iterrows():
        tiers = _tiers(run)
        first = {name: run[name] for name in ("run_id", "system", "size", "rates", "seed")}
        first |= {"parameters": run.parameters}
        if not tiers:
            tiers = [
                {
                    "tier": 1,
                    "seen": run.exposures_mean,
                    "accuracy": run.accuracy,
                    "guess": run.get(ALL_GUESS, np.nan),
                    "bits": run.bits / run.people,
                    "bits_se": np.nan,
                }
            ]
        never = run.get("people_held_out_accuracy", np.nan)
        if pd.notna(never):
            tiers.append(
                {
                    "tier": 0,
                    "seen": 0.0,
                    "accuracy": float(never),
                    "guess": float(never),
                    "bits": np.nan,
                    "bits_se": np.nan,
                }
            )
        out += [first | tier for tier in tiers]
    made: Frame = pd.DataFrame(out)
    return made


def _tiers(run: Any) -> list[dict[str, Any]]:
    tier, out = 1, []
    while pd.notna(accuracy := run.get(f"accuracy_tier_{tier}", np.nan)):
        out.append(
            {
                "tier": tier,
                "seen": float(run[f"exposures_mean_tier_{tier}"]),
                "accuracy": float(accuracy),
                "guess": float(run.get(f"accuracy_most_shown_tier_{tier}", np.nan)),
                "bits": float(run[f"bits_tier_{tier}"]),
                "bits_se": float(run[f"bits_se_tier_{tier}"]),
            }
        )
        tier += 1
    return out
