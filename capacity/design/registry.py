"""Which kind of target each form has: the only place that names all kinds."""

from __future__ import annotations

import math

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import joined
from capacity.design.corner import Corner, SharpCorner
from capacity.design.exposure import CURVES, Exposures
from capacity.design.formats import ASSUMED, Formats
from capacity.design.plateau import Intercept, Plateau
from capacity.design.target import Target
from capacity.fitting import forms

KINDS: dict[str, type[Target]] = {
    "capacity_linear": Plateau,
    "capacity_affine": Intercept,
    "capacity_power": Plateau,
    "smooth_corner": Corner,
    "hard_corner": SharpCorner,
    **dict.fromkeys(CURVES, Exposures),
    **dict.fromkeys(ASSUMED, Formats),
}


def make_target(form: str, parameter: str, width: float) -> Target:
    """The target that a command names; ConfigError, in one line, with what is allowed."""
    if form not in KINDS:
        reason = "`capacity plan` cannot simulate it" if form in forms.FORMS else "unknown"
        raise ConfigError(
            f"--form {form}: {reason}{nearest(form, list(KINDS))}; allowed: {', '.join(KINDS)}"
        )
    law, kind = forms.FORMS[form], KINDS[form]
    allowed = [name for name in law.names if name not in kind.fixed]
    if parameter not in law.names:
        raise ConfigError(
            f"--parameter {parameter}: {form} has {joined(law.names)}{nearest(parameter, allowed)}"
        )
    if parameter in kind.fixed:
        raise ConfigError(
            f"--parameter {parameter}: {kind.fixed[parameter]}; allowed: {', '.join(allowed)}"
        )
    if not 0 < width < math.inf:
        raise ConfigError(f"--width {width:g}: expected a number above 0")
    return kind(law, parameter, width)
