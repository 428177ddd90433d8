"""Arms of a study of knowledge: which runs belong together, their mean R with intervals, and the
peak over model sizes.

R = learned bits / P and R^max = bits of the data / P (Physics of Language Models 3.3, arXiv
2404.05405, Definitions 4.1 and 4.3), P being all parameters but the rows of tokens that no text
uses (its appendix A; the column parameters_paper).

arm    runs that are equal but for the seed, after the best over `best_over` was taken: one model,
       one N, one number of exposures, one kind of data, one recipe
curve  arms that differ in the size of the model alone, along which R has a peak
"""

import math

import numpy as np
import pandas as pd

from capacity.analysis import labels
from capacity.analysis.table_checks import check_numbers, checked
from capacity.fitting.statistics import LEVEL, fieller, student, t_interval
from capacity.published.values import short

NUMBERS = [
    "seed",
    "n_people",
    "exposures",
    "exposures_mean",
    "parameters_total",
    "parameters_paper",
    "bits",
    "bits_se",
    "ceiling_bits",
    "accuracy",
    "gain_last_tenth",
    "vocab_size",
    "steps",
    "tokens",
]
INPUTS = ["run_id", "label", "status", "kind", *NUMBERS]
RISING = 0.02  # gain of bits over the last tenth of training, as in `fit`
EXPOSURES_OFF = 0.01  # counted / asked exposures - 1; more than the rounding of steps can explain
FEW_DOF = 4  # a class of arms with fewer degrees of freedom borrows the larger noise of the others
# R / R^max; published models that hold all their data end at 98-99% (second-hand reading of
# figures)
SATURATED = 0.95


def prepare(table, best_over=()):
    """The checked runs with r, r_total, r_max (bits per parameter), fraction (R / R^max), curve and
    arm (numbers), curve_name and arm_name, asked (exposures), chosen (finished, the best over
    `best_over`). ValueError in one line.

    Columns `axis <setting>` hold the settings that make curves differ, as plain values;
    `frame.attrs` what was noticed.
    """
    runs = check(table)
    columns = [
        c
        for c in runs
        if c.split(".")[0] in ("data", "model", "train") and "." in c and c not in labels.FOLLOWS
    ]
    plain = pd.DataFrame(
        {c: [labels.plain(v) for v in runs[c]] for c in columns}, index=runs.index, dtype=object
    )
    varied = [c for c in columns if len(set(plain[c])) > 1]
    amount = _amount(runs, plain)
    asked = [
        _asked(e, x)
        for e, x in zip(plain.get("train.exposures", [None] * len(runs)), runs.exposures)
    ]
    data = [c for c in varied if c.startswith("data.") and c not in labels.AMOUNTS]
    model = [c for c in varied if c.startswith("model.")]
    train = [c for c in varied if c.startswith("train.") and c not in (*labels.AMOUNTS, *best_over)]
    family = [c for c in model if c not in labels.SIZES]
    family += [
        c
        for c in labels.SIZES[2:]
        if c in model and _splits(plain, ["model.n_layers", "model.d_model", *family], c)
    ]
    same = list(zip(runs.label, amount, asked, labels.tuples(plain, [*data, *model])))
    recipe = [c for c in train if len(set(zip(same, plain[c]))) > len(set(same))]
    _check_vocabulary(runs, plain, data)

    runs["asked"], runs["amount"] = asked, amount
    for c in [*family, *data, *recipe]:
        runs[f"axis {c}"] = plain[c]
    curve = list(zip(amount, asked, labels.tuples(plain, [*family, *data, *recipe])))
    runs["curve"] = labels.codes(curve)
    runs["label"] = _short_labels(runs, plain)
    # names hold only what varies: N and exposures, then the variant, such as "N = 50K, 100
    # exposures, LLaMA"
    size = [_amount_text(a) if len(set(amount)) > 1 else "" for a in amount]
    seen = [f"{e:g} exposures" if len(set(asked)) > 1 else "" for e in asked]
    runs["variant"] = labels.variants(plain, family, data, recipe)
    runs["series"] = [labels.listed(row) for row in zip(size, runs.variant)]
    runs["arm_name"] = [labels.listed(row) for row in zip(seen, runs.variant)]
    runs["curve_name"] = [labels.listed(row) or "all runs" for row in zip(size, runs.arm_name)]
    arm = list(zip(curve, runs.label, labels.tuples(plain, [*model, *train])))
    runs["arm"] = labels.codes(arm)
    runs["r"], runs["r_total"] = (
        runs.bits / runs.parameters_paper,
        runs.bits / runs.parameters_total,
    )
    runs["r_max"], runs["fraction"] = (
        runs.ceiling_bits / runs.parameters_paper,
        runs.bits / runs.ceiling_bits,
    )
    best = [c for c in best_over if c in varied]
    tried = labels.tuples(plain, best)
    runs["tried"] = [
        ", ".join(f"{c.split('.')[-1]} {labels.text(v)}" for c, v in zip(best, row))
        for row in tried
    ]
    twin = pd.Series(list(zip(arm, runs.seed, tried)), index=runs.index).duplicated()
    if twin.any():
        raise ValueError(
            f"run {runs.run_id[twin].iloc[0]} has the settings and the seed of another run of the "
            f"table"
        )
    runs["chosen"] = _best(runs)
    runs.attrs["varied"] = varied
    return runs


