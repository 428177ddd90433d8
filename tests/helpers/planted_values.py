"""Runs that nobody trained, planted so that a published value is known to hold, known not to, or
lost in noise; each goes through the analysis of its kind of study, and gives the verdicts."""

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import budget_runs
import idle_tables
import random_data
import repeated_runs
import smi_runs
from capacity import counts, run_table
from capacity.analysis import facts
from capacity.analysis.ablation import analysis as ablation
from capacity.analysis.budget import analysis as budget
from capacity.analysis.finding import Options
from capacity.analysis.idle import analysis as idle
from capacity.analysis.inside import analysis as inside
from capacity.analysis.precision import analysis as precision
from capacity.analysis.precision import bit_widths
from capacity.analysis.random import analysis as random
from capacity.analysis.text import analysis as text
from capacity.analysis.text import membership_law as membership
from capacity.declare.inside import SCORES
from capacity.fitting import capacity_forms
from capacity.published import values as published
from capacity.published.expects import check_expects
from capacity.study import load_study
from facts_tables import grid, study, table

CASES = ("agrees", "differs", "cannot tell")
DATA = "data"  # of ablations: nearly all rows hold their data whole, so that alpha decides few
NOTHING = "nothing"  # runs that learned nothing, which may give any verdict but agrees
QUIET, LOUD = 0.004, 0.6  # relative noise of a run
GUESSED = {
    "accuracy_uniform": 0.005,
    "accuracy_most_frequent": 0.01,
    "extraction_uniform": 0.005,
    "extraction_most_frequent": 0.01,
    "extraction_most_frequent_taught": 0.01,
}

# Constants of formulas: no number of their own is judged. What is planted is the formula, and what
# is judged is where F1 falls to 0.75 (test_planted_formulas.py).
FORMULAS = ("morris/membership_repaired", "morris/membership_printed")


def truth(value, case):
    """What is planted: the published number (the middle of the range where none is printed, or
    where the number is an end of its own range), or one far outside of the range."""
    low, high = value.range
    if case == "differs" and value.unit == "difference of R^2":
        return -high  # the other predictor explains more
    if case == "differs":
        bounded = value.unit == "share" or value.quantity in ("saturated_fraction",)
        bounded = bounded or value.id == "morris/f1_at_75"  # whose runs end at 16
        return low / 2 if bounded and high > 0.6 else 3 * high
    edge = 0.1 * (high - low)
    known = value.value is not None and low + edge <= value.value <= high - edge
    return value.value if known else (low + high) / 2


def verdict(id, case):
    """The verdict on a published value of runs that were planted to give this one."""
    value = published.get(id)
    if id.startswith("morris/row_"):
        found = of_row(value, case)
    elif value.quantity:
        found = of_facts(id, case)
    elif id in ("physics33/int8", "physics33/int4", "morris/bf16_over_fp32"):
        found = of_precision(id, case)
    elif id.startswith("morris/error_") or id == "morris/alpha_of_rows":
        found = of_ablation("seq_len" if id.endswith("seq_len") else "vocab_size", case)
    elif value.unit == "kappa":
        found = of_idle(id, case)
    elif id in ("morris/f1_at_75", "morris/descent_peak"):
        found = of_text(id, case)
    elif id == "repeated/effective_size":
        found = of_repeated(id, case)
    elif id == "smi/mi_over_cooccurrence":
        found = of_smi(case)
    elif id == "inside/gain":
        found = of_inside(id, case)
    elif id == "morris/alpha_stated":
        found = [stated(of_ablation("vocab_size", case))]
    else:
        found = of_random("fp32" if id.endswith("fp32") else "bf16", case)
    (only,) = [row for row in found if row["published"]["id"] == id]
    return only


