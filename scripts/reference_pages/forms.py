"""The page of forms: every law that can be fitted, from its own description."""

from __future__ import annotations

from capacity.fitting import capacity_forms, exposure_forms, precision_forms, text_forms
from capacity.fitting.form import Form
from reference_pages import markdown

FAMILIES = {
    "Capacity over model sizes": capacity_forms,
    "Exposures": exposure_forms,
    "Bits of a weight": precision_forms,
    "Membership, extraction, forgetting, losses": text_forms,
}
ABOUT = """\
The laws that this package fits, by name: `capacity fit FORM TABLE`, `capacity plan STUDY --form
FORM` and `capacity fit-laws` use the same ones. *Transform* says where residuals are taken: of
the logarithm (log) or of the value (identity). *Interval* is the method that held the truth in
simulated studies ([intervals](../results/intervals.md)). Limits are those of the search; data
may narrow them."""


def page() -> str:
    """All forms by family."""
    known = [(title, family.FORMS) for title, family in FAMILIES.items()]
    overview = [
        (f"[{form.name}](#{form.name})", markdown.code(form.formula), title)
        for title, forms in known
        for form in forms
    ]
    parts = []
    for title, forms in known:
        parts += [f"## {title}", *map(_form, forms)]
    return markdown.page(
        "Forms", ABOUT, markdown.table(("form", "formula", "about"), overview), *parts
    )


def _form(form: Form) -> str:
    variables = [
        (
            markdown.code(one.name),
            role,
            markdown.words(one.unit),
            markdown.words(one.meaning),
            "above 0" if one.positive else _limits(one.low, one.high),
        )
        for role, some in (("given", form.variables), ("target", (form.target,)))
        for one in some
    ]
    parameters = [
        (
            markdown.code(one.name),
            markdown.words(one.unit),
            markdown.words(one.meaning),
            _limits(one.low, one.high),
            one.scale,
        )
        for one in form.parameters
    ]
    facts = {
        "Domain": form.domain,
        "Asymptotes": form.asymptotes,
        "Source": form.source,
        "Transform": form.transform,
        "Interval": form.interval,
        "Robust loss": "offered" if form.robust else "not offered",
    }
    lines = [f"- *{name}*: {markdown.words(str(text))}" for name, text in facts.items() if text]
    return "\n\n".join(
        [
            f"### {form.name}",
            f"```text\n{form.formula}\n```",
            markdown.table(("variable", "role", "unit", "meaning", "allowed"), variables),
            markdown.table(("parameter", "unit", "meaning", "limits", "searched in"), parameters),
            "\n".join(lines),
        ]
    )


def _limits(low: float, high: float) -> str:
    ends = [_number(end) for end in (low, high)]
    return "any" if ends == ["-inf", "inf"] else f"{ends[0]} to {ends[1]}"


def _number(value: float) -> str:
    return f"{value:g}"