def check(table):
    """The table sorted by run_id with numbers as floats, or ValueError: one line that says why it
    cannot be judged."""
    table = checked(table, INPUTS, [*NUMBERS, "extraction_accuracy"], "judge")
    if "extraction_accuracy" not in table:
        table = table.assign(extraction_accuracy=math.nan)
    table = table.assign(**{c: table[c].astype(float) for c in [*NUMBERS, "extraction_accuracy"]})
    positive = ("parameters_total", "parameters_paper", "ceiling_bits", "exposures")
    check_numbers(table, ("bits", "bits_se", *positive), positive)
    return table


def arms(runs):
    """One row per arm: means over the seeds of its chosen runs, sd over seeds, the 95% interval of
    R, counts of runs.

    The seed is the replicate. The interval is Student's t over seeds (two at least), with the
    standard error over the people asked added in quadrature; the scatter of seeds holds part of
    that already, so this errs on the wide side.
    """
    rows = []
    for arm, mine in runs.groupby("arm", sort=False):
        used, first = mine[mine.chosen], mine.iloc[0]
        n = len(used)
        se_people = (
            math.sqrt((used.bits_se**2).sum()) / n / first.parameters_paper if n else math.nan
        )
        low, high = t_interval(used.r, se_people)
        done = mine[mine.status == "finished"]
        rows.append(
            {
                "arm": arm,
                "curve": first.curve,
                "curve_name": first.curve_name,
                "arm_name": first.arm_name,
                "label": first.label,
                "n_people": first.n_people,
                "exposures": first.asked,
                "parameters_paper": first.parameters_paper,
                "parameters_total": first.parameters_total,
                "r_max": mine.r_max.mean(),
                "seeds": n,
                "r": used.r.mean(),
                "r_sd": used.r.std(),
                "r_low": low,
                "r_high": high,
                "r_se_people": se_people,
                "r_total": used.r_total.mean(),
                "fraction": used.fraction.mean(),
                "accuracy": used.accuracy.mean(),
                "accuracy_sd": used.accuracy.std(),
                "extraction_accuracy": used.extraction_accuracy.mean(),
                "extraction_accuracy_sd": used.extraction_accuracy.std(),
                "bits": used.bits.mean(),
                "exposures_counted": used.exposures_mean.mean(),
                "best": "; ".join(dict.fromkeys(used.tried)) if n else "",
                "rising": int((used.gain_last_tenth > RISING).sum()),
                "off": int(exposures_off(used).sum()),
                "finished": len(done),
                "failed": int((mine.status == "failed").sum()),
                "missing": int((mine.status == "missing").sum()),
            }
        )
    table = pd.DataFrame(rows)
    order = (
        runs.drop_duplicates("curve").sort_values(["amount", "asked", "arm_name"]).curve.tolist()
    )
    table["order"] = table.curve.map({c: i for i, c in enumerate(order)})
    return table.sort_values(["order", "parameters_paper", "label", "arm"], ignore_index=True).drop(
        columns="order"
    )


def exposures_off(runs):
    """True where the counted mean exposures differ by more than 1% from those asked for. A boolean
    Series."""
    return (runs.exposures_mean / runs.exposures - 1).abs() > EXPOSURES_OFF


def noise(runs, number="r"):
    """sd of one run over seeds, pooled over the arms with two seeds or more: {"saturated" or
    "open": (sd, dof)}.

    Relative to the arm's mean for r, absolute for accuracies. Two seeds in an arm leave one degree
    of freedom, whose t interval spans 13 standard errors; pooling makes the intervals usable and
    assumes equal noise within a class: models that hold at least 95% of their data (hardly any
    noise) and the others.
    """
    out = {}
    chosen = runs[runs.chosen & runs[number].notna()]
    mean = chosen.groupby("arm")[number].transform("mean")
    count = chosen.groupby("arm")[number].transform("size")
    scale = _scale(mean, chosen.r_max) if number == "r" else 1.0
    full = chosen.groupby("arm").fraction.transform("mean") >= SATURATED
    for name, part in (("saturated", full), ("open", ~full)):
        keep = part & (count > 1)
        dof = int(keep.sum() - chosen.arm[keep].nunique())
        if dof:
            out[name] = (
                float(np.sqrt((((chosen[number] - mean) / scale)[keep] ** 2).sum() / dof)),
                dof,
            )
    return out


