"""The capacity of a model by a law of one's own, instead of the quoted one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import count, digits


@dataclass(frozen=True)
class Law:
    """C = alpha P of random data: bits per parameter, strict bits over the total count, as
    `fit-laws` quotes it, with its interval. sizes: of the models that it was fitted to."""

    study: str
    alpha: float
    interval: tuple[float, float] | None
    sizes: tuple[float, float]

    def capacity(self, parameters: int) -> tuple[float, str]:
        """Bits that a model of so many parameters holds, and whose law that is."""
        ends = ""
        if self.interval is not None:
            ends = f" [{digits(self.interval[0])}, {digits(self.interval[1])}]"
        low, high = self.sizes
        beyond = "" if low <= parameters <= high else ", extrapolated"
        words = (
            f"{digits(self.alpha)}{ends} bits per parameter, strict, of the study {self.study} "
            f"with {count(low)} to {count(high)} parameters{beyond}"
        )
        return self.alpha * parameters, words


def read(name: str, results: Path) -> Law:
    """The law of a study, results/studies/NAME/fit.json, or of a file of this kind. ConfigError
    where there is none, or its kind has no capacity of random data."""
    studies = results / "studies"
    path = Path(name) if name.endswith(".json") else studies / name / "fit.json"
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = sorted(
            file.parent.relative_to(studies).as_posix() for file in studies.rglob("fit.json")
        )
        raise ConfigError(
            f"--law {name}: no {path}{nearest(name, known)}; capacity fit-laws STUDY writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--law {name}: {path}: not the numbers of a fit ({error})") from None
    kind = tree.get("kind") if isinstance(tree, dict) else None
    if kind != "random":
        raise ConfigError(
            f"--law {name}: {path} is of kind {kind}; the capacity of random data is a law of "
            "kind random"
        )
    return _law(name, str(tree.get("study", name)), path, tree["strict"])


def _law(name: str, study: str, path: Path, strict: dict[str, Any]) -> Law:
    alpha = strict.get("alpha")
    if alpha is None or alpha["value"] is None:
        why = strict.get("reason") or "no model was limited by its capacity"
        raise ConfigError(f"--law {name}: {path} has no law: {why}")
    ends = alpha[alpha["quote"]]["ends"]
    return Law(
        study,
        float(alpha["value"]),
        None if ends is None else (float(ends[0]), float(ends[1])),
        (float(strict["validity"]["parameters"][0]), float(strict["validity"]["parameters"][1])),
    )
