"""What figures of an audit draw: curves, counts and thresholds, from the table of documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.base.frames import Frame
from capacity.fitting import membership, separation
from capacity.fitting.flagging import RATE

POINTS = 60  # of a curve
BINS = 40  # of a histogram
SHOWN = (0.002, 0.998)  # quantiles of all scores that a histogram shows


@dataclass(frozen=True)
class Roc:
    """True positive rates at false positive rates, with 95% bands where they were asked for."""

    fpr: np.ndarray
    tpr: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Histogram:
    """Parts of the documents of each side per bin. edges: of bins, one more; threshold: the score
    from which on 1% of the others are flagged, None where they are too few."""

    edges: np.ndarray
    members: np.ndarray
    others: np.ndarray
    threshold: float | None


def sides(documents: Frame, attack: str) -> tuple[np.ndarray, np.ndarray, separation.Units | None]:
    """Scores of members and of others that have one, and their groups where documents have some."""
    known = documents[documents[attack].notna()]
    mine, theirs = (known[known["side"] == side] for side in ("members", "others"))
    units = None
    if "group" in known:
        named = known["group"].astype(object).where(known["group"].notna(), known["id"])
        codes = np.unique(named.astype(str), return_inverse=True)[1].reshape(-1)
        member = known["side"].to_numpy() == "members"
        units = codes[member], codes[~member]
    return mine[attack].to_numpy(float), theirs[attack].to_numpy(float), units


def roc(documents: Frame, attack: str, *, band: bool) -> Roc:
    """The curve of an attack at rates that the others resolve, evenly apart on a logarithmic
    axis."""
    members, others, units = sides(documents, attack)
    fpr, tpr = membership.roc(members, others)
    least = min(0.1, max(1e-4, membership.RESOLVABLE / len(others)))
    rates = np.geomspace(least, 1.0, POINTS)
    at = np.searchsorted(fpr, rates * (1 + 1e-12), "right") - 1
    if not band:
        return Roc(rates, tpr[at])
    ends = np.array(
        [separation.tpr_interval(members, others, min(r, 1 - 1e-9), units) for r in rates]
    )
    return Roc(rates, tpr[at], ends[:, 0], ends[:, 1])


def histogram(documents: Frame, attack: str) -> Histogram:
    """Of both sides in common bins; scores beyond the shown range are counted at its ends."""
    members, others, _ = sides(documents, attack)
    low, high = np.quantile(np.concatenate([members, others]), SHOWN)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts = [
        np.histogram(np.clip(x, low, edges[-1]), edges)[0] / len(x) for x in (members, others)
    ]
    place = int(RATE * (len(others) + 1))  # others that may score as high, the document among them
    threshold = float(np.sort(others)[::-1][place - 1]) if place else None
    return Histogram(edges, counts[0], counts[1], threshold)
