"""Every variant of a study against its first one, without being asked.

What a pair and a replicate are is in `pairs`, what makes a verdict in `verdicts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capacity import naming
from capacity.analysis import labels
from capacity.analysis.comparison import pairs, verdicts
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.comparison.runs import Runs
from capacity.base.files import plain
from capacity.base.frames import Frame

if TYPE_CHECKING:
    from capacity.study import Study

MOST_ARMS = 12  # variants that are compared with the first without being asked

CONVENTION = {
    "pairs": "runs equal in size, seed, data, exposures and all settings that are not compared; a "
    "replicate is the mean of one size and seed",
    "effect": "A / B, the ratio of the means of paired runs, every size alike (A - B where a mean "
    "is not above 0, or B is not distinguishable from 0)",
    "interval": "95% by Fieller's theorem over replicates (of A - B Student's t), as in the laws "
    "of the study; of fewer than three replicates by the noise of their arms: own seeds where an "
    "arm has three, else a line through all arms; over_sizes: over means of sizes",
    "p": "exact sign-flip test of differences, two-sided; p_more one-sided; p_holm corrected for "
    "the comparisons of this list (Holm)",
    "detectable": "true difference, as a part of B, that one comparison of so many replicates "
    "shows in 80% of studies; interval: by the 95% "
    "limits of the noise",
    "differs": "the interval excludes equality and p_holm <= 0.05",
}


def differences(study: Study, table: Frame) -> dict[str, Any] | None:
    """Every architecture, optimizer, precision or other variant of model and training against the
    first of the study, for each number of exposures and kind of data (and of people: each N) by
    itself, JSON-able; None where a study varies none at fixed size."""
    runs = compared_runs.read(study, table)
    data = [c for c in runs.varied if c.startswith("data.")]
    fixed = ["seed", "size", "amount", "exposures", *data]
    settings = _varied_at_fixed_size(runs, fixed)
    if not settings:
        return None
    family = [c for c in settings if c.startswith("model.")]
    recipe = [c for c in settings if c not in family]
    t = runs.table.assign(form=labels.variants(runs.table, family, [], recipe, study.names))
    rows: list[dict[str, Any]] = []
    not_compared: list[str] = []
    arms = list(dict.fromkeys(t.form))
    if len(arms) <= MOST_ARMS:
        at = [c for c in fixed[2:] if c != "amount" or runs.kind == "facts"]
        rows, not_compared = _against_first(runs, t, at, set(settings))
    numbers = {
        "number": runs.number,
        "settings": settings,
        "first": t.form.iloc[0],
        "arms": arms,
        "comparisons": verdicts.corrected(rows, runs.stores),
        "not_compared": not_compared,
        "reason": _why_none(arms, rows, study.name),
        "convention": CONVENTION,
        "inputs_sha256": compared_runs.inputs_hash(runs),
    }
    return plain(numbers)


def _varied_at_fixed_size(runs: Runs, fixed: list[str]) -> list[str]:
    """Settings of model and training of which some size and data have several values."""
    same = labels.tuples(runs.table, fixed)
    return [
        c
        for c in runs.varied
        if not c.startswith("data.")
        and c not in runs.best_over
        and len(set(zip(same, runs.table[c], strict=True))) > len(set(same))
    ]


def _against_first(
    runs: Runs, t: Frame, at: list[str], named: set[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Every form against the first one under each condition (columns `at`), and why some cannot be
    compared."""
    rows, not_compared = [], []
    varied = [c for c in at if t[c].map(repr).nunique() > 1]
    for _, part in t.groupby(labels.codes(labels.tuples(t, at)), sort=False):
        first, *others = dict.fromkeys(part.form)
        where = ", ".join(_condition(c, part[c].iloc[0]) for c in varied)
        for form in others:
            a, b = part[part.form == form], part[part.form == first]
            try:
                comparison = verdicts.analyse(runs, pairs.pair(runs, a, b, named))
            except ValueError as error:  # no model of this size in both, or none finished
                not_compared.append(f"{naming.listed([f'{form} / {first}', where])}: {error}")
            else:
                rows.append({"a": form, "b": first, "at": where} | comparison)
    return rows, not_compared


def _why_none(arms: list[str], rows: list[dict[str, Any]], study: str) -> str | None:
    if len(arms) > MOST_ARMS:
        return f"{len(arms)} variants: name the two to compare (capacity compare {study})"
    if not rows:
        return "no variant has a finished run of a size and a seed that the first has too"
    if all(row["effect"] is None for row in rows):
        return (
            "every pair is limited by its data, not by the model: no difference between models can "
            "show"
        )
    return None


def _condition(column: str, value: Any) -> str:
    if column == "exposures":
        return f"{value:g} exposures"
    return str(value) if column == "amount" else f"{column.split('.')[1]}={naming.text(value)}"
