"""A study of text from its records: losses, unintended memorization, membership by attack,
canaries, forgetting, double descent, and their laws.

What takes more than one model is joined by `attacks`; here it is put together and fitted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from capacity import records
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.table_checks import checked
from capacity.analysis.text import (
    at_risk,
    attacks,
    canaries,
    crossing,
    forgetting,
    random_capacity,
    sizes,
    subset_effects,
)
from capacity.analysis.text import double_descent as descent
from capacity.analysis.text import membership_law as law
from capacity.analysis.text.schema import (
    SCHEMA,
    Descent,
    Frame,
    MembershipLaw,
    Memory,
    NoLaw,
    RandomCapacity,
)
from capacity.analysis.thresholds import BROKEN_SPLIT, OVERLAP
from capacity.base.files import plain
from capacity.base.words import plural, some
from capacity.fitting import power
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.study import Study

FILE = "memory.json"
INPUTS = (
    "run_id",
    "model",
    "seed",
    "status",
    "trained_on",
    "tokens_per_parameter",
    "parameters_total",
    "pool",
)
USED = "parameters_used"  # where records say it
# further columns of a table of runs that are read, or how they begin
SETTINGS = (
    *attacks.SAME_POOL,
    *attacks.FAMILY,
    "exposures",
    "data.canaries",
    "data.canary_text",
    "data.last_view",
    "data.view_spacing",
)
MEASURED = (
    *("bits", "bag_of_words_", "members_", "held_out_", "exposure_", "extractable_"),
    *("overlap", "clean_", "copies_"),
)
COMPARED = ("morris/f1_at_75", "morris/descent_peak")  # published values, in the order of verdicts
LOSS_ATTACK = ("f1_median", "auc")  # what is fitted of it


@dataclass(frozen=True)
class Canaried:
    """What records say of single canaries: by run their probes, where they are seen at set steps,
    and a table of `canaries.singles`."""

    views: Mapping[str, dict[str, Any]]
    singles: Frame | None = None


NO_CANARIES = Canaried({})


@dataclass(frozen=True)
class Drawn:
    """What figures need beside numbers and tables: ROC curves of attacks."""

    roc: Frame


def analyse(study: Study, table: Frame, results: Path, options: Options) -> Finding:
    """Join and fit. ValueError, in one line, for a table that cannot be analysed."""
    table = checked(table, INPUTS, ["tokens_per_parameter"], "analyse")
    several, table = sizes.mixed(table), sizes.counted(table)
    scores = attacks.scores_of(table, results)
    runs, curves = attacks.joined(table, scores, options.shadows, options.lira_variance)
    done = runs[runs.status == "finished"]
    measured = {
        run_id: record["measures"]["text"]
        for run_id in done.run_id
        if (record := records.read(results, run_id))
    }
    views = {run_id: part["views"] for run_id, part in measured.items() if part.get("views")}
    singles = canaries.singles(
        {run_id: part["canaries"] for run_id, part in measured.items() if part.get("canaries")}
    )
    result = numbers(
        runs,
        study.name,
        Canaried(views, singles),
        random=random_capacities(study, table, results),
        n_boot=options.bootstraps,
        seed=options.seed,
    )
    if risks := at_risk.of(done, scores):
        result["at_risk"] = plain(risks)
    effects, of_sequences = subset_effects.of(done, scores)
    if effects:
        result["subsets"] = plain(effects)
    if several:
        result["notes"].append(sizes.UNKNOWN)
    if known := attacks.known_prefix(done, scores):
        result["notes"].append(
            f"ReCaLL is left out of {plural(len(known), 'run')} that an older version measured "
            f"with a prefix that they were trained on ({some(known)}); capacity measure --study "
            "STUDY"
        )
    roc = attacks.over_curves(curves, done)
    tables = {"runs.csv": runs, "attacks.csv": attacks.over_models(done), "roc.csv": roc.round(5)}
    if len(singles):
        tables["canaries.csv"] = singles
    if len(of_sequences):
        tables["sequences.csv"] = of_sequences
    return Finding("text", FILE, cast(dict[str, Any], result), tables, Drawn(roc))


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside, as far as it has runs for it, and the
    rules that decide which runs count."""
    return [published.get(id).expected() for id in COMPARED], {
        "overlap": OVERLAP,
        "fewest_sizes": law.FEWEST,
        "fewest_sizes_of_a_peak": descent.FEWEST,
        "clear_peak": descent.CLEAR,
        "random_data": study.random_data,
    }


