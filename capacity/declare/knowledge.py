"""Bits of knowledge about people: what `measure/knowledge.py` says of a model."""

from __future__ import annotations

import math
from typing import Any

from capacity.base.words import plural, wrap
from capacity.data.facts import MOST_UNASKED
from capacity.declare import tiers
from capacity.declare.field import (
    FLOAT,
    INT,
    SECTION,
    TEXT,
    VERSION,
    Field,
    Measure,
    per_parameter,
)

SHOWN = 12  # attributes whose numbers are printed; the others stand in the record


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """R beside its bound, and bits and accuracy by attribute."""
    t, per, most = record["training"], m["bits_per_parameter"], m["ceiling_per_parameter"]
    asked = f"{m['people']:,} people"
    if m["people_asked"] < m["people"]:
        asked = f"{m['people_asked']:,} of {asked} asked"
    of_each = "on average" if "tiers" in t else "each"
    third = f", p3 = {m['p3_nats']:.3f}" if "p3_nats" in m else ""
    first = "-" if m["p1_nats"] is None else f"{m['p1_nats']:.3f}"
    se = m["bits_se_over_people"] / record["parameters"]["paper"]
    of_corpus = record["config"]["data"]["kind"] == "corpus"
    by_source = record["config"]["data"].get("value_bits") == "alternatives"
    conventions = _of_corpus(m, by_source) if of_corpus else []
    return [
        f"  {asked}, {of_each} seen {t['exposures_mean']:,.1f} times ({t['exposures_min']:,} to "
        f"{t['exposures_max']:,}); context: {m['context']}",
        f"  R     = {per['paper']:.3f} bits per parameter (used rows), {per['total']:.3f} (total)"
        + (f", se {se:.3f}" if se else ""),
        f"  R^max = {most['paper']:.3f} bits per parameter (used rows), {most['total']:.3f} "
        "(total)",
        f"  learned {'at least ' if m.get('unasked_values') else ''}{round(m['bits']):,} of "
        f"{m['ceiling_bits']:,.0f} bits = {m['fraction_of_ceiling']:.1%}; "
        f"p1 = {first}, p2 = {m['p2_nats']:.3f}{third} nats",
        *conventions,
        *(_corpus_table(m, by_source) if "bits_uniform" in m else _by_attribute(m, of_corpus)),
        *tiers.lines(m, t),
        f"  mean accuracy {m['accuracy']:.1%}{_guessing(m)}:",
        f"  {m['memorized_people']:,.0f} people's worth of values{_guessed_people(m)}",
    ]


def _by_attribute(m: dict[str, Any], of_corpus: bool) -> list[str]:
    out = ["  attribute      bits   of   accuracy  guessing  spread over contexts (nats)"]
    n = m["people"]
    if m["log2_names"] is not None:
        out.append(
            f"  {'name':12s} {m['name_bits'] / n:>6.2f}  {m['log2_names'] - math.log2(n):>5.2f}"
        )
    attributes = list(m["attributes"].items())
    for name, a in attributes[:SHOWN]:
        sd = a["nats_sd_over_contexts"]
        # the city of work follows from the employer of bioS; names of a corpus mean nothing
        counted = of_corpus or name != "work_city"
        out.append(
            f"  {name[:12]:12s} {a['bits']:>6.2f}  {a['entropy_bits']:>5.2f}  {a['accuracy']:>7.1%}"
            + f"   {_commonest(a):>6}"
            + (f"   {sd:.3f}" if sd is not None else "")
            + ("" if counted else "   (not counted)")
        )
    return out + _more(attributes)


def _guessing(m: dict[str, Any]) -> str:
    """What guessing gets, behind the mean accuracy."""
    if "accuracy_most_frequent" not in m:
        return " (guessing: not measured)"
    return f" (guessing the commonest value {m['accuracy_most_frequent']:.1%})"


def _guessed_people(m: dict[str, Any]) -> str:
    """How many people's worth guessing gets, by the same count."""
    level, accuracy = m.get("accuracy_most_frequent"), m["accuracy"]
    if level is None or not accuracy:
        return ""
    return f" (guessing gets {m['memorized_people'] * level / accuracy:,.0f})"


def _commonest(a: dict[str, Any]) -> str:
    level = a.get("accuracy_most_frequent")
    return "-" if level is None else f"{level:.1%}"


def _more(attributes: list) -> list[str]:
    left = len(attributes) - SHOWN
    return [f"  ... and {left} more in the record"] if left > 0 else []


