"""Verdicts of studies of facts on published values, against planted arms."""

import pytest

from capacity.analysis.facts import verdicts
from capacity.base.errors import ConfigError
from capacity.published.expects import check_expects
from facts_tables import LLAMA, PAIR, analysed, entry, grid, run, table


def judged(rows, *expects, **fields):
    """The fit of a planted table and the verdicts of these expectations."""
    fit = analysed(rows, *expects, **fields).numbers
    return fit, fit["verdicts"]


def verdict_of(rows, **expected):
    _, (only,) = judged(rows, expected)
    return only


def test_a_verdict_agrees_differs_or_says_why_it_cannot_tell():
    many = {"people": (2400,), "shapes": ("2x16", "2x24")}
    good = verdict_of(grid(**many, noise=0.01))
    assert good["verdict"] == "agrees" and good["measured"] == pytest.approx(2.0, abs=0.05)
    assert good["interval"][0] < good["measured"] and good["published"] == {
        "value": None,
        "interval": None,
        "range": [1.8, 2.3],
        "form": "largest R over models",
        "id": None,
        "there": "",
    }
    assert good["source"] == "arXiv 2404.05405, section 5 (Result 1)"
    assert (good["evidence"], good["scale"]) == ("p", "pocket")
    low = verdict_of(grid(**many, r=1.2, noise=0.01))
    assert low["verdict"] == "differs" and "below the range" in low["reason"]
    assert (
        verdict_of(grid(**many, r=2.8, noise=0.01))["reason"] == "the interval lies above the range"
    )
    wide = verdict_of(grid(**many, r=1.82, noise=0.05, seeds=(0, 1)))
    assert wide["verdict"] == "cannot tell" and "too wide to exclude either" in wide["reason"]
    single = verdict_of(grid(**many, seeds=(0,)))
    assert single["verdict"] == "cannot tell" and single["interval"] is None
    assert "inside the range" in single["reason"] and "one seed per arm" in single["reason"]
    full = verdict_of(grid(people=(800,), shapes=("2x24", "2x32")))
    assert full["verdict"] == "cannot tell"
    assert "the data run out first: the largest R^max of these models is 1.11" in full["reason"]
    nothing = verdict_of(grid(**many), where={"data.n_people": 5})
    assert nothing["verdict"] == "cannot tell" and nothing["measured"] is None


def test_every_curve_gets_a_verdict_of_its_own():
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=1.0, noise=0.01, **{"train.exposures": 100.0}
    )
    _, found = judged(
        rows,
        {"value": 2.0},
        {"name": "few", "where": {"train.exposures": 100}, "range": [0.9, 1.1]},
    )
    assert [(v["name"], v["at"], v["verdict"]) for v in found] == [
        ("a value", "100 exposures", "differs"),
        ("a value", "200 exposures", "agrees"),
        ("few", "100 exposures", "agrees"),
    ]
    assert "peak at 2x" in found[0]["remarks"][0]


def test_models_with_room_must_hold_their_data():
    rows = grid(people=(800, 2400))
    kept = verdict_of(rows, quantity="saturated_fraction", range=[0.95, None])
    assert kept["verdict"] == "agrees" and kept["measured"] == pytest.approx(0.984, abs=0.005)
    assert "4 models with R^max <= 0.9 of the peak (1.81)" in kept["remarks"][0]
    poor = [
        row
        | {"bits": row["bits"] * (0.8 if row["model"] == "2x48" and row["n_people"] == 800 else 1)}
        for row in rows
    ]
    lost = verdict_of(poor, quantity="saturated_fraction", range=[0.95, None])
    assert lost["verdict"] == "differs" and "the lowest is 2x48 (N = 800)" in lost["remarks"][0]
    mean = verdict_of(poor, quantity="saturated_fraction", range=[0.5, None], statistic="mean")
    assert mean["verdict"] == "agrees" and mean["measured"] == pytest.approx(0.94, abs=0.01)
    none = verdict_of(rows, quantity="saturated_fraction", range=[0.95, None], below_peak=0.1)
    assert (
        none["verdict"] == "cannot tell"
        and "no finished model has R^max <= 0.1 of the peak (0.201)" in none["reason"]
    )


