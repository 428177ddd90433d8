"""How well can be told whom a model was trained on, by what each run on a half of one set of people
costs every person (nats of name and values).

    loss           - nats, one threshold for all people (Yeom et al., arXiv 1709.01604)
    LiRA           likelihood ratio by shadow models, all other runs on the set (Carlini et al.,
                   arXiv 2112.03570), online and offline, one variance per side (section VI-B)
    RMIA           Zarifzadeh et al., arXiv 2312.03262
    frequencies    no attack: what who knows how often each value was shown, and nobody's, gets

An attack tells people of a tier that a run saw from those of the same tier that it did not. AUC:
mean over the runs on a set, then over sets. TPR at a false positive rate: of all runs on all sets
together, one threshold for all, because rates need that many non-members.

    memorization   part of a person's values that is written exactly by runs that saw the person,
                   minus that by the others (Feldman, arXiv 1906.05271), and the same of bits of
                   code (`fitting.subsets`)

The replicate is the set of people. Rules, fixed before the compared runs:

    order     permutation test within sets over ATTACKS_IN_ORDER (AUC, and TPR at 1% of each set,
              of everybody) and over tiers (AUC of LiRA; both memorizations): shown with p <= 5%
    control   the same attacks after every run's nats are dealt out anew among people of a tier, so
              that no run's nats are about whom it saw: as expected where the 95% interval over runs
              holds 0.5 and ends within NEAR of it, differs where it does not hold 0.5
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN, judged
from capacity.analysis.shadows import reading
from capacity.analysis.shadows.reading import ALL, Family
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting import membership, separation, shadows, subsets
from capacity.fitting.membership import FPRS
from capacity.fitting.statistics import ALPHA, share_interval, t_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 1
INPUTS = ("run_id", "seed", "status", "gain_last_tenth", "bits", "accuracy")
LOSS, OFFLINE, LIRA, RMIA, GUESS = "loss", "lira_offline", "lira", "rmia", "frequencies"
ATTACKS = (LOSS, OFFLINE, LIRA, RMIA, GUESS)
ATTACKS_IN_ORDER = (LOSS, OFFLINE, LIRA)
CONTROLLED = (LOSS, LIRA)
CHANCE, NEAR = 0.5, 0.05
RATE = FPRS[0]  # at which attacks are set beside each other
TELLS = "arXiv 2112.03570, section VI"
SEEN_MORE = "arXiv 2202.06539, section 4"
UNSIGNED = "no sign is published"
SEED = 0


@dataclass(frozen=True)
class Attacked:
    """One run of a family as the target: people that have shadow models on both sides [n], by
    attack their scores, higher for what looks more like a member, and whether the run saw them."""

    run_id: str
    row: np.ndarray
    tier: np.ndarray
    seen: np.ndarray
    scores: dict[str, np.ndarray]


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published constant is in these units; the level of p and the width of the control."""
    return [], {"order": ALPHA, "control": CHANCE, "control_within": NEAR}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The attacks of a study. ValueError, in one line, for a table that cannot be judged."""
    table = checked(table, INPUTS, ["gain_last_tenth", "bits", "accuracy"], "judge")
    return analysed(study.runs, table, reading.scores(table, results), study.name)


def analysed(
    planned: Sequence[Config], table: Frame, by_run: Mapping[str, reading.Scores], name: str
) -> Finding:
    """`analyse` of planned runs, their table, and the scores of people of each finished run."""
    runs = planned_runs.beside(table, reading.described(planned))
    done = runs[(runs.status == "finished") & runs.run_id.isin(list(by_run))]
    families = _families(done, by_run)
    if not families:
        raise ValueError(
            f"no set of people has {shadows.FEWEST_SHADOWS} finished runs on halves of it; each "
            "is the target of the others"
        )
    aucs = pd.DataFrame([row for about, one in families for row in _aucs(about, one)])
    people = pd.concat([_people(about, one) for about, one in families], ignore_index=True)
    cells, orders, controls = [], [], []
    by = ["system", "parameters", "size"]
    for key, mine in done.groupby(by, sort=True):
        here = [(about, one) for about, one in families if tuple(about[c] for c in by) == key]
        if not here:
            continue
        about = dict(zip(by, key, strict=True))
        cells += [about | row for row in _cells(here, _of(aucs, about), _of(people, about), mine)]
        told = _orders(here, _of(aucs, about), _of(people, about))
        orders += [about | row for row in told]
        controls += [about | row for row in _controls(here)]
    numbers = head("shadows", SCHEMA, name, _digest(by_run)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "replicates": len({about["replicate"] for about, _ in families}),
        "shadows": [min(len(f.run_ids) for _, f in families) - 1,
                    max(len(f.run_ids) for _, f in families) - 1],
        "people": int(done.people.iloc[0]),
        "cells": cells,
        "orders": orders,
        "controls": controls,
        "curves": [row for key in _keys(families) for row in _curves(key, families)],
        "rising": sorted(runs.run_id[rising(runs)]),
        **planned_runs.unfinished(runs),
    }  # fmt: skip
    order = ["system", "parameters", "replicate"]
    shown = runs.sort_values([*order, "seed", "run_id"])
    tables = {
        "runs.csv": shown,
        "attacks.csv": aucs.sort_values([*order, "run_id", "tier", "attack"]),
        "people.csv": people.sort_values([*order, "row"]),
    }
    return Finding("shadows", "fit.json", plain(numbers), tables)


def _digest(by_run: Mapping[str, reading.Scores]) -> str:
    """SHA-256 of what attacks read."""
    found = hashlib.sha256()
    for run_id in sorted(by_run):
        found.update(run_id.encode())
        for name in ("seen", "tier", "loss", "right", "frequency_nats"):
            found.update(np.ascontiguousarray(by_run[run_id][name], dtype=np.float64).tobytes())
    return found.hexdigest()


def _families(
    done: Frame, by_run: Mapping[str, reading.Scores]
) -> list[tuple[dict[str, Any], Family]]:
    """Sets with shadow models enough, each with what it is."""
    out = []
    by = ["system", "parameters", "size", "replicate"]
    for key, mine in done.sort_values("seed").groupby(by, sort=True):
        if len(mine) >= shadows.FEWEST_SHADOWS:
            about = dict(zip(by, key, strict=True)) | {"tokens": float(mine.tokens.iloc[0])}
            out.append((about, reading.family(mine.run_id.tolist(), by_run)))
    return out


def _of(rows: Frame, about: Mapping[str, Any]) -> Frame:
    found: Frame = rows[np.logical_and.reduce([rows[k] == v for k, v in about.items()])]
    return found


def _keys(families: Sequence[tuple[dict[str, Any], Family]]) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys((a["system"], a["parameters"], a["size"]) for a, _ in families))


# --- attacks
# --------------------------------------------------------------------------------------------------


def attacked(family: Family, tokens: float) -> Iterator[Attacked]:
    """Every run of a family as the target of the others; tokens: of a text, for RMIA."""
    for one in shadows.leave_one_out(family.loss, family.seen, tokens):
        kept, i = one.enough, one.number
        own = {LOSS: -family.loss[i][kept], GUESS: -family.guess[i][kept]}
        yield Attacked(
            family.run_ids[i], family.row[kept], family.tier[kept], one.seen, own | one.scores
        )


def _here(one: Attacked, tier: int) -> np.ndarray:
    return np.full(len(one.tier), True) if tier == ALL else one.tier == tier


def _aucs(about: Mapping[str, Any], family: Family) -> Iterator[dict[str, Any]]:
    """A row per target, tier (ALL: everybody) and attack."""
    first = {k: about[k] for k in ("system", "parameters", "size", "replicate")}
    for one in attacked(family, about["tokens"]):
        for tier in (ALL, *family.tiers):
            mine = _here(one, tier)
            sides = mine & one.seen, mine & ~one.seen
            if not (sides[0].any() and sides[1].any()):
                continue
            for attack in ATTACKS:
                score = one.scores[attack]
                yield first | {
                    "run_id": one.run_id,
                    "tier": tier,
                    "attack": attack,
                    "members": int(sides[0].sum()),
                    "others": int(sides[1].sum()),
                    "auc": membership.auc(score[sides[0]], score[sides[1]]),
                }


def _pooled(
    families: Sequence[tuple[dict[str, Any], Family]], tier: int, attack: str
) -> tuple[np.ndarray, np.ndarray, separation.Units]:
    """Scores of members and of others over all targets of all sets, and which person each is."""
    parts: dict[bool, list[np.ndarray]] = {True: [], False: []}
    whose: dict[bool, list[np.ndarray]] = {True: [], False: []}
    first = 0
    for about, family in families:
        for one in attacked(family, about["tokens"]):
            mine = _here(one, tier)
            for side in (True, False):
                here = mine & (one.seen == side)
                parts[side].append(one.scores[attack][here])
                whose[side].append(first + one.row[here])
        first += int(family.row.max()) + 1
    members, others = np.concatenate(parts[True]), np.concatenate(parts[False])
    return members, others, (np.concatenate(whose[True]), np.concatenate(whose[False]))


def _rates(
    families: Sequence[tuple[dict[str, Any], Family]], tier: int, attack: str
) -> dict[str, Any]:
    """TPR at each of FPRS with its interval, None where others are too few; intervals know how many
    people there are, each of whom many runs were asked about."""
    members, others, units = _pooled(families, tier, attack)
    out: dict[str, Any] = {"members": len(members), "others": len(others)}
    for fpr in FPRS:
        rate = membership.tpr_at(members, others, fpr)
        out[f"tpr_at_{fpr:g}"] = rate
        out[f"tpr_at_{fpr:g}_interval"] = (
            None if rate is None else separation.tpr_interval(members, others, fpr, units)
        )
    return out


def _curves(
    key: tuple[Any, ...], families: Sequence[tuple[dict[str, Any], Family]]
) -> Iterator[dict[str, Any]]:
    """The ROC of each attack on everybody at rates that others resolve, of all targets together."""
    here = [x for x in families if (x[0]["system"], x[0]["parameters"], x[0]["size"]) == key]
    for attack in ATTACKS:
        members, others, _ = _pooled(here, ALL, attack)
        fpr, tpr = membership.roc(members, others)
        grid = np.geomspace(10 / len(others), 1.0, 41)
        at = np.searchsorted(fpr, grid * (1 + 1e-12), "right") - 1
        yield {
            "system": key[0],
            "size": key[2],
            "attack": attack,
            "fpr": grid.round(6).tolist(),
            "tpr": tpr[at].round(6).tolist(),
        }


# --- memorization
# --------------------------------------------------------------------------------------------------


def _people(about: Mapping[str, Any], family: Family) -> Frame:
    """A row per person whom enough runs saw and did not see: tier, and what is memorized of values
    and in bits, with standard errors over runs."""
    kept = subsets.enough(family.seen)
    first = {k: about[k] for k in ("system", "parameters", "size", "replicate")}
    if not kept.any():
        columns = [*first, "row", "tier", "hit", "hit_se", "bits", "bits_se", "surely"]
        return pd.DataFrame(columns=columns)
    seen = family.seen[:, kept]
    hit = subsets.memorized(-family.right[:, kept], seen, SEED)
    bits = subsets.memorized(family.loss[:, kept] / math.log(2), seen, SEED)
    return pd.DataFrame(
        first
        | {
            "row": family.row[kept],
            "tier": family.tier[kept],
            "hit": hit.bits.round(5),
            "hit_se": hit.se.round(5),
            "bits": bits.bits.round(4),
            "bits_se": bits.se.round(4),
            "surely": bits.t > bits.extreme,
        }
    )


def _over_sets(values: Sequence[float]) -> dict[str, Any]:
    """Mean over sets with Student's t."""
    low, high = t_interval(values)
    interval = [low, high] if math.isfinite(low) else None
    return {"value": float(np.mean(values)) if len(values) else None, "interval": interval}


