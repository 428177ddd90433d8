"""What a study of facts measured of the quantities that its entries `expects` name, with intervals,
and the verdicts on it.

An entry may concern several curves or pairs of curves; each gets a verdict of its own. `published`
has the rule of verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import arm_ratio, labels, pairing
from capacity.analysis.facts import arms, guessing, peaks
from capacity.analysis.facts.guessing import WORDS, Measured
from capacity.analysis.facts.reading import AXIS
from capacity.analysis.facts.schema import Column, Frame
from capacity.analysis.finding import Options
from capacity.analysis.thresholds import DATA_LIMITED, RISING
from capacity.base.words import plural
from capacity.fitting import ratios
from capacity.fitting.statistics import LEVEL, t_interval
from capacity.published.expects import NUMBERS
from capacity.published.values import DIFFERS, decide, verdict

OF_R = ("peak_ratio", "saturated_fraction", "ratio", "rising")  # quantities that are made of R

Entry = Mapping[str, Any]  # of `expects.check_expects`


@dataclass(frozen=True)
class Basis:
    """What verdicts rest on. runs: of `reading.prepare`; table: of `arms.arms`; noise: of
    `arms.noise`."""

    runs: Frame
    table: Frame
    noise: arm_ratio.Noise
    options: Options = Options()

    def chosen(self, where: Mapping[str, Any]) -> Frame:
        """The chosen runs with these settings."""
        return self.runs[matches(self.runs, where) & self.runs.chosen]

    def arms_of(self, used: Frame) -> Frame:
        """Arms with a finished run among these runs."""
        return self.table[self.table.arm.isin(set(used.arm)) & (self.table.seeds > 0)]

    def extreme(self, members: Frame, number: str = "r", sign: int = 1) -> Any:
        """`peaks.peak` with the options of the analysis."""
        options = {"n_boot": self.options.bootstraps, "seed": self.options.seed}
        return peaks.peak(members, self.noise, number=number, sign=sign, **options)


def analyse(
    expects: Sequence[Entry], basis: Basis, *, scale: str = "published"
) -> list[dict[str, Any]]:
    """Rows of `published.values.verdict`, at least one per entry."""
    out = []
    for entry in expects:
        measured = _MEASURE[entry["quantity"]](entry, basis)
        nothing = [("", _lacking("no finished run of this study is what it asks for"))]
        for at, one in measured or nothing:
            if entry["quantity"] in ("ratio", "rising"):
                one = one | {"spread": "logarithmic"}
            if entry["quantity"] in OF_R and entry.get("of", "R") == "R":
                one = one | _zero(one)
            knows = ["training (seeds)"] if one.get("interval") else []
            out.append(verdict(dict(entry), {"knows": knows} | one, at=at, scale=scale))
    return out


def matches(frame: Frame, where: Mapping[str, Any]) -> np.ndarray:
    """The rows whose columns have the wanted values (None: an empty setting), as a boolean
    array."""
    keep = np.ones(len(frame), bool)
    for column, wanted in where.items():
        if column not in frame:
            return np.zeros(len(frame), bool)
        allowed = {labels.plain(v) for v in (wanted if isinstance(wanted, list) else [wanted])}
        keep &= np.array([labels.plain(v) in allowed for v in frame[column]])
    return keep


def peak_of_kind(table: Frame) -> Column:
    """Of each arm the largest R over the arms of its kind and exposures, of whatever size and
    people; table: of `arms.arms`."""
    return table.r.where(table.seeds > 0).groupby(table.arm_name).transform("max")


def _zero(measured: Measured) -> Measured:
    """Why R, or a ratio of it, is not shown to be above 0; nothing where it is."""
    if measured["interval"] is None or measured["interval"][0] > 0:
        return {}
    return {
        "unlearned": "R is not shown to be above 0: an arm that learned nothing replicates nothing"
    }


def _lacking(why: str) -> Measured:
    return {"value": None, "interval": None, "lacks": why}


def _seeds(n: int) -> str:
    return plural(n, "seed")


# --- of single curves
# --------------------------------------------------------------------------------------------------


def _peak_ratio(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
    out, low = [], entry["range"][0]
    mine = basis.arms_of(basis.chosen(entry["where"]))
    for _, members in mine.groupby("curve", sort=False):
        top = basis.extreme(members)
        measured = _from_peak(top)
        if low is not None and top["value"] < low and top["largest_r_max"] < low / DATA_LIMITED:
            why = (
                "the data run out first: the largest R^max of these models is "
                f"{top['largest_r_max']:.2f}"
            )
            measured |= _lacking(why) | {"value": top["value"]}
        out.append((members.iloc[0].curve_name, measured))
    return out


def _from_peak(top: Mapping[str, Any]) -> Measured:
    remarks = [
        f"peak at {top['model']}, R^max {top['r_max']:.2f}, of {top['models']} models, "
        f"{_seeds(top['seeds'])}"
    ]
    if top["rising"]:
        remarks.append(
            f"{top['rising']} of its runs gained over {RISING:.0%} in the last tenth of training"
        )
    if top["edge"]:
        remarks.append(
            f"it is the {top['edge']} model of its curve, so another one might hold more per "
            f"parameter"
        )
    return {
        "value": top["value"],
        "interval": top["interval"],
        "why": top["reason"],
        "remarks": remarks,
        "method": "limits of the maximum over models, noise of seeds by arm",
        "dof": top["dof"],
        "spread": "proportional",
        "levels": [ratios.together(LEVEL, top["models"]), LEVEL],
    }


def _saturated_fraction(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
    mine = basis.arms_of(basis.chosen(entry["where"]))
    part = entry["below_peak"]
    cut = part * peak_of_kind(basis.table)[mine.index]
    room = mine[mine.r_max <= cut]
    which = f"R^max <= {part:g} of the peak ({' or '.join(f'{c:.3g}' for c in sorted(set(cut)))})"
    if room.empty:
        return [("", _lacking(f"no finished model has {which}"))]
    lowest = room.loc[room.fraction.idxmin()]
    remarks = [
        f"{len(room)} models with {which}; the lowest is {lowest.model} "
        f"({lowest.curve_name}), R^max {lowest.r_max:.2f}, {lowest.fraction:.1%}",
        *_near_the_cut(part, mine, basis),
    ]
    if entry["statistic"] == "min":
        bottom = basis.extreme(room, "fraction", -1)
        measured = {
            "value": bottom["value"],
            "interval": bottom["interval"],
            "why": bottom["reason"],
            "method": "limits of the minimum over models, noise of seeds by arm",
            "dof": bottom["dof"],
            "levels": [LEVEL, ratios.together(LEVEL, bottom["models"])],
        }
    else:
        low, high = t_interval(room.fraction)
        alone, most = math.isnan(low), max(1.0, float(room.fraction.mean()))  # no model holds more
        measured = {
            "value": float(room.fraction.mean()),
            "interval": None if alone else [low, min(most, high)],
            "why": "one model leaves no scatter of models" if alone else None,
            "method": "t over models",
            "dof": len(room) - 1.0,
            "knows": ["models (sizes)"],
        }
    of_share = {"spread": "absolute", "possible": [-math.inf, 1.0]}
    return [("", measured | of_share | {"remarks": remarks})]


def _near_the_cut(part: float, mine: Frame, basis: Basis) -> list[str]:
    """Models that the interval of the peak leaves on either side of the cut, in words."""
    near = []
    for name, members in mine.groupby("arm_name", sort=False):
        top = basis.extreme(basis.table[(basis.table.arm_name == name) & (basis.table.seeds > 0)])
        if top and top["interval"]:
            low, high = (part * end for end in top["interval"])
            near += list(members[(members.r_max > low) & (members.r_max <= high)].itertuples())
    if not near:
        return []
    text = ", ".join(
        f"{one.model} ({one.curve_name}), R^max {one.r_max:.2f}, {one.fraction:.1%}" for one in near
    )
    return [f"the interval of the peak leaves open on which side of the cut these are: {text}"]


# --- of pairs of curves
# --------------------------------------------------------------------------------------------------


def _ratio(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
    upper, lower = basis.chosen(entry["where"]), basis.chosen(entry["against"])
    for used, key in ((upper, "where"), (lower, "against")):
        if used.empty:
            return [("", _lacking(f"no finished run with {_conditions(entry[key])}"))]
    keys = _equal(entry, upper, lower)
    partners: dict[tuple, list[Any]] = {}
    for curve, rows in lower.groupby("curve", sort=False):
        partners.setdefault(_key(rows, keys), []).append(curve)
    out = []
    for _, rows in upper.groupby("curve", sort=False):
        at, others = rows.iloc[0].curve_name, partners.get(_key(rows, keys), [])
        if len(others) != 1:
            few = "no arm to compare with that is equal in everything not named"
            if others:
                few = f"{len(others)} arms to compare with; name more settings"
            out.append((at, _lacking(few)))
            continue
        rest = lower[lower.curve == others[0]]
        measured = _ratio_of_curves(entry["of"], entry["models"], rows, rest, basis)
        out.append((_pair(at, rest.iloc[0].curve_name), measured))
    return out


def _equal(entry: Entry, upper: Frame, lower: Frame) -> list[str]:
    """The columns in which two curves must be equal to be compared: all that the entry does not
    name."""
    named = set(entry["where"]) | set(entry["against"])
    # forms of the model differ on purpose where one of their settings is named
    forms = any(c == "model" or c.startswith("model.") for c in named)
    keys = [
        c
        for c in upper
        if c.startswith(AXIS)
        and c.removeprefix(AXIS) not in named
        and not (forms and c.startswith(f"{AXIS}model."))
    ]
    for key, names in (
        ("amount", {"data.n_people", "data.load", "n_people"}),
        ("asked", {"train.exposures", "train.steps"}),
    ):
        if not named & names or set(upper[key]) <= set(lower[key]):
            keys.append(key)  # equal in both arms, unless named so as to compare different ones
    return keys


def _key(rows: Frame, keys: Sequence[str]) -> tuple:
    first = rows.iloc[0]
    return tuple(first[k] for k in keys)


def _pair(above: str, below: str) -> str:
    """Two names of curves as "LLaMA / GPT2 (N = 50K, 100 exposures)"."""
    both = ", ".join(part for part in above.split(", ") if part in below.split(", "))
    names = f"{labels.apart(above, below) or 'same'} / {labels.apart(below, above) or 'same'}"
    return f"{names} ({both})" if both else names


def _conditions(where: Mapping[str, Any]) -> str:
    parts = [f"{k}={'null' if v is None else v}" for k, v in where.items()]
    return ", ".join(parts) or "any settings"


def _ratio_of_curves(of: str, models: str, upper: Frame, lower: Frame, basis: Basis) -> Measured:
    """The ratio of two curves' numbers at their peaks or over the models that they share."""
    number, known = NUMBERS[of], basis.noise
    if number != "r":
        known = arms.noise(pd.concat([upper, lower]).drop_duplicates("run_id"), number)
    if models != "peak":
        ratio = _matched(upper, lower, number, models == "same", known)
        return guessing.of_ratio(ratio, number, [upper, lower], known)
    measured = [rows[rows[number].notna()] for rows in (upper, lower)]
    if any(rows.empty for rows in measured):
        return _lacking(f"{number} was not measured")
    sides = [arms.as_values(rows, number) for rows in measured]
    ratio = arm_ratio.of_curves(sides[0], sides[1], known)
    a, b = (basis.table[basis.table.arm == arm].iloc[0] for arm in ratio["arms"])
    described = [
        f"{naming.listed([x.model, labels.apart(x.curve_name, y.curve_name)])}: {x[number]:.3g}, "
        f"R^max {x.r_max:.2f}, {_seeds(x.seeds)}"
        for x, y in ((a, b), (b, a))
    ]
    remarks = ["; ".join(described)]
    for top in (a, b):
        if number == "r" and top.fraction > DATA_LIMITED:
            remarks.append(
                f"{top.model} ({top.curve_name}) holds {top.fraction:.1%} of its data, so its R is "
                f"a lower bound"
            )
    tops = [rows[rows.arm == top.arm] for rows, top in ((upper, a), (lower, b))]
    measured = arm_ratio.told(ratio) | arm_ratio.power(ratio) | {"remarks": remarks}
    return guessing.of_ratio(measured, number, tops, known)