def random_capacities(study: Study, runs: Frame, results: Path) -> dict[str, RandomCapacity] | str:
    """By model what a study's models hold of random data, or why that is not known."""
    models = runs.drop_duplicates("model").set_index("model").parameters_total.to_dict()
    known = None
    if study.random_data:
        known = random_capacity.of_models(study.random_data, results, models)
    return random_capacity.absent(study.random_data) if known is None else known


def targets_of(runs: Frame) -> Frame:
    """Finished runs that attacks are made on, of those without shadow models."""
    return runs[(runs.status == "finished") & (runs.trained_on == "members")]


def numbers(
    runs: Frame,
    study: str,
    each: Canaried = NO_CANARIES,
    *,
    random: Mapping[str, RandomCapacity] | str = random_capacity.NOT_ASKED,
    n_boot: int = 1000,
    seed: int = 0,
) -> Memory:
    """The laws of F1 and AUC of the loss attack over the study's targets, the printed form on the
    same points, what smaller models predict of larger ones, canaries, forgetting, double descent,
    verdicts and notes. runs: of `attacks.joined`. random: by model what they hold of random
    data, or why that is not known."""
    done, targets = runs[runs.status == "finished"], targets_of(runs)
    if done.empty:
        raise ValueError("no finished run to analyse")
    known = crossing.groups(targets)
    laws = {value: _law(targets, value, known) for value in LOSS_ATTACK}
    fitted = "reason" not in laws["f1_median"]
    t, f1 = targets.tokens_per_parameter.to_numpy(float), None
    if fitted:
        f1 = targets.loss_f1_median.to_numpy(float)
    result: dict[str, Any] = head(
        "text", SCHEMA, study, inputs_sha256(runs, each.views, each.singles)
    ) | {
        "targets": len(targets),
        "finished": len(done),
        "runs": len(runs),
        "laws": laws,
        "notes": notes(done),
        "printed": law.as_printed(targets) if fitted else None,
        "logarithmic": None if f1 is None else law.fit(t, f1, "membership_log", known),
        "forms": None if f1 is None else law.compared(t, f1),
        "setups": [] if f1 is None else law.setups(targets, known, "loss_f1_median"),
        "token_bits": sizes.token_bits(targets),
        "predictions": {value: law.predictions(targets, f"loss_{value}") for value in LOSS_ATTACK},
        "canaries": canaries.analyse(targets, each.singles),
        "descent": descent.analyse(
            targets, None if isinstance(random, str) else random, n_boot=n_boot, seed=seed
        ),
    }
    result["verdicts"] = verdicts(
        result,
        sizes.parameters(targets),
        len(overlapping(targets)),
        random if isinstance(random, str) else "",
    )
    result["forgetting"] = None
    if each.views:
        seen = targets[targets.run_id.isin(list(each.views))]
        result["forgetting"] = forgetting.analyse(seen, dict(each.views), n_boot=n_boot, seed=seed)
    return cast(Memory, plain(result))


def _crossing(fitted: MembershipLaw) -> dict[str, Any]:
    """Where a law of F1 falls to 0.75, as `published.decide` takes it."""
    at = fitted["falls_to"]["0.75"]
    measured: dict[str, Any] = {
        "value": at["t"],
        "interval": at["interval"],
        "form": fitted["form"],
        "knows": [crossing.WORDS[name] for name in at["sources"]],
        "dof": at["dof"],
        "why": "the runs do not bound it",
    }
    if at["t"] is None:
        measured["lacks"] = "the fitted law never falls to it"
    return measured


def _over_random(one: Descent, no_random: str) -> dict[str, Any]:
    """The place of the peak by the denominator of the published value, which decides; that of this
    text is a remark."""
    over = one.get("peak_over_random")
    measured: dict[str, Any] = {"value": None, "interval": None, "method": "bootstrap of seeds"}
    if not one["clear"]:
        return measured | {"lacks": "no peak stands clear of both sides"}
    bound = " (a lower bound)" if one["at_edge"] else ""
    of_text = f"over the most that the model memorizes of this text{bound}"
    why = "one seed per size leaves no scatter, or none of random data"
    measured["beside"] = [dict(one["peak_over_capacity"]) | {"form": of_text, "why": why}]
    if over is None:
        return measured | {"lacks": no_random}
    return measured | over | {"why": why, "knows": ["training (seeds)"]}


def _law(targets: Frame, value: str, known: dict[str, np.ndarray]) -> MembershipLaw | NoLaw:
    t = targets.tokens_per_parameter.to_numpy(float)
    try:
        return law.fit(t, targets[f"loss_{value}"].to_numpy(float), known=known)
    except ValueError as error:
        return {"reason": str(error)}


