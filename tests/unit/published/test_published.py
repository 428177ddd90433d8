"""The file of published values against its own tables, the rule of verdicts against planted truth,
and who refers to what."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import linregress, t

from capacity.analysis import published_rows
from capacity.analysis.ablation import analysis as ablations
from capacity.analysis.random import analysis as summary
from capacity.analysis.text import analysis as memory
from capacity.analysis.text import membership_law as law
from capacity.base.errors import ConfigError
from capacity.published import expects
from capacity.published import values as published
from capacity.report import text

ROOT = Path(__file__).resolve().parents[3]
SHAPES = [
    (layers, d) for layers in (1, 2, 4, 8) for d in (32, 64, 128, 256)
]  # of Table 1 of arXiv 2505.24832
BF16 = [
    3.93,
    3.74,
    3.61,
    2.88,
    3.56,
    3.94,
    3.89,
    3.66,
    3.37,
    3.39,
    3.53,
    3.51,
    2.86,
    3.19,
    3.49,
    3.65,
]
ERRORS = {
    "seq_len": [4.19, 1.80, 0.84, 0.41, 2.97, 1.24, 0.44],
    "vocab_size": [0.36, 2.78, 2.70, 1.11, 0.47],
}  # of its appendix A.1
TABLE_2 = [
    (0.55, 0.5461),
    (0.75, 0.7108),
    (0.95, 0.9585),
    (0.55, 0.5344),
    (0.75, 0.6569),
    (0.95, 0.9798),
]  # predicted and observed F1
ROW = {
    "name",
    "quantity",
    "at",
    "scale",
    "verdict",
    "reason",
    "measured",
    "interval",
    "method",
    "power",
    "form",
    "knows",
    "beside",
    "published",
    "source",
    "evidence",
    "convention",
    "note",
    "remarks",
}


def t_interval(x):
    half = t.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / len(x) ** 0.5
    return np.mean(x) - half, np.mean(x) + half


# --- the file
# --------------------------------------------------------------------------------------------------


def test_every_value_says_where_it_comes_from_how_it_counts_and_what_agrees_with_it():
    known = published.values()
    assert len(known) > 40 and known is published.values()
    for id, value in known.items():
        assert (
            re.fullmatch(r"(morris|physics3[13]|repeated|smi|inside)/\w+", id)
            and value.what
            and value.source.startswith("arXiv 2")
        ), id
        assert value.evidence in "prdsu" and value.setting and not value.note.endswith("."), id
        if value.constants:
            assert value.value is value.range is None
            continue
        low, high = value.range
        assert value.unit and value.convention + value.setting.get("precision", "x"), id
        assert (low, high) != (None, None) and (low is None or high is None or low < high), id
        ends = (-math.inf if low is None else low), (math.inf if high is None else high)
        assert value.value is None or ends[0] <= value.value <= ends[1], id
        assert value.quantity is None or value.quantity in expects.QUANTITIES, id
        if value.setting.get("steps"):
            runs = value.setting["steps"] * value.setting["sequences_per_step"] * 64
            assert value.setting["tokens"] == runs == 131_072_000_000, id


def test_no_value_is_written_down_and_used_by_nobody():
    users = [*(ROOT / "sweeps").rglob("*.yaml"), *(ROOT / "capacity").rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in users)
    composed = {
        "morris/alpha_of_rows": '"alpha_of_rows"',
        "morris/error_vocab_size": 'f"error_{',
        "morris/error_seq_len": 'f"error_{',
    } | {id: 'f"morris/row_{' for id in published.values() if id.startswith("morris/row_")}
    assert not [id for id in published.values() if composed.get(id, id) not in text]


def test_no_published_number_is_a_constant_of_a_module():
    for path in (ROOT / "capacity").rglob("*.py"):
        code = re.sub(r'""".*?"""|#.*', "", path.read_text("utf-8"), flags=re.S)
        assert not re.search(r"\b(3\.51|3\.64|3\.642|3\.83|33\.14)\b", code), path


def test_intervals_follow_from_the_published_tables():
    p = np.array([2112 * d + layers * (12 * d * d + 13 * d) + 2 * d for layers, d in SHAPES], float)
    mean, slope = published.get("morris/mean_bf16"), published.get("morris/slope_bf16")
    assert mean.interval == pytest.approx(
        t_interval(BF16), abs=0.006
    ) and mean.sd_over_models == pytest.approx(np.std(BF16, ddof=1), abs=0.005)
    line = linregress(p, p * BF16)
    half = t.ppf(0.975, 14) * line.stderr
    assert slope.interval == pytest.approx((line.slope - half, line.slope + half), abs=0.006)
    for column, errors in ERRORS.items():
        assert published.get(f"morris/error_{column}").range[1] == pytest.approx(
            t_interval(errors)[1], abs=0.06
        )
    rms = np.sqrt(np.mean([(a - b) ** 2 for a, b in TABLE_2]))
    at = published.get("morris/f1_at_75")
    told = [
        brentq(lambda x: law.repaired(x, **law.PUBLISHED) - f1, 0.1, 20)
        for f1 in (0.75, 0.75 + rms, 0.75 - rms)
    ]
    assert [at.value, *at.range] == pytest.approx(told, abs=0.01)


def test_a_range_is_the_interval_and_its_margin_or_what_was_judged():
    mean, stated = published.get("morris/mean_bf16"), published.get("morris/alpha_stated")
    assert mean.range == pytest.approx(
        (3.34 * 0.95, 3.68 * 1.05)
    ) and stated.range == pytest.approx((3.642 * 0.95, 3.642 * 1.05))
    assert published.get("physics33/data_that_fit").range == (0.95, 1.0) and published.get(
        "physics33/no_mlp_100"
    ).range == (0.35, 0.7)


def test_no_range_is_open_to_one_side():
    """What lies beyond an open end would be called a replication however far it is."""
    for value in published.values().values():
        assert value.constants or None not in (value.range or (None,)), value.id
    below_zero = published._value(
        {
            "id": "x",
            "what": "x",
            "source": "x",
            "evidence": "d",
            "setting": "a",
            "value": -2.0,
            "interval": [-2.5, -1.5],
            "margin": 0.1,
        },
        {"a": {}},
    )
    assert below_zero.range == pytest.approx((-2.75, -1.35))
    with pytest.raises(
        ConfigError,
        match=r"physics33/peak_100O: no such value \(did you mean physics33/peak_100\?\)",
    ):
        published.get("physics33/peak_100O")


# --- the rule
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "interval, ends, expected",
    [
        ([1.9, 2.1], [1.8, 2.3], "agrees"),
        ([1.8, 2.3], [1.8, 2.3], "agrees"),  # ends belong to the range
        ([1.2, 1.79], [1.8, 2.3], "differs"),
        ([2.31, 9.0], [1.8, 2.3], "differs"),
        ([1.2, 1.8], [1.8, 2.3], "cannot tell"),
        ([2.3, 2.4], [1.8, 2.3], "cannot tell"),  # touches
        ([1.7, 2.0], [1.8, 2.3], "cannot tell"),
        ([1.0, 3.0], [1.8, 2.3], "cannot tell"),  # reaches over one end, over both
        ([2.0, 2.0], [1.8, 2.3], "agrees"),
        ([2.4, 2.4], [1.8, 2.3], "differs"),  # no width
        ([-5.0, 0.1], [None, 0.1], "agrees"),
        ([0.11, 5.0], [None, 0.1], "differs"),
        ([0.0, 0.2], [None, 0.1], "cannot tell"),
        ([0.95, 1e9], [0.95, None], "agrees"),
        ([-1e9, 0.94], [0.95, None], "differs"),
        ([-math.inf, math.inf], [0.95, None], "cannot tell"),
    ],
)
def test_the_interval_decides(interval, ends, expected):
    found, why = published.decide(
        {"value": sum(interval) / 2 if math.isfinite(sum(interval)) else 1.0, "interval": interval},
        ends,
    )
    assert found == expected and why
    assert ("below" in why or "above" in why) == (expected == "differs")


def shown(rows, here=""):
    """What a terminal shows of verdicts, on one line."""
    lines = text.section(published_rows.section(rows, here))
    assert max(map(len, lines)) <= 80
    return " ".join(" ".join(lines).split())


def test_without_an_interval_or_a_value_nothing_is_told():
    found, why = published.decide({"value": 2.0, "interval": None, "why": "one seed"}, [1.8, 2.3])
    assert (found, why) == ("cannot tell", "the value lies inside the range, but one seed")
    found, why = published.decide({"value": 9.0, "interval": None, "why": "one seed"}, [1.8, 2.3])
    assert (found, why) == ("cannot tell", "the value lies outside the range, but one seed")
    assert published.decide(
        {"value": 2.0, "interval": [1.9, 2.1], "lacks": "no such arm"}, [1.8, 2.3]
    ) == ("cannot tell", "no such arm")
    row = published.verdict(
        published.get("physics33/peak_1000").expected(),
        {"value": None, "interval": None, "lacks": "no run"},
    )
    assert row["verdict"] == "cannot tell" and row["measured"] is None and set(row) == ROW
    assert "CANNOT TELL: measured nothing; no run" in shown([row])


@pytest.mark.parametrize(
    "truth, sd, agrees, differs",
    [
        (2.05, 0.02, (0.99, 1.0), (0.0, 0.0)),  # well inside, measured well
        (
            2.05,
            1.0,
            (0.0, 0.02),
            (0.0, 0.02),
        ),  # well inside, measured badly: no agreement by lack of data
        (2.3, 0.02, (0.0, 0.035), (0.0, 0.035)),  # at an end: either word in one of forty
        (2.6, 0.02, (0.0, 0.0), (0.99, 1.0)),
        (1.2, 0.05, (0.0, 0.0), (0.99, 1.0)),
    ],
)
def test_planted_truth_gets_its_verdict_as_often_as_the_rule_says(truth, sd, agrees, differs):
    """4,000 studies of five seeds; the words at an end of the range are right to claim at most 2.5%
    each (4 standard errors allowed)."""
    x = np.random.default_rng(0).normal(truth, sd, (4000, 5))
    half = t.ppf(0.975, 4) * x.std(1, ddof=1) / 5**0.5
    words = [
        published.decide({"value": m, "interval": [m - h, m + h]}, [1.8, 2.3])[0]
        for m, h in zip(x.mean(1), half, strict=True)
    ]
    for word, (low, high) in (("agrees", agrees), ("differs", differs)):
        assert low <= words.count(word) / len(words) <= high


# --- study files
# --------------------------------------------------------------------------------------------------

ENTRY = {"name": "a peak", "published": "physics33/peak_1000", "quantity": "peak_ratio"}


def test_a_study_refers_to_a_value_by_its_id():
    (found,) = expects.check_expects([ENTRY])
    value = published.get("physics33/peak_1000")
    assert (
        found["value"] == 2.0
        and found["range"] == [1.8, 2.3]
        and found["source"] == value.source
        and found["evidence"] == "p"
    )
    assert found["convention"] == value.convention and found["note"] == value.note
    assert found["there"] == "N 10K to 10M, P 1M to 500M, 1000 exposures, mixed fp16"
    (own,) = expects.check_expects([ENTRY | {"range": [0.5, None], "note": "tiny models"}])
    assert own["range"] == [0.5, None] and own["note"].endswith(
        "(overfilled ones may); tiny models; the range is this study's own"
    )
    (near,) = expects.check_expects([ENTRY | {"tolerance": 0.1}])
    assert near["range"] == pytest.approx([1.8, 2.2]) and "study's own" in near["note"]


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"published": "physics33/peek_1000"},
            ["published: physics33/peek_1000: no such value", "did you mean physics33/peak_1000?"],
        ),
        ({"value": 2.0}, ["value: is that of published: physics33/peak_1000", "one of the two"]),
        ({"source": "here"}, ["source: is that of published"]),
        ({"evidence": "u"}, ["evidence: is that of published"]),
        ({"convention": "any"}, ["convention: is that of published"]),
        ({"published": 3}, ["published: 3: expected text"]),
        (
            {"quantity": "rising"},
            ["quantity: rising: physics33/peak_1000 is a value of peak_ratio"],
        ),
        (
            {"published": "morris/mean_bf16"},
            ["morris/mean_bf16 is a value of studies without expects"],
        ),
        ({"range": [1, 2], "tolerance": 0.1}, ["one of range and tolerance"]),
    ],
)
def test_a_wrong_reference_is_one_line(change, words):
    with pytest.raises(ConfigError) as error:
        expects.check_expects([ENTRY | change])
    assert all(
        word in str(error.value) for word in ["expects: a peak", *words]
    ) and "\n" not in str(error.value), str(error.value)
    with pytest.raises(ConfigError, match="source is missing, or published: an id"):
        expects.check_expects([{"name": "a peak", "quantity": "peak_ratio", "range": [1, 2]}])


# --- verdicts of the other studies
# ---------------------------------------------------------------------------------------


def paper_fit(ratios, precision=("fp32",), p=(1e4, 2e4, 4e4, 8e4), tokens=5e6, seeds=2):
    units = [  # of as many sizes as ratios are given
        {
            "model": f"m{i}",
            "seed": s,
            "parameters": size,
            "bits": ratio * size,
            "lower_bound": False,
        }
        for i, (size, ratio) in enumerate(zip(p, ratios, strict=False))
        for s in range(seeds)
    ]
    units.append(
        {"model": "m9", "seed": 0, "parameters": 1e5, "bits": 1.0, "lower_bound": True}
    )  # is no data
    return {
        "convention": "paper",
        "parameters": "paper",
        "units": units,
        "validity": {
            "precision": list(precision),
            "parameters": [p[0], p[len(ratios) - 1]],
            "tokens": [1e5, tokens],
            "vocab_size": [256],
            "seq_len": [32],
        },
    }


def test_random_data_is_compared_with_the_same_precision_over_shapes():
    ratios = [3.6, 3.7, 3.8, 3.9]
    (mean,) = summary.verdicts(paper_fit(ratios))
    assert (
        mean["published"]["id"] == "morris/mean_fp32"
        and set(mean) == ROW
        and mean["scale"] == "another"
    )
    assert (
        mean["measured"] == pytest.approx(3.75)
        and mean["interval"] == pytest.approx(t_interval(ratios))
        and mean["verdict"] == "agrees"
    )
    assert "P 10K to 80K, V 256, S 32, fp32, at most 5M tokens per run" in mean["remarks"][0]
    found = summary.verdicts(paper_fit(ratios, ["bf16"]))
    assert [row["published"]["id"] for row in found] == ["morris/mean_bf16", "morris/slope_bf16"]
    p = np.array([1e4, 2e4, 4e4, 8e4])
    line = linregress(p, p * ratios)
    assert found[1]["measured"] == pytest.approx(line.slope) and found[1][
        "interval"
    ] == pytest.approx(
        [line.slope - t.ppf(0.975, 2) * line.stderr, line.slope + t.ppf(0.975, 2) * line.stderr]
    )
    assert summary.verdicts(paper_fit([2.0, 2.01, 2.02, 2.0], ["bf16"]))[0]["verdict"] == "differs"
    assert (
        summary.verdicts(paper_fit(ratios, ["bf16", "fp32"])) == []
    )  # mixed: neither is the one to compare with
    (alone,) = summary.verdicts(paper_fit(ratios[:1]))
    assert alone["verdict"] == "cannot tell" and "one model leaves no scatter" in alone["reason"]
    assert (
        "2 sizes leave no scatter" in summary.verdicts(paper_fit(ratios[:2], ["bf16"]))[1]["reason"]
    )
    there = summary.verdicts(paper_fit(ratios, p=(1e5, 1e6, 2e6, 6e6), tokens=1.3e11))
    assert there[0]["scale"] == "published"


def ablated(
    alpha=3.55,
    interval=(3.5, 3.6),
    errors=(1.0, -1.5, 2.0, 0.5),
    varied=("vocab_size",),
    reason=None,
):
    hard = {
        "alpha": alpha,
        "interval": interval and list(interval),
        "interval_reason": "too few rows",
        "error_percent": list(errors),
        "left_out_error_percent": [2 * e for e in errors],
        "mean_absolute_error_percent": float(np.abs(errors).mean()),
    }
    return {
        "varied": list(varied),
        "tokens": 1e6,
        "left_out": {"missing": [], "failed": [], "unlearned": []},
        "paper": {
            "cells": [{"parameters": 1e4}, {"parameters": 2e4}],
            "as_printed": {"reason": reason, "hard": hard, "limited_by_capacity": len(errors)},
        },
    }


def test_ablations_are_compared_by_alpha_and_by_their_errors():
    alpha, error = ablations.verdicts(ablated())
    assert (alpha["verdict"], alpha["measured"], alpha["scale"]) == ("agrees", 3.55, "another")
    assert (
        error["published"]["id"] == "morris/error_vocab_size"
        and error["measured"] == pytest.approx(1.25)
        and error["verdict"] == "agrees"
    )
    assert error["interval"] == pytest.approx(t_interval(np.abs([1.0, -1.5, 2.0, 0.5])))
    alpha, error = ablations.verdicts(ablated(2.0, (1.9, 2.1), (9.0, -9.5, 9.2, 9.1), ("seq_len",)))
    assert (alpha["verdict"], error["verdict"]) == ("differs", "differs") and error["published"][
        "value"
    ] == 1.7
    (both,) = ablations.verdicts(ablated(interval=None, varied=("vocab_size", "seq_len")))
    assert both["verdict"] == "cannot tell" and "too few rows" in both["reason"]
    (none,) = ablations.verdicts(ablated(reason="all data fit"))
    assert none["verdict"] == "cannot tell" and none["reason"] == "all data fit"


def remembered(t75, interval, peak=None):
    at = {"t": t75, "interval": interval, "sources": ["cells", "text"], "dof": 3.0}
    fitted = {"form": "F = s(t)", "falls_to": {"0.75": at}}
    found = {"laws": {"f1_median": fitted}, "logarithmic": None, "descent": {}}
    if peak:
        found["descent"] = {
            "2x8": {
                "parameters": 4072,
                "clear": peak[2],
                "at_edge": False,
                "peak_over_capacity": {"value": 1.0, "interval": [0.9, 1.1]},  # not judged
                "peak_over_random": {"value": peak[0], "interval": peak[1]},
            }
        }
    return found


def test_text_is_compared_where_f1_falls_and_where_the_loss_peaks():
    p = [4072, 11216]
    assert [row["verdict"] for row in memory.verdicts(remembered(3.2, [3.0, 3.4]), p)] == ["agrees"]
    assert [row["verdict"] for row in memory.verdicts(remembered(5.2, [5.0, 5.4]), p)] == [
        "differs"
    ]
    f1, peak = memory.verdicts(remembered(None, None, (0.64, [0.62, 0.66], True)), p)
    assert f1["reason"] == "the fitted law never falls to it" and (peak["verdict"], peak["at"]) == (
        "differs",
        "2x8",
    )
    _, flat = memory.verdicts(remembered(3.2, None, (1.0, [0.9, 1.1], False)), p)
    assert flat["verdict"] == "cannot tell" and "no peak stands clear" in flat["reason"]
    assert (
        memory.verdicts(
            {"laws": {"f1_median": {"reason": "3 different numbers"}}, "descent": {}}, p
        )
        == []
    )


def test_printed_verdicts_name_interval_convention_and_scale_and_fit_80_columns():
    rows = [
        *summary.verdicts(paper_fit([3.6, 3.7, 3.8, 3.9], ["bf16"])),
        *memory.verdicts(remembered(3.2, [3.0, 3.4]), [4072, 11216]),
    ]
    flat = shown(rows, "P 4K to 11K")
    for words in (
        "published: 3.51 [3.34, 3.68]; counts as agreement: 3.17 to 3.86; arXiv 2505.24832 v3",
        "paper bits, paper parameters",
        "there: P 80.4K to 6.86M, 1 to 8 layers, 32 to 256 wide, V 2048, S 64, 131G tokens per "
        "run, bf16",
        "CANNOT TELL AT ANOTHER SCALE: measured 3.75 [3.54, 3.96]",
        "AGREES AT ANOTHER SCALE: measured 3.20 [3.00, 3.40]",
        "confirms or refutes no published number",
        "here: P 10K to 80K",
    ):
        assert words in flat, words