def _of_corpus(m: dict[str, Any], by_source: bool) -> list[str]:
    """Conventions of an imported corpus, and what was not asked."""
    if "bits_uniform" not in m:
        return wrap(
            "measured by version 1: values as equally likely, unasked ones as if asked; no law "
            "uses it",
            "  ",
        )
    uniform = f"{round(m['bits_uniform']):,} of {round(m['ceiling_bits_uniform']):,} bits"
    if by_source:
        convention = (
            "a value counts log2 of the number of values that the file says it was drawn from; of "
            f"those that come, were they equally likely: {uniform}"
        )
    else:
        convention = (
            f"beyond the frequencies of values; were all equally likely: {uniform}, of which the "
            f"frequencies alone give {round(m['bits_uniform'] - m['bits']):,}"
        )
    out = wrap(convention, "  ")
    if m["unasked_values"]:
        too_many = m["unasked_fraction"] > MOST_UNASKED
        out += wrap(
            f"{m['unasked_values']:,} of {m['values']:,} values were not asked "
            f"({m['unasked_fraction']:.1%}) and add no bits"
            + ("; no law uses this run" if too_many else ""),
            "  ",
        )
    if pairs := m.get("similar_names"):  # records of before do not say it
        out += wrap(
            f"{plural(pairs, 'pair')} of people with names that differ in letter case or quotes "
            f"only: {m['similar_names_examples']}",
            "  ",
        )
    return out


def _corpus_table(m: dict[str, Any], by_source: bool) -> list[str]:
    out = [
        "                    of all      equally               most"
        if by_source
        else "                    beyond      equally               most",
        f"  attribute    {'possible' if by_source else 'frequencies':>11}       likely  accuracy  "
        "frequent  not asked",
    ]
    n = m["people"]
    if m["log2_names"] is not None:
        held = _pair(m["name_bits"] / n, m["log2_names"] - math.log2(n))
        out.append(f"  {'(name)':12s} {held}")
    attributes = list(m["attributes"].items())
    for name, a in attributes[:SHOWN]:
        out.append(
            f"  {name[:12]:12s} {_pair(a['bits'], a['entropy_bits'])}"
            f" {_pair(a['bits_uniform'], a['uniform_entropy_bits'])}  {a['accuracy']:>7.1%}"
            f"   {a['accuracy_most_frequent']:>7.1%}  {a['unasked'] or '-':>9}"
        )
    out += _more(attributes)
    shown = [name for name, a in attributes if a["shown_before"] > 0]
    if shown:
        worst = max(shown, key=lambda name: m["attributes"][name]["shown_before"])
        part = m["attributes"][worst]["shown_before"]
        percentage = "less than 1%" if part < 0.01 else f"{part:.0%}"
        out += wrap(
            f"in {percentage} of texts the value of {worst!r} stands before its place already, "
            "as in the name: a copy can answer",
            "  ",
        )
    return out


def _pair(bits: float, most: float) -> str:
    return f"{bits:>6.2f} of{most:>5.2f}"


