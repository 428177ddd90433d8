"""The studies of sweeps/physics33 against hand-entered tables of the paper, and presets of studies
in general."""

import functools
import math
from pathlib import Path

import pandas as pd
import pytest

from capacity import naming
from capacity.analysis.facts import verdicts
from capacity.base.errors import ConfigError
from capacity.compose import shared_dir
from capacity.cost import GUESSES
from capacity.study import load_study, study_names
from capacity.sweep import plan, plan_text

# Runs planned by hand: N x models x learning rates x arms (x 2 seeds at the cheapest N).
PLANNED = {
    "01_peak_1000": 71,
    "02_simple_and_rewritten": 40,
    "03_biod": 36,
    "04_peak_100": 113,
    "05_architectures_1000": 204,
    "06_architectures_100": 276,
    "07_gated_mlp": 162,
    "09_moe": 108,
    "10_junk": 198,
    "11_repeated_junk": 54,
    "12_tagged": 159,
    "13_extraction": 14,
}
STUDIES = [f"physics33/{name}" for name in PLANNED]


@functools.cache
def study(name):
    return load_study(name, [])


def seen(runs, *keys):
    """The different values of these settings."""
    return {
        tuple(getattr(getattr(run, key.split(".")[0]), key.split(".")[1]) for key in keys)
        for run in runs
    }


def of(runs, n, **data):
    return [
        run
        for run in runs
        if run.data.n_people == n and all(getattr(run.data, k) == v for k, v in data.items())
    ]


