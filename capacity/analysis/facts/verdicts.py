"""What a study of people measured of the quantities that its entries `expects` name, with
intervals, and the verdicts on it.

An entry may concern several curves or pairs of curves; each gets a verdict of its own. `published`
has the rule of verdicts.
"""

import math

import numpy as np

from capacity.analysis import labels
from capacity.analysis.facts import arms
from capacity.fitting.statistics import fieller, student, t_interval
from capacity.published.expects import NUMBERS
from capacity.published.values import verdict

ENOUGH_SEEDS = 3  # of an arm, to measure the scatter of a share by themselves
FEW_PAIRS = (
    3  # with fewer pairs of models, the noise of seeds decides instead of the scatter of pairs
)


def judge(expects, runs, table, pooled, *, scale="published", n_boot=4000, seed=0):
    """A list of verdicts as dicts. runs: of `arms.prepare`; table: of `arms.arms`; pooled: of
    `arms.noise`."""
    out = []
    for entry in expects:
        found = _MEASURE[entry["quantity"]](entry, runs, table, pooled, n_boot, seed)
        for at, measured in found or [
            ("", _lacking("no finished run of this study is what it asks for"))
        ]:
            out.append(verdict(entry, measured, at=at, scale=scale))
    return out


def matches(frame, where):
    """The rows whose columns have the wanted values (None: an empty setting), as a boolean
    array."""
    keep = np.ones(len(frame), bool)
    for column, wanted in where.items():
        if column not in frame:
            return np.zeros(len(frame), bool)
        allowed = {labels.plain(v) for v in (wanted if isinstance(wanted, list) else [wanted])}
        keep &= np.array([labels.plain(v) in allowed for v in frame[column]])
    return keep


def _lacking(why):
    return {"value": None, "interval": None, "lacks": why}


def _chosen(runs, where):
    return runs[matches(runs, where) & runs.chosen]


def _arms_of(table, used):
    return table[table.arm.isin(set(used.arm)) & (table.seeds > 0)]


def _peak_ratio(entry, runs, table, pooled, n_boot, seed):
    out = []
    mine = _arms_of(table, _chosen(runs, entry["where"]))
    for _, members in mine.groupby("curve", sort=False):
        top = arms.peak(members, pooled, n_boot=n_boot, seed=seed)
        measured = _from_peak(top)
        low = entry["range"][0]
        if low is not None and top["value"] < low and top["largest_r_max"] < low / arms.SATURATED:
            measured = (
                measured
                | _lacking(
                    "the data run out first: the largest R^max of these models is "
                    f"{top['largest_r_max']:.2f}"
                )
                | {"value": top["value"]}
            )
        out.append((members.iloc[0].curve_name, measured))
    return out


def _from_peak(top):
    remarks = [
        f"peak at {top['label']}, R^max {top['r_max']:.2f}, of {top['models']} models, "
        f"{_seeds(top['seeds'])}"
    ]
    if top["rising"]:
        remarks.append(
            f"{top['rising']} of its runs gained over {arms.RISING:.0%} in the last tenth of "
            f"training"
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
        "method": "limits of the maximum over models, pooled noise of seeds",
    }


def _saturated_fraction(entry, runs, table, pooled, n_boot, seed):
    mine = _arms_of(table, _chosen(runs, entry["where"]))
    room = mine[mine.r_max <= entry["below"]]
    if room.empty:
        return [("", _lacking(f"no finished model has R^max of at most {entry['below']:g}"))]
    lowest = room.loc[room.fraction.idxmin()]
    remarks = [
        f"{len(room)} models with R^max <= {entry['below']:g}; the lowest is {lowest.label} "
        f"({lowest.curve_name}), R^max {lowest.r_max:.2f}, {lowest.fraction:.1%}"
    ]
    if entry["statistic"] == "min":
        bottom = arms.peak(room, pooled, n_boot=n_boot, seed=seed, number="fraction", sign=-1)
        return [
            (
                "",
                {
                    "value": bottom["value"],
                    "interval": bottom["interval"],
                    "why": bottom["reason"],
                    "remarks": remarks,
                    "method": "limits of the minimum over models, pooled noise of seeds",
                },
            )
        ]
    low, high = t_interval(room.fraction)
    why = "one model leaves no scatter of models" if math.isnan(low) else None
    return [
        (
            "",
            {
                "value": float(room.fraction.mean()),
                "interval": None if why else [low, high],
                "why": why,
                "remarks": remarks,
                "method": "t over models",
            },
        )
    ]


