"""Per document and per group: who stands out, at which false positive rate, and what is only
chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from capacity.audit import attacks, bits, extraction
from capacity.audit.schema import AtRisk
from capacity.audit.scored import Documents, TokenScores
from capacity.fitting import flagging

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("members", "others")


@dataclass(frozen=True)
class Flagged:
    """Documents by a score of one attack: members that have one (rows of `documents`) ranked among
    the others, and these among themselves."""

    members: np.ndarray
    others: np.ndarray
    ranks: flagging.Ranks
    own: flagging.Ranks

    @property
    def resolves(self) -> bool:
        return flagging.resolves(len(self.others))


def flag(score_D: np.ndarray, documents: Documents) -> Flagged:
    """By the scores [D] of an attack, NaN where a document has none."""
    unit_D, known = documents.unit_D, np.isfinite(score_D)
    members = np.flatnonzero(documents.member_D)
    others = np.flatnonzero(~documents.member_D & known)
    return Flagged(
        members,
        others,
        flagging.ranks(score_D[members], score_D[others], unit_D[others]),
        flagging.ranks_among_themselves(score_D[others], unit_D[others]),
    )


def at_risk(flagged: Flagged, documents: Documents) -> list[AtRisk]:
    """By level of copies; the last are the others."""
    unit_D, members, others = documents.unit_D, flagged.members, flagged.others
    levels = flagging.by_copies(flagged.ranks.flagged, documents.copies_D[members], unit_D[members])
    own = flagged.own.flagged & flagged.resolves
    levels.append(flagging.level(SIDES[1], own, unit_D[others]))
    return [
        {
            "level": level.name,
            "documents": level.documents,
            "flagged": level.flagged,
            "share": {
                "value": level.share,
                "interval": list(level.interval) if flagged.resolves else [0.0, 1.0],
            },
        }
        for level in levels
    ]


def table(
    documents: Documents,
    tokens: TokenScores,
    reference: TokenScores | None,
    score_by_name: Mapping[str, np.ndarray],
    flagged: Flagged,
) -> pd.DataFrame:
    """A row per document, members first, within a side by the score of the primary attack.

    id; side: members or others; group (where asked); copies: rows of its file with this text;
    tokens: that the model predicted; bytes; bits: code length; bits_saved: against the reference
    (where there is one); every score; false_positive_rate: at which the document is flagged by the
    primary attack, with false_positive_rate_low and _high, 95%; flagged: whether that is at most
    1%; verbatim: longest run of tokens that greedy decoding writes; word: flagged, cannot tell or
    like others. Others are ranked among the rest of them."""
    import pandas as pd

    D = len(documents.ids)
    columns: dict[str, object] = {"id": documents.ids}
    columns["side"] = np.where(documents.member_D, *SIDES)
    if documents.groups is not None:
        columns["group"] = documents.groups
    columns |= {
        "copies": documents.copies_D,
        "tokens": tokens.predicted_D(),
        "bytes": documents.bytes_D,
        "bits": tokens.nats_D() / bits.NATS,
    }
    if reference is not None:
        columns["bits_saved"] = bits.saved_D(tokens, reference)
    columns |= score_by_name
    rates = {name: np.full(D, np.nan) for name in ("p", "low", "high")}
    words = np.full(D, flagging.UNKNOWN, object)
    for rows, ranked in ((flagged.members, flagged.ranks), (flagged.others, flagged.own)):
        for name, values in rates.items():
            values[rows] = getattr(ranked, name)
        words[rows] = ranked.words
    columns["false_positive_rate"] = rates["p"]
    columns["false_positive_rate_low"] = rates["low"]
    columns["false_positive_rate_high"] = rates["high"]
    columns["flagged"] = words == flagging.FLAGGED
    columns["verbatim"] = extraction.longest_D(tokens)
    columns["word"] = words
    order = np.lexsort(
        (
            -np.nan_to_num(score_by_name[attacks.primary(reference)], nan=-np.inf),
            ~documents.member_D,
        )
    )
    return pd.DataFrame(columns).iloc[order].reset_index(drop=True)


def groups(documents: Documents, flagged: Flagged) -> pd.DataFrame | None:
    """A row per group of members, those that stand out most first; None without groups.

    group; documents; flagged: of these; mean_false_positive_rate: 0.5 by chance; p: one-sided, that
    its documents together rank no higher than those of others' groups; p_corrected: Holm over all
    groups; at_risk: whether that is below 5%. p is missing where the others have fewer than ten
    groups."""
    import pandas as pd

    if documents.groups is None:
        return None
    named = np.array([documents.groups[i] is not None for i in flagged.members.tolist()], bool)
    rows = flagged.members[named]
    ranked = flagging.Ranks(
        *(getattr(flagged.ranks, name)[named] for name in ("p", "low", "high")),
        others=flagged.ranks.others,
    )
    grouped = documents.unit_D[flagged.others]
    found = flagging.by_group(
        ranked, [str(documents.groups[i]) for i in rows.tolist()], flagged.own, grouped
    )
    frame = pd.DataFrame(
        {
            "group": [g.name for g in found],
            "documents": np.array([g.documents for g in found], int),
            "flagged": np.array([g.flagged for g in found], int),
            "mean_false_positive_rate": np.array([g.mean_rank for g in found], float),
            "p": np.array([g.p for g in found], float),
            "p_corrected": np.array([g.corrected for g in found], float),
            "at_risk": np.array([g.at_risk for g in found], bool),
        }
    )
    return frame.sort_values(["p", "mean_false_positive_rate"], kind="stable", ignore_index=True)
