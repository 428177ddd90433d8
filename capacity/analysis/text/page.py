"""What the page says of studies of text: their fit (`Outcome.fit`, memory.json) and the table of
attacks in words."""

from __future__ import annotations

import pandas as pd

from capacity.analysis.random import plateaus as fits
from capacity.analysis.text import canaries, forgetting
from capacity.analysis.text import membership_law as law
from capacity.analysis.text.analysis import BROKEN
from capacity.analysis.text.double_descent import told
from capacity.report.parts import (
    FAILED,
    MISSING,
    P_TOTAL,
    RESIDUAL,
    RISING_MEANS,
    Beside,
    Flag,
    Interval,
    Law,
    Number,
    View,
)
from capacity.report.views import at_scale, judged

SOURCE = "arXiv 2505.24832 v3"


def of_text(fit: dict, tables: dict[str, pd.DataFrame]) -> View:
    """Answers in this order: forgetting, where memorizing stops (only where the peak is clear), the
    law of membership, what it foretells, canaries, shadow models."""
    runs, attacks = tables["runs.csv"], tables["attacks.csv"]
    clear = {label: shape for label, shape in (fit["descent"] or {}).items() if shape["clear"]}
    answers = [
        *_forgets(fit.get("forgetting"), runs),
        *_peaks(clear),
        *_membership(fit),
        *_foretold(fit),
    ]
    answers += [] if "forgetting" in fit else _canary_answers(fit["canaries"])
    answers += _shadows(attacks)
    none = [
        f"{words}: {fit['laws'][key]['reason']}"
        for key, words in (("f1_median", "F1"),)
        if "reason" in fit["laws"][key]
    ]
    if not answers:
        answers = [f"**No law from these runs:** {'; '.join(none) or 'no finished target'}."]
    status = {state: sorted(runs.run_id[runs.status == state]) for state in ("failed", "missing")}
    rising = sorted(runs.run_id[fits.rising(runs)])
    sd = runs.bag_of_words_sd.astype(float)
    broken = sorted(
        runs.run_id[
            (runs.status == "finished")
            & ((runs.bag_of_words_auc.astype(float) - 0.5).abs() > BROKEN * sd)
        ]
    )
    flags = [
        Flag(*FAILED, status["failed"]),
        Flag(*MISSING, status["missing"]),
        Flag("unconverged", RISING_MEANS, rising),
        Flag(
            "broken-split",
            f"a bag of words, which sees no model, tells members from others by over {BROKEN:g} of "
            f"its standard deviations",
            broken,
        ),
        Flag(
            "unknown-split",
            "does not say what chance does to a bag of words; measure it again",
            sorted(runs.run_id[(runs.status == "finished") & sd.isna()]),
        ),
    ]
    laws = [
        _law(fit["laws"][key], f"{words} of the loss attack")
        for key, words in (("f1_median", "F1"), ("auc", "AUC"))
        if fit["targets"]
    ]
    laws += (
        [
            _law(
                fit["logarithmic"],
                "F1, a sigmoid in log t",
                f"not published; {law.told_compared(fit['forms'])}",
            )
        ]
        if fit["logarithmic"]
        else []
    )
    laws += [_shape(label, shape) for label, shape in (fit["descent"] or {}).items()]
    laws += _canary_laws(fit["canaries"]) if fit["canaries"] is not None else []
    laws += _forgetting_laws(fit["forgetting"]) if "forgetting" in fit else []
    beside, conventions = (
        judged(fit["verdicts"]) + _beside(fit),
        [
            (
                "F1",
                "half of all is flagged, so that chance is 0.5 and precision, recall and F1 are "
                "one number",
            ),
            ("AUC", "chance is 0.5; loss attack unless another is named"),
            (
                "unintended bits",
                "over a model of the same size trained on more data. clipped: the paper's, in "
                "which noise of sequences counts as bits; mixture: a code that "
                "exists; gap: minus the same on held-out sequences",
            ),
            ("data bits", "code length of the members under the reference model of the same size"),
            (
                "generalised bits",
                "what the model takes off a code of log2 V per token, minus "
                "what it memorized; so memorized and generalised bits do not add up to the data "
                "bits, which are of another code",
            ),
            ("tokens per parameter", "tokens of the distinct training sequences / P total"),
            P_TOTAL,
            (
                "intervals of laws",
                "95%, profile likelihood with runs as replicates (law of membership), of seeds "
                "within sizes (peaks), of runs (canaries), of canaries within cells (forgetting)",
            ),
            (
                "intervals of attacks",
                "95% over models (Student's t): about training, not about another text; "
                "attacks.csv has those over sequences",
            ),
            RESIDUAL,
        ],
    )
    return View(
        answers,
        laws,
        beside,
        at_scale(fit["verdicts"]) if beside else "no published value for what this study fits",
        flags,
        conventions,
        fit["notes"],
        ["descent"] if clear else [],
    )


