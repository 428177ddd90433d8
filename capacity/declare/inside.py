"""Stored and said (Inside-Out): what `measure/inside.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, SECTION, TEXT, VERSION, Field, Measure

SCORES = {
    "biography": "log P of the value in the person's text",
    "biography_by_length": "the same per token of the value",
    "question": "log P of the answer behind the question",
    "question_by_length": "the same per token of the answer",
    "question_calibrated": "log P of the answer at the temperature that suits the other half",
    "probe": "a linear probe at the question, layer and penalty chosen in folds",
    "probe_final": "a linear probe of the final layer",
    "both": "log P of the answer and a linear probe together",
    "shuffled": "the probe of values dealt out anew",
    "frequency": "how many trained people have the value, without a model",
    "never_question": "log P of the answer about people never trained on",
    "never_probe": "the probe, of people never trained on",
}
SHOWN = (
    "biography",
    "question",
    "probe",
    "both",
    "shuffled",
    "frequency",
    "never_question",
    "never_probe",
)


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """K, K* and bits of each score."""
    of = "tuned on questions about others" if m["asked"] == "tuned" else "not tuned on questions"
    out = [
        f"  {m['people']:,} people asked, {of}",
        f"  all values of {len(m['attributes'])} lists scored ({m['log2_values']:.2f} bits each); "
        f"probes of {m['probe_weights']:,} weights",
        f"  fitted on one half of them, {m['fitted_on']:,}, and evaluated on the other",
        f"    {'score':16s} {'K':>14s} {'K*':>6s} {'bits':>7s}   (guessing: K 0.5)",
    ]
    for name in SHOWN:
        one = m["scores"][name]
        k = f"{one['k']:.3f} ± {one['k_se']:.3f}"
        out.append(f"    {name:16s} {k:>14s} {one['k_star']:>6.1%} {one['bits']:>7.2f}")
    return out


def _fields(score: str, meaning: str) -> tuple[Field, ...]:
    """Of one score."""

    def field(name: str, unit: str, words: str) -> Field:
        return Field(
            f"scores.{score}.{name}",
            FLOAT,
            unit,
            f"{words}: {meaning}",
            column=f"inside_{score}_{name}",
            optional=True,
        )

    return (
        field("k", "", "mean share of the other values that score below the true one"),
        field("k_se", "", f"standard error over people of inside_{score}_k"),
        field("k_star", "fraction", "questions whose true value scores above all others"),
        field("bits", "bits per value", "log2 D + mean log2 of the posterior over the list"),
    )


MEASURE = Measure(
    name="inside",
    version=1,
    data=("bios",),
    fields=(
        VERSION,
        Field(
            "people",
            INT,
            "people",
            "people asked in their text, by questions and by a probe",
            column="inside_people",
            optional=True,
        ),
        Field("fitted_on", INT, "people", "people that each probe is fitted on"),
        Field("context", TEXT, "", "first or text, as of knowledge: where biographies are asked"),
        Field(
            "asked",
            TEXT,
            "",
            "weights that questions and probes ask: tuned (extraction.mode) or trained",
        ),
        Field("log2_values", FLOAT, "bits per value", "log2 D, mean over attributes"),
        Field("probe_weights", INT, "weights", "of the probes of all attributes, (d + 1) D each"),
        Field(
            "probe_layer",
            FLOAT,
            "layers",
            "that the probes read, mean over attributes and halves; the first block is 1",
            column="inside_probe_layer",
            optional=True,
        ),
        Field("layers", INT, "layers", "blocks that the probes may read"),
        Field("tokens", INT, "tokens", "that were scored"),
        Field("scores", SECTION),
        *(one for score, words in SCORES.items() for one in _fields(score, words)),
        Field("attributes", SECTION),
        Field("attributes.{attribute}.values", INT, "values", "of the list of {attribute}"),
        *(
            Field(f"attributes.{{attribute}}.{score}", FLOAT, "", f"K of {{attribute}}: {words}")
            for score, words in SCORES.items()
        ),
    ),
    describe=lines,
)