def of_facts(id, case):
    """Arms of one model whose R, accuracies or exposures have the planted ratio or level."""
    value = published.get(id)
    level, noise = truth(value, case), LOUD if case == "cannot tell" else QUIET
    where, against = {"data.tag": "main"}, {"data.tag": "none"}
    none = case == NOTHING
    few = {"shapes": ("2x16",), "people": (2400,), "seeds": range(4)}
    entry = {"name": id, "published": id, "quantity": value.quantity, "where": where}
    draw = np.random.default_rng(5)

    def noisy(level):
        if none:  # answers by frequency alone
            return 0.01 + 0.001 * draw.standard_normal()
        return float(level * max(0.02, 1 + noise * draw.standard_normal()))

    def learned(rows):
        return [
            row | {"bits": 1e-3 * row["bits"] * draw.standard_normal()} if none else row
            for row in rows
        ]

    if (
        value.quantity == "ratio"
        and "extraction" not in value.what
        and "questions" not in value.what
    ):
        entry["against"] = against
        rows = learned(grid(**few, r=level, noise=noise, draw=1, **where))
        rows += grid(**few, r=1.0, noise=noise, draw=2, **against)
    elif value.quantity == "ratio":
        entry |= {"against": against, "of": "extraction", "models": "matched"}
        rows = [
            row | GUESSED | {"extraction_accuracy": noisy(part)}
            for at, part in ((where, 0.03 * level), (against, 0.03))
            for row in grid(**few, **at)
        ]
    elif value.quantity == "rising":
        entry["where"] = {}
        rows = [
            row
            for e, r in ((100.0, 0.8), (1000.0, 0.8 * level))
            for row in grid(**few, r=r, noise=noise, draw=int(e), **{"train.exposures": e})
        ]
        rows = learned(rows)
    elif value.quantity == "peak_ratio":
        rows = grid(**few | {"shapes": ("2x16", "2x24")}, r=level, noise=noise, draw=1, **where)
        rows = learned(rows)
    elif value.quantity == "saturated_fraction":
        rows = grid(**few, r=2.0, noise=0.01, **where)
        rows += [
            row | {"bits": row["ceiling_bits"] * min(1.0, noisy(level))}
            for row in learned(grid(**few | {"people": (400,)}, **where))
        ]
    else:
        stored = 0.8 if value.quantity == "extractable_fraction" else 1.0
        stored = noisy(0.0) if none else stored
        rows = [
            row | GUESSED | {"extraction_accuracy": noisy(level * stored), "accuracy": stored}
            for row in grid(**few, **where)
        ]
    planted = dataclasses.replace(study(), expects=check_expects([entry]))
    return facts.analyse(planted, table(rows), Path(), Options(bootstraps=100)).numbers["verdicts"]


def of_idle(id, case):
    """Plain models and mixtures of experts whose idle parameters are worth the planted part."""
    nothing = case == NOTHING
    level = truth(published.get(id), "agrees" if nothing else case)
    exposures = 1000 if id.endswith("_1000") else 100
    runs = idle_tables.plan(("plain", "experts"), pins=idle_tables.BIOS, exposures=exposures)
    rows = idle_tables.table(
        runs,
        noise=QUIET,
        models=LOUD / 4 if case == "cannot tell" else 0.0,
        kappas={"experts": level},
        alpha=0.5,
        draw=3,
    )
    if nothing:  # the plain models learned; what the experts hold is noise about 0
        experts = [run.run_id for run in runs if run.model.n_experts]
        off = np.random.default_rng(1).standard_normal(len(rows))
        rows["bits"] = np.where(rows.run_id.isin(experts), 0.001 * rows.bits * off, rows.bits)
    return idle.analysed(runs, rows, "planted", idle_tables.BEST).numbers["verdicts"]


def of_inside(id, case):
    """Six seeds of one kind of texts, K of the probe the planted part above K of questions."""
    level, noise = truth(published.get(id), case), LOUD if case == "cannot tell" else QUIET
    draw = np.random.default_rng(6)
    runs = [r for r in load_study("items/inside@pocket", []).runs if r.data.biographies == 1]
    measured = {}
    for run in runs:
        k = dict.fromkeys(SCORES, 0.35) | {
            "probe": 0.35 * (1 + level) * (1 + noise * draw.standard_normal())
        }
        measured[run.run_id] = {
            "people": 100,
            "log2_values": 4.0,
            "probe_weights": 1,
            "probe_layer": 1.0,
            "context": "text",
            "asked": "tuned",
            "scores": {s: {"k": float(v), "k_star": 0.0, "bits": 0.0} for s, v in k.items()},
            "answered": {},
        }
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    return inside.analysed(runs, rows, measured, "planted").numbers["verdicts"]


def of_repeated(id, case):
    """Models that act as the planted part of their size where 0.1% is repeated 100 times."""
    level = truth(published.get(id), case)
    runs = repeated_runs.plan(
        [["data.n_sequences=99900", "data.canaries=1", "data.repeats=[100]"]],
        widths=(8, 12, 16, 24, 32),
        rows=100_000,
    )
    noise = 0.1 if case == "cannot tell" else 0.001
    found = repeated_runs.found(runs, effective=lambda e: level, noise=noise, draw=1)
    return found.numbers["verdicts"]


def of_smi(case):
    """Models that hold facts by I, by how often they were shown alone, or by I with slopes that
    differ from run to run."""
    by = {"common": 0.05} if case == "differs" else {"mi": 0.05, "mixed": 30}
    if case == "cannot tell":
        by = {"mi": 0.05, "mixed": 4, "noise": 0.05}
    return smi_runs.found(smi_runs.plan(), **by).numbers["verdicts"]