def _ratio(entry, runs, table, pooled, n_boot, seed):
    upper, lower = _chosen(runs, entry["where"]), _chosen(runs, entry["against"])
    for used, key in ((upper, "where"), (lower, "against")):
        if used.empty:
            return [("", _lacking(f"no finished run with {_told(entry[key])}"))]
    named = set(entry["where"]) | set(entry["against"])
    forms_named = any(
        c == "label" or c.startswith("model.") for c in named
    )  # then the forms differ on purpose
    keys = [
        c
        for c in runs
        if c.startswith("axis ")
        and c[5:] not in named
        and not (forms_named and c.startswith("axis model."))
    ]
    for key, names in (
        ("amount", {"data.n_people", "data.load", "n_people"}),
        ("asked", {"train.exposures", "train.steps"}),
    ):
        if not named & names or set(upper[key]) <= set(lower[key]):
            keys.append(key)  # equal in both arms, unless named so as to compare different ones
    bottom = {}
    for curve, rows in lower.groupby("curve", sort=False):
        bottom.setdefault(_key(rows.iloc[0], keys), []).append(curve)
    out = []
    for curve, rows in upper.groupby("curve", sort=False):
        at, others = rows.iloc[0].curve_name, bottom.get(_key(rows.iloc[0], keys), [])
        if len(others) != 1:
            few = (
                "no arm to compare with that is equal in everything not named"
                if not others
                else f"{len(others)} arms to compare with; name more settings"
            )
            out.append((at, _lacking(few)))
            continue
        rest = lower[lower.curve == others[0]]
        measured = _ratio_of_curves(entry, rows, rest, table, pooled)
        out.append((_pair(at, rest.iloc[0].curve_name), measured))
    return out


def _key(row, keys):
    return tuple(row[k] for k in keys)


def _pair(above, below):
    """Two names of curves as "LLaMA / GPT2 (N = 50K, 100 exposures)"."""
    both = ", ".join(part for part in above.split(", ") if part in below.split(", "))
    names = f"{_apart(above, below) or 'same'} / {_apart(below, above) or 'same'}"
    return f"{names} ({both})" if both else names


def _apart(name, other):
    """What a curve's name says that the other's does not."""
    return ", ".join(part for part in name.split(", ") if part not in other.split(", "))


def _told(where):
    return (
        ", ".join(f"{k}={'null' if v is None else v}" for k, v in where.items()) or "any settings"
    )


def _ratio_of_curves(entry, upper, lower, table, pooled):
    """The ratio of two curves' numbers at their peaks or over the models they share."""
    number = NUMBERS[entry["of"]]
    noise = pooled if number == "r" else arms.noise(_both(upper, lower), number)
    if entry["models"] != "peak":
        return _matched(upper, lower, table, noise, number, over_seeds=entry["models"] == "same")
    tops = [
        max(
            (row for _, row in _arms_of(table, used).iterrows() if not math.isnan(row[number])),
            default=None,
            key=lambda row: row[number],
        )
        for used in (upper, lower)
    ]
    if any(top is None for top in tops):
        return _lacking(f"{number} was not measured")
    a, b = tops
    remarks = [
        "; ".join(
            f"{', '.join(filter(None, (x.label, _apart(x.curve_name, y.curve_name))))}: "
            f"{x[number]:.3g}, R^max {x.r_max:.2f}, "
            f"{_seeds(x.seeds)}"
            for x, y in ((a, b), (b, a))
        )
    ]
    for top in tops:
        if number == "r" and top.fraction > arms.SATURATED:
            remarks.append(
                f"{top.label} ({top.curve_name}) holds {top.fraction:.1%} of its data, so its R is "
                f"a lower "
                "bound"
            )
    return arms.ratio_of_arms([a], [b], noise, number) | {"remarks": remarks}


def _both(upper, lower):
    import pandas as pd

    return pd.concat([upper, lower]).drop_duplicates("run_id")


def _matched(upper, lower, table, noise, number, over_seeds):
    """The ratio over pairs of runs of equal size and seed; models of one size count as the same
    whatever their form.

    Models that hold over 95% of their data in an arm (over_seeds: in both) are left out: there the
    size of the data decides the ratio. The interval is over pairs, or, over_seeds, over the seeds
    of these very models.
    """
    size = [c for c in labels.SIZES[:2] if c in upper] or ["label"]
    pairs = upper[upper[number].notna()].merge(
        lower[lower[number].notna()], on=[*size, "seed"], suffixes=("", "_below")
    )
    if pairs.empty:
        return _lacking("no finished models of one size and seed in both arms")
    if pairs.duplicated("run_id").any() or pairs.duplicated("run_id_below").any():
        return _lacking("several models of one size in an arm; name more settings")
    which, most = ("both arms", np.minimum) if over_seeds else ("an arm", np.maximum)
    full = (
        most(*(pairs.groupby("label")[c].transform("mean") for c in ("fraction", "fraction_below")))
        > arms.SATURATED
    )
    full &= number == "r"  # what can be asked for is not limited so
    if full.all():
        return _lacking(
            f"every model holds over {arms.SATURATED:.0%} of its data in {which}: the data limit "
            f"it, not "
            "the arm"
        )
    left_out, pairs = ", ".join(dict.fromkeys(pairs.label[full])), pairs[~full]
    names, n, seeds = (
        ", ".join(dict.fromkeys(pairs.label)),
        pairs.label.nunique(),
        pairs.seed.nunique(),
    )
    remarks = [
        f"{n} model{'s' * (n != 1)} ({names}), {_seeds(seeds)}"
        + (f"; full in {which}, left out: {left_out}" if left_out else "")
    ]
    if over_seeds or len(pairs) < FEW_PAIRS:
        above, below = (table[table.arm.isin(set(pairs[c]))] for c in ("arm", "arm_below"))
        rows = ([row for _, row in part.iterrows()] for part in (above, below))
        return arms.ratio_of_arms(*rows, noise, number) | {"remarks": remarks}
    a, b = pairs[number].to_numpy(float), pairs[f"{number}_below"].to_numpy(float)
    if b.mean() <= 0:
        return _lacking(f"the arm in the denominator has learned nothing (mean {b.mean():.3g})")
    cov = np.cov(a, b) / len(pairs)
    value, interval = fieller(a.mean(), b.mean(), cov, student(len(pairs) - 1))
    return {
        "value": float(value),
        "interval": None if interval is None else [float(x) for x in interval],
        "why": "the denominator cannot be told from 0",
        "remarks": remarks,
        "method": f"Fieller over {len(pairs)} pairs of model and seed",
    }


