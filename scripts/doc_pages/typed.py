"""Numbers and words of judgement that a person typed into prose: each must come from a field.

What may be typed: code (settings, commands, what they print), links, headings' numbers of the
literature, names that have digits, and the few conventions that are listed here with a reason.
"""

from __future__ import annotations

import re

NOT_PROSE = (
    re.compile(r"<!--.*?-->", re.S),
    re.compile(r"```.*?```", re.S),
    re.compile(r"^(?: {4}|\t).*$", re.M),  # a block of code
    re.compile(r"`[^`\n]*`"),
    re.compile(r"\{\{.*?\}\}", re.S),  # a field
    re.compile(r"<img [^>]*>"),
    re.compile(r"\]\([^)]*\)"),  # where a link leads
    re.compile(r"https?://\S+"),
)
ALLOWED = (
    (r"arXiv\s\d{4}\.\d{4,5}(v\d)?", "a source"),
    (r"\b(19|20)\d\d\b", "a year"),
    (r"\b(Python|transformers|torch|License|CUDA) \d+(\.\d+)*", "a version"),
    (r"Physics of Language Models 3\.3|\b3\.[13]\b(?= (asks|does|states|trained))", "a title"),
    (r"\b(section|sections|appendix|Table|Fig\.|Definition|Result|Results|equation) "
     r"[A-Z]?\d+(\.\d+)*(( and |, | to )\d+(\.\d+)*)*", "a place in a source"),
    (r"\b95%", "the level of every interval"),
    (r"\b(GPT|GPT2|GPT-2|K)-?\d\b", "a name"),
    (r"\bGPT2(-\d+)*\b|\bGPT-NeoX\b", "a name"),
    (r"\b(int|fp|bf|TF|uint|float)\d+\b", "a format"),
    (r"\blog2\b|\bp[123]\b|\bF1\b|\b[cCNVSPKR][0-9]\b|\br?_?[bc]0\b", "a symbol"),
    (r"\b\d+ ?x ?\d+\b(?! ?times)", "a shape: layers x width"),
    (r"\b(TPR at|at) 1% (FPR|false positives)", "the name of a measure"),
    (r"\b2\.\.S\b|S ?/ ?\(S ?- ?1\)|\(S-1\)|\bC\(N0, N\)", "a formula"),
    (r"^#+ .*$", "a heading"),
    (r"^\d+\. ", "an item of a numbered list"),
    (r"(?<![\d.,])\b[01]\b(?![.,]?\d)", "zero or one: an end of a scale, a thing counted once"),
)  # fmt: skip
NUMBER = re.compile(r"\d[\d.,]*")
WORDS = (  # what only a verdict or a table may say
    r"\bagrees?\b", r"\bdiffers?\b", r"\bcannot tell\b", r"\badds nothing\b", r"\bis ahead\b",
    r"\b(twice|thrice|half|double|\w+ times) (as|of|the|more|less|lower|higher|fewer|larger)\b",
    r"\bproves?\b", r"\bconfirms?\b", r"\brefutes?\b", r"\bwins\b", r"\bties\b", r"\bloses\b",
    r"\bno difference\b", r"\bclose to\b", r"\bsignificant(ly)?\b",
)  # fmt: skip


def prose(text: str) -> str:
    """The text with all that is no prose blanked, lines kept."""
    for pattern in NOT_PROSE:
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return text


def numbers(text: str) -> list[str]:
    """`line: number` of every number that stands in prose and is not allowed there."""
    text = prose(text)
    for pattern, _ in ALLOWED:
        text = re.sub(pattern, lambda found: " " * len(found[0]), text, flags=re.M)
    return _found(text, NUMBER)


def judgements(text: str) -> list[str]:
    """`line: word` of every word of judgement in prose."""
    return [one for word in WORDS for one in _found(prose(text), re.compile(word, re.I))]


def _found(text: str, pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{i}: {found[0]}"
        for i, line in enumerate(text.splitlines(), 1)
        for found in pattern.finditer(line)
    ]
