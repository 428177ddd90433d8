"""The entry `expects` of a study file: which published values `fit-laws` puts beside which measured
ones (standard library).

Each entry is a mapping:

    name         what the value is about, a few words; unique within the study
    published    id of a value of `published.toml`, from where value, range, source, evidence,
                 convention and note come
    quantity     one of QUANTITIES, below
    where        {column: value or list of values}: the runs it is about; a column is any setting,
                 or kind or model; null stands for an empty setting
    against      the same, for the runs in the denominator (ratio only)
    range        [lowest, highest] that still counts as agreement; null leaves an end open. Beside
                 `published` only where these runs need another one, which the verdict says
    tolerance    instead of range: a relative one around value, such as 0.1
    note         what a reader should know beside the verdict, added to that of the published value
    of           ratio, rising: which number, see NUMBERS (default R)
    models       ratio: peak (each arm's best model, the default) or matched (models that both arms
                 have)
    statistic    saturated_fraction: min (default) or mean over models
    below_peak   saturated_fraction: models whose R^max is at most this part of the peak of R over
                 the study's models of the same kind and exposures (default 0.9)

and for a value that is not among the published ones, such as one of your own, instead of
`published`:

    value        the value, for the reader
    source       where it comes from: paper, section, result
    evidence     p read in the paper, r in its repository, d derived by arithmetic, s second-hand, u
                 unverified
    convention   how that number counts, if that matters
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.base.errors import ConfigError, nearest
from capacity.config import known_keys
from capacity.published import values as published
from capacity.published.values import EVIDENCE
from capacity.settings.aliases import near_setting

SCALES = ("published", "pocket")
QUANTITIES = {
    "peak_ratio": "largest R over models, one verdict per curve (arm of one N and one number of "
    "exposures)",
    "saturated_fraction": "R / R^max over the models that have room for their data (R^max at most "
    "`below_peak` of the study's own peak)",
    "ratio": "R of the arm `where` / R of the arm `against`, one verdict per pair of curves",
    "rising": "R at the most exposures / R at the fewest, same models, one verdict per arm and N",
    "accuracy": "share of attribute values that are reproduced exactly, one verdict per arm",
    "extraction": "share of questions about held-out people answered exactly, one verdict per arm",
    "extractable_fraction": "extraction / accuracy of the same runs, one verdict per arm",
}
NUMBERS = {"R": "r", "accuracy": "accuracy", "extraction": "extraction_accuracy"}  # by name in `of`
COLUMNS = ("kind", "model", "n_people", "seed")  # of the table, beside the settings
OWN = ("value", "source", "evidence", "convention")  # entries that `published` stands for
TEXTS = (
    "name",
    "published",
    "quantity",
    "source",
    "evidence",
    "convention",
    "note",
    "of",
    "models",
    "statistic",
)
KEYS = (
    "name",
    "published",
    "quantity",
    "where",
    "against",
    "range",
    "tolerance",
    "note",
    "of",
    "models",
    "statistic",
    "below_peak",
    *OWN,
)
ONLY = {
    "against": ("ratio",),
    "of": ("ratio", "rising"),
    "models": ("ratio",),
    "statistic": ("saturated_fraction",),
    "below_peak": ("saturated_fraction",),
}  # entries that only some quantities take
# 3.3, Result 1(b): every model with R^max <= 1.8 has R about R^max, where the peak of R is 2.
# Models of another scale reach another peak, so the cut is that part of the peak.
BELOW_PEAK = 0.9


def check_expects(entries: Any) -> list[dict[str, Any]]:
    """The entries with their defaults filled in (range, where, of, models, statistic, below), or
    ConfigError."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(
            "expects: expected a list of mappings with name, quantity, range, source and evidence"
        )
    out = [
        _checked(entry, f"expects: {entry.get('name', f'entry {i + 1}')}")
        for i, entry in enumerate(entries)
    ]
    names = [entry["name"] for entry in out]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"expects: {name}: two entries of this name")
    return out


def _checked(entry: dict[str, Any], at: str) -> dict[str, Any]:
    _check_keys(entry, at)
    quantity = _one_of(at, "quantity", entry["quantity"], QUANTITIES)
    if "published" in entry:
        entry = _from_published(entry, at)
    _one_of(at, "evidence", entry["evidence"], EVIDENCE)
    for key, quantities in ONLY.items():
        if key in entry and quantity not in quantities:
            raise ConfigError(
                f"{at}: {key}: only for quantity {' or '.join(quantities)}, not {quantity}"
            )
    if quantity == "ratio" and "against" not in entry:
        raise ConfigError(f"{at}: against is missing: a ratio needs the runs to compare with")
    out = {
        "published": None,
        "there": "",
        "where": {},
        "value": None,
        "interval": None,
        "convention": "",
        "note": "",
    } | entry
    out |= _defaults(quantity, entry, at)
    for key in ("where", "against"):
        if key in out:
            _check_where(out[key], f"{at}: {key}")
    out["range"] = _range(entry, at)
    out["form"] = form_of(out)
    return out