def _membership(fit: dict) -> list[str]:
    if "reason" in fit["laws"]["f1_median"]:
        return []
    (found, form), published = law.quoted(fit), fit["laws"]["f1_median"]
    at = found["falls_to"]["0.75"]
    if at["t"] is None:
        return []
    ends = (
        f", 95% [{at['interval'][0]:.2f}, {at['interval'][1]:.2f}]"
        if at["interval"]
        else " (no interval)"
    )
    answer = (
        f"F1 of the loss attack falls to 0.75 at **{at['t']:.2f} tokens per parameter**{ends} over "
        f"{found['points']} runs (by {form}); chance is 0.5."
    )
    other, words = (
        (published, "The published form")
        if form != "the published form"
        else (fit["logarithmic"], "A sigmoid in log t")
    )
    more = (
        f" and says {other['falls_to']['0.75']['t']:.2f} "
        f"[{', '.join(f'{end:.2f}' for end in other['falls_to']['0.75']['interval'])}]"
        if other["falls_to"]["0.75"]["interval"]
        else ""
    )
    return [
        answer,
        f"{words} misses F1 by {other['rmse']:.3f} (rms){more}; {form} misses by "
        f"{found['rmse']:.3f}: the form moves the answer more than the runs' noise does."
        if more
        and at["interval"]
        and not at["interval"][0] <= other["falls_to"]["0.75"]["t"] <= at["interval"][1]
        else f"{words} misses F1 by {other['rmse']:.3f} (rms){more}; {form} misses by "
        f"{found['rmse']:.3f}.",
    ]


def _foretold(fit: dict) -> list[str]:
    out = []
    for asked in fit["predicted"]["f1_median"]:
        worst = max(
            zip(asked["t"], asked["measured"], asked["said"]),
            key=lambda point: abs(point[1] - point[2]),
        )
        out.append(
            f"Fitted to smaller shapes, the law misses F1 of {asked['label']} by "
            f"**{asked['rmse']:.3f}** (rms), at worst {worst[2]:.3f} for a measured {worst[1]:.3f} "
            f"at "
            f"{worst[0]:.2f} tokens per parameter."
        )
    return out[::-1]  # the largest shape first


def _peaks(clear: dict) -> list[str]:
    return [
        f"{label} memorizes {'at least' if shape['at_edge'] else 'at most'} "
        f"**{told(shape['alpha'])} bits per parameter**; its loss on other text is worst at "
        f"{told(shape['peak'])} data bits per parameter, "
        f"{told(shape['peak_over_capacity'])} times that (95% over seeds)."
        for label, shape in clear.items()
    ]


def _canary_answers(found: dict | None) -> list[str]:
    if found is None:
        return []
    laws = {name: found[name] for name in ("exposure", "extracted") if "reason" not in found[name]}
    if not laws:
        return [
            "**No law of canaries:** "
            + "; ".join(f"{name}: {found[name]['reason']}" for name in ("exposure", "extracted"))
            + "."
        ]
    out = (
        [
            f"Half of the canaries are written out after **{canaries.told_half(found)}** (logistic "
            f"law over {found['logistic']['runs']} runs)."
        ]
        if found["half_extracted"]
        else []
    )
    names = {
        "exposure": ("Exposure of canaries grows by", "bits"),
        "extracted": ("The part that greedy decoding writes out grows by", ""),
    }
    return out + [
        f"{names[name][0]} **{told(part['b'])}** {names[name][1]} with every doubling of "
        f"views".replace("  ", " ")
        + (
            f" and by **{told(part['c'])}** with every doubling of parameters"
            if "c" in part
            else ""
        )
        + f" ({'95% over' if part['b']['interval'] else 'no interval:'} {part['runs']} runs)."
        for name, part in laws.items()
    ]