def stated(rows):
    """The alpha that the paper states in words, beside what is read by the same estimator; studies
    judge by the alpha of its rows, from which all of its predictions follow."""
    (alpha,) = [row for row in rows if row["published"]["id"] == "morris/alpha_of_rows"]
    measured = {"value": alpha["measured"], "interval": alpha["interval"], "why": alpha["reason"]}
    return published.verdict(published.get("morris/alpha_stated").expected(), measured)


@cache
def of_random(precision_, case):
    """Shapes whose capacity is alpha P; paper bits are S / (S - 1) times strict ones, paper
    parameters fewer."""
    ids = [i for i in ("mean_bf16", "slope_bf16", "mean_fp32") if i.endswith(precision_)]
    low = max(published.get(f"morris/{i}").range[0] for i in ids)
    high = min(published.get(f"morris/{i}").range[1] for i in ids)
    level = 3 * high if case == "differs" else (low + high) / 2
    runs = random_data.study(
        widths=(16, 32, 64, 96, 128),
        loads=(2.5,),
        alpha=1.0,
        noise=0.002,
        shapes=0.0,
    )
    scale = float(np.mean(runs.paper_ceiling_bits / runs.strict_ceiling_bits))
    scale *= float(np.mean(runs.parameters_total / runs.parameters_paper))
    runs = random_data.study(
        widths=(16, 32, 64, 96, 128),
        loads=(2.5,),
        alpha=level / scale,
        noise=0.002,
        shapes=0.5 if case == "cannot tell" else 0.0,
    ).assign(precision=precision_)
    numbers = random.analysed(runs, "planted", bootstraps=10).numbers
    return numbers["verdicts"]


def of_row(value, case):
    """The model of a row over six budgets, whose plateau is planted in paper bits and parameters.
    The data hold more than three times the largest published row."""
    there = value.setting
    runs = budget_runs.planted(
        r_inf=truth(value, case) / 1.02,
        noise=0.06 if case == "cannot tell" else 0.002,
        model=there["model"],
        precision=there["precision"],
        parameters=int(there["parameters"][0]) + 32,
        n_sequences=3000 * int(there["parameters"][0]) // 80_000,
    )
    return budget.analysed(runs, "planted").numbers["verdicts"]


@cache
def of_ablation(varied, case):
    """Cells of one shape with bits min(alpha P, data bits), noise by cell. NOTHING: one of six
    holds nothing, the others follow the law. DATA: two of six rows are limited by capacity."""
    sizes = (128, 256, 512, 1024, 2048, 4096) if varied == "vocab_size" else (256,)
    lengths = (64,) if varied == "vocab_size" else (8, 16, 32, 64, 128, 192)
    error = {"differs": 0.25, "cannot tell": 0.045}.get(case, 0.01)
    alpha, sign = 0.9 if case == "differs" else 3.54, 1.0
    draw, rows, d, n = np.random.default_rng(3), [], 16, 600
    if case == DATA:
        n = 90 if varied == "vocab_size" else 60
    for vocab in sizes:
        for length in lengths:
            paper = d * (vocab + length) + 2 * (12 * d * d + 13 * d) + 2 * d
            most = {
                way: counts.uniform_ceiling_bits(n, length, vocab, way)
                for way in ("strict", "paper")
            }
            sign = -sign
            off = sign * error if case != "cannot tell" else 2 * error * draw.standard_normal()
            for seed in (0, 1):
                bits = float(capacity_forms.hard_corner(paper, most["paper"], alpha))
                bits = min(bits * math.exp(off), 0.999 * most["paper"])
                if case == NOTHING and (vocab > 2048 or length > 128):
                    bits = -5.0 - seed
                rows.append(
                    {
                        "run_id": f"v{vocab}s{length}r{seed}",
                        "model": f"2x{d}",
                        "seed": seed,
                        "status": "finished",
                        "precision": "bf16",
                        "parameters_total": paper + d,
                        "parameters_paper": paper,
                        "parameters_non_embedding": paper - d * (vocab + length),
                        "n_sequences": n,
                        "entropy_bits": n * length * np.log2(vocab),
                        "strict_bits": bits * (length - 1) / length,
                        "paper_bits": bits,
                        "strict_ceiling_bits": most["strict"],
                        "paper_ceiling_bits": most["paper"],
                        "gain_last_tenth": 0.004,
                        "steps": 3000,
                        "tokens": 3000 * 32 * length,
                        "vocab_size": vocab,
                        "seq_len": length,
                        "lr": 0.03,
                        "batch_size": 32,
                        "error": None,
                    }
                )
    return ablation.analysed(pd.DataFrame(rows), "planted").numbers["verdicts"]


