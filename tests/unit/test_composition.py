"""Composition: texts of a study and of a shell, layers, axes, bad files."""

import dataclasses
import itertools
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from capacity import compose
from capacity.base.errors import ConfigError
from capacity.compose import GROUPS, expand, literal, load, option_names
from capacity.config import SECTIONS, Config
from capacity.settings.data import KINDS
from waiting import patience

AWKWARD = [
    "a(1).jsonl",
    "données/été.jsonl",
    "C:/x=1.jsonl",
    "it's (1).jsonl",
    'say "hi"(1).jsonl',
    "C:\\a(1)\\b.jsonl",
    "tail(1)\\",
    "a,b.jsonl",
    "文(1).jsonl",
    "~/x&y;z.jsonl",
    "[x]y.jsonl",
]


@pytest.mark.parametrize("path", AWKWARD)
def test_the_hint_how_to_quote_works_when_it_is_pasted_into_a_shell(path):
    with pytest.raises(ConfigError) as error:
        load(["data=corpus", f"data.path={path}"])
    hint = str(error.value).partition("in a shell: ")[2]
    pasted = subprocess.run(
        ["bash", "-c", f"printf %s {hint}"], capture_output=True, check=True, timeout=patience()
    ).stdout.decode()
    with pytest.raises(ConfigError) as error:  # the file is not there, under this very name
        load(["data=corpus", pasted])
    assert path in str(error.value) and "quotes" not in str(error.value)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1))
@settings(max_examples=100)
def test_a_text_of_a_study_becomes_an_override_that_holds_it(text):
    """Whatever a list of a study file says stays that text, unless Hydra's grammar reads it
    otherwise, as it does null or 1e3."""
    made = literal("wandb.project", text)
    if made != f"wandb.project={text}":
        assert load([made]).wandb.project == text


def test_lists_of_texts_need_no_quotes():
    """The examples in the help texts of cluster.options and cluster.environment, as printed."""
    cluster = load(["cluster.options=[--exclude=node7, -v]", "cluster.environment=[A=b]"]).cluster
    assert (cluster.options, cluster.environment) == (("--exclude=node7", "-v"), ("A=b",))
    assert load(["cluster.options=[--exclude=n(1)]"]).cluster.options == ("--exclude=n(1)",)
    assert load(["cluster.options=[]"]).cluster.options == ()


NOT_HERE = (
    ("data", "corpus"),
    ("data", "text_bible"),
)  # need a file of the user's, or a package that tests do without


def test_every_choice_in_conf_composes_and_states_every_setting():
    for group in GROUPS:
        assert option_names(group)
        for option in option_names(group):
            if (group, option) not in NOT_HERE and (group, option) not in (
                ("extraction", "lora"),
                ("extraction", "full"),
            ):
                load(
                    [f"{group}={option}"]
                )  # those need a file of the user's, or questions in the vocabulary
            text = OmegaConf.load(compose.shared_dir("conf") / group / f"{option}.yaml")
            for base in [name for name in text.pop("defaults", []) if name != "_self_"]:
                text = OmegaConf.merge(
                    OmegaConf.load(compose.shared_dir("conf") / group / f"{base}.yaml"), text
                )
            # a setting that a choice leaves out would silently keep the value of a class default
            cls = KINDS[text["kind"]] if group == "data" else SECTIONS[group]
            assert set(text) == {f.name for f in dataclasses.fields(cls)}


@pytest.mark.slow
@pytest.mark.long
def test_all_choices_combine():
    """Every data with every model, each with every train in turn."""
    names = [
        [f"{group}={option}" for option in option_names(group) if (group, option) not in NOT_HERE]
        for group in ("data", "model", "train")
    ]
    documents = {data for data in names[0] if not load([data]).data.bos}
    configs = []
    trains, chosen = itertools.cycle(names[2]), []
    for data, model in itertools.product(*names[:2]):
        choice = (data, model, next(trains))
        chosen.append(choice)
        if choice[:2] == ("data=mixed", "model=banks"):
            continue  # refused: a random row starts no document
        # whose block a token has is asked of its sequence or of its document
        of = ["model.banks_of=document"] * (choice[0] in documents and choice[1] == "model=banks")
        # of data that are never seen twice steps are given, not exposures
        steps = ["train.steps=600"] * (choice[0] in ("data=copy", "data=mqar"))
        # a load of the largest models needs more names than the short lists of these data have
        counts = ["data.load=null", "data.n_people=400", "data.n_rows=50"]
        few = counts * (choice[0] == "data=mixed")
        configs.append(load([*choice, "train.warmup_steps=0", *of, *steps, *few]))
    for one, other in ((0, 2), (1, 2)):  # pairs with a train, too
        pairs = {(c[one], c[other]) for c in chosen}
        assert pairs == set(itertools.product(names[one], names[other]))
    assert len({config.run_id for config in configs}) == len(configs)