def _matched(
    upper: Frame,
    lower: Frame,
    number: str,
    in_both: bool,
    known: arm_ratio.Noise,
) -> Measured:
    """The ratio over pairs of runs of equal size and seed; models of one size count as the same
    whatever their form.

    Models that hold over 95% of their data in an arm (in_both: in both) are left out: there the
    size of the data decides the ratio.
    """
    measured = [rows[rows[number].notna()] for rows in (upper, lower)]
    sides = [arms.as_values(rows, number).assign(model=rows.model) for rows in measured]
    try:
        pairs = arm_ratio.paired(sides[0], sides[1])
    except pairing.SeveralPartners:
        return _lacking("several models of one size in an arm; name more settings")
    if pairs.empty:
        return _lacking("no finished models of one size and seed in both arms")
    which, most = ("both arms", np.minimum) if in_both else ("an arm", np.maximum)
    pairs["model"] = pairs.run_id_a.map(dict(zip(sides[0].run_id, sides[0].model, strict=True)))
    fraction = pd.concat([upper, lower]).drop_duplicates("run_id").set_index("run_id").fraction
    held = [
        pairs[f"run_id{side}"].map(fraction).groupby(pairs.model).transform("mean")
        for side in arm_ratio.SIDES
    ]
    # what can be asked for is not limited by the size of the data
    full = (most(*held) > DATA_LIMITED) & (number == "r")
    if full.all():
        return _lacking(
            f"every model holds over {DATA_LIMITED:.0%} of its data in {which}: the data limit it, "
            "not the arm"
        )
    left_out, pairs = ", ".join(dict.fromkeys(pairs.model[full])), pairs[~full]
    models = dict.fromkeys(pairs.model)
    remark = f"{plural(len(models), 'model')} ({', '.join(models)}), {_seeds(pairs.seed.nunique())}"
    if left_out:
        remark += f"; full in {which}, left out: {left_out}"
    measured = arm_ratio.of_pairs(pairs, known)
    ratio: Measured = arm_ratio.told(measured) | arm_ratio.power(measured)
    if "pairs" in ratio.get("method", ""):
        ratio["knows"] = ["models (sizes)", "training (seeds)"]
    return ratio | {"remarks": [remark]}


