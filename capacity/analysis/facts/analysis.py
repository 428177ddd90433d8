"""A study of facts from its table of runs: arms, peaks, laws over exposures, verdicts.

R is quoted per parameter of the "paper" count (all but the rows of unused tokens; Physics of
Language Models 3.3, arXiv 2404.05405, appendix A), because published values use it; R per parameter
of the total count stands beside it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from capacity import naming
from capacity.analysis import refused
from capacity.analysis.facts import (
    arms,
    exposures,
    other_people,
    peaks,
    reading,
    selection,
    verdicts,
)
from capacity.analysis.facts.schema import DataLimited, ExposureLaw, Fit, Frame
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.residuals import Residuals, points
from capacity.analysis.table_checks import shown_rising
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.files import csv, plain
from capacity.fitting.noise import OWN
from capacity.fitting.statistics import LEVEL
from capacity.published.expects import BELOW_PEAK

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

KIND, FILE, SCHEMA = "facts", "fit.json", 4
DATA = ("bios", "biod", "corpus")  # kinds of data whose runs learn facts
CONVENTION = {
    "R": "learned bits / parameters, count paper: all but the rows of unused tokens",
    "r_total": "learned bits / parameters, count total",
    "r_max": "bits of the data / parameters (paper)",
    "source": "arXiv 2404.05405, Definitions 4.1 and 4.3, appendix A",
}


def applies(runs: Sequence[Config], table: pd.DataFrame) -> bool:
    """Whether planned runs learn facts: biographies of people, or a corpus about them."""
    return all(run.data.kind in DATA for run in runs)


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """Arms, peaks, laws over exposures and verdicts of a study.

    table: of `run_table.table`, see `reading.INPUTS`, with every setting as a dotted column.
    ValueError, in one line, for a table that cannot be analysed.
    """
    runs = reading.prepare(table, study.best_over, study.names)
    numbers = fit(runs, study, options)
    within = [c for c in runs if c.startswith(reading.AXIS) or c in ("amount", "place")]
    shown = runs.drop(columns=[*within, *reading.unmeasured(runs)])
    arms = pd.DataFrame(numbers["arms"])
    tables = {"arms.csv": arms.drop(columns=reading.unmeasured(arms)), "runs.csv": shown}
    return Finding(KIND, FILE, cast(dict[str, Any], numbers), tables, data=runs)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside, and the rules that decide which runs
    count."""
    return study.expects, {
        "best_over": study.best_over,
        "data_limited": DATA_LIMITED,
        "own_noise_from_seeds": OWN,
    }


def fit(runs: Frame, study: Study, options: Options) -> Fit:
    """What fit.json holds. runs: of `reading.prepare`."""
    known = arms.noise(runs)
    table = arms.arms(runs, known)
    best_over = [c for c in study.best_over if c in runs.attrs["varied"]]
    basis = verdicts.Basis(runs, table, known, options)
    boot = {"n_boot": options.bootstraps, "seed": options.seed}
    laws = exposure_laws(runs)
    asked = [c for c in reading.OPTIONAL if c not in reading.unmeasured(runs)]
    inputs = csv(runs[[*reading.INPUTS, *asked]])
    numbers = head(KIND, SCHEMA, study.name, hashlib.sha256(inputs).hexdigest()) | {
        "question": study.question,
        "scale": study.scale,
        "overrides": study.overrides,
        "data_kinds": sorted(set(runs.kind)),
        "convention": CONVENTION,
        "n": _counts(runs, table),
        "best_over": {
            "settings": best_over,
            "at_edge": selection.at_edge(runs, best_over),
            "choice": selection.choice(runs),
        },
        "varied": runs.attrs["varied"],
        "vocabulary_sizes": runs.attrs["vocabulary"],
        "noise": {
            name: {
                "sd": math.exp(line.log_variance / 2),
                "at": line.center,
                "slope": line.slope / 2,
                "slope_sd": math.sqrt(line.cov[1, 1]) / 2,
                "arms": line.arms,
                "dof": line.dof,
                "of": "R of one run over seeds, sd = sd_at (R / at)^slope",
            }
            for name, line in known.lines.items()
        },
        "arms": table.to_dict("records"),
        "peaks": peaks.peaks(runs, table, known, **boot),
        "data_limited": _data_limited(table),
        "exposure_laws": laws,
        "law_ratios": exposures.law_ratios(laws),
        "verdicts": verdicts.analyse(study.expects, basis, scale=study.scale),
        "flags": _flags(runs),
        "bootstrap": {"resamples": options.bootstraps, "seed": options.seed, "level": LEVEL},
    }
    if others := other_people.exposures(runs):
        numbers["other_exposures"] = others
    return plain(numbers)


