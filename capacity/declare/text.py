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
        "                 bits per token  correct  extractable from a half",
    ]
    for name, words in SIDES.items():
        side = m[name]
        half = next(iter(side["extractable"].values()))
        out.append(
            f"  {words:12s}  {side['loss_bits_per_token']:>14.3f}  {side['correct']:>7.1%}  "
            f"{half:>24.2%}"
        )
    out.append("  membership       AUC [95%]              F1   TPR at 1% FPR")
    for name, s in m["membership"].items():
        low, high = s["auc_interval"]
        rate = "needs more" if s["tpr_at_0.01"] is None else f"{s['tpr_at_0.01']:.1%}"
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


def _canaries(m: dict[str, Any]) -> list[str]:
    seen = "times seen, long ago" if "views" in m else "times in the training set"
    out = [
        f"  canaries: {seen:25s}   exposure (bits, of at most "
        f"{m['canaries'][0]['at_most']:.1f})   extractable"
    ]
    for level in m["canaries"]:
        se = "" if level["exposure_se"] is None else f" ± {level['exposure_se']:.2f}"
        out.append(
            f"  {level['repeats']:>37d}   {level['exposure']:.2f}{se:<20s}   "
            f"{level['extractable']:.0%}"
        )
    return out


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
