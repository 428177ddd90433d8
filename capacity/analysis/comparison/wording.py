"""What the comparison of a study's variants found, in words: a section of its document, and one
comparison in full for the verb `compare`.

Nothing here computes: the numbers are those of `variants.differences` and `verdicts.corrected`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from capacity.analysis import labels
from capacity.analysis.comparison.verdicts import INTERVAL_ONLY, by_interval, effect_in_words
from capacity.analysis.document import Block, Bullets, Document, Section, Text
from capacity.analysis.thresholds import RISING
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, joined, p_value, plural, some, span, wrap
from capacity.fitting.statistics import ALPHA, MOST_NEEDED, fewest_replicates

Row = Mapping[str, Any]  # a comparison, as `verdicts.corrected` gives it

DIGITS = 4  # of effects: ratios near 1 differ in the third
MOST_NAMED = 8  # sizes and seeds of one comparison; all are in compare.json
COLUMNS = (
    Column("A / B", right=False),
    Column("ratio", "A / B of the means of pairs, A - B where the row says so"),
    Column("95%", "Fieller over pairs of size and seed, of fewer than three by the noise of arms"),
    Column("pairs", "runs of one size and seed, equal in all settings that are not compared"),
    Column("p", "exact sign-flip test, two-sided"),
    Column("Holm", "p corrected for all rows"),
    Column("seen", "the smallest difference that so many pairs show in four of five studies"),
    Column("95% over sizes", "Fieller over the means of sizes: other sizes too", detail=True),
)


def added(document: Document, numbers: Mapping[str, Any], verdicts: Iterable[Row] = ()) -> Document:
    """The document with a section on the differences between variants, numbers: of
    `variants.differences`. Where no published value is about such a difference (verdicts: rows of
    `published.verdict`), they are what the study asks, so that they are among its answers."""
    answers = [*document.answers]
    if all(row["quantity"] != "ratio" for row in verdicts):
        answers += _answers(numbers["comparisons"])
    return dataclasses.replace(
        document, answers=answers, sections=[*document.sections, differences(numbers)]
    )


def _answers(rows: Sequence[Row]) -> list[str]:
    shown = [f"{row['verdict']}{_at(row, ', {}')}." for row in rows if row["differs"]]
    compared = sum(row["effect"] is not None for row in rows)
    if shown or not compared:
        return shown
    return [
        f"No difference between its variants is shown ({plural(compared, 'comparison')}, see "
        "Differences)."
    ]


def _at(row: Row, form: str) -> str:
    return form.format(row["at"]) if row.get("at") else ""


def differences(numbers: Mapping[str, Any]) -> Section:
    """The section of all comparisons, or why there are none."""
    title = f"Differences {_between(numbers['settings'])}: {numbers['number']}"
    if numbers["reason"]:
        return Section("differences", title, [Text(f"None: {numbers['reason']}.")])
    rows = numbers["comparisons"]
    blocks: list[Block] = [_table(rows)]
    if notes := [*_without_effect(rows), *_not_compared(numbers["not_compared"])]:
        blocks.append(Bullets(notes))
    return Section("differences", title, [*blocks, Bullets(verdicts(rows))])


def _between(settings: Sequence[str]) -> str:
    if all(name.startswith("model.") for name in settings):
        return "between architectures"
    return f"by {joined(settings)}" if len(settings) < 3 else "between variants"


def _table(rows: Sequence[Row]) -> Table:
    cells: list[list[str]] = []
    last = None
    for row in rows:
        if row["effect"] is None:
            continue
        head = f"against {row['b']}{_at(row, ', {}')}"
        if head != last:
            cells.append([head])
        last, sizes = head, row["over_sizes"]
        cells.append(
            [
                _apart(row["a"], row["b"]) + ("" if row["what"] == "A / B" else " (A - B)"),
                digits(row["effect"], DIGITS),
                ends(row["interval"], DIGITS) or "–",
                f"{row['units']:,}",
                p_value(row["p"]),
                p_value(row["p_holm"]),
                _seen(row),
                ends(sizes["interval"], DIGITS) or f"none: {sizes['reason']}",
            ]
        )
    key = (
        "a pair is of one size and seed, equal in all else; p: exact sign flips, two-sided; Holm: "
        "p corrected for all rows; seen: the smallest difference that so many pairs alone show in "
        f"four of five studies (below {fewest_replicates()} pairs: that their interval shows)"
    )
    return Table(COLUMNS, cells, key=key, name="differences")


def _without_effect(rows: Iterable[Row]) -> list[str]:
    return [
        f"{row['a']} against {row['b']}{_at(row, ', {}')}: {row['verdict']}"
        for row in rows
        if row["effect"] is None
    ]


def _not_compared(lines: Sequence[str]) -> list[str]:
    return [f"not compared: {len(lines):,}, such as {lines[0]}"] if lines else []


def verdicts(rows: Sequence[Row]) -> list[str]:
    """A sentence for each difference that is shown, and one for all that are not."""
    shown = [row for row in rows if row["differs"]]
    hidden = [row for row in rows if not row["differs"] and row["effect"] is not None]
    sentences = [f"**{row['verdict']}**{_at(row, ' ({})')}" for row in shown]
    if not hidden:
        return sentences
    tested = sum(row["p"] is not None for row in rows)
    least, most = fewest_replicates(max(tested, 1)), max(row["units"] for row in hidden)
    where = "this comparison" if len(hidden) == 1 else f"any of {len(hidden)}"
    if shown:
        where = f"the other {len(hidden)}"
    sentence = f"no difference is shown in {where}"
    if most < least:
        among = f" among {tested} comparisons" if tested > 1 else ""
        sentence += f": below {least} pairs the exact test cannot reach {ALPHA:.0%}{among}"
    if alone := [row for row in hidden if row["interval"] and by_interval(row)]:
        names = ", ".join(_apart(row["a"], row["b"]) + _at(row, " at {}") for row in alone)
        sentence += f", {INTERVAL_ONLY} for {names}"
    return [*sentences, sentence]


def _apart(name: str, other: str) -> str:
    """What a variant's name says that the other's does not, or all of it."""
    return labels.apart(name, other) or name


def _seen(row: Row) -> str:
    """The smallest difference that the pairs show, in six characters."""
    x = row["detectable"]["effect"]
    if x is None:
        return "–"
    if row["what"] != "A / B":
        return f"{x:.2g}"
    if x < 0.995:
        return f"{100 * x:.2g}%"
    return f"x{1 + x:.2g}" if x < 99 else ">x100"


# One comparison in full


def full(row: Row) -> list[str]:
    """One comparison for a terminal of 80 columns."""
    out = [*wrap(f"A: {row['a']}", "", "   "), *wrap(f"B: {row['b']}", "", "   ")]
    out += [x for line in _sides(row) for x in wrap(line, "  ", "    ")]
    if row["effect"] is not None:
        out += _numbers(row)
    return out + wrap(f"=> {row['verdict']}", "  ", "     ")


def _sides(row: Row) -> list[str]:
    """Which runs are A and B, and which are left out."""
    lines, best = [], row["best_of"]
    for side in "AB":
        chosen = f"; the best of {best[side]} for each seed" if best[side] > 1 else ""
        sizes = row["parameters"][side]
        if sizes and (row["parameters"]["A"] != row["parameters"]["B"] or chosen):
            lines.append(f"P of {side}: {span(*sizes)}{chosen}")
    if best["A"] != best["B"]:
        lines.append("the best was taken of more runs on one side, which flatters that side")
    for key, (a, b) in row["also_differ"].items():
        lines.append(f"differs too: {key} ({a} in A, {b} in B)")
    n, units = row["pairs_of_runs"], row["units"]
    if n:
        mean = ", the mean of theirs each" if units < n else ""
        seeds = some([str(seed) for seed in row["seeds"]], MOST_NAMED)
        lines.append(
            f"{plural(n, 'pair')} of runs, {units} of size and seed{mean}: size "
            f"{some(row['sizes'], MOST_NAMED)}; seed {seeds}"
        )
    for why, pairs in row["left_out"].items():
        lines.append(f"left out: {plural(pairs, 'pair')}, {why}")
    if any(row["alone"].values()):
        lines.append(f"without a partner: {row['alone']['A']} runs of A, {row['alone']['B']} of B")
    if row["rising"]:
        lines.append(
            f"{row['rising']} of these runs gained over {RISING:.0%} in their last tenth of "
            "training"
        )
    return lines


def _numbers(row: Row) -> list[str]:
    sizes, mean = row["over_sizes"], row["mean"]
    out = wrap(
        f"mean of A {digits(mean['A'], DIGITS)}, of B {digits(mean['B'], DIGITS)}; {row['what']} = "
        f"{digits(row['effect'], DIGITS)}",
        "  ",
        "    ",
    )
    for over, part in (
        ("these sizes  ", row),
        ("other sizes too  ", sizes),
    ):
        text = ends(part["interval"], DIGITS) or f"none: {part['reason']}"
        text += f" ({row['method']})" if part is row and row["method"] else ""
        out += wrap(f"95%, {over}{text}", "    ", "      ")
    for text in (_test(row), *_power(row)):
        out += wrap(text, "  ", "    ") if text else []
    return out


def _test(row: Row) -> str:
    if row["p"] is None:
        return ""
    text = f"exact sign flips: p {p_value(row['p'])} (two-sided), {p_value(row['p_more'])} (A more)"
    if least := row["smallest_p"]:
        text += f"; at best {p_value(min(1.0, 2 * least))} and {p_value(least)}"
    if row["compared"] > 1:
        text += f"; corrected for {row['compared']} comparisons {p_value(row['p_holm'])}"
    return text


def _power(row: Row) -> list[str]:
    seen, what, units = row["detectable"], row["what"], row["units"]
    if seen["effect"] is None:
        return []
    low, high = (effect_in_words(x, what) for x in seen["interval"])
    needed = [
        f"{float(part):.0%}: {_pairs(n['pairs'])} [{' to '.join(map(_pairs, n['interval']))}]"
        for part, n in row["needed"].items()
    ]
    return [
        f"detectable with {plural(units, 'pair')} ({seen['by']}, power 80%): "
        f"{effect_in_words(seen['effect'], what)} [{low} to {high}, as the noise is known by "
        f"{row['dof']:.2g} degrees of freedom]",
        f"pairs needed for a difference of {', of '.join(needed)}",
    ]


def _pairs(n: int | None) -> str:
    return f"over {MOST_NEEDED:,}" if n is None else f"{n:,}"
