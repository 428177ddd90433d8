"""How large a model do these facts need, and how many facts does such a model hold?

R bits per parameter that a trained model holds of facts, by budget, precision and junk, give
P = bits / R. R is published for a few budgets (arXiv 2404.05405, `published.toml`), or comes from
the peaks of a study's own fit. Every R is a range, and stays one: the value is what was printed,
the ends are what counts as agreement with it.

Between two published budgets R is not less than at the lower one and not more than at the upper
one, because more exposures do not hold less; the range is that, and the value lies on the line over
log exposures. Beyond the last budget R is at least what is known there. Below the first one nothing
is known. What a format keeps and what junk costs multiply, at both ends: no source has all three at
once, so that such a row is a product of ratios, and says so.

GPU-hours are 6 P FLOPs per token (Kaplan et al., arXiv 2001.08361, section 2.1) at the speed that
`cost` guesses for an H100, which nobody measured; attention is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capacity import cost
from capacity.base.errors import ConfigError
from capacity.data import entropy
from capacity.published import values as published

FLOPS = 6.0  # per parameter and token
BUDGETS = {100: "physics33/peak_100", 1000: "physics33/peak_1000"}
FORMATS = {"none": None, "int8": "physics33/int8", "int4": "physics33/int4"}
BYTES = {"none": 2.0, "int8": 1.0, "int4": 0.5}  # of a weight; none: 16 bits
# ratios to R after 100 exposures without junk, by exposures of the useful facts
JUNK = {n: f"physics33/junk_{n}" for n in (100, 300, 600, 1000)}
JUNK_SHARE = 7 / 8  # of tokens, in all of these (section 10)
RANDOM = "morris/alpha_stated"  # the most that any data are known to fill a parameter with


@dataclass(frozen=True)
class Facts:
    """What is to be held. bits: of all of it; people: how many are told about (None: not known);
    name_bits: those of `bits` that are names, None where names count none; per_person: bits of the
    values of one, None where not known; n_names: how many names there could be; tokens: to show
    everything once, None where not known; attributes: (name, values, people, bits)."""

    bits: float
    people: int | None = None
    name_bits: float | None = None
    uniform_bits: float | None = None
    n_names: float | None = None
    per_person: float | None = None
    tokens: float | None = None
    unasked: int = 0
    attributes: tuple[tuple[str, int, int, float], ...] = ()


@dataclass(frozen=True)
class Rate:
    """R of one budget, format and share of junk. low, high: its range; at_least: whether the true R
    may lie above; how: where the number comes from, in words; sources: ids of published values."""

    exposures: float
    quantize: str
    junk: float
    value: float
    low: float
    high: float
    at_least: bool
    how: str
    sources: tuple[str, ...]
    measured: tuple[float, float] | None = None  # P of the models that R was read from


def rates(exposures: Sequence[float], formats: Sequence[str], junk: Sequence[float]) -> list[Rate]:
    """The published R of every combination. ConfigError for what nobody has published."""
    return [_published(e, q, j) for j, q, e in itertools.product(junk, formats, exposures)]


def _published(exposures: float, quantize: str, junk: float) -> Rate:
    if quantize not in FORMATS:
        raise ConfigError(f"--quantize {quantize}: expected one of {', '.join(FORMATS)}")
    value, (low, high), at_least, how, sources = (
        _of_budget(exposures) if not junk else _beside_junk(exposures, junk)
    )
    if (format := FORMATS[quantize]) is not None:
        kept = published.get(format)
        assert kept.range is not None
        least, most = kept.range
        middle = 1.0 if kept.value is None else kept.value  # "negligible" is printed without number
        value, low, high = value * middle, low * _known(least), high * _known(most)
        how += f", {quantize} of it" if not junk else f", x {quantize}"
        sources += (format,)
    return Rate(exposures, quantize, junk, value, low, high, at_least, how, sources)


def _known(end: float | None) -> float:
    assert end is not None  # both ends of these ranges are given
    return end


def _range(id: str) -> tuple[float, float, float]:
    value = published.get(id)
    assert value.value is not None and value.range is not None
    low, high = value.range
    return value.value, _known(low), _known(high)


def _of_budget(
    exposures: float,
) -> tuple[float, tuple[float, float], bool, str, tuple[str, ...]]:
    few, many = min(BUDGETS), max(BUDGETS)
    if exposures < few:
        raise ConfigError(
            f"--exposures {exposures:g}: nothing is published below {few}; a study of your own "
            "gives R there (--law FIT.JSON)"
        )
    (r_few, low_few, high_few), (r_many, low_many, high_many) = map(
        _range, (BUDGETS[few], BUDGETS[many])
    )
    if exposures >= many:
        more = exposures > many
        how = f"at {many:,}" + " or more" * more
        return r_many, (low_many, high_many), more, how, (BUDGETS[many],)
    if exposures == few:
        return r_few, (low_few, high_few), False, f"at {few}", (BUDGETS[few],)
    part = math.log(exposures / few) / math.log(many / few)
    between = r_few + part * (r_many - r_few)
    return between, (low_few, high_many), False, f"{few} to {many:,}", tuple(BUDGETS.values())


def _beside_junk(
    exposures: float, junk: float
) -> tuple[float, tuple[float, float], bool, str, tuple[str, ...]]:
    if not math.isclose(junk, JUNK_SHARE):
        raise ConfigError(f"--junk {junk:g}: published is {JUNK_SHARE:g} (7/8) of the tokens, or 0")
    if exposures not in JUNK and exposures <= max(JUNK):
        some = ", ".join(f"{n:,}" for n in JUNK)
        raise ConfigError(f"--exposures {exposures:g} beside junk: published are {some}")
    at = int(min(exposures, max(JUNK)))
    r, low, high = _range(BUDGETS[100])
    ratio, least, most = _range(JUNK[at])
    return (
        r * ratio,
        (low * least, high * most),
        exposures > at,
        f"R(100) x {ratio:g}" + " or more" * (exposures > at),
        (BUDGETS[100], JUNK[at]),
    )


def own_rates(fit: Mapping[str, Any], exposures: Sequence[float], where: str) -> list[Rate]:
    """R by the peaks of a fit of facts, one for every budget that it has a peak at or below: that
    of the most exposures. The peak of a curve whose best model is its first or last, or which still
    rises, is a lower bound. ConfigError for a fit of another kind."""
    if fit.get("kind") != "facts" or not isinstance(fit.get("peaks"), list):
        raise ConfigError(f"--law {where}: expected the fit.json of a study of facts")
    usable = [
        peak
        for peak in fit["peaks"]
        if peak.get("interval") and peak["interval"][0] > 0 and "junk" not in _clean(peak["name"])
    ]
    out = []
    for budget in exposures:
        under = [peak for peak in usable if peak["exposures"] <= budget]
        if not under:
            continue
        most = max(peak["exposures"] for peak in under)
        peak = max((p for p in under if p["exposures"] == most), key=lambda p: p["value"])
        arms = [a["parameters_paper"] for a in fit["arms"] if a["curve"] == peak["curve"]]
        at_least = most < budget or peak.get("edge") is not None or bool(peak.get("rising"))
        low, high = peak["interval"]
        out.append(
            Rate(
                budget,
                "none",
                0.0,
                peak["value"],
                low,
                high,
                at_least,
                f"{fit['study']}, {most:,.0f}",
                (),
                (min(arms), max(arms)),
            )
        )
    return out


def _clean(name: str) -> str:
    return name.replace("no junk", "")


@dataclass(frozen=True)
class Need:
    """What a rate asks for. parameters and its ends: bits / R (smallest at the high end of R);
    weight_bytes, tokens (None where not known) and gpu_hours of the value and its ends."""

    rate: Rate
    parameters: float
    low: float
    high: float
    weight_bytes: float
    tokens: float | None
    gpu_hours: tuple[float, float, float] | None


def need(facts: Facts, rate: Rate) -> Need:
    """The model that holds these facts by this rate, and what its training costs."""
    sizes = [facts.bits / r for r in (rate.value, rate.high, rate.low)]
    tokens = None if facts.tokens is None else facts.tokens * rate.exposures / (1 - rate.junk)
    speed = cost.GUESSES["cuda"].flop_per_s
    spent = None
    if tokens is not None:
        a, b, c = (FLOPS * size * tokens / speed / 3600 for size in sizes)
        spent = (a, b, c)
    return Need(rate, sizes[0], sizes[1], sizes[2], sizes[0] * BYTES[rate.quantize], tokens, spent)


def held(facts: Facts, rate: Rate, parameters: float) -> tuple[float, float, float]:
    """People like these, or bits where no people are known, that a model of so many parameters
    holds by this rate: by its value and both ends. Of counted names there are no more than N0."""
    value, low, high = (_people(facts, r * parameters) for r in (rate.value, rate.low, rate.high))
    return value, low, high


def _people(facts: Facts, bits: float) -> float:
    if facts.per_person is None:
        return bits
    if facts.name_bits is None or facts.n_names is None:
        return bits / facts.per_person
    return float(entropy.largest_population(bits, int(facts.n_names), facts.per_person))