def _rising(entry, runs, table, pooled, n_boot, seed):
    used, out = _chosen(runs, entry["where"]), []
    like = [
        tuple(row)
        for row in used[["amount", *(c for c in runs if c.startswith("axis "))]].to_numpy(object)
    ]
    for key in dict.fromkeys(like):
        rows = used[[k == key for k in like]]
        values = sorted(set(rows.asked))
        if len(values) < 2:
            continue
        most, fewest = (rows[rows.asked == e] for e in (values[-1], values[0]))
        measured = _ratio_of_curves(entry | {"models": "same"}, most, fewest, table, pooled)
        mean = rows.groupby("asked")[NUMBERS[entry["of"]]].mean()
        falls = [f"{a:g} to {b:g}" for a, b in zip(values, values[1:]) if mean[b] < mean[a]]
        told = "; ".join(f"{e:g}: {mean[e]:.3g}" for e in values)
        measured["remarks"] = [*measured.get("remarks", []), f"mean by exposures: {told}"] + (
            [f"it falls from {', '.join(falls)} exposures"] if falls else []
        )
        out.append((_pair(most.iloc[0].curve_name, fewest.iloc[0].curve_name), measured))
    return out or [("", _lacking("it needs finished runs at two numbers of exposures"))]


def _share(number, name, most=1.0):
    """A verdict per arm on a share between 0 and `most`."""

    def measure(entry, runs, table, pooled, n_boot, seed):
        used = _chosen(runs, entry["where"])
        if used.empty:
            return []
        known = used[used[number].notna()] if number in used else used[:0]
        if known.empty:
            return [("", _lacking(f"{name} was not measured in these runs"))]
        noise = arms.noise(runs, number)
        return [
            (
                f"{rows.iloc[0].curve_name}, {rows.iloc[0].label}",
                _mean_of_seeds(rows[number], noise, most),
            )
            for _, rows in known.groupby("arm", sort=False)
        ]

    return measure


def _mean_of_seeds(values, noise, most):
    """The mean over seeds as a measured value, its interval from its own seeds, or where these are
    two or one from the noise pooled over all arms of the study (of the noisier class): shares near
    0 or 1 scatter less. It ends where a share does."""
    out = {
        "value": float(values.mean()),
        "interval": None,
        "remarks": [_seeds(len(values))],
        "why": "one seed per arm: the noise of seeds was not measured",
        "method": "t over seeds, pooled noise",
    }
    if len(values) >= ENOUGH_SEEDS:
        sd, dof, out["method"] = float(values.std()), len(values) - 1, "t over seeds"
    elif noise:
        sd, dof = max(noise.values())
        sd = max(sd, 0.0 if len(values) < 2 else float(values.std()))
    else:
        return out
    half = float(student(dof)) * sd / math.sqrt(len(values))
    return out | {"interval": [max(0.0, out["value"] - half), min(most, out["value"] + half)]}


def _extractable_fraction(entry, runs, table, pooled, n_boot, seed):
    known = runs.assign(
        extractable=runs.extraction_accuracy / runs.accuracy.where(runs.accuracy > 0)
    )
    return _share("extractable", "extraction", math.inf)(entry, known, table, pooled, n_boot, seed)


def _seeds(n):
    return f"{n} seed{'s' * (n != 1)}"


_MEASURE = {
    "peak_ratio": _peak_ratio,
    "saturated_fraction": _saturated_fraction,
    "ratio": _ratio,
    "rising": _rising,
    "accuracy": _share("accuracy", "accuracy"),
    "extraction": _share("extraction_accuracy", "extraction"),
    "extractable_fraction": _extractable_fraction,
}