def _forgets(found: dict | None, runs: pd.DataFrame) -> list[str]:
    if found is None:
        return []
    kinds, out = {"random": "random tokens", "pool": "passages of the text"}, []
    strong = [cell for cell in found["cells"] if cell["errors"] is not None]
    if not strong:
        return ["**No law of forgetting:** no curve has enough to forget for a form."]
    out.append(
        f"Half of what views left is lost after {forgetting.told_medians(found)}; {len(strong)} of "
        f"{len(found['cells'])} curves have enough to forget, each with its "
        "interval under Fits."
    )
    mixed = (
        "; learning rates differ between sizes, so size stands for both"
        if runs.groupby("parameters_total").lr.first().nunique() > 1
        else ""
    )
    for kind, part in found["half_life"].items():
        if "reason" not in part:
            out.append(
                f"Half-lives of {kinds[kind]} go as {_exponents(part)} (95% over canaries, "
                f"{part['curves']} curves{mixed})."
            )
    for kind, part in found["first_bits"].items():
        if "reason" not in part:
            out.append(
                f"Bits at first, {kinds[kind]}: proportional to {_exponents(part)} (95% over "
                f"canaries, {part['curves']} curves)."
            )
    best = min(found["forms"], key=lambda form: found["forms"][form]["tail"])
    out.append(
        f"Later lags are foretold best by the {best} form (median error "
        f"{found['forms'][best]['tail']:.1%} of the bits at first)."
    )
    return out


def _exponents(part: dict) -> str:
    return ", ".join(
        f"{axis}^**{part[axis]['exponent']:.2f}** [{part[axis]['interval'][0]:.2f}, "
        f"{part[axis]['interval'][1]:.2f}]"
        for axis in forgetting.AXES
        if axis in part
    )


def _shadows(attacks: pd.DataFrame) -> list[str]:
    half = attacks[attacks.trained_on == "half"].set_index("attack") if len(attacks) else attacks
    if "lira" not in half.index:
        return []
    rows = [
        half.loc[name].iloc[0] if half.index.tolist().count(name) > 1 else half.loc[name]
        for name in ("lira", "rmia", "loss")
        if name in half.index
    ]
    names = {"lira": "LiRA", "rmia": "RMIA", "loss": "the loss alone"}
    said = ", ".join(
        f"{names[row.name]} **{row.auc:.3f}** [{row.auc_low:.3f}, {row.auc_high:.3f}]"
        for row in rows
    )
    first = rows[0]
    few = ""
    if "tpr_at_0.01" in half and pd.notna(first["tpr_at_0.01"]):
        tpr = ", ".join(
            f"{names[row.name]} {row['tpr_at_0.01']:.1%} [{row['tpr_at_0.01_low']:.1%}, "
            f"{row['tpr_at_0.01_high']:.1%}]"
            for row in rows
            if row.name != "rmia"
        )
        few = f" Of those trained on, at 1% false positives: {tpr}."
    return [
        f"With shadow models the AUC is {said} (95% over {first.models:.0f} models as targets, "
        f"{first.label} at {first.tokens_per_parameter:.2g} tokens per parameter).{few}"
    ]


def _law(found: dict, name: str, *more: str) -> Law:
    if "reason" in found:
        return Law(name, reason=found["reason"])
    numbers = [
        Number(c, found[c], "", [Interval("over runs", found["intervals"][c], "", True)])
        for c in ("c1", "c2", "c3")
    ]
    for level, at in found["falls_to"].items():
        if at["t"] is not None:
            numbers.append(
                Number(
                    f"t at {level}",
                    at["t"],
                    "tokens per parameter",
                    [
                        Interval(
                            "over runs",
                            at["interval"],
                            "" if at["interval"] else "the runs do not bound it",
                            True,
                        )
                    ],
                )
            )
    remarks = [*more, f"error {found['rmse']:.3f} (rms) over {found['points']} runs"]
    if found["c1"] > law.C1_MOST - 1e-3:
        remarks.append(f"c1 is at its bound of {law.C1_MOST:g}: read the curve, not the constants")
    return Law(name, found["form"] + ", t tokens per parameter", numbers, remarks)


