"""Names that are suggested: slips of the hand and names of other programs, nothing far-fetched."""

import pytest

from capacity.base.errors import closest, slips
from capacity.config import known_keys
from capacity.settings.aliases import ALIASES, meant


@pytest.mark.parametrize(
    "key, ours",
    [
        ("model.d_modle", "model.d_model"),
        ("modle.d_modle", "model.d_model"),
        ("data.d_model", "model.d_model"),
        ("data.d_modle", "model.d_model"),
        ("train.rl", "train.lr"),
        ("train.optimiser", "train.optimizer"),
        ("Train.LR", "train.lr"),
        ("n-layers", "model.n_layers"),
        ("quantize.bit", "quantize.bits"),
        ("lr", "train.lr"),
        ("learning_rate", "train.lr"),
        ("train.learning_rate", "train.lr"),
        ("wd", "train.weight_decay"),
        ("bs", "train.batch_size"),
        ("layers", "model.n_layers"),
        ("model.layers", "model.n_layers"),
        ("heads", "model.n_heads"),
        ("hidden", "model.d_model"),
        ("model.width", "model.d_model"),
        ("epochs", "train.exposures"),
        ("block_size", "data.seq_len"),
        ("warmup", "train.warmup_steps"),
        ("data.people", "data.n_people"),
        ("dropout", None),
        ("model.dropout", None),
        ("train.dropout", None),
        ("model.residual", None),
        ("data.shuffle", None),
        ("x", None),
        ("", None),
        ("zzzz", None),
    ],
)
def test_a_setting_is_suggested_where_a_person_could_mean_it(key, ours):
    assert meant(key, known_keys()) == ours


def test_every_alias_is_a_name_that_we_do_not_have():
    known = known_keys()
    names = {key.rpartition(".")[2] for key in known}
    assert set(ALIASES.values()) <= set(known)
    assert not set(ALIASES) & names
    assert all(name == name.lower() for name in ALIASES)
    # an alias is found with any group in front
    assert all(meant(f"model.{name}", known) == key for name, key in ALIASES.items())


@pytest.mark.parametrize(
    "word, allowed, near",
    [
        ("learnt", ["learned", "rotary"], "learned"),
        ("int7", ["int8", "int6"], "int8"),
        ("gtp", ["gpt", "llama"], "gpt"),
        ("fp8", ["fp32", "tf32", "bf16", "fp16"], None),
        ("dropout", ["top_k", "tied"], None),
        ("layers", ["years", "majors"], None),
        ("pocket_bugdet", ["pocket", "pocket_budget"], "pocket_budget"),
        ("physics33/99_gold", ["physics33/10_junk", "pocket"], None),  # a long group is no nearness
        ("membership@poket", ["morris/membership@pocket"], "morris/membership@pocket"),
        ("loss", ["loss"], None),  # the word itself is no suggestion
        ("b", ["a", "c"], None),
    ],
)
def test_words_are_near_by_slips_for_their_length(word, allowed, near):
    assert closest(word, allowed) == near


def test_slips_are_letters_left_out_added_exchanged_and_swapped():
    assert [slips(word, "membership") for word in ("membership", "mebership", "membershipp")] == [
        0,
        1,
        1,
    ]
    assert slips("memborship", "membership") == slips("memebrship", "membership") == 1
    assert slips("mebmerhsip", "membership") == 2
    assert slips("ab", "ba") == 1 and slips("ab", "ac") is None
    assert slips("", "abc") is None
