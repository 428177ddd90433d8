"""Types of tables for a checker, and what pandas says of wide ones."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

# pandas.DataFrame and Series; by their own annotations a selection of rows may be either, so that
# they tell a checker nothing.
Frame: TypeAlias = Any
Column: TypeAlias = Any


def stay_quiet_of_width() -> None:
    """Tables of runs have a column per setting and measure, some hundred and sixty, and a column
    that joins one is no loop over inserts. pandas warns of more than a hundred blocks, of which a
    column of text is one each, so that a new setting would put a warning on everybody's screen."""
    warnings.filterwarnings("ignore", message="DataFrame is highly fragmented")