def standard_error(arm, pooled, number="r"):
    """(standard error of the arm's mean, degrees of freedom), from the larger of its own and the
    pooled scatter of seeds, and the people asked; None without any replicate. arm: a row of `arms`;
    pooled: what `noise` returned."""
    known = pooled.get("open")
    if arm.fraction >= SATURATED and (
        known is None or pooled.get("saturated", (0, 0))[1] >= FEW_DOF
    ):
        known = pooled.get("saturated")
    if known is None or not arm.seeds:
        return None
    sd = known[0] * (float(_scale(arm.r, arm.r_max)) if number == "r" else 1.0)
    own = arm.get(f"{number}_sd", math.nan)
    sd = max(sd, 0.0 if math.isnan(own) else own)
    return math.hypot(sd / math.sqrt(arm.seeds), arm.r_se_people if number == "r" else 0.0), known[
        1
    ]


def peak(members, pooled, *, n_boot=4000, seed=0, number="r", sign=1):
    """The largest (sign = -1: smallest) mean over the arms of a curve, with an interval, as a dict,
    or None.

    The maximum of noisy means lies above the maximum of their expectations, by about `bias`. The
    interval holds it all the same: its lower end is the largest of the arms' lower limits that hold
    all together (the quantile of the maximum of t draws), its upper end the largest of their single
    upper limits, since the true best arm is one of them. A percentile or basic bootstrap of the
    maximum covers only 87 to 91% where several arms are equally good. own_interval is the t
    interval of the best arm's own seeds.
    """
    known = members[members[number].notna()]
    if known.empty:
        return None
    values = known[number].to_numpy(float)
    top = known.iloc[int(np.argmax(sign * values))]
    out = {
        "value": float(top[number]),
        "interval": None,
        "bias": None,
        "reason": None,
        "label": top.label,
        "arm": int(top.arm),
        "parameters": int(top.parameters_paper),
        "r_max": float(top.r_max),
        "seeds": int(top.seeds),
        "models": len(known),
        "largest_r_max": float(known.r_max.max()),
        "rising": int(top.rising),
        "edge": None
        if len(known) < 2
        else {
            known.parameters_paper.min(): "smallest",
            known.parameters_paper.max(): "largest",
        }.get(top.parameters_paper),
        "own_interval": None
        if number != "r" or math.isnan(top.r_low)
        else [float(top.r_low), float(top.r_high)],
    }
    errors = [standard_error(row, pooled) for _, row in known.iterrows()]
    if None in errors:
        return out | {"reason": "one seed per arm: the noise of seeds was not measured"}
    scale = np.where(number == "r", 1.0, 1.0 / known.r_max.to_numpy(float))  # fraction = r / r_max
    error, dof = sign * np.array([e[0] for e in errors]) * scale, min(e[1] for e in errors)
    rng, half = np.random.default_rng(seed), 0.5 + LEVEL / 2
    t = rng.standard_normal((n_boot, len(values))) * np.sqrt(dof / rng.chisquare(dof, (n_boot, 1)))
    together, single = np.quantile(t.max(1), half), student(dof)
    most = np.maximum(
        values, {"r": known.r_max.to_numpy(float), "fraction": 1.0}.get(number, math.inf)
    )  # the data hold no more
    ends = sorted(
        sign * (sign * np.minimum(values + c * error, most)).max() for c in (-together, single)
    )
    drawn = sign * (sign * (values + t * error)).max(1)
    return out | {"interval": [float(x) for x in ends], "bias": float(drawn.mean() - out["value"])}


def peaks(runs, table, pooled, *, n_boot=4000, seed=0):
    """The peak of every curve with a finished run, in the order of `arms`, and its ratio to that of
    the first curve of the same N (or load): a list of dicts."""
    out, first_of = [], {}
    amount = runs.drop_duplicates("curve").set_index("curve").amount
    for curve, members in table.groupby("curve", sort=False):
        found = peak(members, pooled, n_boot=n_boot, seed=seed)
        if found:
            first = members.iloc[0]
            top = members[members.arm == found["arm"]].iloc[0]
            reference = first_of.setdefault(amount[curve], top)
            against = None
            if reference is not top:
                against = ratio_of_arms([top], [reference], pooled) | {"name": reference.curve_name}
            out.append(
                {
                    "curve": int(curve),
                    "name": first.curve_name,
                    "n_people": float(first.n_people),
                    "exposures": float(first.exposures),
                    "against_first": against,
                }
                | found
            )
    return out


