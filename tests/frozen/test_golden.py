"""Run ids and help texts of today's code. UPDATE_GOLDEN=1 rewrites the golden files: the diff is
what changed."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from capacity.cli.main import main
from capacity.compose import load, option_names, read_yaml, shared_dir
from capacity.study import load_study, study_names
from frozen import compare

DATA = Path(__file__).parents[1] / "data"
ELSEWHERE = (
    "data=corpus",
    "data=text_bible",
)  # need a file of the user's, or a package that tests do without
GROUPS = ("data", "model", "train", "quantize")
MORE = (  # settings of the README, whose runs people have
    "model.d_model=16 data.load=4.8",
    "model=rotary data.n_sequences=300 train.exposures=1000",
    "data=bios_pocket model=pocket train=pocket_bios",
    "data=bios model=gpt2_rotary train=physics33",
    "data=bios model=gpt2_moe train=physics33 train.exposures=100",
    "data=text_pocket data.tokens_per_parameter=2 train.exposures=20",
    "train.precision=bf16 train.weights=bf16_stochastic",
    "train.qat=ternary seed=3",
)
CORPUS = "".join(
    json.dumps(
        {
            "person": f"Ann{i} Zed",
            "attributes": {"city": ("Rome", "Paris")[i % 2]},
            "texts": [f"Ann{i} Zed lives in {('Rome', 'Paris')[i % 2]}."],
        }
    )
    + "\n"
    for i in range(9)
)


def differing(file, found):
    """Entries that differ from those of the golden file, which is rewritten under
    UPDATE_GOLDEN=1."""
    if compare.UPDATE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    known = json.loads(file.read_text(encoding="utf-8"))
    return {
        key: (known.get(key), found.get(key))
        for key in known.keys() | found.keys()
        if known.get(key) != found.get(key)
    }


def test_every_study_and_preset_plans_the_same_runs():
    """Runs are found by their id: if one moves by accident, finished work is trained again."""
    found = {}
    for name in study_names([shared_dir("sweeps")]):
        presets = read_yaml(shared_dir("sweeps") / f"{name}.yaml").get("presets") or {}
        for each in (name, *(f"{name}@{preset}" for preset in presets)):
            ids = [run.run_id for run in load_study(each, []).runs]
            found[each] = {
                "runs": len(ids),
                "sha256": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
            }
    assert len(found) > 50
    assert differing(DATA / "golden_ids.json", found) == {}


def test_every_preset_of_settings_has_its_run_id(here):
    (here / "people.jsonl").write_text(CORPUS)
    asked = [
        "",
        *(f"{group}={option}" for group in GROUPS for option in option_names(group)),
        *MORE,
    ]
    asked = [text for text in asked if text not in ELSEWHERE] + [
        "data=corpus data.path=people.jsonl data.seq_len=24"
    ]
    found = {text: load([*text.split(), "train.warmup_steps=0"]).run_id for text in asked}
    assert all(re.fullmatch("[0-9a-f]{12}", run_id) for run_id in found.values())
    assert differing(DATA / "golden_settings.json", found) == {}


def helps(capsys, monkeypatch, *verb):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit):
        main([*verb, "--help"])
    text = capsys.readouterr().out
    usage, _, rest = text.partition("\n\n")  # Pythons wrap the usage in different places
    return f"{' '.join(usage.split())}\n\n{rest}"


def test_help_texts_are_the_kept_ones(capsys, monkeypatch):
    texts = {"capacity": helps(capsys, monkeypatch)}
    verbs = re.findall(
        r"^ {4}([a-z][a-z-]*)(?: |$)", texts["capacity"].partition("\nverbs:")[2], re.M
    )
    assert {"train", "sweep", "fit-laws", "report", "table", "worker"} <= set(verbs)
    texts |= {verb: helps(capsys, monkeypatch, verb) for verb in verbs}
    wrong = {
        verb: told
        for verb, text in texts.items()
        if (told := compare.golden(DATA / "help" / f"{verb}.txt", text, exact=True))
    }
    assert not wrong, "\n".join(f"--help of {verb}:\n{told}" for verb, told in wrong.items())
    assert {path.stem for path in (DATA / "help").glob("*.txt")} == set(texts)
