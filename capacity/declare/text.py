"""Memory of text: what `measure/text.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import (
    FLOAT,
    INT,
    INTERVAL,
    LEVELS,
    SECTION,
    VERSION,
    Field,
    Measure,
    per_parameter,
)

SIDES = {"members": "trained on", "held_out": "held out"}


def _side(name: str) -> tuple[Field, ...]:
    """Of the sequences of one side, members or held out."""
    return (
        Field(
            f"{name}.loss_bits_per_token",
            FLOAT,
            "bits per token",
            f"mean code length of {name}",
            column=f"{name}_loss_bits_per_token",
            needed=True,
        ),
        Field(
            f"{name}.correct",
            FLOAT,
            "fraction",
            f"tokens of {name} that greedy decoding writes",
            column=f"{name}_correct",
        ),
        Field(
            f"{name}.extraction_strength",
            FLOAT,
            "fraction",
            f"mean longest end of a sequence of {name} that greedy decoding writes",
            column=f"{name}_extraction_strength",
        ),
        Field(
            f"{name}.extractable.{{tokens}}",
            FLOAT,
            "fraction",
            f"sequences of {name} whose end greedy decoding writes, given {{tokens}} tokens",
            column=f"{name}_extractable_{{tokens}}",
        ),
        Field(
            f"{name}.extractable_interval.{{tokens}}",
            INTERVAL,
            "fraction",
            f"{{end}} end of the exact 95% interval of {name}_extractable_{{tokens}}",
            optional=True,
        ),
        Field(
            f"{name}.discoverable.{{samples}}",
            FLOAT,
            "fraction",
            f"sequences of {name} whose second half {{samples}} samples hold with probability 1/2",
        ),
    )


MEMBERSHIP = (
    Field("membership", SECTION, needed=True),
    Field(
        "membership.{attack}.auc",
        FLOAT,
        "",
        "membership attack {attack}: area under the ROC curve",
        column="{attack}_auc",
    ),
    Field(
        "membership.{attack}.advantage",
        FLOAT,
        "",
        "attack {attack}: largest true minus false positive rate",
        column="{attack}_advantage",
    ),
    Field(
        "membership.{attack}.f1_median",
        FLOAT,
        "",
        "attack {attack}: F1 where half of all is flagged; chance is 0.5",
        column="{attack}_f1_median",
    ),
    Field(
        "membership.{attack}.tpr_at_{rate}",
        FLOAT,
        "fraction",
        "attack {attack}: true positive rate at a false positive rate of {rate}; empty where too "
        "few non-members resolve it",
        column="{attack}_tpr_at_{rate}",
        missing=True,
    ),
    Field(
        "membership.{attack}.auc_interval",
        INTERVAL,
        "",
        "{end} end of the 95% interval of {attack}_auc",
        column="{attack}_auc_{end}",
    ),
    Field(
        "membership.{attack}.f1_median_interval",
        INTERVAL,
        "",
        "{end} end of the 95% interval of {attack}_f1_median",
    ),
    Field(
        "membership.{attack}.tpr_at_{rate}_interval",
        INTERVAL,
        "fraction",
        "{end} end of the 95% interval of {attack}_tpr_at_{rate}, the threshold's noise included",
        missing=True,
    ),
)

CANARIES = (
    Field("canaries", LEVELS, optional=True),
    Field(
        "canaries.[repeats].at_most",
        FLOAT,
        "bits",
        "largest exposure that a canary can have",
        column="exposure_at_most",
    ),
    Field(
        "canaries.[repeats].exposure",
        FLOAT,
        "bits",
        "mean exposure of canaries that were inserted {repeats} times",
        column="exposure_{repeats}",
    ),
    Field(
        "canaries.[repeats].extractable",
        FLOAT,
        "fraction",
        "of the canaries inserted {repeats} times, part whose second half greedy decoding writes",
        column="extractable_{repeats}",
    ),
    Field(
        "canaries.[repeats].extractable_interval",
        INTERVAL,
        "fraction",
        "{end} end of the exact 95% interval of extractable_{repeats}",
        optional=True,
    ),
    Field(
        "canaries.[repeats].canaries",
        INT,
        "canaries",
        "canaries that were inserted {repeats} times",
    ),
    Field(
        "canaries.[repeats].exposure_se",
        FLOAT,
        "bits",
        "their exposure: standard error over canaries",
        missing=True,
    ),
    Field(
        "canaries.[repeats].exposure_max", FLOAT, "bits", "their exposure: largest over canaries"
    ),
    Field(
        "canaries.[repeats].loss_bits_per_token",
        FLOAT,
        "bits per token",
        "their mean code length ({repeats} times)",
    ),
)


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Losses of both sides, membership attacks, canaries, and the bag of words beside them."""
    out = [
        f"  {m['n_members']:,} sequences trained on, {m['n_held_out']:,} held out; "
        f"{m['tokens_per_parameter']['total']:.2f} tokens per parameter",
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
    if "canaries" in m:
        out += _canaries(m)
    return [
        *out,
        f"  bag of words   {m['bag_of_words_auc']:.3f} (no model; near 0.5 where the split is "
        f"sound)",
    ]


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


MEASURE = Measure(
    name="text",
    version=1,
    data=("text",),
    held="bits",
    evaluated="bits",
    bounded=False,  # general knowledge of the language counts at every use
    fields=(
        VERSION,
        Field(
            "n_members",
            INT,
            "sequences",
            "sequences trained on that were scored",
            column="n_members",
            needed=True,
        ),
        Field(
            "n_held_out",
            INT,
            "sequences",
            "held-out sequences that were scored",
            column="n_others",
            needed=True,
        ),
        Field(
            "bits",
            FLOAT,
            "bits",
            "bits off a code of log2 V per token",
            column="bits",
            needed=True,
        ),
        Field(
            "bag_of_words_auc",
            FLOAT,
            "",
            "AUC of a bag of words without any model; near 0.5 where the split is sound",
            column="bag_of_words_auc",
            needed=True,
        ),
        Field(
            "bag_of_words_sd",
            FLOAT,
            "",
            "standard deviation of that AUC over random splits",
            column="bag_of_words_sd",
        ),
        *per_parameter("bits_per_parameter", "bits", summary={"total": "bits_per_parameter"}),
        Field(
            "tokens_per_parameter.total",
            FLOAT,
            "tokens per parameter",
            "tokens of the members scored / parameters_total",
            needed=True,
        ),
        Field(
            "tokens_per_parameter.{parameters}",
            FLOAT,
            "tokens per parameter",
            "tokens of the members scored / parameters_{parameters}",
        ),
        *_side("members"),
        *_side("held_out"),
        *CANARIES,
        Field("views", SECTION, optional=True),
        *MEMBERSHIP,
    ),
    describe=lines,
)
