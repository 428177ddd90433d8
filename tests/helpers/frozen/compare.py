"""What counts as equal on another CPU: trees of JSON, printed text, and golden files.

Tolerances come from refitting all committed studies with the kernels of four CPUs
(OPENBLAS_CORETYPE Haswell, SkylakeX, Prescott, and numpy and glibc without AVX and FMA). Numbers of
iterative fits moved by at most 5e-7 of their size, ends of intervals by 3e-6, the sharpness k of a
corner that the runs hardly determine by 1.2e-5. Each rule allows at least ten times what was seen.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UPDATE = (
    os.environ.get("UPDATE_GOLDEN") == "1"
)  # rewrite golden files instead of comparing with them
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d+)?%?", re.I)
MOST_TOLD = 12
ZERO = 1e-9  # a number below is the rounding of a zero


@dataclass(frozen=True)
class Rule:
    """How far numbers at paths that match `pattern` may lie apart: relative * size + absolute."""

    pattern: str
    relative: float
    absolute: float
    why: str


EXCEPT = re.compile(r"/(versions|inputs_sha256|finished_at)(/|$)")  # says how, not what, was fitted
ESTIMATE = Rule("", 1e-5, ZERO, "iterative fits stop within 1e-6 of each other")
RULES = (  # the first that matches counts
    Rule(
        r"/search/(gradient|distance|spread)$",
        0,
        1e-4,
        "says how near the optimum the search stopped: only that it did is the same on all CPUs",
    ),
    Rule(
        r"/search/agreeing$|/exposure_laws/\d+/agreeing$",
        0,
        2,
        "starts that end within a tolerance of the best: one at its edge may fall on either side",
    ),
    Rule(
        r"/other_losses/absolute/",
        0.15,
        0,
        "sums of absolute errors are flat between points; 4% apart was seen",
    ),
    Rule(r"/covariance/", 1e-4, 1e-9, "second derivatives at the optimum"),
    Rule(
        r"/(error_percent/\d+|percent|mean_absolute_error\w*|rms_percent)$",
        1e-4,
        1e-5,
        "difference of two nearly equal numbers, in percent of them",
    ),
    Rule(r"/smooth/k$", 1e-3, 0, "sharpness of a corner that the runs hardly determine"),
    Rule(r"/(e95|half_life)/|/e95$", 1e-3, 0, "extrapolated along a flat curve"),
    Rule(
        r"/(interval\w*|ends|bootstrap|low|high|own_interval|against_first)(/|$)",
        1e-4,
        1e-7,
        "ends of intervals: quantiles of seeded bootstraps of fits, and of profiles",
    ),
)


def rule_of(path: str) -> Rule:
    return next((rule for rule in RULES if re.search(rule.pattern, path)), ESTIMATE)


def differences(kept, found, path: str = "") -> Iterator[str]:
    """One line per place at which two JSON trees differ, beginning with its path."""
    if EXCEPT.search(path):
        return
    if isinstance(kept, dict) and isinstance(found, dict):
        for key in sorted(kept.keys() | found.keys()):
            if EXCEPT.search(f"{path}/{key}"):
                continue
            if key not in kept or key not in found:
                yield f"{path}/{key}: {'new' if key in found else 'gone'}"
            else:
                yield from differences(kept[key], found[key], f"{path}/{key}")
    elif isinstance(kept, list) and isinstance(found, list):
        if len(kept) != len(found):
            yield f"{path}: {len(kept)} entries, now {len(found)}"
        for i, (one, other) in enumerate(zip(kept, found, strict=False)):
            yield from differences(one, other, f"{path}/{i}")
    elif _number(kept) and _number(found):
        if not close(kept, found, rule_of(path)):
            yield f"{path}: {kept!r}, now {found!r} ({rule_of(path).why})"
    elif isinstance(kept, str) and isinstance(found, str):
        if told := told_apart(kept, found):
            yield f"{path}: {told}"
    elif kept != found or type(kept) is not type(found):
        yield f"{path}: {kept!r}, now {found!r}"


def _number(x) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def close(kept: float, found: float, rule: Rule = ESTIMATE) -> bool:
    """Whether two numbers are one by the rule; whole numbers have to be equal unless it allows
    more."""
    if isinstance(kept, int) and isinstance(found, int) and rule.absolute < 1:
        return kept == found
    if not (math.isfinite(kept) and math.isfinite(found)):
        return repr(kept) == repr(found)
    return abs(kept - found) <= rule.relative * max(abs(kept), abs(found)) + rule.absolute


def told_apart(kept: str, found: str) -> str:
    """'' where two texts are one, else what differs. Words, layout and counts must be equal; other
    numbers may differ by one of the last digit that the coarser of them shows."""
    kept_lines, found_lines = kept.splitlines(), found.splitlines()
    if len(kept_lines) != len(found_lines) or not all(map(_same_line, kept_lines, found_lines)):
        if len(kept_lines) == len(found_lines) == 1:
            return f"{kept!r}, now {found!r}"
        lines = [*difflib.unified_diff(kept_lines, found_lines, "kept", "now", lineterm="", n=0)]
        return "\n".join(lines[: 2 + 4 * MOST_TOLD])
    return ""


def _same_line(kept: str, found: str) -> bool:
    if kept == found:
        return True
    numbers, others = NUMBER.findall(kept), NUMBER.findall(found)
    if numbers == others or len(numbers) != len(others):
        return False  # words or layout
    if not all(map(_same_number, numbers, others)):
        return False
    # a number may have become wider, as 9.99 and 10.00, so spaces count only as that there are some
    return NUMBER.sub("#", kept).split() == NUMBER.sub("#", found).split()


def _same_number(kept: str, found: str) -> bool:
    if kept == found:
        return True
    if kept.endswith("%") != found.endswith("%"):
        return False
    counts = not re.search(r"[.e,%]", kept + found)
    if counts and min(len(kept), len(found)) < 4:
        return False
    apart = abs(_value(kept) - _value(found))
    return apart <= max(1.001 * max(_step(kept), _step(found)), 3e-5 * abs(_value(kept)), ZERO)


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-").rstrip("%"))


def _step(text: str) -> float:
    """One of the last digit shown."""
    mantissa, _, exponent = text.replace(",", "").rstrip("%").lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    power = int(exponent or 0) - digits  # of a digest that looks like a number it may be anything
    return 10.0 ** max(-300, min(300, power))


def golden(path: Path, found: str, exact: bool = False) -> str:
    """'' where the golden file holds this text, else what differs. UPDATE_GOLDEN=1 writes it
    instead. exact: numbers too."""
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
        return ""
    if not path.exists():
        return f"no golden file {path.name}; write it with UPDATE_GOLDEN=1"
    kept = path.read_text(encoding="utf-8")
    if exact:
        lines = difflib.unified_diff(
            kept.splitlines(), found.splitlines(), "kept", "now", "", "", n=0
        )
        return "\n".join(line.rstrip("\n") for line in lines)
    return told_apart(kept, found)


def told(lines) -> str:
    """The first differences, and how many more."""
    lines = list(lines)
    more = [f"... and {len(lines) - MOST_TOLD} more"] * (len(lines) > MOST_TOLD)
    return "\n".join([*lines[:MOST_TOLD], *more])
