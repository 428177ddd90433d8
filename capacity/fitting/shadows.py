"""Attacks with shadow models on each other: each model is the target of all others (Carlini et al.,
arXiv 2112.03570, section IV; Zarifzadeh et al., arXiv 2312.03262)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from capacity.fitting import membership

# two that saw a sequence and two that did not, besides the target: about this many at least
FEWEST_SHADOWS = 5
FEWEST_SEQUENCES = 10  # members, and others, that an attack with shadow models is measured on


@dataclass(frozen=True)
class Target:
    """number: of the model that is attacked; used: shadow models; enough: bool [n], sequences that
    two of these have seen, and two have not; scores: by attack [enough], higher for what looks more
    like a member; seen: bool [enough], by the target."""

    number: int
    used: int
    enough: np.ndarray
    seen: np.ndarray
    scores: dict[str, np.ndarray]


def leave_one_out(
    losses_KN: np.ndarray,
    seen_KN: np.ndarray,
    tokens: float,
    *,
    most: int | None = None,
    shared_variance: bool = True,
) -> Iterator[Target]:
    """Each of K models as the target of the first `most` others (None: of all); models with fewer
    than FEWEST_SEQUENCES sequences on a side are left out.

    losses: nats of whole sequences; seen: whether a model was trained on each; tokens: of a
    sequence, as RMIA works on losses per token; shared_variance: of `membership.lira`."""
    models = np.arange(len(losses_KN))
    for i in models:
        keep = np.flatnonzero(models != i)[:most]
        enough = (seen_KN[keep].sum(0) >= 2) & ((~seen_KN[keep]).sum(0) >= 2)
        mine, target = seen_KN[i][enough], losses_KN[i][enough]
        if min(mine.sum(), (~mine).sum()) < FEWEST_SEQUENCES:
            continue
        theirs, masks = losses_KN[keep][:, enough], seen_KN[keep][:, enough]
        scores = {
            "lira": membership.lira(target, theirs, masks, True, shared_variance),
            "lira_offline": membership.lira(target, theirs, masks, False, shared_variance),
            "rmia": membership.rmia(target / tokens, theirs / tokens, np.flatnonzero(~mine)),
        }
        yield Target(int(i), len(keep), enough, mine, scores)
