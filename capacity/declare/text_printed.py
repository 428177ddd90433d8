"""Memory of text in lines of at most 80 columns: what is printed of `declare/text.py`."""

from __future__ import annotations

from typing import Any

from capacity.base.words import span
from capacity.declare import canary_kinds, tiers, timed_facts

SIDES = {"members": "trained on", "held_out": "held out"}


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Losses of both sides, membership attacks, canaries, and the bag of words beside them."""
    out = [
        f"  {m['n_members']:,} different sequences trained on, {m['n_held_out']:,} held out; "
        + _tokens(m, record),
        "                 bits per token  correct  extractable from a half [95%]",
    ]
    for name, words in SIDES.items():
        side = m[name]
        tokens, half = next(iter(side["extractable"].items()))
        out.append(
            f"  {words:12s}  {side['loss_bits_per_token']:>14.3f}  {side['correct']:>7.1%}  "
            f"{half:>11.2%} {_ends(side.get('extractable_interval', {}).get(tokens))}".rstrip()
        )
    out.append("  membership       AUC [95%]              F1   TPR at 1% FPR [95%]")
    for name, s in m["membership"].items():
        low, high = s["auc_interval"]
        rate = "needs more"
        if s["tpr_at_0.01"] is not None:
            rate = f"{s['tpr_at_0.01']:.1%} {_ends(s.get('tpr_at_0.01_interval'))}".rstrip()
        out.append(
            f"  {name:12s}   {s['auc']:.3f} [{low:.3f}, {high:.3f}]   {s['f1_median']:.3f}   {rate}"
        )
    if "copies" in m:
        out += _copies(m)
    if "canaries" in m:
        out += _canaries(m)
    out += canary_kinds.lines(m, record)
    out += timed_facts.lines(m)
    return [*out, *tiers.of_sequences(m, record["training"]), *_control(m)]


def _control(m: dict[str, Any]) -> list[str]:
    """What must hold before any number of membership means something: a bag of words tells nothing,
    and held-out sequences are not in the training set in part."""
    sd = f" ± {m['bag_of_words_sd']:.3f}" if "bag_of_words_sd" in m else ""
    out = [f"  bag of words   {m['bag_of_words_auc']:.3f} (no model; 0.5{sd} by chance)"]
    split, overlap = m.get("split", {}), m.get("overlap")
    if split.get("documents_on_both") is not None:
        on_both = [f"{split['documents_on_both']:,} of {split['documents']:,} documents"]
        how = split["by"]
        if split.get("groups"):
            how += " and group" if how == "document" else ""
            on_both.append(f"{split['groups_on_both']:,} of {split['groups']:,} groups")
        out.append(f"  split          by {how}; on both sides:")
        out.append(f"                 {', '.join(on_both)}")
        if "members_units" in split:
            sides = f"{split['members_units']:,} trained on, {split['held_out_units']:,} held out"
            out.append(f"                 independent sets of them: {sides}")
        if alone := split.get("documents_without_group"):
            out.append(f"                 {alone:,} documents are of no group, each on its own")
    if overlap is None:
        return [*out, "  overlap        not known: measure the run again"]
    n, limit = overlap["sequences"], overlap["limit"]
    out.append(
        f"  overlap        {n:,} of {m['n_held_out']:,} held-out sequences share "
        f"{overlap['tokens']} tokens in a row"
    )
    share = f"                 with the training set: {overlap['fraction']:.1%}"
    if overlap["fraction"] <= limit:
        return [*out, f"{share}, at most {limit:.0%} as it should"]
    out.append(f"{share}, more than {limit:.0%}:")
    out.append("                 they are members in part; NOT A SOUND SPLIT; a sound one:")
    by = "data.split_by=document " if split.get("by") == "window" else ""
    out.append(f"                 {by}data.near_duplicates=keep_together")
    if "without_overlap" in m:
        aucs = [
            f"{name} {s['auc']:.3f} [{s['auc_interval'][0]:.3f}, {s['auc_interval'][1]:.3f}]"
            for name, s in m["without_overlap"].items()
        ]
        out.append("  AUC without them")
        out += [f"    {', '.join(aucs[i : i + 2])}" for i in range(0, len(aucs), 2)]
    return out


def _copies(m: dict[str, Any]) -> list[str]:
    """The loss attack and extraction by copies of the document."""
    out = ["  copies of a document      members  held out  AUC of the loss       extractable"]
    for row in m["copies"]:
        auc = "too few"
        if row["auc"] is not None:
            auc = f"{row['auc']:.3f} [{row['auc_interval'][0]:.3f}, {row['auc_interval'][1]:.3f}]"
        parts = [row[f"{side}_extractable"] for side in SIDES]
        extractable = ", ".join("-" if part is None else f"{part:.1%}" for part in parts)
        out.append(
            f"  {span(row['copies'], row['up_to']):>20s}  {row['members']:>11,}  "
            f"{row['held_out']:>8,}  {auc:20s}  {extractable}"
        )
    return out


def _tokens(m: dict[str, Any], record: dict[str, Any]) -> str:
    """Tokens per parameter: of all, and of rows in use where these are fewer."""
    by = {name: m["tokens_per_parameter"].get(name) for name in ("total", "used")}
    per_parameter = f"{by['total']:.2f} tokens per parameter"
    data = record["data"]
    if by["used"] is None or data.get("used_rows") == data.get("rows"):
        return per_parameter
    return (
        f"tokens per parameter:\n  {by['total']:.3g} of all {record['parameters']['total']:,}, "
        f"{by['used']:.3g} of {record['parameters']['used']:,} in use "
        f"({data['used_rows']:,} of {data['rows']:,} rows)"
    )


def _ends(interval: list[float] | None) -> str:
    """An interval of fractions in percent; empty where a record of old has none."""
    return "" if interval is None else f"[{interval[0]:.1%}, {interval[1]:.1%}]"


def _canaries(m: dict[str, Any]) -> list[str]:
    """A line per level. Exposure ends at `at_most`: canaries that all reach it have no spread that
    means anything."""
    seen = "times seen, long ago" if "views" in m else "times in the training set"
    most = m["canaries"][0]["at_most"]
    out = [f"  canaries: {seen:25s}   exposure (bits)    extractable [95%]"]
    for level in m["canaries"]:
        bits = f"{level['exposure']:.2f}"
        if level["exposure_max"] >= most and level["exposure"] >= most:
            bits += " or more"
        elif level["exposure_se"] is not None:
            bits += f" (se {level['exposure_se']:.2f})"
        part = f"{level['extractable']:>4.0%} {_ends(level.get('extractable_interval'))}"
        out.append(f"  {level['repeats']:>35d}   {bits:<16s}   {part}".rstrip())
    return [*out, f"  {'':35s}   no exposure can be above {most:.1f} bits"]