def _cells(
    families: Sequence[tuple[dict[str, Any], Family]], aucs: Frame, people: Frame, done: Frame
) -> Iterator[dict[str, Any]]:
    """Everybody, then every tier, the most seen first."""
    tiers = families[0][1].tiers
    for tier in (ALL, *reversed(tiers)):
        some = people if tier == ALL else people[people.tier == tier]
        whose = families[0][1].of(tier)
        shown = [one.exposures[:, one.of(tier)][one.seen[:, one.of(tier)]] for _, one in families]
        row: dict[str, Any] = {
            "tier": tier,
            "people": int(whose.sum()),
            "seen": float(np.mean([x.mean() for x in shown])),
            "bits": _bits(done, tier),
            "hit_memorized": _over_sets(some.groupby("replicate").hit.mean().tolist()),
            "bits_memorized": _over_sets(some.groupby("replicate").bits.mean().tolist()),
            "surely": int(some.surely.sum()) if len(some) else 0,
            "of": len(some),
            "right": _right(families, tier),
            "attacks": {},
        }
        mine = aucs[aucs.tier == tier]
        for attack in ATTACKS:
            by_set = mine[mine.attack == attack].groupby("replicate").auc.mean().tolist()
            low, high = share_interval(by_set)
            row["attacks"][attack] = {
                "auc": float(np.mean(by_set)) if by_set else None,
                "auc_interval": [low, high] if math.isfinite(low) else None,
                **_rates(families, tier, attack),
            }
        yield row


