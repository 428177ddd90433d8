"""What a page of a study of facts lists of its runs: flags and columns."""

from __future__ import annotations

from capacity.analysis import refused
from capacity.analysis.document import FAILED, GAIN, MISSING, Flag, RunColumn
from capacity.analysis.facts.schema import Fit, Frame
from capacity.analysis.thresholds import EXPOSURES_OFF, RISING

FLAGS = (  # key of fit.json, name, meaning
    ("failed", *FAILED),
    ("missing", *MISSING),
    (
        "rising",
        "unconverged",
        f"gained over {RISING:.0%} in the last tenth of training: not at the end of what the model "
        "can learn; with exposures fixed that is the measured state, not an error",
    ),
    ("unknown_gain", "unknown-gain", "left no trace of the gain over its last tenth"),
    (
        "exposures_off",
        "exposures-off",
        f"shown people over {EXPOSURES_OFF:.0%} more or less often than asked",
    ),
    ("negative", "unlearned", "R <= 0: names or value lists not learned yet; kept as it is"),
    (
        "above_ceiling",
        "above-ceiling",
        "above R^max, which cannot be: a leak in the measure, or a wrong count",
    ),
    (
        "similar_names",
        "similar-names",
        "a corpus with people whose names differ in letter case or quotes only, which a model "
        "hardly tells apart",
    ),
)
_RUN_COLUMNS = [
    RunColumn("parameters_paper", "P", "parameters without the rows of unused tokens"),
    RunColumn("arm_name", "arm", "what the run differs in from others of its size"),
    RunColumn("bits", "R", "learned bits per parameter (used rows)", "parameters_paper", True),
    RunColumn("ceiling_bits", "R^max", "bits of the data per parameter", "parameters_paper"),
    RunColumn("bits", "R/R^max", "part of the data's bits that is learned", "ceiling_bits"),
    RunColumn("accuracy", "accuracy", "part of the values written exactly", main=True),
    RunColumn(
        "accuracy_most_frequent",
        "most frequent",
        "accuracy of always answering the most frequent value",
        main=True,
    ),
    RunColumn(
        "bits_uniform",
        "R, equal values",
        "learned bits per parameter if all values were equally likely (corpora)",
        "parameters_paper",
    ),
    RunColumn("unasked_fraction", "not asked", "part of the values that no text states (corpora)"),
    RunColumn(
        "similar_names",
        "similar names",
        "pairs of people whose names differ in letter case or quotes only (corpora)",
    ),
    RunColumn(
        "extraction_accuracy",
        "extraction",
        "part of the questions about held-out people answered exactly",
    ),
    RunColumn(
        "extraction_most_frequent",
        "most frequent",
        "part of these questions that the value of most people answers",
    ),
]


def flags(fit: Fit) -> list[Flag]:
    """Those of every study, and why runs were refused."""
    runs_by_flag = fit["flags"]
    return [
        *(
            Flag(name, meaning, runs_by_flag[key])
            for key, name, meaning in FLAGS
            if key in runs_by_flag
        ),
        *(
            Flag(key.replace("_", "-"), f"refused: {why}", runs_by_flag[key])
            for key, why in refused.WHY.items()
            if key in runs_by_flag
        ),
    ]


def columns(runs: Frame) -> list[RunColumn]:
    """The columns of the table of runs in which some run has something."""
    wanted = [*_RUN_COLUMNS, *GAIN]
    return [c for c in wanted if c.name in runs and runs[c.name].notna().any()]
