"""capacity: measure how many bits small language models store, and fit laws to the answer.

In Python: `table`, `load`, `bits`, `fit` and `figure` answer as the commands do; what is wrong with
what they are given is a `ConfigError` of one line. They are loaded when they are first asked for
(PEP 562), so that `import capacity` loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capacity.api.code_lengths import Bits, bits
    from capacity.api.drawing import figure
    from capacity.api.fits import Fits, Fitted, fit
    from capacity.api.runs import Model, Run, load
    from capacity.api.tables import table
    from capacity.base.errors import ConfigError

__version__ = "0.2.0"
__all__ = [
    "Bits",
    "ConfigError",
    "Fits",
    "Fitted",
    "Model",
    "Run",
    "bits",
    "figure",
    "fit",
    "load",
    "table",
]
# where each name is defined
_MODULES = {
    "bits": "capacity.api.code_lengths",
    "Bits": "capacity.api.code_lengths",
    "ConfigError": "capacity.base.errors",
    "figure": "capacity.api.drawing",
    "fit": "capacity.api.fits",
    "Fits": "capacity.api.fits",
    "Fitted": "capacity.api.fits",
    "load": "capacity.api.runs",
    "Model": "capacity.api.runs",
    "Run": "capacity.api.runs",
    "table": "capacity.api.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