@pytest.mark.parametrize("models", ["peak", "matched"])
@pytest.mark.parametrize("truth, verdict", [(0.77, "agrees"), (0.45, "differs"), (1.0, "differs")])
def test_a_ratio_of_two_arms(models, truth, verdict):
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=2 * truth, noise=0.01, draw=1, **LLAMA
    )
    found = verdict_of(rows, **PAIR, models=models, value=0.77, tolerance=0.1)
    assert (
        found["verdict"] == verdict
        and found["interval"][0] <= found["measured"] <= found["interval"][1]
    )
    assert found["measured"] == pytest.approx(truth, rel=0.03) and found["at"] == "LLaMA / GPT2"


def test_arms_of_one_label_are_told_apart_by_name():
    rows = grid(people=(2400,), shapes=("2x16",), noise=0.01) + grid(
        people=(2400,), shapes=("2x16",), r=1.5, noise=0.01, draw=1, **LLAMA
    )
    (remark,) = verdict_of(rows, **PAIR, range=[0.5, 1])["remarks"]
    assert remark.startswith("2x16, LLaMA: 1.") and "; 2x16, GPT2: 2" in remark
    junk = grid(people=(2400,), shapes=("2x16",), noise=0.01) + grid(
        people=(2400,), shapes=("2x24",), r=1.0, draw=1, **{"data.tag": "main"}
    )
    (remark,) = verdict_of(
        junk,
        quantity="ratio",
        where={"data.tag": "main"},
        against={"data.tag": "none"},
        range=[0, 1],
    )["remarks"]
    assert remark.startswith("2x24, tag=main: ") and "; 2x16, tag=none: " in remark


def test_arms_are_paired_where_everything_not_named_is_equal():
    rows = [
        row
        for n in (800, 2400)
        for e, r in ((100.0, 1.0), (200.0, 1.8))
        for form, share in (({}, 1.0), (LLAMA, 0.8))
        for row in grid(
            shapes=("2x16",), people=(n,), r=r * share, noise=0.01, **form, **{"train.exposures": e}
        )
    ]
    _, found = judged(rows, PAIR | {"value": 0.8, "tolerance": 0.1})
    assert [v["at"] for v in found] == [
        "LLaMA / GPT2 (N = 800, 100 exposures)",
        "LLaMA / GPT2 (N = 800, 200 exposures)",
        "LLaMA / GPT2 (N = 2.4K, 100 exposures)",
        "LLaMA / GPT2 (N = 2.4K, 200 exposures)",
    ]
    assert {v["verdict"] for v in found} == {"agrees"}
    _, found = judged(
        rows,
        {
            "quantity": "ratio",
            "where": {"train.exposures": 100},
            "against": {"train.exposures": 200},
            "range": [0.5, 0.6],
        },
    )
    assert {v["at"] for v in found} == {
        f"100 exposures / 200 exposures (N = {n}, {form})"
        for n in ("800", "2.4K")
        for form in ("GPT2", "LLaMA")
    }


def test_junk_that_leaves_nothing_is_a_ratio_near_zero_also_below_it():
    junk = {"data.other_parts": 7, "data.other_people": 10**8}
    asked = {
        "quantity": "ratio",
        "where": junk,
        "against": {"data.other_parts": 0, "data.other_people": 0},
        "range": [None, 0.1],
    }
    clean = grid(people=(2400,), noise=0.01)
    for r, verdict in ((0.05, "agrees"), (-0.02, "cannot tell")):
        found = verdict_of(clean + grid(people=(2400,), r=r, noise=0.1, draw=3, **junk), **asked)
        assert found["verdict"] == verdict and found["measured"] == pytest.approx(r / 2, abs=0.01)
    assert "an arm that learned nothing replicates nothing" in found["reason"]
    back = verdict_of(
        clean + grid(people=(2400,), r=-0.02, noise=0.1, draw=3, **junk),
        quantity="ratio",
        where=asked["against"],
        against=junk,
        range=[1, 2],
    )
    assert back["verdict"] == "cannot tell" and "learned nothing" in back["reason"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"against": {"model.mlp": "none"}}, "no finished run with model.mlp=none"),
        (
            {
                "against": {"model.mlp": "standard", "data.tag": "main"},
                "where": {"model.mlp": "gated"},
            },
            "no finished run with",
        ),
        (
            {
                "against": {"model.mlp": "standard", "data.order": "fixed"},
                "where": {"model.mlp": "gated"},
            },
            "in everything not named",
        ),
        (
            {"where": {"model.mlp": "standard"}, "against": {"model.mlp": "gated"}},
            "2 arms to compare with; name more settings",
        ),
        ({"of": "extraction"}, "extraction_accuracy was not measured"),
    ],
)
def test_a_ratio_without_its_arms_cannot_tell(change, words):
    rows = (
        grid(people=(2400,), shapes=("2x16",))
        + grid(people=(800,), shapes=("2x16",), **{"data.order": "fixed"})
        + grid(people=(2400,), shapes=("2x16",), draw=2, **LLAMA)
        + [
            row | {"model": "2x16 m"}
            for row in grid(
                people=(2400,), shapes=("2x16",), draw=4, **LLAMA | {"model.mlp_ratio": 3.5}
            )
        ]
    )
    _, found = judged(rows, PAIR | {"range": [0.5, 1.5]} | change)
    assert any(v["verdict"] == "cannot tell" and words in v["reason"] for v in found), found