def _bits(done: Frame, tier: int) -> float | None:
    """Bits of a person who was seen, mean over runs, as the record has them."""
    if tier == ALL:
        return float((done.bits / done.people).mean())
    column = f"bits_tier_{tier}"
    return float(done[column].mean()) if column in done and done[column].notna().any() else None


def _right(families: Sequence[tuple[dict[str, Any], Family]], tier: int) -> dict[str, float]:
    """Part of the values that is written exactly, of people who were seen and who were not."""
    out = {}
    for name, side in (("seen", True), ("not_seen", False)):
        parts = [one.right[(one.seen == side) & one.of(tier)].mean() for _, one in families]
        out[name] = float(np.mean(parts))
    return out


# --- verdicts
# --------------------------------------------------------------------------------------------------


def _orders(
    families: Sequence[tuple[dict[str, Any], Family]], aucs: Frame, people: Frame
) -> Iterator[dict[str, Any]]:
    """Attacks beside each other, and tiers from the least seen to the most."""
    everybody = aucs[aucs.tier == ALL]
    wide = everybody.pivot_table(index="replicate", columns="attack", values="auc", aggfunc="mean")
    names = list(ATTACKS_IN_ORDER)
    yield {"order": "attacks", "outcome": "auc", "source": TELLS, "along": names} | judged(
        wide.reindex(columns=names), 1
    )
    rates = pd.DataFrame(
        [
            {name: _rates([one], ALL, name)[f"tpr_at_{RATE:g}"] for name in names}
            for one in families
        ],
        dtype=float,
    )
    yield {"order": "attacks", "outcome": "tpr", "source": TELLS, "along": names} | judged(
        rates, 1, empty=f"a set has too few others for {RATE:.0%} false positives"
    )
    tiers = families[0][1].tiers
    if not tiers:
        return
    by_tier = aucs[(aucs.attack == LIRA) & (aucs.tier != ALL)]
    for outcome, rows, column, sign, source in (
        ("auc", by_tier, "auc", 1, SEEN_MORE),
        ("hit", people, "hit", 0, UNSIGNED),
        ("bits", people, "bits", 0, UNSIGNED),
    ):
        grid = rows.pivot_table(index="replicate", columns="tier", values=column, aggfunc="mean")
        yield {"order": "tiers", "outcome": outcome, "source": source, "along": tiers} | judged(
            grid.reindex(columns=tiers), sign
        )


