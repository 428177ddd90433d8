"""A finished record in lines of at most 80 columns."""

from __future__ import annotations

import math
from pathlib import Path


def describe(record: dict, results: Path) -> str:
    """What `capacity train` and `capacity measure` print of a record."""
    t = record["training"]
    lines = [
        f"run {record['run_id']} finished in {t['wall_s']:.0f} s on {t['device']} ({_format(t)})"
    ]
    for name, lines_of in LINES.items():
        if name in record["measures"]:
            lines += lines_of(record["measures"][name], record)
    if (stored := record.get("storage")) and (held := _held(record["measures"])) is not None:
        lines.append(
            f"  stored as {stored['weights']}: {stored['bits_per_weight']:.2f} bits per weight, "
            f"{held / stored['bits']:.3f} bits held per stored bit"
        )
    if t.get("steps_skipped"):
        lines.append(f"  {t['steps_skipped']} steps skipped for an overflow in fp16")
    gain = record["convergence"]["gain_last_tenth"]
    lines.append(
        f"  gained over the last tenth of training: {'-' if gain is None else format(gain, '.2%')}"
    )
    lines.append(f"  {results / 'runs' / record['run_id']}/record.json")
    return "\n".join(lines)


def _format(t: dict) -> str:
    """In what a run was trained; records of before have the precision only."""
    qat, weights = t.get("qat", "none"), t["master_weights"]
    return ", ".join(
        [t["precision"]]
        + [f"weights {weights}"] * (weights != "fp32")
        + [f"trained {qat}"] * (qat != "none")
    )


def _held(measures: dict) -> float | None:
    """Bits that weights can be asked about: of random data or facts."""
    if "memorization" in measures:
        return measures["memorization"]["strict"]["bits"]
    return measures["knowledge"]["bits"] if "knowledge" in measures else None


def _memorization(m: dict, record: dict) -> list[str]:
    lines = ["  convention          bits  of ceiling   bits per parameter: total, paper"]
    for name in ("strict", "paper"):
        c, per = m[name], m[name]["bits_per_parameter"]
        fraction = (
            f"{c['fraction_of_ceiling']:.1%}" if c["fraction_of_ceiling"] is not None else "-"
        )
        lines.append(
            f"  {name:10s} {c['bits']:>13,.0f}  {fraction:>10s}   {per['total']:.3f}  "
            f"{per['paper']:.3f}"
        )
    return lines


def _knowledge(m: dict, record: dict) -> list[str]:
    t, per, most = record["training"], m["bits_per_parameter"], m["ceiling_per_parameter"]
    asked = f"{m['people']:,} people"
    if m["people_asked"] < m["people"]:
        asked = f"{m['people_asked']:,} of {asked} asked"
    third = f", p3 = {m['p3_nats']:.3f}" if "p3_nats" in m else ""
    lines = [
        f"  {asked}, each seen {t['exposures_mean']:,.1f} times ({t['exposures_min']:,} to "
        f"{t['exposures_max']:,}); "
        f"context: {m['context']}",
        f"  R     = {per['paper']:.3f} bits per parameter (used rows), {per['total']:.3f} (total)"
        + (
            f", se {m['bits_se_over_people'] / record['parameters']['paper']:.3f}"
            if m["bits_se_over_people"]
            else ""
        ),
        f"  R^max = {most['paper']:.3f} bits per parameter (used rows), {most['total']:.3f} "
        f"(total)",
        f"  learned {m['bits']:,.0f} of {m['ceiling_bits']:,.0f} bits = "
        f"{m['fraction_of_ceiling']:.1%}; "
        f"p1 = {m['p1_nats']:.3f}, p2 = {m['p2_nats']:.3f}{third} nats",
        "  attribute      bits   of   accuracy   spread over contexts (nats)",
    ]
    n = m["people"]
    if m["log2_names"] is not None:
        lines.append(
            f"  {'name':12s} {m['name_bits'] / n:>6.2f}  {m['log2_names'] - math.log2(n):>5.2f}"
        )
    shown = list(m["attributes"].items())
    for name, a in shown[:12]:
        sd = a["nats_sd_over_contexts"]
        lines.append(
            f"  {name[:12]:12s} {a['bits']:>6.2f}  {a['entropy_bits']:>5.2f}  {a['accuracy']:>7.1%}"
            + (f"   {sd:.3f}" if sd is not None else "")
            + ("   (not counted)" if name == "work_city" else "")
        )
    if len(shown) > 12:
        lines.append(f"  ... and {len(shown) - 12} more in the record")
    lines.append(
        f"  mean accuracy {m['accuracy']:.1%}: {m['memorized_people']:,.0f} people's worth of "
        f"values"
    )
    return lines


