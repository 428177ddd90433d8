"""Where scored sequences come from, and what that says of a result: documents, groups and copies,
and what held-out sequences share with the training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from capacity.config import Config
from capacity.data import near_duplicates
from capacity.feed.split import Split
from capacity.fitting import membership, separation
from capacity.fitting.statistics import proportion
from capacity.settings.data import text_data

FEWEST = 2  # sequences of a side that a curve is made of


def columns(dealt: Split, config: Config) -> dict[str, np.ndarray]:
    """Columns of the table of scored sequences, int32 [n] each.

    shared: of a sequence that was not trained on, how many of its n-grams the training set holds,
    -1 of one that was. document, offset: the one that has most of its tokens, and where it begins
    there (tokens); unit: what stays on one side, where documents are split; group: number of the
    value of data.group, -1 without one; copies: documents with exactly the same text, itself among
    them; cluster: set of near-duplicates. All but shared are absent for a pool of an older version.
    """
    n, tokens_NS = gram(config), dealt.pool.tokens_NS[dealt.scored]
    shared = np.full(len(tokens_NS), -1, np.int32)
    shared[~dealt.seen] = near_duplicates.shared(tokens_NS[~dealt.seen], dealt.trained_tokens, n)
    out = {"shared": shared}
    if (origin := dealt.pool.origin) is None:
        return out
    document, offset = origin.main_N2[dealt.scored].T
    of = origin.documents
    out |= {"document": document, "offset": offset, "group": of.group_D[document]}
    out |= {"copies": of.copies_D[document], "cluster": of.cluster_D[document]}
    if of.unit_D is not None:
        out["unit"] = of.unit_D[document]
    return {name: np.ascontiguousarray(column, np.int32) for name, column in out.items()}


def gram(config: Config) -> int:
    """Tokens in a row that are looked for: data.overlap_tokens, or a whole sequence if it is
    shorter."""
    return min(text_data(config.data).overlap_tokens, config.data.seq_len)


def measure(
    dealt: Split,
    config: Config,
    table: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    at_prefix: np.ndarray,
) -> dict[str, Any]:
    """What the record says of it: split, overlap, membership without what overlaps, and results by
    copies. table: every column of the scored sequences; scores: of attacks by name; at_prefix: bool
    [n], sequences that ReCaLL does not tell apart, because its prefix is from there."""
    seen = dealt.seen
    overlaps = table["shared"] > 0
    count, others = int(overlaps.sum()), int((~seen).sum())
    out: dict[str, Any] = {
        "split": _split(dealt, table),
        "overlap": {
            "tokens": gram(config),
            "sequences": count,
            "fraction": count / others if others else 0.0,
            "limit": membership.OVERLAP_LIMIT,
        },
    }
    units = table.get("unit")
    clean = ~seen & ~overlaps
    if count and min(seen.sum(), (clean & ~at_prefix).sum()) >= FEWEST:
        out["without_overlap"] = {}
        for name, score in scores.items():
            others = clean & ~at_prefix if name == "recall" else clean
            out["without_overlap"][name] = separation.statistics(
                score[seen], score[others], units=_units(units, seen, others)
            )
    if (levels := by_copies(table, scores, at_prefix, config.data.seq_len)) is not None:
        out["copies"] = levels
    return out


def _units(
    units: np.ndarray | None, seen: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    return None if units is None else (units[seen], units[others])


def _split(dealt: Split, table: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How many documents there are and which sides they are on."""
    if (origin := dealt.pool.origin) is None:
        return {"by": "window"}
    of, document, seen = origin.documents, table["document"], dealt.seen
    out: dict[str, Any] = {
        "by": "window" if of.unit_D is None else "document",
        "documents": of.n,
        "documents_with_copies": int((of.copies_D > 1).sum()),
        "members_documents": len(np.unique(document[seen])),
        "held_out_documents": len(np.unique(document[~seen])),
        "documents_on_both": len(np.intersect1d(document[seen], document[~seen])),
    }
    if origin.unit_N is not None:
        out["units"] = len(np.unique(origin.unit_N))
        for side, rows in (("members", seen), ("held_out", ~seen)):
            out[f"{side}_units"] = len(np.unique(table["unit"][rows]))
    if of.groups:
        out |= {
            "groups": len(of.groups),
            "documents_without_group": int((of.group_D < 0).sum()),
            "groups_on_both": len(
                np.setdiff1d(np.intersect1d(table["group"][seen], table["group"][~seen]), [-1])
            ),
        }
    return out


def by_copies(
    table: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    at_prefix: np.ndarray,
    seq_len: int,
) -> list[dict[str, Any]] | None:
    """By copies of the document, 1, 2, 3 to 4, 5 to 8, ...: the loss attack, and AUC of the others,
    on sequences of such documents, members against held-out ones of equally many copies, since text
    that is often copied is easier as such; and the part whose second half greedy decoding writes.
    None where copies do not vary, or are not known. scores, at_prefix: as for `measure`."""
    copies = table.get("copies")
    if copies is None or not len(copies) or copies.min() == copies.max():
        return None
    seen, units, half = table["seen"].astype(bool), table.get("unit"), seq_len - seq_len // 2
    out = []
    for most, here in membership.copies_levels(copies).items():
        mine, theirs = here & seen, here & ~seen
        row: dict[str, Any] = {
            "copies": membership.fewest_copies(most),
            "up_to": most,
            "members": int(mine.sum()),
            "held_out": int(theirs.sum()),
            "auc": None,
            "auc_interval": None,
            "tpr_at_0.01": None,
            "tpr_at_0.01_interval": None,
            "attacks": {},
        }
        for name, score in scores.items():
            others = theirs & ~at_prefix if name == "recall" else theirs
            enough = min(mine.sum(), others.sum()) >= FEWEST
            row["attacks"][name] = membership.auc(score[mine], score[others]) if enough else None
        if min(mine.sum(), theirs.sum()) >= FEWEST:
            statistics = separation.statistics(
                scores["loss"][mine], scores["loss"][theirs], _units(units, mine, theirs)
            )
            row |= {name: x for name, x in statistics.items() if name in row}
        for name, chosen in (("members", mine), ("held_out", theirs)):
            written = table["tail"][chosen] >= half
            part, interval = None, None
            if len(written):
                part = float(written.mean())
                tries = separation.trials(written, None if units is None else units[chosen])
                interval = list(proportion(part, tries))
            row |= {f"{name}_extractable": part, f"{name}_extractable_interval": interval}
        out.append(row)
    return out
