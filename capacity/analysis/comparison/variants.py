"""Differences between the variants of a study in words: every variant against the first, without
being asked, and the verb `compare`.

What a pair, a replicate and a verdict are is in `pairs`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import capacity
from capacity.analysis import labels
from capacity.analysis.comparison import pairs
from capacity.base import files, words
from capacity.base.files import plain
from capacity.fitting.statistics import MOST_NEEDED, fewest_replicates
from capacity.published.values import digits, ends, wrapped

if TYPE_CHECKING:
    from capacity.study import Study

SCHEMA = 1
MOST_ARMS = 12  # variants that are compared with the first without being asked
MOST_ROWS = 24  # printed comparisons; all are in fit.json

CONVENTION = {
    "pairs": "runs equal in size, seed, data, exposures and all settings that are not compared; a "
    "replicate is the mean of one size and seed",
    "effect": "A / B by the mean of logarithms (A - B where a number is not positive)",
    "interval": "95%, Student's t over replicates; over_sizes: over means of sizes",
    "p": "exact sign-flip test, two-sided; p_more one-sided; p_holm corrected for the comparisons "
    "of this list (Holm)",
    "detectable": "true difference, as a part of B, that one comparison of so many replicates "
    "shows in 80% of studies; interval: by the 95% "
    "limits of the noise",
    "differs": "the interval excludes equality and p_holm <= 0.05",
}


def differences(study: Study, table: pd.DataFrame) -> dict | None:
    """Every architecture, optimizer, precision or other variant of model and training against the
    first of the study, for each number of exposures and kind of data (and of people: each N) by
    itself; None where a study varies none at fixed size."""
    runs = pairs.read(study, table)
    t = runs.table
    fixed = [
        "seed",
        "size",
        "amount",
        "exposures",
        *(c for c in runs.varied if c.startswith("data.")),
    ]
    same = labels.tuples(t, fixed)
    forms = [
        c
        for c in runs.varied
        if not c.startswith("data.")
        and c not in runs.best_over
        and len(set(zip(same, t[c]))) > len(set(same))
    ]
    if not forms:
        return None
    family = [c for c in forms if c.startswith("model.")]
    t = t.assign(form=labels.variants(t, family, [], [c for c in forms if c not in family]))
    out: dict[str, Any] = {
        "number": runs.number,
        "settings": forms,
        "first": t.form.iloc[0],
        "arms": list(dict.fromkeys(t.form)),
        "comparisons": [],
        "not_compared": [],
        "reason": None,
        "convention": CONVENTION,
        "inputs_sha256": pairs.inputs_hash(runs),
    }
    if len(out["arms"]) > MOST_ARMS:
        return out | {
            "reason": f"{len(out['arms'])} variants: name the two to compare (capacity compare "
            f"{study.name})"
        }
    at = [c for c in fixed[2:] if c != "amount" or runs.kind == "people"]
    rows = []
    for key, part in t.groupby(labels.codes(labels.tuples(t, at)), sort=False):
        first, *others = dict.fromkeys(part.form)
        where = ", ".join(
            _condition(c, part[c].iloc[0]) for c in at if t[c].map(repr).nunique() > 1
        )
        for form in others:
            a, b = part[part.form == form], part[part.form == first]
            try:
                rows.append(
                    {"a": form, "b": first, "at": where}
                    | pairs.judge(runs, pairs.pair(runs, a, b, set(forms)))
                )
            except ValueError as error:  # no model of this size in both, or none finished
                out["not_compared"].append(f"{form} / {first}{', ' * bool(where)}{where}: {error}")
    if not rows:
        return out | {
            "reason": "no variant has a finished run of a size and a seed that the first has too"
        }
    if all(row["effect"] is None for row in rows):
        out["reason"] = (
            "every pair is limited by its data, not by the model: no difference between models can "
            "show"
        )
    return out | {"comparisons": pairs.corrected(rows, runs.stores)}


def _condition(column: str, value: Any) -> str:
    if column == "exposures":
        return f"{value:g} exposures"
    return str(value) if column == "amount" else f"{column.split('.')[1]}={labels.text(value)}"


# --- in words
# --------------------------------------------------------------------------------------------------


def section(found: dict | None) -> list[str]:
    """What `differences` found, for a terminal of 80 columns; no lines where the study varies
    nothing."""
    if found is None:
        return []
    settings = found["settings"]
    of = (
        "between architectures"
        if all(c.startswith("model.") for c in settings)
        else f"by {' and '.join(settings)}"
        if len(settings) < 3
        else "between variants"
    )
    lines = ["", *wrapped(f"Differences {of}: {found['number']}", "")]
    if found["reason"]:
        return [*lines, *wrapped(f"none: {found['reason']}", "  ")]
    rows = found["comparisons"]
    lines += [
        f"  "
        f"{'A / B':<24}{'ratio':>8}{'95% over pairs':>18}{'pairs':>6}{'p':>7}{'Holm':>7}{'seen':>7}"
    ]
    last = None
    for row in rows[:MOST_ROWS]:
        head = (row["b"], row["at"])
        if head != last:
            lines += wrapped(f"against {row['b']}" + (f", {row['at']}" if row["at"] else ""), "  ")
        last = head
        if row["effect"] is None:
            lines += wrapped(f"{row['a']}: {row['reason']}", "    ", "      ")
            continue
        name = f"    {_apart(row['a'], row['b'])}" + ("" if row["what"] == "A / B" else " (A - B)")
        if len(name) > 25:
            lines, name = [*lines, *wrapped(name.strip(), "    ", "      ")], ""
        lines.append(
            f"{name:<26}{digits(row['effect']):>8}{ends(row['interval']) or '-':>18}{row['units']:>6}{digits_of_p(row['p']):>7}"
            f"{digits_of_p(row['p_holm']):>7}{_seen(row):>7}"
        )
    if len(rows) > MOST_ROWS:
        lines.append(f"  ... and {len(rows) - MOST_ROWS} more in fit.json")
    lines += wrapped(
        "pairs: of size and seed, equal in all else; p: exact sign flips, two-sided, then "
        "corrected for all rows; seen: the smallest "
        f"difference that so many pairs alone show in four of five studies (below "
        f"{fewest_replicates()}: that their interval does)",
        "  ",
    )
    if found["not_compared"]:
        lines += wrapped(
            f"not compared: {len(found['not_compared'])}, such as {found['not_compared'][0]}",
            "  ",
            "    ",
        )
    return lines + verdicts(rows)


def verdicts(rows: list[dict]) -> list[str]:
    """The verdicts, those that are alike in one line."""
    shown = [row for row in rows if row["differs"]]
    lines = [
        line
        for row in shown
        for line in wrapped(
            f"=> {row['verdict']}" + (f" ({row['at']})" if row["at"] else ""), "  ", "     "
        )
    ]
    hidden = [row for row in rows if not row["differs"] and row["effect"] is not None]
    if not hidden:
        return lines
    few = max(row["units"] for row in hidden)
    tested = sum(row["p"] is not None for row in rows)
    least = fewest_replicates(max(tested, 1))
    among = f" among {tested} comparisons" if tested > 1 else ""
    cannot = (
        f": below {least} pairs the exact test cannot reach {pairs.ALPHA:.0%}{among}"
        if few < least
        else ""
    )
    count = (
        f"the other {len(hidden)}"
        if shown
        else f"any of {len(hidden)}"
        if len(hidden) > 1
        else "this one"
    )
    alone = [row for row in hidden if row["interval"] and pairs.by_interval(row)]
    more = (
        f"; by the interval alone there is one for "
        f"{', '.join(_apart(row['a'], row['b']) for row in alone)}"
        if alone
        else ""
    )
    return lines + wrapped(f"=> no difference is shown in {count}{cannot}{more}", "  ", "     ")


def _apart(name: str, other: str) -> str:
    """What a variant's name says that the other's does not."""
    return ", ".join(part for part in name.split(", ") if part not in other.split(", ")) or name


def digits_of_p(p: float | None) -> str:
    """Three digits, and no more zeros than a reader needs."""
    return "-" if p is None else f"{p:.3g}" if p >= 0.001 else "<0.001"


def _count(n: int | None) -> str:
    return f"over {MOST_NEEDED:,}" if n is None else f"{n:,}"


def _seen(row: dict) -> str:
    x = row["detectable"]["effect"]
    if x is None:
        return "-"
    return (
        f"{x:.2g}"
        if row["what"] != "A / B"
        else f"{100 * x:.2g}%"
        if x < 0.995
        else f"x{1 + x:.2g}"
        if x < 99
        else ">x100"
    )


def told(row: dict) -> list[str]:
    """One comparison in full, for a terminal of 80 columns."""
    lines = [*wrapped(f"A: {row['a']}", "", "   "), *wrapped(f"B: {row['b']}", "", "   ")]
    for side in "AB":
        other = (
            ""
            if row["best_of"][side] == 1
            else f"; the best of {row['best_of'][side]} for each seed"
        )
        span = row["parameters"][side]
        if span and (row["parameters"]["A"] != row["parameters"]["B"] or other):
            to = f" to {words.count(span[1])}" if span[0] < span[1] else ""
            lines += wrapped(f"P of {side}: {words.count(span[0])}{to}{other}", "  ", "    ")
    if row["best_of"]["A"] != row["best_of"]["B"]:
        lines += wrapped(
            "the best was taken of more runs on one side, which flatters that side", "  ", "    "
        )
    for key, (a, b) in row["also_differ"].items():
        lines += wrapped(f"differs too: {key} ({a} in A, {b} in B)", "  ", "    ")
    n, units = row["pairs_of_runs"], row["units"]
    seeds = ", ".join(map(str, row["seeds"][:8])) + (", ..." if len(row["seeds"]) > 8 else "")
    if n:
        mean = ", the mean of theirs each" if units < n else ""
        lines += wrapped(
            f"{n} pair{'s' * (n != 1)} of runs, {units} of size and seed{mean}: size "
            f"{', '.join(row['sizes'][:8])}; seed {seeds}",
            "  ",
            "    ",
        )
    for why, count in row["left_out"].items():
        lines += wrapped(f"left out: {count} pair{'s' * (count != 1)}, {why}", "  ", "    ")
    if any(row["alone"].values()):
        lines += wrapped(
            f"without a partner: {row['alone']['A']} runs of A, {row['alone']['B']} of B",
            "  ",
            "    ",
        )
    if row["rising"]:
        lines += wrapped(
            f"{row['rising']} of these runs gained over 2% in their last tenth of training",
            "  ",
            "    ",
        )
    if row["effect"] is None:
        return lines + wrapped(f"=> {row['verdict']}", "  ", "     ")
    sizes = row["over_sizes"]
    lines += [
        f"  mean of A {digits(row['mean']['A'])}, of B {digits(row['mean']['B'])}; {row['what']} = "
        f"{digits(row['effect'])}",
        *wrapped(
            f"95% over pairs (these sizes)  {ends(row['interval']) or 'none: ' + row['reason']}",
            "    ",
            "      ",
        ),
        *wrapped(
            f"95% over sizes (others too)   "
            f"{ends(sizes['interval']) or 'none: ' + sizes['reason']}",
            "    ",
            "      ",
        ),
    ]
    if row["p"] is not None:
        least = row["smallest_p"]
        reach = (
            f"; at best {digits_of_p(min(1.0, 2 * least))} and {digits_of_p(least)}"
            if least
            else ""
        )
        lines += wrapped(
            f"exact sign flips: p {digits_of_p(row['p'])} (two-sided), "
            f"{digits_of_p(row['p_more'])} (A more){reach}"
            + (
                f"; corrected for {row['compared']} comparisons {digits_of_p(row['p_holm'])}"
                if row["compared"] > 1
                else ""
            ),
            "  ",
            "    ",
        )
    if (seen := row["detectable"])["effect"] is not None:
        low, high = (pairs.told_effect(x, row["what"]) for x in seen["interval"])
        lines += wrapped(
            f"detectable with {units} pairs ({seen['by']}, power 80%): "
            f"{pairs.told_effect(seen['effect'], row['what'])} [{low} to "
            f"{high}, as the noise is known by {units} pairs]",
            "  ",
            "    ",
        )
        need = [
            f"{float(part):.0%}: {_count(n['pairs'])} [{' to '.join(map(_count, n['interval']))}]"
            for part, n in row["needed"].items()
        ]
        lines += wrapped(f"pairs needed for a difference of {', of '.join(need)}", "  ", "    ")
    return lines + wrapped(f"=> {row['verdict']}", "  ", "     ")


# --- the verb
# --------------------------------------------------------------------------------------------------


def command(args: argparse.Namespace) -> int:
    """`capacity compare`: prints every comparison and writes RESULTS/studies/STUDY/compare.json."""
    from capacity import archive, records, run_table
    from capacity.base.errors import ConfigError
    from capacity.study import load_study

    study = load_study(args.study, args.overrides)
    with archive.reading(args.results, [study.name]) as kept:
        table = run_table.table(args.results, study.runs)
        kept.tell(args.results, study)
    if not (table["status"] == "finished").any():
        raise ConfigError(
            f"{study.name}: no finished run in {records.runs_dir(args.results)}; run: capacity "
            f"sweep {args.study}"
        )
    try:
        runs = pairs.read(study, table, args.value)
        found = against(study, runs, args.a, args.b) if args.a and args.b else None
    except ValueError as error:
        raise ConfigError(f"{study.name}: {error}") from None
    if found is None:
        known = pairs.varies(runs)
        print(
            "\n".join(f"{name}: {', '.join(values)}" for name, values in known.items())
            or "nothing varies but the seed"
        )
        raise ConfigError(f"{study.name}: compare needs --a KEY=VALUE and --b KEY=VALUE")
    content = (json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()
    path = args.results / "studies" / study.name / "compare.json"
    files.write_atomic(path, content)
    lines = [*wrapped(f"{study.name}: {runs.number}", ""), ""]
    for row in found["comparisons"]:
        lines += [*told(row), ""]
    print("\n".join([*lines, str(path)]))
    return 0


def against(study: Study, runs: pairs.Runs, a: str, bs: list[str]) -> dict:
    """A against every B as a dict that JSON can hold. a, bs: KEY=VALUE[,KEY=VALUE]; ValueError, in
    one line, where these are no sides."""
    one = pairs.parse(a, runs)
    rows = []
    for text in bs:
        other = pairs.parse(text, runs)
        named = set(one) | set(other)
        if "architecture" in named:
            named |= {f"model.{key}" for form in labels.ARCHITECTURES.values() for key in form}
        try:
            found = pairs.pair(runs, pairs.select(runs, one), pairs.select(runs, other), named)
            rows.append({"a": a, "b": text} | pairs.judge(runs, found))
        except ValueError as error:
            raise ValueError(f"--a {a} --b {text}: {error}") from None
    tested = sum(row["p"] is not None for row in rows)
    rows = [row | {"compared": tested} for row in pairs.corrected(rows, runs.stores)]
    versions = {
        "capacity": capacity.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }
    return plain(
        {
            "schema": SCHEMA,
            "study": study.name,
            "overrides": study.overrides,
            "kind": runs.kind,
            "number": runs.number,
            "best_over": runs.best_over,
            "convention": CONVENTION,
            "comparisons": rows,
            "inputs_sha256": pairs.inputs_hash(runs),
            "versions": versions | {"scipy": importlib.metadata.version("scipy")},
        }
    )