def test_models_full_in_both_arms_do_not_water_down_a_matched_ratio():
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=1.0, noise=0.01, draw=1, **LLAMA
    )
    found = verdict_of(rows, **PAIR, models="matched", range=[0.45, 0.55])
    assert (
        found["verdict"] == "agrees"
        and "full in an arm, left out: 2x32, 2x48" in found["remarks"][0]
    )
    full = verdict_of(
        grid(people=(400,), shapes=("2x32",))
        + grid(people=(400,), shapes=("2x32",), draw=1, **LLAMA),
        **PAIR,
        models="matched",
        range=[0.9, 1.1],
    )
    assert full["verdict"] == "cannot tell" and "the data limit it" in full["reason"]


def test_more_exposures_hold_more():
    rows = [
        row
        for e, r in ((50.0, 0.5), (100.0, 1.0), (400.0, 1.9))
        for row in grid(
            people=(2400,), shapes=("2x16", "2x24"), r=r, noise=0.01, **{"train.exposures": e}
        )
    ]
    up = verdict_of(rows, quantity="rising", range=[2, None])
    assert up["verdict"] == "agrees" and up["measured"] == pytest.approx(3.8, rel=0.05)
    assert (
        up["at"] == "400 exposures / 50 exposures"
        and "50: 0.5; 100: 1; 400: 1.9" in up["remarks"][-1]
    )
    rows = [row | {"bits": row["bits"] / (5 if row["exposures"] == 100 else 1)} for row in rows]
    assert (
        "it falls from 50 to 100 exposures"
        in verdict_of(rows, quantity="rising", range=[2, None])["remarks"][-1]
    )
    flat = verdict_of(grid(people=(2400,)), quantity="rising", range=[2, None])
    assert flat["verdict"] == "cannot tell" and "two numbers of exposures" in flat["reason"]


GUESSED = {
    "accuracy_uniform": 0.02,
    "accuracy_most_frequent": 0.04,
    "extraction_uniform": 0.02,
    "extraction_most_frequent": 0.04,
    "extraction_most_frequent_taught": 0.03,
}


