"""What a person can mend: one line that says what is wrong and what is allowed (standard library
only)."""

from __future__ import annotations

import difflib
import re


class ConfigError(ValueError):
    """A setting that a person can correct: one line that names the key, the value and what is
    allowed."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))  # values may hold line breaks


def nearest(word: str, allowed: list[str]) -> str:
    """' (did you mean X?)' for the allowed word that a slip of the hand turns into `word`, or an
    empty string. A far-fetched name misleads more than none."""
    near = closest(word, allowed)
    return "" if near is None else f" (did you mean {near}?)"


def closest(word: str, allowed: list[str]) -> str | None:
    """The allowed word that `word` most likely stands for: a slip of the hand (`slips`) or a part
    of a name in the same group, the same name in another group, a slip in any."""
    parts = _parts(word)
    others = [(key, _parts(key)) for key in allowed if key != word]
    beside = [(key, theirs) for key, theirs in others if theirs[:-1] == parts[:-1]]
    same = [key for key, theirs in others if theirs[-1:] == parts[-1:]]
    return (
        _by_slips(parts, beside)
        or _only_holder(parts, beside)
        or (same[0] if same else None)
        or _by_slips(parts, others)
        or _only_holder(parts, others)
    )


def _by_slips(parts: list[str], others: list[tuple[str, list[str]]]) -> str | None:
    """The word with the fewest slips; of equals the one that shares most letters."""
    word = ".".join(parts)
    near = [
        (total, -difflib.SequenceMatcher(None, word, ".".join(theirs)).ratio(), key)
        for key, theirs in others
        if (total := _slips_of_parts(parts, theirs)) is not None
    ]
    return min(near, key=lambda one: one[:2])[2] if near else None


def _only_holder(parts: list[str], others: list[tuple[str, list[str]]]) -> str | None:
    """The word whose name is the number of what `parts` name, as n_people, or the only one that
    has their name among its words."""
    counted = [key for key, theirs in others if theirs[-1] == f"n_{parts[-1]}"]
    holding = [key for key, theirs in others if parts[-1] in theirs[-1].split("_")]
    matches = counted or holding
    return matches[0] if len(matches) == 1 and len(parts[-1]) > 2 else None


def _parts(word: str) -> list[str]:
    return re.split(r"[./@]", word.lower().replace("-", "_"))


def _slips_of_parts(parts: list[str], theirs: list[str]) -> int | None:
    """Slips over all parts from the last one on; with another group, one in the last part."""
    by_part = [slips(a, b) for a, b in zip(reversed(parts), reversed(theirs), strict=False)]
    if all(n is not None for n in by_part):
        return sum(n or 0 for n in by_part)
    return 2 if by_part[0] == 1 else None


def slips(word: str, meant: str) -> int | None:
    """Letters that were left out, added, exchanged or swapped with a neighbour (the distance of
    optimal string alignment), or None where they are many for words of this length: more than one
    in three letters, or two and another first letter; of two letters, other than swapped."""
    most = max(len(word), len(meant)) // 3
    if sorted(word) == sorted(meant):
        most = max(most, 1)
    if abs(len(word) - len(meant)) > most:
        return None
    before, row = [], list(range(len(meant) + 1))
    for i, a in enumerate(word, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(meant, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == meant[j - 2] and word[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    n = row[-1]
    return n if n <= most and (n < 2 or word[:1] == meant[:1]) else None


def one_line(error: Exception | str) -> str:
    """The words of another library's error in one line, without its links to help."""
    return " ".join(
        line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line
    )[:300]
