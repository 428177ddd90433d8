"""More exposures hold more: over all sizes alike, with every size beside, and no agreement where
one size by itself says otherwise."""

from facts_tables import analysed, entry, grid


def verdict_of(rows, **what):
    (only,) = analysed(rows, entry(**what), n_boot=50).numbers["verdicts"]
    return only


def rows(small, large):
    """Two sizes, three seeds each; R of either after 50 and after 400 exposures."""
    out = []
    for model, (before, after) in {"2x16": small, "2x24": large}.items():
        for e, r in ((50.0, before), (400.0, after)):
            one = {"people": (2400,), "shapes": (model,), "seeds": range(3), "noise": 0.01}
            out += grid(**one, r=r, **{"train.exposures": e})
    return out


def test_sizes_stand_beside_the_ratio_over_all_of_them():
    found = verdict_of(rows((0.5, 1.0), (0.5, 1.1)), quantity="rising", range=[1.5, 3.0])
    assert found["verdict"] == "agrees"
    beside = {one["form"]: one for one in found["beside"]}
    assert list(beside) == ["2x16 alone", "2x24 alone"]
    for name, ratio in (("2x16 alone", 2.0), ("2x24 alone", 2.2)):
        low, high = beside[name]["interval"]
        assert low < ratio * 1.05 and high > ratio / 1.05 and beside[name]["verdict"] == "agrees"


def test_a_size_that_falls_is_not_hidden_by_one_that_rises():
    """2x24 loses a fifth while 2x16 doubles: over both it rises by half, within the range."""
    found = verdict_of(rows((1.0, 2.0), (1.0, 0.8)), quantity="rising", range=[0.9, 20.0])
    inside = found["interval"] is not None and found["interval"][0] > 0.9
    assert found["verdict"] == "cannot tell"
    if inside:
        assert "2x24 alone lies outside" in found["reason"]
    assert {one["verdict"] for one in found["beside"]} == {"agrees", "differs"}


def test_one_size_has_nothing_beside():
    one = [row for row in rows((0.5, 1.0), (0.5, 1.0)) if row["model"] == "2x16"]
    assert verdict_of(one, quantity="rising", range=[1.5, 3.0])["beside"] == []