def form_of(entry: Mapping[str, Any]) -> str:
    """How the number of a checked entry is read, in words: its quantity with what it selects."""
    quantity, of = entry["quantity"], entry.get("of", "R")
    text = QUANTITIES[quantity].partition(", one verdict")[0]
    if quantity == "saturated_fraction":
        part = f"{entry['below_peak']:g} of the study's own peak"
        over = f"the models with R^max of at most {part}"
        return f"R / R^max, {entry['statistic']} over {over}"
    if quantity == "ratio":
        models = "each arm's best model" if entry["models"] == "peak" else "models that both have"
        text = f"{of} of the one arm / {of} of the other, {models}"
    return text.replace("R at", f"{of} at") if quantity == "rising" else text


def _check_keys(entry: dict[str, Any], at: str) -> None:
    """ConfigError for a key that does not exist, a text that is none, and what is missing."""
    for key in entry:
        if key not in KEYS:
            raise ConfigError(
                f"{at}: {key}: no such entry{nearest(str(key), list(KEYS))}; allowed: "
                f"{', '.join(KEYS)}"
            )
    for key in TEXTS:
        if key in entry and not isinstance(entry[key], str):
            raise ConfigError(f"{at}: {key}: {entry[key]!r}: expected text")
    for key in ("name", "quantity") + ("source", "evidence") * ("published" not in entry):
        if not entry.get(key):
            raise ConfigError(
                f"{at}: {key} is missing" + (", or published: an id" if key == "source" else "")
            )


def _defaults(quantity: str, entry: dict[str, Any], at: str) -> dict[str, Any]:
    """The entries that a quantity takes, as given or by default."""
    out = {}
    if quantity in ("ratio", "rising"):
        out["of"] = _one_of(at, "of", entry.get("of", "R"), NUMBERS)
    if quantity == "ratio":
        out["models"] = _one_of(at, "models", entry.get("models", "peak"), ("peak", "matched"))
    if quantity == "saturated_fraction":
        out["statistic"] = _one_of(at, "statistic", entry.get("statistic", "min"), ("min", "mean"))
        part = out["below_peak"] = _number(at, "below_peak", entry.get("below_peak", BELOW_PEAK))
        if not 0 < part <= 1:
            raise ConfigError(
                f"{at}: below_peak: {part:g}: expected a part of the study's own peak, above 0 and "
                "at most 1"
            )
    return out


def _from_published(entry: dict[str, Any], at: str) -> dict[str, Any]:
    """The entry with what the published value says; a range of the study's own goes before that of
    the value."""
    for key in OWN:
        if key in entry:
            raise ConfigError(
                f"{at}: {key}: is that of published: {entry['published']}; give one of the two"
            )
    try:
        value = published.get(entry["published"])
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from None
    if value.quantity != entry["quantity"]:
        raise ConfigError(
            f"{at}: quantity: {entry['quantity']}: {value.id} is a value of "
            f"{value.quantity or 'studies without expects'}"
        )
    given = value.expected(entry["name"])
    notes = [given["note"], entry.get("note", "")]
    if "range" in entry or "tolerance" in entry:
        del given["range"]
        notes.append("the range is this study's own")
    return given | entry | {"note": "; ".join(filter(None, notes))}


def _range(entry: dict[str, Any], at: str) -> list[float | None]:
    """[lowest, highest] from range, or from value and tolerance."""
    value = None if entry.get("value") is None else _number(at, "value", entry["value"])
    if ("range" in entry) == ("tolerance" in entry):
        raise ConfigError(f"{at}: give one of range and tolerance")
    if "tolerance" in entry:
        tolerance = _number(at, "tolerance", entry["tolerance"])
        if value is None or tolerance <= 0:
            raise ConfigError(f"{at}: tolerance: needs a value, and must be above 0")
        low, high = sorted([value * (1 - tolerance), value * (1 + tolerance)])
        return [low, high]
    ends = entry["range"]
    if not isinstance(ends, list) or len(ends) != 2 or ends == [None, None]:
        raise ConfigError(
            f"{at}: range: {ends!r}: expected [lowest, highest], one of which may be null"
        )
    low, high = (None if end is None else _number(at, "range", end) for end in ends)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"{at}: range: {ends!r}: the first must be below the second")
    return [low, high]


def _check_where(where: Any, at: str) -> None:
    if not isinstance(where, dict):
        raise ConfigError(f"{at}: {where!r}: expected a mapping from settings to values")
    known = known_keys() + list(COLUMNS)
    for key, value in where.items():
        if key not in known:
            near = " (did you mean model?)" if key == "label" else near_setting(str(key), known)
            raise ConfigError(f"{at}: {key}: no such setting{near}")
        values = value if isinstance(value, list) else [value]
        if not values or not all(
            v is None or isinstance(v, (bool, int, float, str)) for v in values
        ):
            raise ConfigError(f"{at}: {key}: {value!r}: expected a value or a list of values")


def _one_of(at: str, key: str, value: str, allowed: Any) -> str:
    if value not in allowed:
        raise ConfigError(
            f"{at}: {key}: {value}: expected one of "
            f"{', '.join(allowed)}{nearest(value, list(allowed))}"
        )
    return value


def _number(at: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ConfigError(f"{at}: {key}: {value!r}: expected a number")
    return float(value)