def ratio_of_arms(above, below, pooled, number="r"):
    """Sum over arms / sum over other arms (lists of rows of `arms`) with the noise of seeds, as
    a dict of value, interval, method, why (there is no interval) and lacks (why there is no
    value)."""
    a, b = sum(row[number] for row in above), sum(row[number] for row in below)
    if b <= 0:
        return {
            "value": None,
            "interval": None,
            "lacks": f"the arm in the denominator has learned nothing ({number} = {b:.3g})",
        }
    errors = [standard_error(row, pooled, number) for row in (*above, *below)]
    if None in errors:
        return {
            "value": a / b,
            "interval": None,
            "why": "one seed per arm: the noise of seeds was not measured",
        }
    t = student(min(e[1] for e in errors))
    variance = [
        sum(e[0] ** 2 for e in part) for part in (errors[: len(above)], errors[len(above) :])
    ]
    value, interval = fieller(a, b, [[variance[0], 0.0], [0.0, variance[1]]], t)
    return {
        "value": float(value),
        "interval": None if interval is None else [float(x) for x in interval],
        "why": "the denominator cannot be told from 0",
        "method": "Fieller, pooled noise of seeds",
    }


def at_edge(runs, best_over):
    """Names of arms whose best run has the smallest or largest of three or more values of a setting
    of `best_over`: more of them might have raised R. By setting."""
    out = {}
    for column in best_over:
        if column not in runs or not pd.api.types.is_numeric_dtype(runs[column]):
            continue
        done = runs[runs.status == "finished"]
        tried = done.groupby(["arm", "seed"])[column]
        edge = (
            done.chosen
            & (tried.transform("nunique") > 2)
            & ((done[column] == tried.transform("min")) | (done[column] == tried.transform("max")))
        )
        if edge.any():
            best = done[edge].drop_duplicates("arm")
            out[column] = [f"{row.label} ({row.curve_name})" for row in best.itertuples()]
    return out


def _scale(mean, r_max):
    """What the noise of R is relative to: its size, but at least a twentieth of R^max, since R may
    be 0 or negative."""
    return np.maximum(np.abs(mean), 0.05 * r_max)


def _best(runs):
    """True for the finished run with the most bits of every (arm, seed)."""
    done = runs[runs.status == "finished"]
    return runs.index.isin(done.groupby(["arm", "seed"]).bits.idxmax())


def _check_vocabulary(runs, plain, data):
    """Mixed vocabulary sizes are fine where a setting of the data explains them, and refused where
    none does."""
    done = runs[runs.status == "finished"]
    if done.vocab_size.nunique() < 2:
        runs.attrs["vocabulary"] = None
        return
    keys = labels.tuples(plain.loc[done.index], data)
    if len(set(keys)) < len(set(zip(keys, done.vocab_size))):
        sizes = ", ".join(f"{v:.0f}" for v in sorted(set(done.vocab_size)))
        raise ValueError(
            f"finished runs mix vocabulary sizes {sizes} that no setting of data explains: their R "
            f"has no "
            "common meaning"
        )
    runs.attrs["vocabulary"] = sorted({int(v) for v in done.vocab_size})


def _amount(runs, plain):
    """("N", people) or, where the load is given instead of N, ("load", bits per parameter), for
    every run."""
    load = plain["data.load"] if "data.load" in plain else [None] * len(runs)
    return [("N", float(n)) if x is None else ("load", x) for n, x in zip(runs.n_people, load)]


def _amount_text(amount):
    return f"N = {short(amount[1])}" if amount[0] == "N" else f"load {amount[1]:g}"


def _asked(exposures, expected):
    """Exposures as asked for, or, where steps were given, as expected from them, to three
    digits."""
    return float(exposures) if exposures is not None else float(f"{expected:.3g}")


def _splits(plain, others, column):
    """Whether a column takes several values where all others are equal."""
    keys = labels.tuples(plain, [c for c in others if c in plain])
    return len(set(zip(keys, plain[column]))) > len(set(keys))


def _short_labels(runs, plain):
    """Labels such as "2x16 n_heads=2" without the settings that are the same wherever curve and
    shape are: the name of the curve tells them, or nothing varies."""
    words = runs.label.str.split()
    where = list(zip(runs.curve, words.str[0]))
    told = {
        c
        for c in plain
        if c.startswith("model.") and len(set(zip(where, plain[c]))) == len(set(where))
    }
    return [
        " ".join(word for word in some if f"model.{word.split('=')[0]}" not in told)
        for some in words
    ]
