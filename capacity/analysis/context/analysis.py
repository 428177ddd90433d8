"""Bits that a state holds of a sequence: C = beta S, S the numbers of the state, by mixer.

Bits held are a lower bound of what a state can hold, at every length and by every training. So a
state is told by the length at which it held most on average, of those that ask for more than it
holds (`reading`): longer ones are harder to learn, shorter ones end at their ceiling. The line
through 0 is form `capacity_linear` with the numbers of the state in place of parameters, fitted by
relative residuals, intervals over states (`fitting.intervals`, pooled). It is no published law.

beta is withheld where it would say something else than what a number holds: where the rate was not
tuned or lies at the edge of what was tried, where a run of the law still rises, and where a state
held as much as was asked for at another length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import planned_runs
from capacity.analysis.context import lengths
from capacity.analysis.context.reading import CLEAR, described, joined, tuned
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.thresholds import CORNER, DATA_LIMITED, RISING
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.fitting import bounds, intervals
from capacity.fitting import fit as estimate

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
FORM = "capacity_linear"
FEWEST = 3  # states, of which an interval over states needs as many


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published value is in these units; the rules that decide which runs count."""
    return [], {"ceiling": DATA_LIMITED, "corner": CORNER, "rising": RISING, "clear": CLEAR}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The laws of a study of context. ValueError, in one line, for a table that cannot be
    judged."""
    return analysed(study.runs, table, study.name)


def analysed(planned: Sequence[Config], table: Frame, name: str) -> Finding:
    """`analyse` of planned runs and their table alone."""
    runs, choices = tuned(joined(table, described(planned)))
    laws, used = [], set()
    for choice in choices:
        mine = runs[(runs.system == choice["system"]) & runs.chosen]
        law, points = _law(mine, choice)
        laws.append(law)
        used |= set(points.index)
    runs["in_law"] = runs.index.isin(used)
    of_class = {
        what: sorted(runs.run_id[runs.chosen & (runs["class"] == what)])
        for what in ("ceiling", "corner", "unlearned")
    }
    beyond = lengths.beyond(runs)
    numbers = head("context", SCHEMA, name, _digest(runs)) | {
        "data": planned[0].data.kind,
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "laws": laws,
        "states": _states(runs),
        "beyond": beyond,
        "needed": (needed := lengths.needed(beyond)),
        "grows": lengths.grows(needed),
        "choices": choices,
        "flags": of_class,
        "rising": sorted(runs.run_id[runs.chosen & runs.still_rising]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "state", "length", "lr", "seed", "run_id"])
    return Finding("context", "fit.json", plain(numbers), {"runs.csv": shown})


def _digest(runs: Frame) -> str:
    """SHA-256 of what the laws read."""
    columns = ["run_id", "seed", "status", "held", "most", "gain_last_tenth"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _law(mine: Frame, choice: Mapping[str, Any]) -> tuple[dict[str, Any], Frame]:
    """beta of a system with its interval, or the reason against it; and the runs that it reads:
    of every state, those at the length at which it held most, of seeds that chose no rate where
    there are some."""
    law: dict[str, Any] = {"system": choice["system"], "reason": None, "withheld": []}
    parts, at_ceiling = [], []
    for state, there in mine[mine.status == "finished"].groupby("state"):
        full = there[there["class"] == "full"]
        apart = full[~full.chose]
        full = full if apart.empty else apart
        ends = there[there["class"].isin(["ceiling", "corner"])]
        if full.empty:
            continue
        by_length = full.groupby("length").held.mean()
        if not ends.empty and ends.held.max() > by_length.max():
            at_ceiling.append(int(state))
        parts.append(full[full.length == by_length.idxmax()])
    points = pd.concat(parts) if parts else mine.iloc[:0]
    law |= {"runs": len(points), "states": sorted(map(int, set(points.state)))}
    if len(law["states"]) < FEWEST:
        why = f"{plural(len(law['states']), 'state')} with runs that measure it"
        return law | {"reason": f"{why}; an interval over states needs {FEWEST}"}, points
    x, y = points.state.to_numpy(float), points.held.to_numpy(float)
    given = estimate.Points({"parameters": x}, y, cluster=points.state.astype(str).to_numpy(str))
    fitted = estimate.fit(FORM, given)
    ends = intervals.of(fitted)
    low, high = ends["alpha"]["low"], ends["alpha"]["high"]
    law["beta"] = {
        "value": ends["alpha"]["value"],
        "interval": None if low is None or high is None else [low, high],
        "why": ends["alpha"]["reason"],
        "dof": ends["alpha"]["dof"],
    }
    law["rms_percent"] = 100 * float(np.sqrt(np.mean(fitted.residuals() ** 2)))
    law["bounds"], law["warnings"] = bounds.told(fitted, ends), list(fitted.warnings)
    if choice["reason"]:
        law["withheld"].append(choice["reason"])
    if rising := int(points.shown_rising.sum()):
        law["withheld"].append(f"{plural(rising, 'run')} still rising by over {RISING:.0%}")
    if at_ceiling:
        listed = ", ".join(f"{one:,}" for one in at_ceiling)
        law["withheld"].append(
            f"states of {listed} numbers held more at a length that asked for no more"
        )
    return law, points


def _states(runs: Frame) -> list[dict[str, Any]]:
    """What every state held at every length, by the rate of its system: means over seeds."""
    out = []
    done = runs[runs.chosen & (runs.status == "finished")]
    for (system, state, length), mine in done.groupby(["system", "state", "length"]):
        out.append(
            {
                "system": system,
                "state": int(state),
                "length": int(length),
                "seeds": int(mine.seed.nunique()),
                "bits": float(mine.held.mean()),
                "sd": float(mine.held.std()) if len(mine) > 1 else None,
                "ceiling": float(mine.most.iloc[0]),
                "per_number": float(mine.held.mean() / state),
                "rising": int(mine.still_rising.sum()),
                "in_law": bool(mine.in_law.any()),
            }
        )
    return out
