"""Published values (`published.toml`) and the verdict on a measured one beside them (standard
library).

A verdict compares the 95% interval of what was measured with the range that counts as agreement:

agrees       the interval lies within the range, its ends included
differs      it lies wholly outside
cannot tell  it reaches over an end of the range, or there is no interval, or the runs lack what the
             question needs, or nothing was learned: an accuracy that is not shown to be more than
             guessing gets, or an R that is not shown to be above 0, replicates nothing

So agreement has to be shown, as in a test of equivalence by an interval (Schuirmann 1987, J.
Pharmacokinet. Biopharm. 15, 657); that no difference was seen is no agreement. A true value outside
of the range is called agreeing in at most one of forty studies for each end, because the intervals
are 95% and two-sided.

The range holds all that is not known about the published number. Where it has an interval [a, b] of
its own, the range is [a - m |a|, b + m |b|] with m its equivalence margin (a = b = the number where
it has none); where it is words, the range is a judgement of this project and is printed as one. The
scale of the runs never decides: a verdict names it, and one on small models says whether the effect
shows there, not whether the published number is right.

What is measured is read by the form that the published number was read by, also where another form
fits these runs better: a form that is chosen after the data were seen can turn a verdict. What
others read stands beside it, with its own interval. Range, form and selection are kept with the
date of the first sweep (`analysis/expectations.py`), and a verdict says when they were changed.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import count

FILE = Path(__file__).with_name("published.toml")
AGREES, DIFFERS, UNKNOWN = "agrees", "differs", "cannot tell"
EVIDENCE = {
    "p": "read in the paper",
    "r": "read in its repository",
    "d": "derived by arithmetic",
    "s": "second-hand",
    "u": "unverified",
}
WIDTH = 80
WORDS = {
    "people": "N {}",
    "parameters": "P {}",
    "model": "{}",
    "models": "{}",
    "text": "{}",
    "vocab_size": "V {}",
    "seq_len": "S {}",
    "n_sequences": "{} sequences",
    "exposures": "{} exposures",
    "junk": "junk {}",
    "tokens": "{} tokens per run",
    "precision": "{}",
}  # of a setting: a number, [smallest, largest] or words


@dataclass(frozen=True)
class Value:
    """An entry of `published.toml`, which says what each field means; an open end of the range is
    None, setting a dict."""

    id: str
    what: str
    source: str
    evidence: str
    setting: dict[str, Any]
    value: float | None = None
    unit: str = ""
    range: tuple[float | None, float | None] | None = None
    interval: tuple[float, float] | None = None
    margin: float | None = None
    quantity: str | None = None
    constants: dict[str, float] | None = None
    sd_over_models: float | None = None
    form: str = ""
    convention: str = ""
    note: str = ""
    reason: str = ""

    def expected(self, name: str | None = None, **changes: Any) -> dict[str, Any]:
        """An entry as `expects.check_expects` returns them: what `verdict` compares with."""
        return {
            "name": name or self.what,
            "quantity": self.quantity or self.unit,
            "published": self.id,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "range": None if self.range is None else list(self.range),
            "form": self.form,
            "source": self.source,
            "evidence": self.evidence,
            "convention": self.convention,
            "note": self.note,
            "there": describe_setting(self.setting),
        } | changes


@lru_cache(maxsize=1)
def values() -> dict[str, Value]:
    """All published values by id."""
    tree = tomllib.loads(FILE.read_text("utf-8"))
    known = [_value(entry, tree["setting"]) for entry in tree["value"]]
    assert len({value.id for value in known}) == len(known), f"{FILE}: an id stands there twice"
    return {value.id: value for value in known}


def get(id: str) -> Value:
    """A published value; ConfigError for an id that the file does not have."""
    if id not in values():
        raise ConfigError(
            f"published: {id}: no such value{nearest(id, list(values()))}; {FILE.name} of "
            f"capacity/published has them all"
        )
    return values()[id]


def _value(entry: dict[str, Any], settings: dict[str, Any]) -> Value:
    value = Value(**entry | {"setting": settings[entry["setting"]]})
    assert value.evidence in EVIDENCE, f"{FILE}: {value.id}: evidence {value.evidence}"
    if value.constants is not None:
        return value
    assert (value.range is None) != (value.margin is None), (
        f"{FILE}: {value.id}: give a range, or a margin"
    )
    if value.range is not None:
        assert value.reason, f"{FILE}: {value.id}: say why each end of the range is where it is"
        low, high = value.range
        return dataclasses.replace(value, range=(_closed(low), _closed(high)))
    low, high = value.interval or (value.value, value.value)
    assert value.margin is not None and low is not None and high is not None, f"{FILE}: {value.id}"
    lowest, highest = low - value.margin * abs(low), high + value.margin * abs(high)
    return dataclasses.replace(value, range=(lowest, highest))


def _closed(end: float | None) -> float | None:
    """An end of a range; None for one without end."""
    return None if end is None or math.isinf(end) else end


def decide(measured: Mapping[str, Any], ends: Sequence[float | None]) -> tuple[str, str]:
    """(verdict, reason) of a measured value and interval against a range [lowest, highest], of
    which None is an open end.

    measured: value and interval; why, where there is no interval; lacks, where there is no value to
    compare; unlearned, why it would be no agreement wherever the interval lies.
    """
    if measured.get("lacks"):
        return UNKNOWN, measured["lacks"]
    low = -math.inf if ends[0] is None else ends[0]
    high = math.inf if ends[1] is None else ends[1]
    value, interval = measured["value"], measured["interval"]
    side = "inside" if low <= value <= high else "outside"
    if interval is None:
        return UNKNOWN, f"the value lies {side} the range, but {measured['why']}"
    if low <= interval[0] and interval[1] <= high:
        if measured.get("unlearned"):
            return UNKNOWN, f"the interval lies within the range, but {measured['unlearned']}"
        return AGREES, "the interval lies within the range"
    if interval[1] < low or interval[0] > high:
        return DIFFERS, f"the interval lies {'below' if interval[1] < low else 'above'} the range"
    return (
        UNKNOWN,
        f"the value lies {side} the range, but the interval is too wide to exclude either",
    )


def verdict(
    expected: Mapping[str, Any],
    measured: Mapping[str, Any],
    *,
    at: str = "",
    scale: str = "published",
) -> dict[str, Any]:
    """A row of `fit.json`: what was published, what was measured, and the verdict with its reason.

    expected: of `Value.expected` or `expects.check_expects`; measured: as for `decide`, with method
    and remarks where there are any, and
        form      by which it was read; that of the published number where it is not given
        knows     sources of variation that the interval holds, in words
        beside    what other forms read of the same runs, each with form, value, interval and why;
                  rows get the verdict that this form would have given, but it decides nothing
        dof, spread, possible, levels, noise: of `fitting.power`, for what the study could tell
    at: which runs, in words; scale: published, or that of the runs, such as pocket.
    """
    decision, why = decide(measured, expected["range"])
    could_tell = None
    if measured.get("interval") and measured.get("spread"):
        could_tell = _could_tell(measured, expected["range"])
    form = expected.get("form", "")
    return {
        "name": expected["name"],
        "quantity": expected["quantity"],
        "at": at,
        "scale": scale,
        "verdict": decision,
        "reason": why,
        "measured": measured.get("value"),
        "interval": measured.get("interval"),
        "method": measured.get("method", ""),
        "power": could_tell,
        "form": measured.get("form", form),
        "knows": list(measured.get("knows", [])),
        "beside": [_beside(other, expected["range"]) for other in measured.get("beside", [])],
        "published": {
            "value": expected["value"],
            "interval": expected.get("interval"),
            "range": expected["range"],
            "form": form,
            "id": expected["published"],
            "there": expected["there"],
        },
        "source": expected["source"],
        "evidence": expected["evidence"],
        "convention": expected["convention"],
        "note": expected["note"],
        "remarks": measured.get("remarks", []),
    }


def _could_tell(measured: Mapping[str, Any], ends: Sequence[float | None]) -> dict[str, Any]:
    from capacity.fitting import power  # needs scipy, which reading published values does not

    about = {key: measured[key] for key in ("possible", "levels") if key in measured}
    sides = power.Sides(**about)
    if measured.get("noise") is not None:
        return power.tellable_ratio(measured["noise"], ends, sides.possible)
    how = {key: measured[key] for key in ("dof", "spread") if key in measured}
    return power.tellable(measured["value"], measured["interval"], ends, sides=sides, **how)


def _beside(other: Mapping[str, Any], ends: Sequence[float | None]) -> dict[str, Any]:
    """What another form reads, with the verdict that it would have given."""
    decision, why = decide(other, ends)
    entry = {"form": other["form"], "measured": other["value"], "interval": other["interval"]}
    return entry | {"verdict": decision, "reason": why}


def scale_of(value: Value, parameters: Iterable[float], tokens: float | None = None) -> str:
    """published, where runs of these parameters [smallest, largest] and tokens lie within what the
    value was measured on (at least half of its tokens), else another."""
    low, high = value.setting["parameters"]
    sizes = list(parameters)
    inside = 0.99 * low <= min(sizes) and max(sizes) <= 1.01 * high
    enough = tokens is None or tokens >= value.setting.get("tokens", 0.0) / 2
    return "published" if inside and enough else "another"


def describe_setting(setting: Mapping[str, Any]) -> str:
    """Where a value was measured, such as "N 10K to 10M, P 1M to 500M, 1000 exposures, mixed
    fp16"."""

    def words(there: Any) -> str:
        if isinstance(there, list):
            return " to ".join(dict.fromkeys(map(words, there)))
        return count(there) if isinstance(there, float) else str(there)

    return ", ".join(
        text.format(words(setting[key])) for key, text in WORDS.items() if key in setting
    )


def ranged(ends: Sequence[float | None]) -> str:
    """A range in words, an end of which may be open (None)."""
    low, high = ("" if end is None else f"{end:.3g}" for end in ends)
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"
