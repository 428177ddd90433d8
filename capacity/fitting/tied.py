"""Forms whose parameters are tied to each other, such as alpha = beta: fewer parameters, the same
formula.

    law = tied(form("chinchilla"), {"alpha": "beta"})      # parameters e, a, b, beta
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from capacity.fitting.form import Arrays, Box, Form


def tied(form: Form, ties: Mapping[str, str]) -> Form:
    """A form in which every key of ties has the value of the parameter that it names, and is no
    parameter itself.

    Its derivative by a parameter is the sum of those of all that are tied to it; bounds are the
    intersection. ValueError for unknown names, chains, and parameters of different units or
    scales."""
    for name, other in ties.items():
        first, second = (form.parameters[form.index(n)] for n in (name, other))
        if name == other or other in ties:
            raise ValueError(
                f"{form.name}: {name} = {other}: tie each parameter to one that is free itself"
            )
        if (first.unit, first.scale) != (second.unit, second.scale):
            units = f"{first.unit or 'no unit'} and {second.unit or 'no unit'}"
            raise ValueError(f"{form.name}: {name} = {other}: not of one unit ({units})")
    if not ties:
        return form
    names = form.names
    kept = [j for j, name in enumerate(names) if name not in ties]
    source = [kept.index(names.index(ties.get(name, name))) for name in names]  # of each full one

    def curve(x: Arrays, *parameters: Any) -> tuple[Any, tuple[Any, ...]]:
        value, slopes = form.curve(x, *(parameters[i] for i in source))
        sums: list[Any] = [0.0] * len(kept)
        for i, slope in zip(source, slopes, strict=True):
            sums[i] = sums[i] + slope
        return value, tuple(sums)

    def box(x: Arrays, y: np.ndarray) -> Box:
        every = form.bounds(x, y)
        return {
            names[j]: (
                max(every[i, 0] for i, s in enumerate(source) if s == place),
                min(every[i, 1] for i, s in enumerate(source) if s == place),
            )
            for place, j in enumerate(kept)
        }

    def starts(x: Arrays, y: np.ndarray) -> np.ndarray:
        return np.unique(form.starts(x, y)[:, kept], axis=0)

    shared = {*ties, *ties.values()}
    return replace(
        form,
        formula=f"{form.formula}, {', '.join(f'{a} = {b}' for a, b in ties.items())}",
        parameters=tuple(
            replace(
                form.parameters[j],
                meaning="; ".join(
                    form.parameters[i].meaning for i, s in enumerate(source) if s == place
                ),
            )
            for place, j in enumerate(kept)
        ),
        linear=tuple(name for name in form.linear if name not in shared),
        curve=curve,
        starts=starts,
        box=box,
    )