def _rising(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
    used, out = basis.chosen(entry["where"]), []
    number = NUMBERS[entry["of"]]
    for _, rows in alike(used):
        values = sorted(set(rows.asked))
        if len(values) < 2:
            continue
        most, fewest = (rows[rows.asked == e] for e in (values[-1], values[0]))
        measured = _ratio_of_curves(entry["of"], "same", most, fewest, basis)
        measured |= _by_size(entry, most, fewest, basis)
        mean = rows.groupby("asked")[number].mean()
        steps = zip(values, values[1:], strict=False)
        falls = [f"{a:g} to {b:g}" for a, b in steps if mean[b] < mean[a]]
        means = "; ".join(f"{e:g}: {mean[e]:.3g}" for e in values)
        remarks = [*measured.get("remarks", []), f"mean by exposures: {means}"]
        if falls:
            remarks.append(f"it falls from {', '.join(falls)} exposures")
        measured["remarks"] = remarks
        out.append((_pair(most.iloc[0].curve_name, fewest.iloc[0].curve_name), measured))
    return out or [("", _lacking("it needs finished runs at two numbers of exposures"))]


def _by_size(entry: Entry, most: Frame, fewest: Frame, basis: Basis) -> Measured:
    """What each size says by itself, beside the ratio over all of them, which counts every size
    alike and decides: few seeds of one size say little. A size whose own interval lies outside of
    the range keeps the whole from agreeing with it. Empty for one size."""
    sizes = [x for x in dict.fromkeys(most.model) if (fewest.model == x).any()]
    if len(sizes) < 2:
        return {}
    beside, odd = [], []
    for one in sizes:
        upper, lower = (rows[rows.model == one] for rows in (most, fewest))
        ratio = _ratio_of_curves(entry["of"], "same", upper, lower, basis)
        if ratio.get("value") is None:
            continue
        alone = {key: ratio.get(key) for key in ("value", "interval", "why")}
        beside.append({"form": f"{one} alone"} | alone)
        if decide(alone, entry["range"])[0] == DIFFERS:
            odd.append(one)
    measured: Measured = {"beside": beside}
    if odd:
        measured["unlearned"] = f"that of {' and '.join(odd)} alone lies outside of it"
    return measured


def alike(runs: Frame, more: Sequence[str] = ()) -> list[tuple[tuple, Frame]]:
    """Runs that are equal in amount of data, axes of curves and further columns, whatever their
    exposures: (key, rows), in order of appearance."""
    same = [*more, "amount", *(c for c in runs if c.startswith(AXIS))]
    keys = [tuple(row) for row in runs[same].to_numpy(object)]
    return [(key, runs[[k == key for k in keys]]) for key in dict.fromkeys(keys)]


# --- of shares
# --------------------------------------------------------------------------------------------------


def _share(
    number: str, name: str, most: float = 1.0, guessed: Sequence[str] = ()
) -> Callable[[Entry, Basis], list[tuple[str, Measured]]]:
    """A verdict per arm on a share between 0 and `most`; guessed: accuracies that must be shown to
    be more than guessing gets."""

    def measure(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
        used = basis.chosen(entry["where"])
        if used.empty:
            return []
        known = used[used[number].notna()] if number in used else used[:0]
        if known.empty:
            return [("", _lacking(f"{name} was not measured in these runs"))]
        noise, out = arms.noise(basis.runs, number), []
        for arm, rows in known.groupby("arm", sort=False):
            first = rows.iloc[0]
            measured = guessing.mean_of_seeds(rows[number], noise.of(arm), (0.0, most))
            for one in guessed:
                own = arms.noise(basis.runs, one)
                measured = guessing.beside(measured, guessing.level(rows, one, own, WORDS[one]))
            out.append((f"{first.curve_name}, {first.model}", measured))
        return out

    return measure


def _extractable_fraction(entry: Entry, basis: Basis) -> list[tuple[str, Measured]]:
    runs = basis.runs
    share = runs.extraction_accuracy / runs.accuracy.where(runs.accuracy > 0)
    known = Basis(runs.assign(extractable=share), basis.table, basis.noise, basis.options)
    both = ("extraction_accuracy", "accuracy")
    return _share("extractable", "extraction", math.inf, both)(entry, known)


_MEASURE: dict[str, Callable[[Entry, Basis], list[tuple[str, Measured]]]] = {
    "peak_ratio": _peak_ratio,
    "saturated_fraction": _saturated_fraction,
    "ratio": _ratio,
    "rising": _rising,
    "accuracy": _share("accuracy", "accuracy", guessed=["accuracy"]),
    "extraction": _share("extraction_accuracy", "extraction", guessed=["extraction_accuracy"]),
    "extractable_fraction": _extractable_fraction,
}
