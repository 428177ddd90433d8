"""Result files of older versions are read as the present ones, with the same numbers."""

import copy
import json

import pytest

from capacity.analysis import convert

OLD_FACTS = {
    "schema": 1,
    "study": "physics33/planted@pocket",
    "kinds": ["bios"],
    "best_over": {
        "settings": ["train.lr"],
        "at_edge": {},
        "choice": {"arms": [{"label": "2x16", "quoted": 1.1, "fresh": 1.0}], "percent": 10.0},
    },
    "noise": {"saturated": {"sd": 0.001, "dof": 3}, "open": {"sd": 0.1, "dof": 9}},
    "arms": [{"label": "2x16", "r": 0.5}],
    "peaks": [
        {"name": "GPT2", "against_first": None},
        {
            "name": "LLaMA",
            "against_first": {
                "value": 0.9,
                "interval": [0.8, 1.0],
                "why": "the denominator cannot be told from 0",
            },
        },
        {
            "name": "MoE",
            "against_first": {
                "value": 0.9,
                "interval": None,
                "why": "the denominator cannot be told from 0",
            },
        },
        {"name": "none", "against_first": {"value": None, "interval": None, "lacks": "nothing"}},
    ],
    "saturated": {"below": 1.8, "arms": 0},
}


def test_an_old_fit_of_facts_has_the_new_names_and_its_numbers(tmp_path):
    before = copy.deepcopy(OLD_FACTS)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(OLD_FACTS))
    new = convert.read(path)
    assert (new["kind"], new["schema"], new["data_kinds"]) == ("facts", 4, ["bios"])
    assert new["noise"] == {"data_limited": {"sd": 0.001, "dof": 3}, "open": {"sd": 0.1, "dof": 9}}
    assert new["data_limited"] == {"below": 1.8, "arms": 0}
    assert not {"saturated", "kinds"} & set(new)
    assert new["best_over"]["choice"]["arms"] == [{"model": "2x16", "quoted": 1.1, "held_out": 1.0}]
    ratios = [peak["against_first"] for peak in new["peaks"]]
    assert ratios[0] is None and ratios[3] == OLD_FACTS["peaks"][3]["against_first"]
    assert ratios[1] == {"value": 0.9, "interval": [0.8, 1.0], "why": None}
    assert ratios[2]["why"] == "the denominator is not distinguishable from 0"
    assert (
        new["arms"] == [{"model": "2x16", "r": 0.5}] and before == OLD_FACTS
    )  # the old one is left alone
    assert convert.current(new) == new  # once is enough


def test_an_old_file_of_text_has_the_new_names_and_its_numbers():
    row = {"label": "2x16", "rmse": 0.02, "measured": [0.9, 0.8], "said": [0.91, 0.79]}
    old = {"study": "s", "targets": 4, "predicted": {"f1_median": [row], "auc": []}, "notes": []}
    new = convert.current(old)
    assert (new["kind"], new["schema"], new["forgetting"]) == ("text", 4, None)
    predicted = {"model": "2x16", "rmse": 0.02, "measured": [0.9, 0.8], "predicted": [0.91, 0.79]}
    assert new["predictions"] == {"f1_median": [predicted], "auc": []} and "predicted" not in new
    assert convert.current(old | {"forgetting": {"strong": 3}})["forgetting"] == {"strong": 3}
    assert convert.current(new) == new


def test_what_is_no_result_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "fit.json"
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected a JSON object, found a list"):
        convert.read(path)
    path.write_text("{")
    with pytest.raises(ValueError):
        convert.read(path)
