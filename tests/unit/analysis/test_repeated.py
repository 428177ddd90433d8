"""Studies of repeated data: a planted effective size, worst number of repeats and known subset are
found again from what records would say; without a dip, with few replicates, or with a clean loss
that does not fall nothing is told; and what cannot be compared is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from capacity import run_table
from capacity.analysis import kinds
from capacity.analysis.repeated import analysis, plots
from capacity.base.errors import ConfigError
from capacity.report import markdown
from capacity.report import text as terminal
from repeated_runs import REPEATS, ROWS, clean, dip, dirty, found, known, plan


def shown(one):
    return " ".join(terminal.render(kinds.document(one)).split())


def test_such_studies_are_of_this_kind_and_those_of_canaries_are_not():
    runs = plan(replicates=1)
    assert kinds.kinds_of(runs, run_table.table(Path("none"), runs)) == ["repeated"]
    assert analysis.SCHEMA == 2
    canaries = plan(
        [["data.n_sequences=1024", "data.canaries=4", "data.repeats=[0,4,16]"]], replicates=1
    )
    assert kinds.kinds_of(canaries, run_table.table(Path("none"), canaries)) == ["text"]


def test_planted_size_worst_repeats_and_known_subset_are_found_again():
    one = found(plan())
    (row,) = one.numbers["clean"]
    assert row["falls"] and row["replicates"] == 4 and len(row["steps"]) == 4
    (curve,) = one.numbers["curves"]
    for level in curve["levels"]:
        e = level["repeats"]
        assert level["subset"] * e + level["once"] == ROWS
        low, high = level["effective_interval"]
        assert low - 0.02 < dip(e) < high + 0.02 and high - low < 0.3, e
        assert level["held_share"] == pytest.approx(known(e), abs=0.01)
    assert curve["verdict"] == "agrees" and curve["dip"]["p"] < 0.01
    low, high = curve["worst"]["interval"]
    assert low < 24 < high or curve["worst"]["repeats"] == pytest.approx(24, rel=0.1)
    assert curve["near"]["repeats"] == pytest.approx(24, rel=0.05)
    assert curve["coincidence"] == "agrees" and 0.8 < curve["coincides"]["ratio"] < 1.25
    assert "coincide, as published" in shown(one).replace("**", "")
    assert set(plots.draw(one)) == {"effective", "held", "clean"}
    assert "| 32 " in markdown.render(kinds.document(one))


def test_counts_and_bits_of_the_subset_are_those_of_the_plan():
    alpha = {"study": "pocket", "of": "model", "alpha": {"value": 3.0, "interval": [2.9, 3.1]}}
    runs = plan()
    names = set(run_table.table(Path("none"), runs).model)
    one = found(runs, noise=0.0, random=dict.fromkeys(names, alpha))
    (curve,) = one.numbers["curves"]
    own = np.mean([clean(curve["size"]) + 0.05 * np.sin(s) for s in range(4)])
    for level in curve["levels"]:
        tokens = 32 * 512 / level["repeats"]
        assert level["subset_bits"] == pytest.approx(tokens * own, rel=1e-9)
        assert level["load"] == pytest.approx(tokens * own / (3.0 * curve["size"]), rel=1e-9)
        assert level["held_bits"] == pytest.approx(
            tokens * (own - clean(curve["size"]) * (1 - known(level["repeats"]))), rel=1e-9
        )
        assert curve["share"] == 0.5 and level["tokens"] == 32 * ROWS
    at = curve["load_at_worst"]
    worst = 32 * 512 / curve["worst"]["repeats"] * own / (3.0 * curve["size"])
    assert at["value"] == pytest.approx(worst, rel=1e-6)


@pytest.mark.parametrize(
    ("effective", "words"),
    [
        (lambda e: 1 - 0.07 * np.log2(e), "first or the last"),
        (lambda e: 0.7, "p is above 5%"),
    ],
)
def test_damage_without_a_highest_inside_is_not_told(effective, words):
    """A loss that rises to the most repeats, and one that is as high for all of them, which noise
    gives a highest one."""
    (curve,) = found(plan(), effective=effective).numbers["curves"]
    assert (
        curve["verdict"] == "cannot tell"
        and words in curve["reason"]
        or ("first or the last" in curve["reason"])
    )
    assert curve["worst"] is None and curve["coincidence"] == "cannot tell"
    assert all(level["effective"] for level in curve["levels"])


def test_worst_repeats_away_from_a_known_subset_differ():
    (curve,) = found(plan(), held=lambda e: min(1.0, 0.9 * np.log2(e) / 2)).numbers["curves"]
    assert curve["verdict"] == "agrees" and curve["coincidence"] == "differs"
    one = found(plan(), held=lambda e: 0.3)
    (curve,) = one.numbers["curves"]
    assert curve["coincidence"] == "cannot tell" and "known to 90%" in curve["coincidence_reason"]
    assert "cannot tell whether that is where the subset is known" in shown(one).replace("**", "")


def test_few_replicates_tell_sizes_but_no_order():
    one = found(plan(replicates=1))
    (curve,) = one.numbers["curves"]
    assert all(level["effective_interval"] is None for level in curve["levels"])
    assert all(level["reason"] == "one replicate has no spread" for level in curve["levels"])
    (row,) = one.numbers["clean"]
    assert row["falls"] is None
    shown(one)


def test_a_clean_loss_that_levels_off_has_no_effective_size():
    one = found(plan(), law=lambda p: clean(p) if p < 4000 else clean(4000) + 1e-7 * p)
    (row,) = one.numbers["clean"]
    assert row["falls"] is None and "no fall is shown" in row["reason"]
    (curve,) = one.numbers["curves"]
    assert all(level["effective"] is None for level in curve["levels"])
    assert "does not fall" in curve["levels"][0]["reason"]


def test_a_loss_beyond_the_smallest_size_is_a_bound():
    one = found(plan(), effective=lambda e: 0.1 if e == 16 else dip(e))
    (curve,) = one.numbers["curves"]
    level = next(level for level in curve["levels"] if level["repeats"] == 16)
    assert level["effective"] is None and level["bound"]["side"] == "below"
    assert "beyond those trained" in shown(one)


def test_shares_are_curves_of_their_own_and_the_published_one_is_judged_only_where_it_is():
    levels = [dirty(e) for e in REPEATS] + [dirty(e, 0.125) for e in REPEATS]
    one = found(plan(levels))
    assert [curve["share"] for curve in one.numbers["curves"]] == [0.125, 0.5]
    (verdict,) = one.numbers["verdicts"]
    assert verdict["verdict"] == "cannot tell" and "0.1% of its training" in verdict["reason"]
    assert verdict["scale"] == "another"


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([["data.n_sequences=512", "data.canaries=8", "data.repeats=[32]"]], "is shown 768"),
        ([["data.n_sequences=512", "data.canaries=8", "data.repeats=[0,64]"]], "one number of"),
        ([["data.n_sequences=512", "data.canaries=512", "data.repeats=[1]"]], "from 2 on"),
        ([["data.n_sequences=512", "data.canaries=9", "data.repeats=[64]"]], "divides"),
    ],
)
def test_what_is_not_at_equal_tokens_is_refused_by_name(levels, words):
    if words == "divides":
        levels = [[*levels[0][:1], "data.canaries=7", "data.repeats=[73]"]]
    runs = plan(levels, replicates=2)
    with pytest.raises(ConfigError, match=words) as error:
        found(runs)
    assert "\n" not in str(error.value) and "run " in str(error.value)


def test_a_study_without_clean_runs_or_a_loss_is_refused():
    runs = plan(replicates=2)
    table = run_table.table(Path("none"), runs).assign(status="finished", gain_last_tenth=0.0)
    table["held_out_loss_bits_per_token"] = 4.0
    with pytest.raises(ValueError, match="has no loss on its subset"):
        analysis.analysed(runs, table, {}, "study")
    losses = {run.run_id: 1.0 for run in runs if run.data.canaries}
    lost = table.assign(status=["missing" if not r.data.canaries else "finished" for r in runs])
    with pytest.raises(ValueError, match="no clean run finished"):
        analysis.analysed(runs, lost, losses, "study")
    with pytest.raises(ValueError, match="no finished run"):
        analysis.analysed(runs, table.assign(status="missing"), losses, "study")
