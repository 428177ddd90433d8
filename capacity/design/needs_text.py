"""What facts need, in lines of at most 80 columns and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from capacity import cost
from capacity.base import table
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, file_size, hours, percent, plural, wrap
from capacity.design.needs import FLOPS, JUNK_SHARE, RANDOM, Facts, Need, held
from capacity.published import values as published

FORMAT_WORDS = {"none": "16 bits", "int8": "int8", "int4": "int4"}
ATTRIBUTES = 20  # rows of the table of attributes


def report(
    name: str,
    facts: Facts,
    needs: Sequence[Need],
    own: Sequence[Need],
    parameters: float | None,
    unread: Sequence[str] = (),
) -> str:
    """Facts, the models that hold them and, with `parameters`, what a model of that size holds.
    own: by fits of one's own; unread: fits that say nothing of these budgets, in words."""
    lines = [*_facts(name, facts), ""]
    lines += table.text(
        _needed("What holds all of it, by what is published", needs, parameters, facts)
    )
    lines += [""]
    if own:
        title = "What holds all of it, by studies here"
        lines += [*table.text(_needed(title, own, parameters, facts)), ""]
        lines += _scope(own)
    for words in unread:
        lines += wrap(words, "- ", "  ")
    return "\n".join([*lines, *_notes(facts, needs, parameters)])


def _facts(name: str, facts: Facts) -> list[str]:
    lines = wrap(
        f"{name}: {_people(facts)}{count(facts.bits)}bit of knowledge"
        + ("" if facts.tokens is None else f", {count(facts.tokens)} tokens to show all of it once")
    )
    if facts.people is None:
        return lines
    if facts.name_bits is None:
        lines += wrap("names count no bits (data.n_names is not given)", "- ", "  ")
    else:
        lines += wrap(
            f"names: {count(facts.name_bits)}bit, N log2(N0 / N), N0 = {facts.n_names:,.0f}",
            "- ",
            "  ",
        )
    if facts.uniform_bits is not None and facts.uniform_bits != facts.bits:
        lines += wrap(
            f"{count(facts.uniform_bits)}bit if all values of an attribute were equally likely",
            "- ",
            "  ",
        )
    if facts.unasked:
        lines += wrap(
            f"{plural(facts.unasked, 'value')} that no text states: among the bits, though no "
            "model can learn such from these texts",
            "- ",
            "  ",
        )
    rows = [
        [name, f"{values:,}", f"{n:,}", digits(bits), count(n * bits)]
        for name, values, n, bits in facts.attributes[:ATTRIBUTES]
    ]
    columns = [Column("attribute", right=False)]
    columns += [Column(h) for h in ("values", "people", "bits each", "bits")]
    more = len(facts.attributes) - len(rows)
    key = f"and {more:,} more attributes" if more > 0 else ""
    return [*lines, *table.text(Table(columns, rows, key=key))]


def _people(facts: Facts) -> str:
    return "" if facts.people is None else f"{facts.people:,} people, "


def _needed(title: str, needs: Sequence[Need], parameters: float | None, facts: Facts) -> Table:
    columns = [Column("E"), Column("format", right=False)]
    junk = any(one.rate.junk for one in needs)
    if junk:
        columns.append(Column("junk"))
    inverse = parameters is not None
    columns += [Column("bits/P"), Column("range"), Column("P"), Column("range", detail=inverse)]
    columns += [Column("tokens"), Column("H100-h"), Column("weights", detail=True)]
    if parameters is not None:
        what = "people" if facts.per_person is not None else "bits"
        columns = [*columns[:-3], Column(f"{what} in {count(parameters)}"), Column("range")]
    rows = []
    for one in needs:
        rate = one.rate
        row = [f"{rate.exposures:,.0f}", FORMAT_WORDS[rate.quantize]]
        row += ["7/8" if rate.junk else "–"] if junk else []
        more, less = (">=" if rate.at_least else ""), ("<=" if rate.at_least else "")
        row += [more + digits(rate.value, 2), f"{digits(rate.low, 2)}-{digits(rate.high, 2)}"]
        row += [less + count(one.parameters), f"{count(one.low)}-{count(one.high)}"]
        if parameters is None:
            row += ["–" if one.tokens is None else count(one.tokens)]
            row += ["–" if one.gpu_hours is None else hours(one.gpu_hours[0])]
            row += [file_size(round(one.weight_bytes))]
        else:
            middle, low, high = held(facts, rate, parameters)
            row += [more + count(middle), f"{count(low)}-{count(high)}"]
        rows.append(row)
    return Table(columns, rows, caption=title, page="--json", key="E: exposures; P: parameters")


