"""Who is at risk: which members of a run stand out of held-out sequences at a known false positive
rate, by copies, by group and one by one.

The attack is fixed before the scores are seen: the reference attack where a study has a model that
was trained on other sequences of the pool, else the loss attack, which every record's scores have.
Held-out sequences that share tokens in a row with the training set are members in part and are
left out. Sequences of one unit (`data.split_by`) are not independent, and intervals know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from capacity.analysis.text import attacks
from capacity.analysis.text.attacks import Scores
from capacity.analysis.text.schema import AtRisk, Frame, GroupsAtRisk, HighestRisk, RiskLevel
from capacity.fitting import flagging
from capacity.fitting.membership import copies_levels, fewest_copies

HIGHEST = 5  # members that are named
BY = ["trained_on", "model", "tokens_per_parameter"]


@dataclass(frozen=True)
class _Run:
    """Members of one run among its held-out sequences. far: score less the median of held-out
    ones, in units of their quartile range; columns: of members, those that are known."""

    attack: str
    ranks: flagging.Ranks
    own: flagging.Ranks
    far: np.ndarray
    columns: Mapping[str, np.ndarray]
    other_columns: Mapping[str, np.ndarray]


def of(done: Frame, scores: Mapping[str, Scores]) -> list[AtRisk]:
    """By model and size of the data, small models first, of finished runs with scores; targets are
    runs on members, or shadow models where there are none. Runs with fewer than 99 held-out
    sequences to compare with do not resolve 1% and are left out."""
    targets = done[done.trained_on == "members"]
    if targets.empty:
        targets = done[done.trained_on == "half"]
    references = attacks.references_of(done)
    out: list[AtRisk] = []
    for (_, _, model, t), group in targets.groupby(["parameters_total", *BY]):
        ranked = [_ranked(run_id, scores, references.get(run_id)) for run_id in group.run_id]
        runs = [run for run in ranked if run is not None]
        if not runs:
            continue
        own = [flagging.level("", run.own.flagged, run.other_columns.get("unit")) for run in runs]
        out.append(
            {
                "model": str(model),
                "tokens_per_parameter": float(t),
                "runs": len(runs),
                "attack": "reference" if all(r.attack == "reference" for r in runs) else "loss",
                "others": min(run.own.others + 1 for run in runs),
                "others_flagged": _share(own),
                "levels": _levels(runs),
                "groups": _groups(runs),
                "highest": _highest(runs),
            }
        )
    return out


def _ranked(run_id: str, scores: Mapping[str, Scores], reference: str | None) -> _Run | None:
    columns = scores[run_id]
    seen = columns["seen"].astype(bool)
    others = ~seen & (columns["shared"] <= 0) if "shared" in columns else ~seen
    if not seen.any() or not flagging.resolves(int(others.sum()) - 1):
        return None
    score = -columns["loss"].astype(float)
    if reference is not None:
        places = attacks.rows_of(scores[reference], columns["row"], reference)
        score = score + scores[reference]["loss"][places]
    known = ("row", "unit", "copies", "document", "group")
    mine, theirs = (
        {name: columns[name][side] for name in known if name in columns} for side in (seen, others)
    )
    low, middle, high = np.quantile(score[others], (0.25, 0.5, 0.75))
    return _Run(
        "loss" if reference is None else "reference",
        flagging.ranks(score[seen], score[others], theirs.get("unit")),
        flagging.ranks_among_themselves(score[others], theirs.get("unit")),
        (score[seen] - middle) / max(high - low, 1e-12),
        mine,
        theirs,
    )


def _share(levels: Sequence[flagging.Level]) -> RiskLevel:
    """Mean over runs, with the mean of their own intervals."""
    low, high = np.mean([level.interval for level in levels], axis=0).tolist()
    return {
        "copies": None,
        "up_to": None,
        "sequences": float(np.mean([level.documents for level in levels])),
        "flagged": float(np.mean([level.share for level in levels])),
        "interval": [low, high],
    }


def _levels(runs: Sequence[_Run]) -> list[RiskLevel]:
    """All members, then by copies where these are known and vary."""
    out = [_share([flagging.level("", run.ranks.flagged, run.columns.get("unit")) for run in runs])]
    if not all("copies" in run.columns for run in runs):
        return out
    places = [copies_levels(run.columns["copies"]) for run in runs]
    known = sorted({most for place in places for most in place})
    if len(known) < 2:
        return out
    for most in known:
        levels = [
            flagging.level(
                "",
                run.ranks.flagged[place[most]],
                run.columns["unit"][place[most]] if "unit" in run.columns else None,
            )
            for run, place in zip(runs, places, strict=True)
            if most in place
        ]
        share = _share(levels)
        share["copies"], share["up_to"] = fewest_copies(most), most
        out.append(share)
    return out


def _groups(runs: Sequence[_Run]) -> GroupsAtRisk | None:
    """Groups of members whose sequences together rank higher than those of held-out groups do, in
    every run; None where sequences have no group."""
    found = []
    for run in runs:
        group, other = (columns.get("group") for columns in (run.columns, run.other_columns))
        if group is None or other is None or len(np.unique(group[group >= 0])) < 2:
            return None
        kept = group >= 0
        ranks = flagging.Ranks(
            run.ranks.p[kept], run.ranks.low[kept], run.ranks.high[kept], run.ranks.others
        )
        # a sequence without a group is one of its own
        units = np.where(other >= 0, other, other.max() + 1 + np.arange(len(other)))
        found.append(flagging.by_group(ranks, [f"{g:06d}" for g in group[kept]], run.own, units))
    at_risk = [{int(g.name) for g in groups if g.at_risk} for groups in found]
    return {
        "groups": len({g.name for groups in found for g in groups}),
        "resolved": all(g.p is not None for groups in found for g in groups),
        "at_risk": sorted(set.intersection(*at_risk)),
    }


def _highest(runs: Sequence[_Run]) -> list[HighestRisk]:
    """Members of all runs that stand out furthest on average; none where runs share no members."""
    rows = runs[0].columns["row"]
    for run in runs[1:]:
        rows = np.intersect1d(rows, run.columns["row"])
    if not len(rows):
        return []
    order = [np.argsort(run.columns["row"]) for run in runs]
    places = [
        by[np.searchsorted(run.columns["row"], rows, sorter=by)]
        for run, by in zip(runs, order, strict=True)
    ]
    each = list(zip(runs, places, strict=True))
    far = np.mean([run.far[at] for run, at in each], axis=0)
    flagged = np.sum([run.ranks.flagged[at] for run, at in each], axis=0)
    rate = np.mean([run.ranks.p[at] for run, at in each], axis=0)
    out = []
    first, at = each[0]
    for i in np.lexsort((rows, -far))[:HIGHEST].tolist():
        about = {
            name: int(first.columns[name][at[i]]) if name in first.columns else None
            for name in ("document", "group", "copies")
        }
        out.append(
            {"row": int(rows[i]), "rate": float(rate[i]), "flagged": int(flagged[i])} | about
        )
    return cast(list[HighestRisk], out)