def inputs_sha256(
    runs: Frame, views: Mapping[str, dict[str, Any]], singles: Frame | None = None
) -> str:
    """SHA-256 over what is read of each run, one JSON row per run sorted by run_id, columns sorted,
    the probes of canaries, and canaries one by one: the order of rows and other columns are
    free."""
    begins = (*MEASURED, *crossing.SETUP, *(f"{name}_" for name in attacks.SINGLE))
    # by `attacks.joined`
    made = ("reference_", "unintended_", "lira_", "rmia_")
    made += tuple(f"clean_{name}" for name in made)
    columns = sorted(
        c
        for c in runs
        if c in (*INPUTS, USED, *SETTINGS) or (c.startswith(begins) and not c.startswith(made))
    )
    rows = [
        [_read(x) for x in row]
        for row in runs.sort_values("run_id")[columns].itertuples(index=False, name=None)
    ]
    read: list[Any] = [columns, rows, dict(sorted(views.items()))]
    if singles is not None and len(singles):
        by_run = singles.sort_values(["run_id", "repeats", "canary"])
        read.append(by_run.to_numpy().tolist())
    content = json.dumps(read)
    return hashlib.sha256(content.encode()).hexdigest()


def _read(value: Any) -> Any:
    """A cell as JSON has it: a list, as of blocks with a part, is a text."""
    if isinstance(value, (str, tuple)):
        return str(value)
    return None if pd.isna(value) else float(value)


def broken(runs: Frame) -> Frame:
    """Finished runs whose split a bag of words sees."""
    far = (runs.bag_of_words_auc.astype(float) - 0.5).abs()
    limit = BROKEN_SPLIT * runs.bag_of_words_sd.astype(float)
    return runs[(runs.status == "finished") & (far > limit)]


def overlapping(runs: Frame) -> Frame:
    """Finished runs of which more held-out sequences than OVERLAP share tokens in a row with the
    training set."""
    if "overlap" not in runs:
        return runs[:0]
    return runs[(runs.status == "finished") & (runs.overlap.astype(float) > OVERLAP)]


def notes(done: Frame) -> list[str]:
    """What a reader must know of runs before quoting a number."""
    return [
        f"run {run.run_id}: a bag of words reaches AUC {run.bag_of_words_auc:.3f} without any "
        "model; its split is broken"
        for run in broken(done).itertuples()
    ] + [
        f"run {run.run_id}: {run.overlapping:,.0f} of {run.n_others:,.0f} held-out sequences share "
        f"{run.overlap_tokens:.0f} tokens in a row with the training set ({run.overlap:.1%}, more "
        f"than {OVERLAP:.0%}): they are members in part, and the split is not sound"
        for run in overlapping(done).itertuples()
    ]


def verdicts(
    numbers: Mapping[str, Any],
    parameters: Iterable[float],
    unsound: int = 0,
    no_random: str = random_capacity.NOT_ASKED,
) -> list[dict[str, Any]]:
    """Where F1 has fallen to 0.75, and where the loss on other text peaks, beside the published
    values: rows of `published.verdict`, for what this study has measured. parameters: of its
    targets; unsound: targets whose held-out sequences are members in part, which are not judged;
    no_random: why it is not known what models hold of random data."""
    rows = []
    if "reason" not in numbers["laws"]["f1_median"]:
        best, _ = law.deciding(numbers)
        measured = _crossing(cast(MembershipLaw, best)) | {
            "method": "the published form, restricted likelihood of sources, Student's t"
        }
        other, words = law.beside(numbers)
        if other is not None and "reason" not in other:
            named = {"form": f"{words}, not published: {other['form']}"}
            measured["beside"] = [_crossing(other) | named]
        if unsound:
            measured |= {"value": None, "interval": None, "beside": []}
            measured["lacks"] = (
                f"held-out sequences of {plural(unsound, 'run')} are members in part"
            )
        rows.append((COMPARED[0], "", parameters, measured))
    for model, one in numbers["descent"].items():
        measured = _over_random(one, no_random)
        rows.append((COMPARED[1], model, [one["parameters"]], measured))
    return [
        published.verdict(
            value.expected(),
            {"spread": power.LOGARITHMIC} | measured,  # no dof: of resampled runs
            at=at,
            scale=published.scale_of(value, list(p)),
        )
        for id, at, p, measured in rows
        for value in [published.get(id)]
    ]