def _extraction(m: dict, record: dict) -> list[str]:
    lines = [
        f"  asked by questions after fine-tuning ({m['mode']}) on {m['people_trained']:,} people: "
        f"{m['accuracy']:.1%} exact",
        f"  on {m['people_tested']:,} held-out people, {m['accuracy_trained']:.1%} on those of the "
        f"fine-tuning",
    ]
    return lines + [
        "    " + ", ".join(f"{name} {a:.1%}" for name, a in part)
        for part in (list(m["attributes"].items())[:3], list(m["attributes"].items())[3:])
        if part
    ]


def _text(m: dict, record: dict) -> list[str]:
    lines = [
        f"  {m['n_members']:,} sequences trained on, {m['n_held_out']:,} held out; "
        f"{m['tokens_per_parameter']['total']:.2f} tokens per "
        "parameter",
        "                 bits per token  correct  extractable from a half",
    ]
    for name, words in (("members", "trained on"), ("held_out", "held out")):
        side = m[name]
        half = next(iter(side["extractable"].values()))
        lines.append(
            f"  {words:12s}  {side['loss_bits_per_token']:>14.3f}  {side['correct']:>7.1%}  "
            f"{half:>24.2%}"
        )
    lines.append("  membership       AUC [95%]              F1   TPR at 1% FPR")
    for name, s in m["membership"].items():
        low, high = s["auc_interval"]
        rate = "needs more" if s["tpr_at_0.01"] is None else f"{s['tpr_at_0.01']:.1%}"
        lines.append(
            f"  {name:12s}   {s['auc']:.3f} [{low:.3f}, {high:.3f}]   {s['f1_median']:.3f}   {rate}"
        )
    if "canaries" in m:
        lines.append(
            f"  canaries: "
            f"{'times seen, long ago' if 'views' in m else 'times in the training set':25s}   "
            f"exposure (bits, of at most "
            f"{m['canaries'][0]['at_most']:.1f})   extractable"
        )
        for level in m["canaries"]:
            se = "" if level["exposure_se"] is None else f" ± {level['exposure_se']:.2f}"
            lines.append(
                f"  {level['repeats']:>37d}   {level['exposure']:.2f}{se:<20s}   "
                f"{level['extractable']:.0%}"
            )
    lines.append(
        f"  bag of words   {m['bag_of_words_auc']:.3f} (no model; near 0.5 where the split is "
        f"sound)"
    )
    return lines


def _quantization(m: dict, record: dict) -> list[str]:
    """Columns: bits held, their part of the unquantized model's, per weight, bits stored per
    weight, the ratio of these two."""
    whole = m["unquantized"]
    lines = [
        "  quantized after training      bits held     kept  per weight stored  ratio",
        _quantized("none (fp32)", "", whole),
    ]
    for row in m["rows"]:
        grid = (
            "all weights cast"
            if row["granularity"] is None
            else " ".join(
                [
                    "sym" if row["symmetric"] else "asym",
                    row["granularity"] + (f" {row['group_size']}" if row["group_size"] else ""),
                ]
                + ["+emb"] * row["embeddings"]
            )
        )
        lines.append(_quantized(f"{row['method']} {row['bits']}", grid, row))
    return lines


def _quantized(name: str, grid: str, row: dict) -> str:
    kept = row["fraction_of_unquantized"]
    held = row["bits_per_parameter"]["total"]
    return (
        f"  {name:11s} {grid:19s}{row['held_bits']:>9,.0f}  "
        f"{'-' if kept is None else format(kept, '.1%'):>7s}  {held:>10.3f}"
        f" {row['stored_bits_per_weight']:>6.2f} {row['bits_per_stored_bit']:>6.3f}"
    )


LINES = {
    "text": _text,
    "memorization": _memorization,
    "knowledge": _knowledge,
    "extraction": _extraction,
    "quantization": _quantization,
}