SAMPLES = [
    [],
    ["seed=5"],
    ["model=rotary", "model.d_model=16"],
    ["model.d_model=16", "model=rotary"],
    ["data=morris", "data.n_sequences=100"],
    ["data.n_sequences=100", "train.exposures=20", "train.warmup_steps=0"],
    ["data.load=2.5", "train.lr=1e-3", "train.grad_clip=0"],
    ['wandb.project="a=b, c"'],
    ["wandb.project='my project'", "wandb.entity=me", "wandb.mode=offline"],
    ["train.warmup_steps=${train.batch_size}"],
    ["train.batch_size=10", "train.warmup_steps=${.batch_size}"],
    ["model=gpt", "model=rotary"],
    ["seed=1", "seed=2"],
    ["train.steps=int(600.0)"],
    ["model.tied=false", "model.bias=False"],
    ["cluster.workers=4", "cluster.threads=null"],
    ["measure.evaluations=3", "data.load=null", "data.n_sequences=3"],
    ["model=gpt2_small", "data.vocab_size=50257", "data.seq_len=64"],
]


@pytest.mark.parametrize("overrides", SAMPLES, ids=" ".join)
def test_fast_composition_equals_hydras_own(overrides):
    fast = load(overrides)
    full = load(
        overrides + [f"++seed={fast.seed}"]
    )  # an addition takes the way through Hydra's full compose
    assert fast == full


def test_full_composition_is_really_taken(monkeypatch):
    """The comparison above says nothing if both of its sides go the same way."""
    asked = []
    monkeypatch.setattr(
        compose, "compose", lambda name, overrides: asked.append(overrides) or real(name, overrides)
    )
    from hydra import compose as real

    load(["model.d_model=16", "++seed=0"])
    assert asked == [["model.d_model=16", "++seed=0"]]


def test_composed_defaults_are_not_changed_by_a_run():
    before = load([])
    load(["model.d_model=16", "data.n_sequences=10", "seed=9"])
    assert load([]) == before


def test_axes_expand_in_order_with_the_last_fastest():
    assert expand(["model.d_model=8,16", "train.lr=0.01", "seed=range(2)"]) == [
        ["model.d_model=8", "train.lr=0.01", "seed=0"],
        ["model.d_model=8", "train.lr=0.01", "seed=1"],
        ["model.d_model=16", "train.lr=0.01", "seed=0"],
        ["model.d_model=16", "train.lr=0.01", "seed=1"],
    ]
    assert expand(["model=glob(gpt*)"]) == [
        [f"model={name}"] for name in option_names("model") if name.startswith("gpt")
    ]
    assert expand([]) == [[]]


@pytest.mark.parametrize(
    "axis", ["train.lr=interval(0,1)", "seed=shuffle(range(9))", "seed=${a},2", "seed=range(1"]
)
def test_axes_that_cannot_be_listed(axis):
    with pytest.raises(ConfigError, match=re.escape(axis.split("=")[0])):
        expand([axis])


@pytest.mark.parametrize(
    "text, word",
    [
        ("a: [", "not valid YAML"),
        ("- 1", "expected named entries"),
        ("a: ${b}", "not valid YAML"),
        ("", None),
        ("3", "expected named entries"),
        ("\x00", "not valid YAML"),
    ],
)
def test_bad_yaml_files_name_the_file(tmp_path, text, word):
    (tmp_path / "x.yaml").write_text(text)
    if word is None:
        assert compose.read_yaml(tmp_path / "x.yaml") == {}
        return
    with pytest.raises(ConfigError, match=word) as error:
        compose.read_yaml(tmp_path / "x.yaml")
    assert "x.yaml" in str(error.value) and "\n" not in str(error.value)


def test_default_config_is_the_composed_one():
    """`conf/` repeats the class defaults in a form people can read; the two must not drift
    apart."""
    composed = load([])
    for name, cls in {"data": KINDS["uniform"], **SECTIONS}.items():
        section = getattr(composed, name)
        moved = {"data": {"load"}, "train": {"steps"}}.get(name, set())
        assert {
            f.name for f in dataclasses.fields(cls) if getattr(section, f.name) != f.default
        } == moved
    assert composed.seed == Config.__dataclass_fields__["seed"].default
