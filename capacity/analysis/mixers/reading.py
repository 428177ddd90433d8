"""What the runs of a study of mixers are: the form of each model, by which recipe it was trained,
and what each run may say of capacity.

form       settings of the model in which the runs differ, beside layers, width and heads
size       layers and width
amount     of the choice of a recipe: the size at which it was made (`idle.tuning`)
load       how much data, for the blocks within which forms are compared
condition  as in studies of parts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from capacity import naming
from capacity.analysis import labels
from capacity.analysis.idle import reading as parts
from capacity.base.frames import Frame
from capacity.naming import Value

if TYPE_CHECKING:
    from capacity.config import Config

# what makes a study one of mixers
CHOICES = ("mixer", "mixer_conv", "mixer_gate", "mixer_decay", "canon", "loops", "map_rank")
CONVOLUTIONS = "model.mixer_conv"

Forms = Mapping[str, Mapping[str, Value]]  # name -> its settings of the model, in the study's order


def described(
    runs: Sequence[Config], names: naming.Names, best_over: Sequence[str]
) -> tuple[Frame, Forms]:
    """A row per planned run: run_id, condition, called (see `idle.reading.described`), size, model
    and system (both the name of the form), form (0: `idle.tuning` asks for one), amount, load,
    recipe, tables (no model has any), p (total parameters). And the forms by name."""
    known = parts.described(runs, best_over)
    settings = [naming.settings(run) for run in runs]
    family = [
        key
        for key in settings[0]
        if key.startswith("model.")
        and key not in naming.SIZES
        and len({one.get(key) for one in settings}) > 1
    ]
    table: Frame = pd.DataFrame(settings, dtype=object)
    called = labels.variants(table.where(table.notna(), None), family, [], [], names)
    forms: dict[str, dict[str, Value]] = {}
    for name, one in zip(called, settings, strict=True):
        forms.setdefault(name, {key: v for key, v in one.items() if key.startswith("model.")})
    several = known.amount.nunique() > 1
    at = [
        ("size", naming.listed([size, f"{amount[0].split('.')[-1]} {amount[1]:g}"] if several
                               else [size]))
        for size, amount in zip(known["size"], known.amount, strict=True)
    ]  # fmt: skip
    out = known.assign(load=known.amount, amount=at, model=called, system=called, form=0)
    return out.drop(columns=["idle_by"]), forms


def joined(table: Frame, known: Frame) -> Frame:
    """The checked table of runs with what is known of them, see `idle.reading.joined`, and `rate`:
    strict bits per parameter, the total count."""
    out = parts.joined(table, known, "random data")
    return out.assign(rate=out.held / out.p)


def with_convolutions(forms: Forms) -> list[tuple[str, str]]:
    """Pairs of forms that differ in the convolutions of the mixer alone: with, without."""
    rest = {
        name: {key: value for key, value in one.items() if key != CONVOLUTIONS}
        for name, one in forms.items()
    }
    has = {name: one.get(CONVOLUTIONS) == "true" for name, one in forms.items()}
    return [
        (name, other)
        for name in forms
        for other in forms
        if has[name] and not has[other] and rest[name] == rest[other]
    ]


def named(forms: Forms, wanted: Mapping[str, Value]) -> str | None:
    """The one form that has these settings; None where no form or several do."""
    fit = [name for name, one in forms.items() if all(one.get(k) == v for k, v in wanted.items())]
    return fit[0] if len(fit) == 1 else None
