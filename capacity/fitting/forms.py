"""The laws of this package as data, by name.

    from capacity.fitting.forms import FORMS, form
    law = form("smooth_corner")
    law.predict({"parameters": p, "ceiling_bits": h}, {"alpha": 3.6, "k": 5.0})    # array like p
    law.describe()                                     # all that is known of it, JSON-able

`fit.fit` fits any of them, `intervals` says how far to trust the parameters, `selection` which form
is to be preferred. What a form consists of is in `form`.
"""

from __future__ import annotations

from capacity.base.errors import nearest
from capacity.fitting import capacity_forms, exposure_forms, precision_forms, text_forms
from capacity.fitting.form import Form

FORMS: dict[str, Form] = {
    f.name: f
    for family in (capacity_forms, exposure_forms, precision_forms, text_forms)
    for f in family.FORMS
}


def form(name: str) -> Form:
    """A form by its name; ValueError, in one line, names the nearest."""
    if name in FORMS:
        return FORMS[name]
    raise ValueError(
        f"unknown form {name!r}{nearest(str(name), list(FORMS))}: use one of {', '.join(FORMS)}"
    )
