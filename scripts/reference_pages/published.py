"""The page of published values: each with its source and the studies that are set beside it."""

from __future__ import annotations

from capacity.published import values
from capacity.published.values import Value
from reference_pages import markdown, studies

ABOUT = """\
Every published number that a measured one is set beside, from
`capacity/published/published.toml`, the only place where they are kept. *Agreement* is the range
in which an interval has to lie to agree ([verdicts](../explanation/verdicts.md)). *Known*: p
read in the paper, r read in a public repository that has copied its tables, d derived by
arithmetic, s second-hand, u unverified. Constants are of formulas, which judge nothing."""


def page() -> str:
    """Values by source, in the order of the file."""
    users: dict[str, list[str]] = {}
    for one in studies.planned():
        for id in one.published:
            users.setdefault(id, []).append(one.name)
    rows = [
        (
            f"[{value.id}](#{markdown.anchor(value.id)})",
            markdown.words(value.what),
            _number(value),
            _range(value),
            value.evidence,
        )
        for value in values.values().values()
    ]
    overview = markdown.table(("value", "of what", "published", "agreement", "known"), rows)
    parts = [_value(value, users.get(id, [])) for id, value in values.values().items()]
    return markdown.page("Published values", ABOUT, overview, *parts)


def _value(value: Value, users: list[str]) -> str:
    facts = {
        "Published": f"{_number(value)} {markdown.words(value.unit)}".strip(),
        "Agreement": _range(value),
        "Why that range": markdown.words(value.reason),
        "Form": markdown.words(value.form),
        "Convention": markdown.words(value.convention),
        "Where": markdown.words(values.describe_setting(value.setting)),
        "Source": f"{markdown.words(value.source)} ({value.evidence})",
        "Note": markdown.words(value.note),
        "Studies": ", ".join(f"[{name}](studies.md#{markdown.anchor(name)})" for name in users)
        or "none; read by code",
    }
    lines = [f"- *{name}*: {text}" for name, text in facts.items() if text]
    return f"## {value.id}\n\n{markdown.words(value.what)}\n\n" + "\n".join(lines)


def _number(value: Value) -> str:
    if value.constants is not None:
        return ", ".join(f"{name} = {number:g}" for name, number in value.constants.items())
    text = "" if value.value is None else f"{value.value:g}"
    if value.interval is not None:
        low, high = value.interval
        text += f" [{low:g}, {high:g}]"
    return text.strip()


def _range(value: Value) -> str:
    if value.range is None:
        return ""
    low, high = (None if end is None else f"{end:.4g}" for end in value.range)
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"