def of_text(id, case, curve=None):
    """Models whose F1 falls by the published form, or whose loss on other text peaks at the planted
    load; no scores are made, the table is what they are joined to. curve: of F1 against tokens per
    parameter, instead."""
    return of_texts(id, case, curve)["verdicts"]


def of_texts(id, case, curve=None):
    """All that is found of such models."""
    level = truth(published.get(id), case)
    draw, rows, p = np.random.default_rng(4), [], 1000
    noise = {"morris/f1_at_75": 0.004, "morris/descent_peak": 0.02}[id]
    loud = {"morris/f1_at_75": 0.06, "morris/descent_peak": 0.5}[id]
    noise = loud if case == "cannot tell" else noise
    capacity, code = 3000.0, 2.5  # bits that the model holds at most; bits per token
    for t in 2.0 ** np.arange(-3.0, 5.0):
        for seed in range(3):
            data = p * t * code
            f1 = float(membership.repaired(t, 1.0, 4 / level, level))  # 0.75 where t = level
            if curve is not None:
                f1 = float(curve(t))
            off = noise if id == "morris/f1_at_75" else 0.004
            rows.append(
                {
                    "run_id": f"{t:g}s{seed}",
                    "model": "2x8",
                    "seed": seed,
                    "status": "finished",
                    "trained_on": "members",
                    "parameters_total": p,
                    "tokens_per_parameter": t,
                    "seq_len": 32,
                    "n_sequences": round(p * t / 32),
                    "pool": "p",
                    "vocab_size": 256,
                    "data.split_seed": 0,
                    "bag_of_words_auc": 0.5,
                    "bag_of_words_sd": 0.02,
                    "loss_auc": 0.5 + 0.5 * (f1 - 0.5) + off * draw.standard_normal(),
                    "loss_f1_median": f1 + off * draw.standard_normal(),
                    "reference_same_bits": data,
                    "unintended_same_mixture": min(data, capacity) + draw.normal(0, 20),
                    "unintended_same_clipped": data,
                    "bits": 5000.0,
                    "members_loss_bits_per_token": 1.0,
                    "held_out_loss_bits_per_token": 5
                    - 0.2 * math.log2(data / capacity / level) ** 2
                    + noise * draw.standard_normal(),
                }
            )
    known = {"value": capacity / p, "interval": [0.99 * capacity / p, 1.01 * capacity / p]}
    random_ = {"2x8": {"study": "planted", "of": "model", "alpha": known}}
    return text.numbers(pd.DataFrame(rows), "planted", random=random_, n_boot=100)


def of_precision(id, case):
    """fp32 models of three shapes, and the same that keep the planted part."""
    value = published.get(id)
    nothing = case == NOTHING  # what is left of it is all of it, to within little
    part = truth(value, "agrees" if nothing else case)
    noise = 0.3 if case == "cannot tell" else 0.002
    kind, method, format = {
        "physics33/int8": ("bios", "gptq maps", "int8"),
        "physics33/int4": ("bios", "gptq maps", "int4"),
        "morris/bf16_over_fp32": ("uniform", "trained", "bf16"),
    }[id]
    draw, rows = np.random.default_rng(2), []
    for model, p in (("2x8", 4000), ("2x12", 7000), ("2x16", 11000)):
        for seed in (0, 1):
            held = 0.01 * p * draw.standard_normal() if nothing else 3.0 * p
            one = (f"{model}-{seed}", model, seed, 5.0)
            rows.append((*one, "trained", "fp32", 32.0, p, held, 32.0))
            kept = held * part * (1 + noise * draw.standard_normal())
            width = float(format[3:]) if format.startswith("int") else 16.0
            rows.append((*one, method, format, width, p, kept, width))
    out = pd.DataFrame(rows, columns=list(bit_widths.PARTS))
    out = out.assign(
        bits_per_parameter=out.held_bits / out.parameters,
        bits_per_stored_bit=out.held_bits / out.parameters / out.stored_bits_per_weight,
    )
    runs = out.drop_duplicates("run_id")
    told = pd.DataFrame(
        {
            "status": "finished",
            "kind": kind,
            "run_id": runs.run_id,
            "model": runs.model,
            "parameters_total": runs.parameters,
            "load": 5.0,
            "strict_bits": 12000.0,
            "strict_ceiling_bits": 20000.0,
            "gain_last_tenth": 0.01,
        }
    ).reset_index(drop=True)
    return precision.numbers(out, told, "planted")["verdicts"]