def dealt_out(family: Family, seed: int = SEED) -> Family:
    """A family whose runs' nats are dealt out anew among people of a tier, each run's by itself."""
    rng, loss = np.random.default_rng(seed), family.loss.copy()
    for own in loss:
        for tier in sorted({int(t) for t in family.tier}):
            mine = np.flatnonzero(family.tier == tier)
            own[mine] = own[rng.permutation(mine)]
    return replace(family, loss=loss)


def _controls(families: Sequence[tuple[dict[str, Any], Family]]) -> list[dict[str, Any]]:
    """AUC of attacks on nats that are about nobody."""
    out = []
    found = [
        one
        for i, (about, family) in enumerate(families)
        for one in attacked(dealt_out(family, i), about["tokens"])
    ]
    for attack in CONTROLLED:
        values = [
            membership.auc(one.scores[attack][one.seen], one.scores[attack][~one.seen])
            for one in found
        ]
        low, high = t_interval(values)
        verdict = UNKNOWN
        if math.isfinite(low) and not low <= CHANCE <= high:
            verdict = DIFFERS
        elif math.isfinite(low) and CHANCE - NEAR <= low and high <= CHANCE + NEAR:
            verdict = AGREES
        interval = [low, high] if math.isfinite(low) else None
        auc = float(np.mean(values)) if values else None
        out.append({"attack": attack, "auc": auc, "interval": interval, "runs": len(values),
                    "verdict": verdict})  # fmt: skip
    return out