def test_there_is_a_study_for_every_result_that_can_be_run():
    """Result 8, quantization after training, is an issue of its own."""
    assert (
        sorted(
            f"physics33/{path.stem}" for path in (shared_dir("sweeps") / "physics33").glob("*.yaml")
        )
        == STUDIES
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name + preset, id=name[10:] + preset)
        for name in STUDIES
        for preset in ("", "@pocket")
    ],
)
def test_every_study_and_preset_plans_and_says_what_it_should_find(name):
    found = study(name)
    pocket = name.endswith("@pocket")
    assert (
        found.name == name
        and found.question
        and found.scale == ("pocket" if pocket else "published")
    )
    assert (
        len(found.runs) <= 24
        if pocket
        else len(found.runs) == PLANNED[name.removeprefix("physics33/")]
    )
    planned = plan.make_plan(found, Path("nowhere"), {}, False)
    assert len(planned.todo) == len(found.runs)
    text = plan_text.summary(planned)
    assert max(map(len, text.splitlines())) <= 80 and " people" in text and "exposures" in text
    assert seen(found.runs, "train.steps") == {
        (None,)
    }  # exposures are counted, never read off printed steps
    assert len({run.seed for run in found.runs}) > 1  # the noise of seeds is measured somewhere
    if pocket:
        assert (
            sum(GUESSES["cpu"].seconds([run]) for run in found.runs) / 2 < 12 * 60
        )  # two cores, some minutes
    else:
        assert seen(
            found.runs, "train.precision", "data.seq_len", "train.final_lr_fraction", "train.beta2"
        ) == {("bf16", 512, 0.1, 0.999)}
        assert {run.model.d_model // run.model.n_heads for run in found.runs} == {64}
        assert {run.model.position for run in found.runs} == {"rotary"}

    assert found.expects
    settings = pd.DataFrame(
        [
            {
                f"{part}.{key}": value
                for part in ("data", "model", "train")
                for key, value in run.as_dict()[part].items()
            }
            for run in found.runs
        ]
    )
    for expected in found.expects:
        assert expected["source"].startswith("arXiv 2") and expected["evidence"] in "prds"
        for key in ("where", "against"):
            assert verdicts.matches(settings, expected.get(key, {})).any(), (expected["name"], key)
        if "against" in expected:
            both = verdicts.matches(settings, expected["where"]) & verdicts.matches(
                settings, expected["against"]
            )
            assert not both.any(), expected["name"]


def test_presets_are_cheap_to_plan_because_they_are_small():
    for name in STUDIES:
        sizes = [run.parameters["total"] for run in study(name + "@pocket").runs]
        assert max(sizes) < 50_000


# Section 4.2 of the reference page (Param 1 and 2 of the paper): N -> weight decay, learning rates,
# batch.
GPT2_1000 = {
    10_000: (0.02, [1e-3], 24),
    50_000: (0.02, [1e-3], 96),
    200_000: (0.02, [1e-3], 192),
    500_000: (0.01, [5e-4], 192),
    2_000_000: (0.005, [3e-4], 1536),
    10_000_000: (0.001, [3e-4], 1536),
}
GPT2_100 = {
    50_000: (0.01, [1e-3], 12),
    100_000: (0.01, [1e-3], 24),
    1_000_000: (0.01, [5e-4], 192),
    2_000_000: (0.01, [3e-4, 5e-4, 1e-3], 384),
    5_000_000: (0.01, [3e-4, 5e-4], 768),
}


def test_the_recipes_of_gpt2_are_the_printed_ones():
    many, few = study("physics33/01_peak_1000"), study("physics33/04_peak_100")
    for found, exposures, table in ((many, 1000, GPT2_1000), (few, 100, GPT2_100)):
        for n, (decay, rates, batch) in table.items():
            runs = [run for run in of(found.runs, n) if run.train.exposures == exposures]
            recipe = {(decay, lr, batch) for lr in rates}
            assert seen(runs, "train.weight_decay", "train.lr", "train.batch_size") == recipe, n
    wide = [run for run in of(few.runs, 200_000) if run.model.d_model == 1280]
    assert seen(wide, "train.lr", "train.batch_size", "model.n_layers") == {
        (5e-4, 48, 2)
    }  # 2-20: 5e-4
    deep = [run for run in few.runs if run.model.n_layers == 28]
    assert seen(deep, "train.batch_size", "data.n_people") == {(1280, 20_000_000)}
    assert max(run.data.n_people for run in many.runs) == 10_000_000  # no recipe is printed for 20M
    assert few.best_over == ["train.lr"] and many.best_over == []


def test_models_are_on_the_grid_and_have_room_for_two_bits():
    """R^max of the single models from 2M on and of the smallest ones as the reference page has them
    (section 3.1)."""

    def r_max(run):
        d, layers = run.model.d_model, run.model.n_layers
        bits = run.data.n_people * (math.log2(1.6e8 / run.data.n_people) + 47.59161)
        return bits / (3275 * d + layers * (12 * d * d + 13 * d) + 2 * d)

    runs = study("physics33/01_peak_1000").runs
    assert {n: round(r_max(*of(runs, n)), 2) for n in (2_000_000, 5_000_000, 10_000_000)} == {
        2_000_000: 2.07,
        5_000_000: 2.15,
        10_000_000: 2.02,
    }
    for n in (50_000, 100_000, 200_000, 500_000, 1_000_000):
        rooms = [r_max(run) for run in of(runs, n)]
        assert (
            3.5 < max(rooms) < 5
            and min(rooms) < 1.4
            and len([r for r in rooms if 1.8 < r < 2.5]) >= 2
        )
    assert max(r_max(run) for run in of(runs, 20_000)) == pytest.approx(1.484, abs=1e-3)


def test_the_recipes_of_other_architectures_are_the_printed_ones():
    """Section 4.3 (Param 6, 7 and 9)."""
    many, few = (
        study("physics33/05_architectures_1000").runs,
        study("physics33/06_architectures_100").runs,
    )
    moe = study("physics33/09_moe").runs

    def rates(runs, n, form, **train):
        mine = [
            run
            for run in of(runs, n)
            if naming.architecture(
                {f"model.{k}": naming.plain(v) for k, v in run.as_dict()["model"].items()}
            )
            == form
        ]
        mine = [run for run in mine if all(getattr(run.train, k) == v for k, v in train.items())]
        assert mine, (n, form)
        return sorted({run.train.lr for run in mine}), {run.train.batch_size for run in mine}

    assert rates(many, 50_000, "LLaMA") == ([5e-4, 1e-3, 2e-3], {96})
    assert rates(many, 1_000_000, "Mistral") == ([2e-4, 3e-4, 5e-4], {192})
    assert rates(many, 200_000, "GPT2 no MLP") == ([1e-3], {192})
    assert rates(few, 100_000, "LLaMA") == ([3e-4, 5e-4, 1e-3], {24})
    assert rates(few, 500_000, "GPT2 1/4") == ([3e-4, 5e-4], {96})
    assert rates(few, 50_000, "GPT2 1/4") == ([5e-4, 1e-3], {12})
    assert rates(few, 1_000_000, "GPT2 no MLP") == ([2e-4, 3e-4, 5e-4], {192})
    assert rates(few, 200_000, "GPT2") == ([1e-3], {48})
    assert rates(moe, 100_000, "MoE", exposures=1000) == ([1e-3, 2e-3], {192})
    assert rates(moe, 2_000_000, "MoE", exposures=1000) == ([2e-3], {1536})
    assert rates(moe, 100_000, "MoE", exposures=100) == ([1e-3, 2e-3, 5e-3], {24})
    assert rates(moe, 2_000_000, "MoE", exposures=100) == ([5e-4, 1e-3], {192})
    mistral = {run.model.n_heads: run.model.kv_heads for run in many if run.model.mlp_ratio == 3.5}
    assert {h: kv for h, kv in mistral.items() if h in (2, 3, 4, 6, 8)} == {
        h: {0: h // 4, 2: h // 2}.get(h % 4, h) for h in mistral if h in (2, 3, 4, 6, 8)
    }


def test_the_recipes_of_junk_are_the_printed_ones():
    """Section 4.4 (Param 10): batch, learning rates, weight decay."""
    junk, repeated, tagged = (
        study(f"physics33/{name}").runs for name in ("10_junk", "11_repeated_junk", "12_tagged")
    )

    def recipe(runs, n, exposures, **data):
        mine = [
            run for run in of(runs, n, other_parts=7, **data) if run.train.exposures == exposures
        ]
        (batch,), (decay,) = (
            {getattr(run.train, k) for run in mine} for k in ("batch_size", "weight_decay")
        )
        return batch, sorted({run.train.lr for run in mine}), decay

    usual, low = [3e-4, 5e-4, 1e-3], [5e-5, 1e-4, 2e-4, 3e-4, 5e-4]
    assert recipe(junk, 50_000, 100) == (12, usual, 0.01) and recipe(junk, 1_000_000, 100) == (
        192,
        low,
        0.005,
    )
    assert recipe(junk, 500_000, 300) == (192, usual, 0.01) and recipe(junk, 500_000, 600) == (
        768,
        usual,
        0.002,
    )
    assert recipe(junk, 200_000, 1000) == (1536, [5e-4, 1e-3], 0.01) and not of(
        junk, 500_000, main_parts=7
    )
    assert recipe(repeated, 200_000, 100) == (96, usual, 0.01)
    assert recipe(repeated, 1_000_000, 100) == (192, [3e-4], 0.01)
    assert recipe(tagged, 200_000, 100, tag="main") == (96, [2e-4, *usual], 0.01)
    assert recipe(tagged, 500_000, 300, tag="main") == (384, usual, 0.005)
    mixtures = [run for run in junk if run.data.other_parts]
    assert seen(mixtures, "data.other_people", "data.main_parts", "data.windows") == {
        (100_000_000, 1, "pure")
    }
    assert seen([run for run in repeated if run.data.other_parts], "data.other_people") == {(1000,)}
    # a run is eight times as long as one without junk at the same exposures
    (clean,), (mixed,) = (
        [
            run
            for run in of(junk, 100_000, other_parts=parts)
            if run.train.exposures == 100 and run.train.lr == 1e-3
        ][:1]
        for parts in (0, 7)
    )
    assert mixed.tokens == pytest.approx(8 * clean.tokens, rel=1e-3)


# Presets in general

FILE = """
question: big?
pins: [data.vocab_size=16, data.seq_len=4, train.steps=300]
grids: [{seed: [0, 1, 2]}]
best_over: [train.lr]
expects: [{name: a, quantity: peak_ratio, range: [1, 2], source: here, evidence: u}]
presets:
  tiny: {question: "small?", grids: [{seed: [5]}], expects: [], scale: pocket}
  plain: {best_over: []}
"""


def test_a_preset_takes_the_place_of_what_it_states(tmp_path, monkeypatch):
    (tmp_path / "sweeps" / "deep").mkdir(parents=True)
    (tmp_path / "sweeps" / "deep" / "s.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    whole, tiny, plain = (load_study(f"deep/s{preset}", []) for preset in ("", "@tiny", "@plain"))
    assert (whole.name, tiny.name, plain.name) == ("deep/s", "deep/s@tiny", "deep/s@plain")
    assert [len(s.runs) for s in (whole, tiny, plain)] == [3, 1, 3] and tiny.runs[0].seed == 5
    assert tiny.runs[0].data.vocab_size == 16  # pins stay where a preset states none
    assert (whole.question, tiny.question, plain.question) == ("big?", "small?", "big?")
    assert (whole.scale, tiny.scale, plain.scale) == ("published", "pocket", "published")
    assert (whole.best_over, tiny.best_over, plain.best_over) == (["train.lr"], ["train.lr"], [])
    assert [len(s.expects) for s in (whole, tiny, plain)] == [1, 0, 1] and whole.expects[0][
        "range"
    ] == [1.0, 2.0]
    by_path = load_study("sweeps/deep/s.yaml@tiny", ["seed=9"])
    assert (
        by_path.name == "s@tiny" and by_path.runs[0].seed == 9 and by_path.overrides == ["seed=9"]
    )
    assert study_names([tmp_path / "sweeps"]) == ["deep/s"]


def test_an_at_sign_in_a_path_is_no_preset(tmp_path):
    (tmp_path / "at@home").mkdir()
    for name in ("at@home/s.yaml", "a@b.yaml"):
        (tmp_path / name).write_text(FILE)
        assert len(load_study(str(tmp_path / name), []).runs) == 3
        assert len(load_study(f"{tmp_path / name}@tiny", []).runs) == 1


@pytest.mark.parametrize(
    "text, name, words",
    [
        (FILE, "@tinny", ["no preset tinny (did you mean tiny?)", "allowed: tiny, plain"]),
        ("question: x", "@tiny", ["no preset tiny", "this study has none"]),
        ("presets: [tiny]", "", ["presets: expected a mapping"]),
        ("presets: {tiny: 3}", "", ["presets: expected a mapping"]),
        (
            "presets: {tiny: {grid: []}}",
            "",
            ["presets: tiny: grid: no such entry (did you mean grids?)"],
        ),
        ("presets: {tiny: {presets: {}}}", "", ["presets: tiny: presets: no such entry"]),
        ("best_over: train.lr", "", ["best_over: expected a list"]),
        ("best_over: [train.rl]", "", ["best_over: train.rl", "did you mean train.lr?"]),
        ("best_over: [seed]", "", ["best_over: seed"]),
        (
            "references: {data.trained_on: reference}",
            "",
            ["references: expected a list of mappings"],
        ),
        (
            "references: [{data.n_reference: 10}]",
            "",
            ["references: expected a list of mappings with data.trained_on"],
        ),
        (
            "references: [{data.trained_on: reference}]",
            "",
            ["references: are for runs on text", "the study has none"],
        ),
        (
            "pins: [data=text_pocket]\nreferences: [{data.trained_on: refrence}]",
            "",
            ["data.trained_on=refrence", "did you mean reference?"],
        ),
        ("scale: pokcet", "", ["scale: pokcet", "did you mean pocket?"]),
        ("expects: [{name: a, quantity: b}]", "", ["expects: a", "source is missing"]),
        (
            "expects: [{name: a, quantity: ratios, source: x, evidence: p, range: [1, 2]}]",
            "",
            ["did you mean ratio?"],
        ),
    ],
)
def test_a_wrong_preset_is_one_line_that_names_the_file(tmp_path, text, name, words):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_study(str(tmp_path / "s.yaml") + name, [])
    message = str(error.value)
    assert all(word in message for word in ["s.yaml", *words]) and "\n" not in message, message


def test_references_are_trained_once_for_all_that_differ_by_size_length_and_seed(tmp_path):
    (tmp_path / "s.yaml").write_text("""
pins: [data=text_pocket, data.documents=300, data.n_held_out=20, data.seq_len=16,
       data.tokens_per_parameter=null, train.exposures=3, train.warmup_steps=2, train.batch_size=8]
grids:
- {model.d_model: [8, 16], data.n_sequences: [10, 40, 20], seed: [0, 1]}
- {model.d_model: [8], data.n_sequences: [40], data.trained_on: [half], seed: [0, 1]}
references:
- {data.trained_on: reference, data.n_reference: 100}
- {data.trained_on: others, data.n_reference: 50, train.exposures: 1}
""")
    runs = load_study(str(tmp_path / "s.yaml"), []).runs
    by = {
        kind: [run for run in runs if run.data.trained_on == kind]
        for kind in ("members", "half", "reference", "others")
    }
    assert {kind: len(some) for kind, some in by.items()} == {
        "members": 12,
        "half": 2,
        "reference": 2,
        "others": 2,
    }
    for some, n, exposures in ((by["reference"], 100, 3), (by["others"], 50, 1)):
        assert [run.model.d_model for run in some] == [8, 16]
        assert all(
            run.trained_items == n
            and run.items == 40
            and run.seed == 0
            and run.train.exposures == exposures
            for run in some
        )
    again = load_study(
        str(tmp_path / "s.yaml"), ["data.split_seed=5"]
    ).runs  # what is given with the command holds for them too
    assert len(again) == 18 and all(run.data.split_seed == 5 for run in again)
    with pytest.raises(ConfigError, match="a reference model trains on the 40 members and more"):
        load_study(str(tmp_path / "s.yaml"), ["data.n_reference=30"])