def _counts(runs: Frame, table: Frame) -> dict[str, int]:
    return {
        "rows": len(runs),
        **{name: int((runs.status == name).sum()) for name in ("finished", "failed", "missing")},
        **({"refused": n} if (n := int((runs.status == "refused").sum())) else {}),
        "arms": len(table),
        "curves": runs.curve.nunique(),
        "chosen": int(runs.chosen.sum()),
        "seeds": runs.seed.nunique(),
    }


def _data_limited(table: Frame) -> DataLimited:
    """Arms whose data are few enough to be held whole (3.3, Result 1(b))."""
    small = table[(table.r_max <= BELOW_PEAK * verdicts.peak_of_kind(table)) & (table.seeds > 0)]
    lowest = None
    if len(small):
        row = small.loc[small.fraction.idxmin()]
        lowest = f"{row.model}, {row.curve_name}"
    return {
        "below_peak": BELOW_PEAK,
        "arms": len(small),
        "min": small.fraction.min(),
        "mean": small.fraction.mean(),
        "models": small[["curve_name", "model", "r_max", "fraction"]].to_dict("records"),
        "lowest": lowest,
    }


def _flags(runs: Frame) -> dict[str, list[str]]:
    done = runs[runs.status == "finished"]
    # the name term may exceed its bound a little, see measure/knowledge.py
    most = 1.005 * done.ceiling_bits + 2 * done.bits_se
    flagged = {
        "failed": runs[runs.status == "failed"],
        "missing": runs[runs.status == "missing"],
        "rising": done[shown_rising(done)],
        "unknown_gain": done[done.gain_last_tenth.isna()],
        "exposures_off": done[arms.exposures_off(done)],
        "negative": done[done.bits <= 0],
        "above_ceiling": done[done.bits > most],
    }
    out = {name: sorted(rows.run_id) for name, rows in flagged.items()}
    if "similar_names" in done and (done.similar_names > 0).any():  # of corpora only
        out["similar_names"] = sorted(done.run_id[done.similar_names > 0])
    return out | refused.by_reason(runs)


def exposure_laws(runs: Frame) -> list[ExposureLaw]:
    """`exposures.fit_exposures` of every model, N and arm that has four different exposures."""
    out: list[ExposureLaw] = []
    for _, rows in verdicts.alike(runs[runs.chosen], ["model"]):
        if rows.asked.nunique() < exposures.FEWEST:
            continue
        first, seen = rows.iloc[0], rows.exposures_mean.fillna(rows.exposures)
        about = {
            "model": first.model,
            "series": first.series,
            "n_people": float(first.n_people),
        }
        law = about | exposures.fit_exposures(seen, rows.r, rows.r_max.mean())
        out.append(cast(ExposureLaw, law))
    return out


def residuals(finding: Finding) -> list[Residuals]:
    """Errors of the laws over exposures, run by run."""
    numbers, runs, out = cast(Fit, finding.numbers), finding.tables["runs.csv"], []
    for law in numbers["exposure_laws"]:
        if law["reason"]:
            continue
        rows = runs[
            runs.chosen
            & (runs.model == law["model"])
            & (runs.series == law["series"])
            & (runs.n_people == law["n_people"])
        ]
        seen = rows.exposures_mean.fillna(rows.exposures)
        estimates = (law[key]["value"] for key in ("r_inf", "e0", "b"))
        error = exposures.curve(law["form"], seen, *estimates) - rows.r.clip(lower=0.0)
        out.append(points(naming.listed([law["model"], law["series"]]), seen, error, rows.run_id))
    if not out:
        return []
    name, unit = "R against exposures, per run", "bits per parameter"
    return [Residuals(name, "R", unit, "exposures", pd.concat(out))]