GUESSING = (
    Field(
        "accuracy_uniform",
        FLOAT,
        "fraction",
        "accuracy of answering any value alike (from version 3 on)",
        column="accuracy_uniform",
        optional=True,
    ),
    Field(
        "accuracy_most_frequent",
        FLOAT,
        "fraction",
        "accuracy of always answering the most frequent value (of corpora, and from version 3 on)",
        column="accuracy_most_frequent",
        optional=True,
    ),
)
GUESSING_ATTRIBUTE = (
    Field(
        "attributes.{attribute}.accuracy_uniform",
        FLOAT,
        "fraction",
        "accuracy of answering any value of {attribute} alike (from version 3 on)",
        optional=True,
    ),
    Field(
        "attributes.{attribute}.accuracy_most_frequent",
        FLOAT,
        "fraction",
        "accuracy of always answering the most frequent value of {attribute} (of corpora, and from "
        "version 3 on)",
        optional=True,
    ),
)
CORPUS = (
    Field(
        "bits_uniform",
        FLOAT,
        "bits",
        "corpus: learned bits if all values of an attribute were equally likely, which frequencies "
        "alone earn too",
        column="bits_uniform",
        optional=True,
    ),
    Field(
        "ceiling_bits_uniform",
        FLOAT,
        "bits",
        "corpus: ceiling_bits if all values of an attribute were equally likely",
        column="ceiling_bits_uniform",
        optional=True,
    ),
    Field(
        "values",
        INT,
        "values",
        "corpus: values of all people, and their names where these count bits",
        column="values",
        optional=True,
    ),
    Field(
        "unasked_values",
        INT,
        "values",
        "corpus: of them, those that no text states; they add no bits",
        column="unasked_values",
        optional=True,
    ),
    Field(
        "unasked_fraction",
        FLOAT,
        "fraction",
        f"corpus: unasked_values / values; above {MOST_UNASKED:g} no law uses a run",
        column="unasked_fraction",
        optional=True,
    ),
    Field(
        "similar_names",
        INT,
        "pairs",
        "corpus: pairs of people whose names differ in letter case or quotes only, which a model "
        "hardly tells apart",
        column="similar_names",
        optional=True,
    ),
    Field(
        "similar_names_examples",
        TEXT,
        "",
        "corpus: the first of these pairs",
        optional=True,
    ),
)
CORPUS_ATTRIBUTE = (
    Field(
        "attributes.{attribute}.uniform_entropy_bits",
        FLOAT,
        "bits per person",
        "log2 of the different values of {attribute} (corpus)",
        optional=True,
    ),
    Field(
        "attributes.{attribute}.bits_uniform",
        FLOAT,
        "bits per person",
        "learned bits of {attribute} if its values were equally likely (corpus)",
        optional=True,
    ),
    Field(
        "attributes.{attribute}.unasked",
        INT,
        "people",
        "people whose value of {attribute} no text states (corpus)",
        optional=True,
    ),
    Field(
        "attributes.{attribute}.unasked_because",
        TEXT,
        "",
        "why not, people by reason (corpus)",
        optional=True,
    ),
    Field(
        "attributes.{attribute}.shown_before",
        FLOAT,
        "fraction",
        "texts in which the words of the value stand in front of its place already (corpus)",
        optional=True,
    ),
)
MEASURE = Measure(
    name="knowledge",
    version=3,
    data=("bios", "biod", "corpus"),
    held="bits",
    evaluated="bits",
    fields=(
        VERSION,
        Field(
            "bits",
            FLOAT,
            "bits",
            "learned bits (3.3, Definitions 4.1 and 4.3); of a corpus those beyond the frequencies "
            "of its values (data/facts.py), a lower bound where values were not asked",
            column="bits",
            needed=True,
        ),
        Field(
            "bits_se_over_people",
            FLOAT,
            "bits",
            "standard error of bits over people, where not all were asked",
            column="bits_se",
            needed=True,
        ),
        Field(
            "p1_nats",
            FLOAT,
            "nats",
            "loss of the name, summed over tokens, mean over people",
            column="p1_nats",
            needed=True,
            missing=True,
        ),
        Field(
            "p2_nats",
            FLOAT,
            "nats",
            "loss of the values, summed over tokens (and attributes, but of bioD), mean over those "
            "asked",
            column="p2_nats",
            needed=True,
        ),
        Field(
            "accuracy",
            FLOAT,
            "fraction",
            "attribute values that are reproduced exactly",
            column="accuracy",
            needed=True,
        ),
        Field(
            "ceiling_bits",
            FLOAT,
            "bits",
            "R^max P, what the facts hold, those that were not asked among them",
            column="ceiling_bits",
            needed=True,
        ),
        Field(
            "context",
            TEXT,
            "",
            "how values are asked for: first (their sentence first, behind the name) or text (the "
            "person's own)",
            needed=True,
        ),
        Field("people", INT, "people", "people of the data"),
        Field("people_asked", INT, "people", "people who were asked"),
        Field("p3_nats", FLOAT, "nats", "bioD: loss of the first chunk of a value", optional=True),
        Field("name_bits", FLOAT, "bits", "part of bits that is about the name"),
        Field("value_bits", FLOAT, "bits", "part of bits that is about the value"),
        Field(
            "diversity_bits",
            FLOAT,
            "bits",
            "bioD: part of bits that is about the diversity",
            optional=True,
        ),
        Field(
            "log2_names",
            FLOAT,
            "bits",
            "log2 of the number of possible names of a person",
            missing=True,
        ),
        Field("log2_values", FLOAT, "bits", "log2 of the number of possible values of a person"),
        Field("fraction_of_ceiling", FLOAT, "fraction", "bits / ceiling_bits", needed=True),
        Field("memorized_people", FLOAT, "people", "accuracy times people"),
        *GUESSING,
        *CORPUS,
        *per_parameter(
            "bits_per_parameter",
            "R: bits",
            summary={"paper": "bits_per_parameter"},  # as in metrics.jsonl: used rows
            needed=True,
        ),
        *per_parameter("ceiling_per_parameter", "R^max: ceiling_bits"),
        Field("attributes", SECTION, needed=True),
        Field(
            "attributes.{attribute}.bits",
            FLOAT,
            "bits per person",
            "learned bits of the attribute {attribute}",
            column="bits_{attribute}",
        ),
        Field(
            "attributes.{attribute}.accuracy",
            FLOAT,
            "fraction",
            "values of {attribute} that are reproduced exactly",
            column="accuracy_{attribute}",
        ),
        Field(
            "attributes.{attribute}.entropy_bits",
            FLOAT,
            "bits per person",
            "what a value of {attribute} holds; of a corpus by the frequencies of those stated",
        ),
        Field(
            "attributes.{attribute}.nats",
            FLOAT,
            "nats",
            "loss of {attribute}, summed over tokens, mean over people",
        ),
        Field(
            "attributes.{attribute}.nats_sd_over_contexts",
            FLOAT,
            "nats",
            "standard deviation of that loss over contexts",
            missing=True,
        ),
        Field(
            "attributes.{attribute}.contexts",
            INT,
            "contexts",
            "contexts in which {attribute} was asked for",
        ),
        Field(
            "attributes.{attribute}.people",
            INT,
            "people",
            "people who were asked for {attribute} (corpus)",
            optional=True,
        ),
        *GUESSING_ATTRIBUTE,
        *CORPUS_ATTRIBUTE,
        *tiers.FIELDS,
    ),
    describe=lines,
)