def _scope(own: Sequence[Need]) -> list[str]:
    lines = []
    for how in dict.fromkeys(one.rate.how for one in own):
        one = next(one for one in own if one.rate.how == how)
        assert one.rate.measured is not None
        low, high = one.rate.measured
        far = one.parameters / high
        beyond = f", {far:,.0f} times below what is asked here" if far >= 2 else ""
        lines += wrap(
            f"{one.rate.how} exposures: R was measured on models of {count(low)} to {count(high)} "
            f"parameters{beyond}.",
            "- ",
            "  ",
        )
    return lines


def _notes(facts: Facts, needs: Sequence[Need], parameters: float | None) -> list[str]:
    ids = dict.fromkeys(id for one in needs for id in one.rate.sources)
    random = published.get(RANDOM)
    assert random.value is not None
    notes = [
        "A range is what counts as agreement with the printed number "
        "(`capacity list published`); P is bits / R at its ends. >=, <=: R is a lower bound there.",
        f"No data are known to fill a parameter with more than {random.value:g} bits (random "
        f"tokens, {random.source}): {count(facts.bits / random.value)} parameters at the least.",
    ]
    if any(one.rate.quantize != "none" for one in needs):
        notes.append(
            "int8, int4: weights rounded after training (GPTQ). What they keep was published at "
            "1,000 exposures and without junk; other rows multiply ratios that nobody has measured "
            "together."
        )
    if any(one.rate.junk for one in needs):
        notes.append(
            f"junk: {percent(JUNK_SHARE)} of all tokens tell of people that come hardly ever "
            "again; E counts useful facts alone. Junk that repeats itself cost nothing there."
        )
    speed = cost.GUESSES["cuda"]
    notes.append(
        f"H100-h: {FLOPS:g} P FLOP per token at {speed.flop_per_s / 1e12:g} TFLOP/s "
        f"({speed.source}), without attention."
    )
    if parameters is not None and facts.name_bits is not None and facts.n_names is not None:
        notes.append(f"No more people than N0 = {facts.n_names:,.0f} names.")
    notes.append("Published: " + "; ".join(f"{id} ({published.get(id).source})" for id in ids))
    return [line for note in notes for line in wrap(note, "- ", "  ")]


def as_json(
    name: str, facts: Facts, needs: Sequence[Need], own: Sequence[Need], parameters: float | None
) -> dict[str, Any]:
    """The same, all digits."""

    def row(one: Need) -> dict[str, Any]:
        out = dataclasses.asdict(one)
        if parameters is not None:
            middle, low, high = held(facts, one.rate, parameters)
            out["held"] = {"value": middle, "low": low, "high": high, "of": _unit(facts)}
        return out

    about = dataclasses.asdict(facts)
    about["attributes"] = [
        {"name": k, "values": v, "people": n, "bits_each": b} for k, v, n, b in facts.attributes
    ]
    return {
        "facts": {"name": name, **about},
        "parameters": parameters,
        "published": [row(one) for one in needs],
        "own": [row(one) for one in own],
    }


def _unit(facts: Facts) -> str:
    return "people" if facts.per_person is not None else "bits"
