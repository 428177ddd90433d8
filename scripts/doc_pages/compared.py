"""Sentences of prose that compare: each needs its number, or the verdict, beside it.

"About as much as each other" and "a little less" are findings like any number, so that a person who
types them states one that no table bears out. A sentence with such words has a field, or a link to
a page or table of results, in itself or in the sentence before or behind it in its paragraph. What
a word means, how something is computed and what a reader may do are no findings: DEFINED lists the
ways to say these, with reasons. Questions and headings state nothing.
"""

from __future__ import annotations

import re

from doc_pages import typed

COMPARED = re.compile(
    r"\b(?:as (?:much|many|well|good|bad|high|low|few|large|small|far|strongly) as"
    r"|(?:more|less|fewer|better|worse|higher|lower|larger|smaller|faster|slower|narrower|wider"
    r"|steeper|flatter|weaker|stronger|earlier|longer|shorter)(?: than)?"
    r"|similar(?:ly)?|comparable|alike|indistinguishable|about the same|a like number"
    r"|one of the \w+est|hardly|barely|nearly|almost|mostly|most of|widely"
    r"|by far|far (?:above|below)"
    r"|outperform\w*|beats?|surpass\w*|exceeds?|improves?|hurts?|harms?|protects?"
    r"|rises?|falls?|grows?|shrinks?|raises?|lowers?|dominates?|saturates?)\b",
    re.I,
)
# What is a finding wherever it stands; the rest may also explain how something works.
FOUND = re.compile(
    r"\b(?:as \w+ as each other|about as \w+ as|about the same|a like number"
    r"|(?:a (?:little|lot|bit)|much|far)"
    r" (?:more|less|fewer|better|worse|higher|lower|larger|smaller)"
    r"|far (?:above|below)|by far|indistinguishable|hardly|barely|outperform\w*|beats|surpass\w*"
    r"|dominates?)\b",
    re.I,
)
STATING = (
    "templates/README",
    "templates/results/",
    "templates/explanation/laws_can_be_wrong",
    "explanation/limits",
)
DEFINED = (
    (r"\blower (bound|limit|end)s?\b|\bupper (bound|limit|end)s?\b", "the name of a bound"),
    (r"\b(no|not|never|at|one or) more( than)?\b|\bno (longer|fewer|less|lower|higher)\b",
     "a bound"),
    (r"\bless (that|what)\b|\bone \w+ more\b", "a difference, another one"),
    (r"\braises\s+with one line\b", "an error of a program"),
    (r"\bmore data\s+than\s+fit\b", "what it means to be full"),
    (r"\bas (much|many|few) as (it|they) can\b", "what it means to be full"),
    (r"\bthe\s+(wider|larger|smaller|shorter)\s+one\b", "which of two"),
    (r"\bsmaller than the published ones\b", "the scale, which every verdict prints"),
    (r"\bhigher by about S/", "a formula"),
    (r"\b(never|no other|no fixed)\b[^,;:]*", "a bound, or what follows from arithmetic"),
    (r"\b(longer|shorter) (one|values?|names?)\b", "which of two strings"),
    (r"\ba code of equal lengths [^,;:]*", "follows from arithmetic"),
    (r"\bas printed it\s+rises\b", "follows from a formula"),
    (r"\b(asks|asked|whether|if|when|where|as soon as|until|unless)\b[^,;:]*", "a condition"),
    (r"\b(may|can|could|would|should|must|has to|have to|let|allowed)\b[^,;:]*",
     "what is possible or asked for"),
    (r"\bmore (on|about|of it)\b|\bsays more\b", "where to read on"),
    (r"\b(counts?|counted|called|means?|stands? for|defined|holds more than) [^,;:]*",
     "what a word means"),
    (r"\bdoes A store more than B\b|\b(stores?|store) more\b", "the question of `compare`"),
    (r"\bas (well|far|long|often|soon) as\b", "and, while"),
    (r"\b(all|every|each) [^,;:]* alike\b|\balike\b", "in the same way, not as much"),
    (r"\bone more\b|\bmore (than one|words|tables|settings)\b|\blarger ones\b", "another one"),
)  # fmt: skip
BESIDE = re.compile(r"\{\{.*?\}\}|\]\([^)]*(?:results|decisions|changed_answers)[^)]*\)", re.S)
HEADING = re.compile(r"^#.*$", re.M)
CODE = (
    re.compile(r"<!--.*?-->", re.S),
    re.compile(r"```.*?```", re.S),
    re.compile(r"^(?: {4}|\t).*$", re.M),
)


def sentences(text: str, words: re.Pattern[str] = COMPARED) -> list[str]:
    """`line: words` of every comparison that stands without its number. words: FOUND for pages that
    explain how something works."""
    for pattern in CODE:
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    text = HEADING.sub("", text)
    out, line = [], 1
    for block in re.split(r"(\n[ \t]*\n|\n(?=[ \t]*(?:[-*|]|\d+\.) ))", text):
        parts = re.split(r"(?<=[.?!;])(?=\s)", block)
        for i, part in enumerate(parts):
            near = "".join(parts[max(0, i - 1) : i + 2])
            if not part.rstrip().endswith("?") and not BESIDE.search(near):
                out += [f"{line + at}: {told}" for at, told in _compared(part, words)]
            line += part.count("\n")
    return out


def questions(text: str) -> list[str]:
    """Comparisons that a question takes for answered ("how much less ..?"): one that begins with a
    verb (does, is, can) can be answered either way."""
    out: list[str] = []
    for clause in text.split(","):
        open_ = re.match(r"\W*(?:and |or )?(does|do|is|are|can|has|have|will)\b", clause, re.I)
        if not open_ or re.match(r"\W*is it .* that ", clause, re.I):
            out += [found[0] for found in COMPARED.finditer(_blanked(clause))]
    return out


def _compared(part: str, words: re.Pattern[str]) -> list[tuple[int, str]]:
    plain = _blanked(part)
    return [(plain[: m.start()].count("\n"), m[0]) for m in words.finditer(plain)]


def of_page(place: str, text: str) -> list[str]:
    """The same by where a page stands below docs: pages of results, of limits and of what laws
    assume state findings in any words."""
    states = place.startswith(STATING)
    return sentences(text, COMPARED if states else FOUND)


def _blanked(text: str) -> str:
    """Prose without code, links, names and what only defines, lines kept."""
    text = typed.prose(text)
    for pattern, _ in DEFINED:
        text = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.I)
    return text