def _shape(label: str, shape: dict) -> Law:
    def number(symbol: str, key: str, unit: str) -> Number:
        ends = shape[key]["interval"]
        return Number(
            symbol,
            shape[key]["value"],
            unit,
            [Interval("over seeds", ends, "" if ends else "one seed", True)],
        )

    numbers = [
        number(
            "memorized at least" if shape["at_edge"] else "memorized at most",
            "alpha",
            "bits per parameter",
        )
    ]
    if shape["clear"]:
        numbers += [
            number("peak of the held-out loss", "peak", "data bits per parameter"),
            number("peak / memorized at most", "peak_over_capacity", ""),
        ]
    remarks = [
        "no peak of the held-out loss: its highest value does not stand clear of both sides"
    ] * (not shape["clear"]) + [
        "the most was memorized at the smallest or largest size tried: a lower bound"
    ] * shape["at_edge"]
    return Law(
        f"memorized and generalised bits, {label}",
        "parabola through the highest loss and its neighbours",
        numbers,
        remarks,
    )


def _canary_laws(found: dict) -> list[Law]:
    out = []
    for name, form in canaries.FORMS.items():
        part = found[name]
        if "reason" in part:
            out.append(Law(f"canaries, {name}", form, reason=part["reason"]))
            continue
        numbers = [
            Number(
                c,
                part[c]["value"],
                "",
                [Interval("over runs", part[c]["interval"], "too few runs", True)],
            )
            for c in "abc"
            if c in part
        ]
        out.append(
            Law(
                f"canaries, {name}",
                form,
                numbers,
                [f"{part['points']} points of {part['runs']} runs"],
            )
        )
    return out


def _forgetting_laws(found: dict) -> list[Law]:
    out = []
    for key, words in (("first_bits", "bits at first"), ("half_life", "half-life")):
        for kind, part in found[key].items():
            name = f"{words}, {kind}"
            if "reason" in part:
                out.append(Law(name, reason=part["reason"]))
                continue
            numbers = [
                Number(
                    f"exponent of {axis}",
                    part[axis]["exponent"],
                    "",
                    [Interval("over canaries", part[axis]["interval"], "", True)],
                )
                for axis in forgetting.AXES
                if axis in part
            ]
            out.append(Law(name, "product of powers", numbers, [f"{part['curves']} curves"]))
    formulas = {
        "power": "a (1 + lag / t0)^(-b)",
        "exponential": "c + (a - c) exp(-lag / t0)",
        "logarithmic": "a - b log2(1 + lag / t0)",
    }
    for form, errors in found["forms"].items():
        if errors["rmse"] is not None:
            out.append(
                Law(
                    f"forgetting, {form}",
                    formulas[form],
                    [
                        Number("error", errors["rmse"], "of the bits at first, median"),
                        Number(
                            "error on later lags", errors["tail"], "of the bits at first, median"
                        ),
                    ],
                    [
                        f"best in {errors['best_rmse']}, on later lags in {errors['best_tail']} of "
                        f"{found['strong']} curves"
                    ],
                )
            )
    return out


def _beside(fit: dict) -> list[Beside]:
    found, out = fit["laws"]["f1_median"], []
    why = "150 to 4,700 times larger models, English and another vocabulary there"
    if fit["printed"]:
        rises = ", and it rises with data" if fit["printed"]["rises_with_data"] else ""
        out.append(
            Beside(
                "F1 by the law as it is printed",
                "its own constants",
                f"misses by {fit['printed']['rmse']:.3f} (rms){rises}",
                "not judged",
                why,
                f"{SOURCE}, section 5.2.1",
            )
        )
    return out
