"""Where a text states a person's name and values (standard library only).

A place is where the words stand exactly, letter case included, as whole words; straight and curly
quotes and hyphens count as one. Scripts that write no spaces between words (Chinese, Japanese
kanji and hiragana, Thai, Lao, Khmer, Burmese) have no borders to respect; Korean words and those in
katakana begin at one. Of nested places the longer one is meant: a city inside the person's name, a
"Art" inside an "Art History", a "York" inside another attribute's "New York University" state
nothing. Of the places that are left the first one counts; where two attributes of a person have the
same value the words do not tell which is meant, and neither is asked.

Places that the file gives (`data/people.py`) come before all of this.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from capacity.data.people import Person, Span, Text

# Why a text is not asked for a value, in the words of messages.
ABSENT = "no text has it word for word"
CASE = "in other letter case"
NESTED = "only inside a name or a longer value"
SHARED = "also the value of another attribute"
GIVEN = "given as not stated"
REASONS = (ABSENT, CASE, NESTED, SHARED, GIVEN)  # the later ones say more

_FOLDED = str.maketrans("‘’ʼ‛`“”„‟‐‑", "'''''\"\"\"\"--")
_UNSPACED = (  # scripts without spaces between words, as ranges of code points
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic marks
    (0x3041, 0x309F),  # hiragana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_HANGUL = (0xAC00, 0xD7A3)


@dataclass(frozen=True)
class Stated:
    """What one text states of a person: its place in characters by attribute, under None of the
    name; and of what it does not state, why."""

    places: dict[str | None, Span]
    missed: dict[str | None, str]


def folded(text: str) -> str:
    """A text of equal length in which quotes and hyphens of one meaning are one."""
    return text.translate(_FOLDED)


def is_word(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] begins and ends with whole words."""
    return _begins(text, start) and _ends(text, end)


def _begins(text: str, start: int) -> bool:
    if start > 0 and _joined(text[start - 1], text[start], left=True):
        return False
    # not the second part of a compound: Salem in Winston-Salem
    return not (start > 1 and text[start - 1] == "-" and _in_word(text[start - 2]))


def _ends(text: str, end: int) -> bool:
    return end == len(text) or not _joined(text[end - 1], text[end], left=False)


def _joined(a: str, b: str, left: bool) -> bool:
    """Whether two neighbours are parts of one word. left: `b` begins what is asked for."""
    if not (_in_word(a) and _in_word(b)):
        return False
    if unicodedata.category(b)[0] == "M":  # belongs to the letter before
        return True
    if _unspaced(a) or _unspaced(b):
        return False
    hangul = _HANGUL[0] <= ord(a) <= _HANGUL[1] and _HANGUL[0] <= ord(b) <= _HANGUL[1]
    return left or not hangul  # particles follow a Korean noun without a space


@lru_cache(maxsize=4096)
def _in_word(c: str) -> bool:
    return c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M"


@lru_cache(maxsize=4096)
def _unspaced(c: str) -> bool:
    return any(low <= ord(c) <= high for low, high in _UNSPACED)


def occurrences(text: str, words: str) -> Iterator[Span]:
    """All places of these words as whole words, from left to right."""
    at = text.find(words)
    while at >= 0:
        if is_word(text, at, at + len(words)):
            yield at, at + len(words)
        at = text.find(words, at + 1)


class Finder:
    """Finds places in texts, given everybody's names and values: a longer one of these around a
    place takes it."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.phrases = set()
        for person in people:
            self.phrases |= {folded(words) for words in (person.name, *person.values.values())}
        lengths = {len(words) for words in self.phrases}
        # by words, where they lie in longer phrases: (characters in front, length of the phrase)
        self.around: dict[str, set[tuple[int, int]]] = {}
        for phrase in self.phrases:
            for start, end in _parts(phrase, lengths):
                if phrase[start:end] in self.phrases:
                    places = self.around.setdefault(phrase[start:end], set())
                    places.add((start, len(phrase)))

    def stated(self, person: Person, text: Text) -> Stated:
        """Where a text states what is known of its person."""
        words: dict[str | None, str] = {None: folded(person.name)}
        words |= {name: folded(value) for name, value in person.values.items()}
        line = folded(text.text)
        places = {name: span for name, span in text.given.items() if span is not None}
        missed: dict[str | None, str] = {
            name: GIVEN for name, span in text.given.items() if span is None
        }
        taken = list(places.values())
        searched = [name for name in words if name not in text.given]
        names = [s for s in occurrences(line, words[None]) if not self._nested(line, s)]
        for name in sorted(searched, key=lambda name: -len(words[name])):
            matches = list(occurrences(line, words[name]))
            apart = [s for s in matches if name is None or not _cuts(s, names)]
            free = [s for s in apart if not _overlaps(s, taken) and not self._nested(line, s)]
            rivals = [other for other in searched if other and words[other] == words[name]]
            if free and (name is None or len(rivals) == 1):
                places[name] = free[0]
                taken.append(free[0])
            elif free:
                missed[name] = SHARED
            elif matches:
                missed[name] = NESTED
            else:
                other_case = occurrences(line.lower(), words[name].lower())
                missed[name] = CASE if any(True for _ in other_case) else ABSENT
        return Stated(places, missed)

    def _nested(self, line: str, span: Span) -> bool:
        """Whether a longer name or value stands around a place."""
        start, end = span
        for before, length in self.around.get(line[start:end], ()):
            first, last = start - before, start - before + length
            within = 0 <= first and last <= len(line)
            if within and line[first:last] in self.phrases and is_word(line, first, last):
                return True
        return False


def _parts(phrase: str, lengths: set[int]) -> Iterator[Span]:
    """Shorter parts of a phrase that are whole words in it and as long as some phrase is."""
    for start in range(len(phrase)):
        if not phrase[start].isspace() and _begins(phrase, start):
            for length in lengths:
                end = start + length
                if end <= len(phrase) and length < len(phrase) and _ends(phrase, end):
                    yield start, end


def _overlaps(span: Span, others: Iterable[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _cuts(span: Span, names: Iterable[Span]) -> bool:
    """Whether a place shares characters with a name without holding it and more: a value may hold
    the whole name, as a prize that is named after the person."""
    return any(
        span[0] < end
        and start < span[1]
        and not (span[0] <= start and end <= span[1])
        or span == (start, end)
        for start, end in names
    )


def shown_before(person: Person, text: Text, name: str, place: Span) -> bool:
    """Whether the value's words stand in front of their place already, as in the person's name: a
    copy could answer."""
    before = folded(text.text)[: place[0]]
    return any(True for _ in occurrences(before, folded(person.values[name])))


def reason(reasons: Mapping[str, int]) -> str:
    """The reason that says the most, of those why texts were not asked."""
    return max(reasons, key=REASONS.index)
