"""Studies of shadow models of people: attacks are those that are written out by hand, planted
shifts are told as far as theory says, and what is about nobody is guessing."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from capacity import archive, run_table
from capacity.analysis import kinds
from capacity.analysis.shadows import analysis, reading
from capacity.base.errors import ConfigError
from capacity.base.scores import people_totals
from capacity.compose import load_many
from capacity.fitting import membership
from capacity.origins import Given
from capacity.report import markdown
from capacity.report import text as terminal

N = 100  # people of a half; tiers of 10, 30 and 60
SIZES = {1: 20, 2: 60, 3: 120}
PINS = ["data=bios_pocket", f"data.n_people={N}", "data.trained_on=half", "model=pocket"]
PINS += ["train=pocket_bios", "train.exposures=300", "model.n_layers=2", "model.n_heads=2"]
TIERS = "data.tiers=[0.1x16,0.3x4,0.6x1]"
SHIFT = {1: 6.0, 2: 2.0, 3: 0.7}  # nats by which seeing a person lowers them, of a noise of 1
HARD = 4.0  # spread of people's own nats
HIT = {1: 0.5, 2: 0.2, 3: 0.05}


def plan(sets=(1, 2, 3), models=16, tiers=True, widths=(16,)):
    rows = [
        [*PINS, *([TIERS] if tiers else []), f"data.split_seed={s}", f"model.d_model={w}",
         f"seed={seed}"]
        for w in widths
        for s in sets
        for seed in range(models)
    ]  # fmt: skip
    return load_many([[[Given(text, "test") for text in row]] for row in rows])


def planted(runs, shift=None, hit=None, hard=HARD):
    """Scores of every run: nats 40 + a person's own + noise, less a shift for who was seen."""
    shift, hit, out = shift or SHIFT, hit or HIT, {}
    for i, run in enumerate(runs):
        own = np.random.default_rng(run.data.split_seed).normal(0, hard, 2 * N)
        rng = np.random.default_rng([7, i])
        tier = np.repeat([1, 2, 3], list(SIZES.values())) if run.tiers else np.zeros(2 * N, int)
        seen = np.zeros(2 * N, bool)
        for t in set(tier.tolist()):
            mine = np.flatnonzero(tier == t)
            seen[rng.permutation(mine)[: len(mine) // 2]] = True
        by = np.array([shift[max(1, t)] for t in tier])
        add = np.array([hit[max(1, t)] for t in tier])
        out[run.run_id] = {
            "row": np.arange(2 * N),
            "seen": seen,
            "tier": tier.astype(np.uint8),
            "exposures": np.where(seen, 30, 0).astype(np.int32),
            "loss": (40 + own + rng.normal(0, 1, 2 * N) - by * seen).astype(np.float32),
            "right": (0.1 + add * seen).astype(np.float32),
            "frequency_nats": rng.normal(20, 1, 2 * N).astype(np.float32),
        }
    return out


def table(runs):
    rows = run_table.table(Path("no such folder"), runs)
    return rows.assign(status="finished", gain_last_tenth=0.0, bits=500.0, accuracy=0.2)


def found(runs, scores=None):
    return analysis.analysed(runs, table(runs), scores or planted(runs), "study")


@pytest.fixture(scope="module")
def runs():
    return plan()


@pytest.fixture(scope="module")
def fit(runs):
    return found(runs)


def test_such_studies_are_of_this_kind_and_others_are_not(runs):
    assert kinds.kinds_of(runs, table(runs)) == ["shadows"]
    plain = load_many([[[Given(t, "test") for t in PINS if "trained_on" not in t]]])
    assert kinds.kinds_of(plain, run_table.table(Path("no such folder"), plain)) == ["facts"]


def test_lira_is_the_ratio_that_is_written_out_by_hand(runs):
    """Against scipy's normal density, person by person."""
    scores = planted(runs)
    ids = [run.run_id for run in runs[:16]]
    family = reading.family(ids, scores)
    for i, one in enumerate(analysis.attacked(family, 40.0)):
        others = [j for j in range(16) if j != i]
        loss, seen = family.loss[others], family.seen[others]
        kept = [p for p in range(2 * N) if 2 <= seen[:, p].sum() <= 13]
        assert one.row.tolist() == kept and one.run_id == ids[i]
        inside = [loss[seen[:, p], p] for p in kept]
        outside = [loss[~seen[:, p], p] for p in kept]
        sd = [
            math.sqrt(
                sum(((x - x.mean()) ** 2).sum() for x in side) / sum(len(x) - 1 for x in side)
            )
            for side in (inside, outside)
        ]
        for k, p in enumerate(kept):
            x = family.loss[i, p]
            online = norm.logpdf(x, inside[k].mean(), sd[0]) - norm.logpdf(
                x, outside[k].mean(), sd[1]
            )
            assert one.scores["lira"][k] == pytest.approx(online, rel=1e-9, abs=1e-9)
            assert one.scores["lira_offline"][k] == pytest.approx(
                (outside[k].mean() - x) / sd[1], rel=1e-9, abs=1e-9
            )
        assert (one.scores["loss"] == -family.loss[i, kept]).all()
        if i == 1:
            break


def test_planted_shifts_are_told_as_far_as_theory_says(fit):
    """AUC = Phi(shift / (sqrt 2 sd)) with sd 1 for LiRA, where a person's own nats are known, and
    sqrt(1 + 16) for loss. Means of 7 shadow models on a side add at most a seventh to the variance;
    the standard error of an AUC over 48 runs of 20 people and more is below 0.02."""
    cells = {row["tier"]: row for row in fit.numbers["cells"]}
    for tier, shift in SHIFT.items():
        for attack, sd in (("lira", 1.0), ("loss", math.sqrt(1 + HARD**2))):
            got = cells[tier]["attacks"][attack]["auc"]
            high = norm.cdf(shift / math.sqrt(2) / sd) + 0.05
            low = norm.cdf(shift / math.sqrt(2) / math.sqrt(sd**2 + 1 / 4)) - 0.05
            assert low < got < high, (tier, attack)
        assert cells[tier]["attacks"]["frequencies"]["auc"] == pytest.approx(0.5, abs=0.05)
        # float32 of hits; SE of the mean shift over 3 sets of 16 runs: below 0.1 bits
        assert cells[tier]["hit_memorized"]["value"] == pytest.approx(HIT[tier], abs=1e-5)
        wanted = shift / math.log(2)
        assert cells[tier]["bits_memorized"]["value"] == pytest.approx(wanted, abs=0.2)
        assert cells[tier]["right"]["seen"] - cells[tier]["right"]["not_seen"] == pytest.approx(
            HIT[tier], abs=1e-6
        )
        assert cells[tier]["people"] == SIZES[tier] and cells[tier]["seen"] == 30


def test_rates_are_those_of_all_runs_and_sets_together_by_hand(runs, fit):
    """4,800 others allow 48 false positives at 1%, and not 10 at 0.1%; a tier of 480 has none."""
    scores, members, others = planted(runs), [], []
    for s in (1, 2, 3):
        ids = [run.run_id for run in runs if run.data.split_seed == s]
        for one in analysis.attacked(reading.family(ids, scores), 40.0):
            members.append(one.scores["lira"][one.seen])
            others.append(one.scores["lira"][~one.seen])
    members, others = np.concatenate(members), np.concatenate(others)
    got = fit.numbers["cells"][0]["attacks"]["lira"]
    threshold = np.sort(others)[::-1][math.floor(len(others) / 100)]
    assert got["others"] == len(others) and got["tpr_at_0.01"] == (members > threshold).mean()
    low, high = got["tpr_at_0.01_interval"]
    assert low < got["tpr_at_0.01"] < high and got["tpr_at_0.001"] is None
    assert fit.numbers["cells"][1]["attacks"]["lira"]["tpr_at_0.01"] is None


def test_orders_that_are_planted_are_shown(fit):
    told = {(row["order"], row["outcome"]): row for row in fit.numbers["orders"]}
    assert len(told) == 5
    for key in (("attacks", "auc"), ("attacks", "tpr"), ("tiers", "auc")):
        assert told[key]["verdict"] == "agrees" and told[key]["p"] <= 0.05
    for outcome in ("hit", "bits"):
        assert told["tiers", outcome]["verdict"] == "shown"
        assert told["tiers", outcome]["slope"] > 0
    assert told["tiers", "auc"]["along"] == [3, 2, 1]


def test_two_sets_cannot_show_an_order_of_three_attacks(runs):
    one = found([run for run in runs if run.data.split_seed < 3])
    told = {(row["order"], row["outcome"]): row for row in one.numbers["orders"]}
    assert told["attacks", "auc"]["verdict"] == "cannot tell"
    assert "2 replicates cannot reach" in told["attacks", "auc"]["reason"]


def test_nats_that_are_dealt_out_anew_are_guessing(fit):
    for row in fit.numbers["controls"]:
        assert row["verdict"] == "agrees" and row["runs"] == 48
        assert row["auc"] == pytest.approx(0.5, abs=0.02)


def test_models_that_guess_tell_nothing_and_no_order(runs):
    """No shift: AUC 0.5 of every attack; in one set of twenty somebody passes for surely
    memorized, and one of twenty orders is shown by chance."""
    none = dict.fromkeys(SHIFT, 0.0)
    one = found(runs, planted(runs, none, none)).numbers
    for cell in one["cells"]:
        for attack in analysis.ATTACKS:
            assert cell["attacks"][attack]["auc"] == pytest.approx(0.5, abs=0.05)
        assert cell["hit_memorized"]["value"] == 0.0
    assert one["cells"][0]["surely"] <= 3
    told = [row["verdict"] for row in one["orders"]]
    assert "agrees" not in told and told.count("cannot tell") >= 4


def test_people_who_are_seen_alike_have_no_tiers():
    runs = plan(tiers=False)
    one = found(runs).numbers
    assert [row["tier"] for row in one["cells"]] == [0]
    assert {row["order"] for row in one["orders"]} == {"attacks"}


def test_what_is_printed_fits_and_says_verdicts(fit):
    printed = terminal.render(kinds.document(fit))
    assert max(map(len, printed.splitlines())) <= 80
    words = " ".join(printed.split())
    assert "**" not in words and "rises, as published" in words
    assert "guessing, as it must be" in words and "cannot tell" not in words
    assert "AUC" in markdown.render(kinds.document(fit))
    assert set(kinds.figures(fit)) == {"auc", "roc"}


def test_fewer_runs_than_shadow_models_need_are_refused():
    runs = plan(models=4)
    with pytest.raises(ValueError, match="no set of people has 5 finished runs"):
        found(runs)


def test_runs_of_other_sets_cannot_be_shadow_models_of_each_other(runs):
    scores = planted(runs)
    scores[runs[1].run_id] = scores[runs[1].run_id] | {"tier": np.ones(2 * N, np.uint8)}
    with pytest.raises(ValueError, match="another set of people"):
        found(runs, scores)


def test_what_is_kept_of_people_is_what_attacks_read(runs, tmp_path):
    """A table as a run writes it, in any order of people, and what comes back from the file."""
    rng = np.random.default_rng(0)
    wanted = planted(runs[:3])
    raw = {}
    for run_id, one in wanted.items():
        order = rng.permutation(2 * N)
        table = {
            "person": np.arange(2 * N, dtype=np.int32),
            "trained": one["seen"].astype(np.uint8),
            "tier": one["tier"],
            "exposures": one["exposures"],
            "row": one["row"].astype(np.int32),
            "name_nats": (one["loss"] * 0.25).astype(np.float32),
            "nats.major": (one["loss"] * 0.75).astype(np.float32),
            "nats.work_city": np.full(2 * N, 3, np.float32),
            "hit.gender": np.full(2 * N, 1, np.float32),
            "hit.major": one["right"],
            "frequency_nats": one["frequency_nats"],
        }
        raw[run_id] = {name: column[order] for name, column in table.items()}
    kept = {run_id: archive.people(table) for run_id, table in raw.items()}
    path = tmp_path / archive.SCORES
    path.write_bytes(archive.pack_scores(kept, {}))
    back = archive.unpack_scores(path)
    for run_id, one in wanted.items():
        for name in ("row", "seen", "tier", "exposures", "right", "frequency_nats"):
            np.testing.assert_array_equal(back[run_id][name], one[name])
            np.testing.assert_array_equal(kept[run_id][name], one[name])
        np.testing.assert_array_equal(back[run_id]["loss"], kept[run_id]["loss"])
        # a quarter and three quarters, each rounded to float32
        np.testing.assert_allclose(kept[run_id]["loss"], one["loss"], rtol=2**-22)
        name, values, right = people_totals(raw[run_id])
        assert len(name) == len(values) == len(right) == 2 * N
    family = reading.family(list(back), back)
    assert membership.auc(family.loss[0][~family.seen[0]], family.loss[0][family.seen[0]]) > 0.5
    path.write_bytes(b"no file of scores")
    with pytest.raises(ConfigError, match="not a file of scores"):
        archive.unpack_scores(path)
