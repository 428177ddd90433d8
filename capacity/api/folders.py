"""Where results lie when nobody says: the same place as for the commands."""

from __future__ import annotations

import os
from pathlib import Path


def results_folder(given: str | Path | None) -> Path:
    """The folder given, else $CAPACITY_RESULTS, else ./results."""
    return Path(os.environ.get("CAPACITY_RESULTS", "results") if given is None else given)