def test_accuracies_and_questions():
    def asked(biographies, share, seed):
        row = run("2x32", seed, 9.0, **{"data.biographies": biographies})
        return (
            row
            | GUESSED
            | {
                "extraction_accuracy": share + 0.01 * seed,
                "accuracy": 0.99 - 0.002 * seed,
            }
        )

    rows = [asked(b, share, seed) for b, share in ((1, 0.09), (5, 0.95)) for seed in (0, 1, 2)]
    single = verdict_of(rows, quantity="extraction", where={"data.biographies": 1}, range=[0, 0.2])
    assert (single["verdict"], single["measured"]) == ("agrees", pytest.approx(0.1))
    assert single["at"].startswith("biographies=1")
    several = verdict_of(rows, quantity="extraction", where={"data.biographies": 5}, range=[0, 0.2])
    assert several["verdict"] == "differs"
    assert (
        verdict_of(rows, quantity="accuracy", where={"data.biographies": 5}, range=[0.9, 1])[
            "verdict"
        ]
        == "agrees"
    )
    part = verdict_of(
        rows, quantity="extractable_fraction", where={"data.biographies": 5}, range=[0.9, 1.05]
    )
    assert part["verdict"] == "agrees" and part["measured"] == pytest.approx(0.96 / 0.988, rel=1e-3)
    more = verdict_of(
        rows,
        quantity="ratio",
        of="extraction",
        where={"data.biographies": 5},
        against={"data.biographies": 1},
        range=[5, None],
    )
    assert more["verdict"] == "agrees" and more["measured"] == pytest.approx(9.6)
    # many hold all their data, which says nothing about what can be asked for
    full = [row | {"bits": 0.99 * row["ceiling_bits"]} for row in rows]
    assert verdict_of(
        full,
        quantity="ratio",
        of="extraction",
        models="matched",
        where={"data.biographies": 5},
        against={"data.biographies": 1},
        range=[5, None],
    )["measured"] == pytest.approx(9.6)
    # three seeds speak for themselves, two borrow the scatter of all arms; no interval leaves [0,
    # 1]
    shaky = [
        row | {"extraction_accuracy": 0.3 + 0.3 * row["seed"]}
        if row["data.biographies"] == 5
        else row
        for row in rows
    ]
    few = {"where": {"data.biographies": 1}, "quantity": "extraction", "range": [0, 0.2]}
    assert verdict_of(shaky, **few)["interval"] == single["interval"]
    two = verdict_of(
        [row for row in shaky if row["seed"] < 2 or row["data.biographies"] == 5], **few
    )
    assert (
        two["interval"][0] == 0.0 and two["interval"][1] > 0.3 and two["verdict"] == "cannot tell"
    )
    never = verdict_of(grid(), quantity="extraction", range=[0, 1])
    assert never["verdict"] == "cannot tell" and "extraction was not measured" in never["reason"]


def test_null_in_where_stands_for_an_empty_setting():
    frame = table([run(), run(**{"data.biographies": 1}), run(**{"model.tied": False})])
    assert verdicts.matches(frame, {"data.biographies": None}).tolist() == [True, False, True]
    assert verdicts.matches(
        frame, {"data.biographies": [None, 1], "model.tied": True}
    ).tolist() == [True, True, False]
    assert verdicts.matches(frame, {"data.n_people": 800.0, "model": "2x16"}).all()
    assert not verdicts.matches(frame, {"data.length": 2}).any()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"quantity": "peek_ratio"}, ["quantity: peek_ratio", "did you mean peak_ratio?"]),
        ({"rnage": [1, 2]}, ["rnage: no such entry (did you mean range?)"]),
        ({"range": [2, 1]}, ["range: [2, 1]"]),
        ({"range": [None, None]}, ["one of which may be null"]),
        ({"tolerance": 0.1}, ["one of range and tolerance"]),
        ({"source": ""}, ["source is missing"]),
        ({"evidence": "x"}, ["evidence: x", "p, r, d, s, u"]),
        ({"against": {}}, ["against: only for quantity ratio"]),
        ({"quantity": "ratio"}, ["against is missing"]),
        ({"where": {"data.people": 1}}, ["data.people", "did you mean"]),
        ({"where": {"seed": {}}}, ["seed: {}: expected a value"]),
        ({"where": [1]}, ["expected a mapping"]),
        ({"below_peak": 0.8}, ["below_peak: only for quantity saturated_fraction"]),
        (
            {"quantity": "saturated_fraction", "below_peak": 1.8},
            ["below_peak: 1.8", "at most 1"],
        ),
        ({"below": 0.32}, ["below: no such entry", "did you mean below_peak?"]),
        ({"value": "two"}, ["value: 'two': expected a number"]),
        ({"note": 3}, ["note: 3: expected text"]),
    ],
)
def test_a_wrong_expectation_is_one_line(change, words):
    with pytest.raises(ConfigError) as error:
        check_expects([entry() | change])
    assert all(word in str(error.value) for word in ["expects: a value", *words]), str(error.value)


def test_expectations_get_their_defaults_and_need_names_of_their_own():
    full = check_expects(
        [
            entry(),
            entry(name="b", quantity="ratio", against={}, value=0.5, tolerance=0.1),
            entry(name="c", quantity="saturated_fraction"),
        ]
    )
    assert full[0]["where"] == {} and full[1]["models"] == "peak" and full[1]["of"] == "R"
    assert full[1]["range"] == pytest.approx([0.45, 0.55]) and (
        full[2]["below_peak"],
        full[2]["statistic"],
    ) == (0.9, "min")
    with pytest.raises(ConfigError, match="two entries of this name"):
        check_expects([entry(), entry()])
    with pytest.raises(ConfigError, match="a list of mappings"):
        check_expects({"name": "x"})
