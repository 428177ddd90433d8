"""Result files that older versions wrote, as this one writes them.

A file of schema 2 and later names its kind; one of schema 1 is recognised by what it holds. Names
change, numbers never do: what an old file does not hold stays absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
    """The content of fit.json, precision.json or memory.json in the present schema. OSError where
    the file cannot be read, ValueError where it is not JSON or not an object."""
    tree = json.loads(Path(path).read_bytes())
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a JSON object, found a {type(tree).__name__}")
    return current(tree)


def current(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers in the present schema; a tree of the present schema, or of one that is not
    known here, as it is."""
    new = dict(tree)
    if "kind" not in tree or tree.get("schema", 1) < 2:  # precision named the kind of data so
        for kind, (holds, convert) in OLD.items():
            if holds <= tree.keys():
                new = {"kind": kind} | convert(tree)
                break
    while convert := LATER.get((new.get("kind"), new.get("schema"))):
        new = convert(new)
    return new


def facts(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: a model that holds over 95% of its data was called saturated, and a number
    from seeds that did not choose the best was called fresh."""
    new = dict(old) | {"schema": 2}
    new["data_kinds"] = new.pop("kinds")
    new["data_limited"] = new.pop("saturated")
    new["noise"] = {
        {"saturated": "data_limited"}.get(name, name): value for name, value in old["noise"].items()
    }
    new["peaks"] = [peak | {"against_first": _against(peak)} for peak in old["peaks"]]
    if (choice := old["best_over"]["choice"]) is not None:
        arms = [_renamed(arm, {"fresh": "held_out"}) for arm in choice["arms"]]
        new["best_over"] = old["best_over"] | {"choice": choice | {"arms": arms}}
    return new


def facts_noise(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: the noise of arms is a line, and an arm of three seeds has its own; files
    before held one noise relative to R, which is not converted into what it is not."""
    return dict(old) | {"schema": 3}


def budget(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: plateaus stand beside published rows; files before compared nothing."""
    return dict(old) | {"schema": 3, "verdicts": []}


DATA_LIMITED = {"underfilled": "data_limited"}


def random(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: runs that the data limit were called underfilled, and what computed the
    numbers stood with each convention."""
    new = dict(old) | {"schema": 2, "inputs_sha256": old["strict"].get("inputs_sha256")}
    new["versions"] = old["strict"].get("versions")
    for bits in ("strict", "paper"):
        part = {
            k: v for k, v in old[bits].items() if k not in ("schema", "versions", "inputs_sha256")
        }
        part["dropped"] = _renamed(part["dropped"], DATA_LIMITED)
        part["cuts"] = _renamed(part["cuts"], DATA_LIMITED)
        part["plateaus"] = [_renamed(row, DATA_LIMITED) for row in part["plateaus"]]
        new[bits] = part
    return new


def ablation(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: it names its kind and versions."""
    return {"versions": {}} | dict(old) | {"schema": 2}


def text(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: predictions were called predicted, and the predicted values said; a file named
    neither versions nor its inputs, and left forgetting out where nothing was forgotten."""
    new = {key: value for key, value in old.items() if key != "predicted"}
    new["predictions"] = {
        value: [_renamed(row, {"said": "predicted"}) for row in rows]
        for value, rows in old["predicted"].items()
    }
    return {"schema": 2, "versions": {}, "inputs_sha256": "", "forgetting": None} | new


def _against(peak: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why a ratio has no interval, only where it has none."""
    ratio = peak["against_first"]
    if ratio is None or "why" not in ratio:
        return ratio
    why = ratio["why"].replace("cannot be told from 0", "is not distinguishable from 0")
    return ratio | {"why": None if ratio["interval"] else why}


def _renamed(tree: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in tree.items()}


def precision(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 -> 2: the kind of data was called kind, and a run that holds over 95% of its data
    under-filled."""
    new = {name: value for name, value in old.items() if name != "kind"}
    run_ids = _renamed(old["run_ids"], {"under_filled": "data_limited"})
    return new | {"schema": 2, "data_kind": old["kind"], "run_ids": run_ids}


PRECISION = {"way": "method", "rung": "format", "rungs": "formats", "kept": "retained"}


def precision_terms(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: a method was called way, a format rung, and the share retained kept."""
    new: dict[str, Any] = _renamed(old, PRECISION) | {"schema": 3}
    for question in ("retained", "capacity"):
        new[question] = [_renamed(row, PRECISION) for row in new[question]]
    new["laws"] = {
        method: {PRECISION.get(question, question): _law(law) for question, law in laws.items()}
        for method, laws in old["laws"].items()
    }
    new["paired"] = [
        _renamed(row, PRECISION) | {"question": PRECISION.get(row["question"], row["question"])}
        for row in old["paired"]
    ]
    if "conventions" in old:
        new["conventions"] = _renamed(old["conventions"], PRECISION)
    return new


def _law(old: Mapping[str, Any]) -> dict[str, Any]:
    """A law of one method; `reason` says why it has none, in words that named rungs too."""
    new = _renamed(old, PRECISION)
    if new.get("reason"):
        new["reason"] = new["reason"].replace(" rungs, a law needs ", " formats, a law needs ")
    return new


def text_canaries(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: the laws of exposure and of the part extracted were lines through those level
    means that lie between the ends, which is a description now, and the law of exposure is another
    one, which such a file does not hold."""
    new = dict(old) | {"schema": 3}
    if (canaries := old.get("canaries")) is None:
        return new
    lines = {}
    for name in ("exposure", "extracted"):
        line = canaries[name]
        slopes = {letter: line.get(letter, {}).get("value") for letter in "bc"}
        lines[name] = {"levels": line.get("points"), "of": None, "sizes": None} | slopes
    new["canaries"] = {
        "half_extracted": [row | {"interval": None} for row in canaries["half_extracted"]],
        "levels": canaries["levels"],
        "exposure": {
            "reason": "the file is of an older version, whose line left levels out by "
            "their exposure; fit the study again"
        },
        "logistic": canaries["logistic"],
        "lines": lines,
    }
    return new


MODELS = {
    "label": "model",
    "shapes": "models",
    "shapes_measured": "models_measured",
    "interval_shapes": "interval_models",
}
# fields whose words are this package's own and named models so; notes and sources may be a user's
WORDED = frozenset(
    ("estimator", "method", "form", "at", "knows", "quote", "reason", "why", "of")
    + ("convention", "intervals", "retained", "interval_seeds", "interval_models")
)
WORDS = (
    (re.compile(r"\bmodel shape(s?)\b"), r"model\1"),
    (re.compile(r"\b(interval_)?shape(s?)\b"), r"\1model\2"),
    (re.compile(r"^\(label, seed\)$|^label$"), lambda match: match[0].replace("label", "model")),
)


def models(old: Mapping[str, Any]) -> dict[str, Any]:
    """The next schema of every kind: the name of a model was called label, and what lies over
    models was said to lie over shapes."""
    return called_models(old) | {"schema": old["schema"] + 1}


def called_models(tree: Any, at: str = "") -> Any:
    """tree with the names of MODELS and the words of WORDS, also in recorded expectations; at: the
    key that holds it."""
    if isinstance(tree, Mapping):
        return {
            (name := MODELS.get(key, key)): called_models(part, str(name))
            for key, part in tree.items()
        }
    if isinstance(tree, list):
        return [called_models(part, at) for part in tree]
    if isinstance(tree, str) and at in WORDED:
        for old, new in WORDS:
            tree = old.sub(new, tree)
    return tree


# kind -> keys by which its files of schema 1 are recognised, and what makes them schema 2
OLD: dict[str, tuple[set[str], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "ablation": ({"strict", "paper", "varied"}, ablation),
    "random": ({"strict", "paper"}, random),
    "precision": ({"kept", "capacity", "laws", "paired"}, precision),
    "text": ({"targets", "predicted"}, text),
    "facts": ({"arms", "peaks", "saturated"}, facts),
}


# kind and schema of later files -> what makes them of the next schema
LATER_OF_ITEMS = ("earlier", "equal_cost", "retention")


def items(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: forecasts have a cost and what they know beyond copies, and stand beside those
    of earlier steps; precision and recall of files before are over replicates whose predictor
    foresees something."""
    new = {"cost": None, "asked": None, "by_replicate": {}, "within": None}
    new["within_above_guessing"] = None
    rows = [new | {"cost": row["small"] / row["large"]} | row for row in old["forecasts"]]
    return dict(old) | {"schema": 3, "forecasts": rows} | dict.fromkeys(LATER_OF_ITEMS, [])


def chain(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 2 -> 3: plateaus of the ends are compared, and other counting has an interval; files
    before compared none and had none."""
    readings = [{"interval": None} | row for row in old.get("readings", [])]
    return dict(old) | {"schema": 3, "ceilings": [], "readings": readings}


LATER: dict[tuple[Any, Any], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    ("budget", 2): budget,
    ("chain", 2): chain,
    ("precision", 2): precision_terms,
    ("facts", 2): facts_noise,
    ("text", 2): text_canaries,
    ("random", 2): models,
    ("ablation", 2): models,
    ("items", 2): items,
    ("facts", 3): models,
    ("precision", 3): models,
    ("text", 3): models,
}
