"""Types of tables for a checker."""

from __future__ import annotations

from typing import Any, TypeAlias

# pandas.DataFrame and Series; by their own annotations a selection of rows may be either, so that
# they tell a checker nothing.
Frame: TypeAlias = Any
Column: TypeAlias = Any
