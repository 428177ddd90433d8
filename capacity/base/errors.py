"""What a person can mend: one line that says what is wrong and what is allowed (standard library
only)."""

from __future__ import annotations

import difflib


class ConfigError(ValueError):
    """A setting that a person can correct: one line that names the key, the value and what is
    allowed."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))  # values may hold line breaks


def nearest(word: str, allowed: list[str]) -> str:
    """' (did you mean X?)' for the closest allowed word, or an empty string."""
    last = word.rpartition(".")[2]
    near = [
        key for key in allowed if key != word and key.rpartition(".")[2] == last
    ]  # the right field under a wrong group
    near = near or difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
