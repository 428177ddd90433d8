"""What models of a study of text hold of random data, from the fit of the study that its entry
`random_data` names: the capacity that Morris et al. (arXiv 2505.24832) divide the bits of a text
by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scipy import stats

from capacity.analysis import convert
from capacity.analysis.text.schema import RandomCapacity
from capacity.base.errors import ConfigError

NOT_ASKED = "the study names no study of random data (entry random_data)"
CONVENTION = "strict"  # the bits of a text count the first token, too


def of_models(
    study: str, results: Path, models: Mapping[str, float]
) -> dict[str, RandomCapacity] | None:
    """By model its bits of random data per parameter (strict bits, P total), with a 95%
    interval over seeds, and over sizes of its data where these scatter; of a model that the study
    has not measured alpha of its law C = alpha P, with the interval over models. None where that
    study has not been fitted in this folder.

    models: name -> P total. ConfigError where the file is there and no fit of random data.
    """
    file = results / "studies" / study / "fit.json"
    if not file.exists():
        return None
    try:
        fit = convert.read(file)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    if fit.get("kind") != "random":
        raise ConfigError(
            f"random_data: {study}: {file} is a fit of kind {json.dumps(fit.get('kind'))}; "
            "allowed: a study of random data (kind random)"
        )
    part = fit[CONVENTION]
    measured = {row["model"]: row for row in _measured(part["plateaus"])}
    capacities = {}
    for model, parameters in models.items():
        row = measured.get(model)
        if row is not None and math.isclose(row["parameters"], parameters):
            capacities[model] = _plateau(row, _noise(measured), study)
            flat = part.get("flatness", {"intervals": {}})["intervals"]
            if wide := flat.get(model):  # sizes of its data scatter, too
                capacities[model]["alpha"]["interval"] = list(wide)
        elif (law := _law(part["alpha"], study)) is not None:
            capacities[model] = law
    return capacities


def _measured(plateaus: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Plateaus that are no bound."""
    for row in plateaus:
        if not row["lower_bound"] and row["bits_per_parameter"]:
            yield row


def _noise(measured: Mapping[str, dict[str, Any]]) -> tuple[float, int]:
    """Relative standard deviation of one seed, pooled over models, and its degrees of freedom."""
    pairs = [
        (row["seeds"] - 1, row["bits_per_parameter_sd"] / row["bits_per_parameter"])
        for row in measured.values()
        if row["seeds"] > 1 and row["bits_per_parameter_sd"] is not None
    ]
    freedom = sum(n for n, _ in pairs)
    return math.sqrt(sum(n * sd**2 for n, sd in pairs) / max(freedom, 1)), freedom


def _plateau(row: Mapping[str, Any], noise: tuple[float, int], study: str) -> RandomCapacity:
    sd, freedom = noise
    value, interval = row["bits_per_parameter"], None
    if freedom:
        half = stats.t.ppf(0.975, freedom) * sd / math.sqrt(row["seeds"])
        interval = [value * math.exp(-half), value * math.exp(half)]
    return {"study": study, "of": "model", "alpha": {"value": value, "interval": interval}}


def _law(alpha: Mapping[str, Any] | None, study: str) -> RandomCapacity | None:
    if alpha is None or alpha["value"] is None:
        return None
    over = alpha["interval_models"]
    interval = list(over["ends"]) if over and over["ends"] else None
    return {"study": study, "of": "law", "alpha": {"value": alpha["value"], "interval": interval}}


def words(one: RandomCapacity) -> str:
    """Where it comes from: its own plateau, or the law over models."""
    whose = "of this model" if one["of"] == "model" else "by the law C = alpha P"
    return f"{whose}, {one['study']}"


def absent(study: str) -> str:
    """Why there is none, in words that continue a sentence; study: of the entry, or empty."""
    if not study:
        return NOT_ASKED
    return f"{study} has no fit in this folder that says it (capacity fit-laws {study})"
