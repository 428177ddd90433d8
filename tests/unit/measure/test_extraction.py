"""Fine-tuning on questions: the texts, the halves, low-rank updates, and facts that can or cannot
be asked for."""

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import lexicons
from capacity.feed.stream import MemberStream
from capacity.measure import extraction
from capacity.model.gpt import GPT

DATA = {
    "kind": "bios",
    "n_people": 40,
    "seq_len": 32,
    "vocabulary": "world",
    "questions": True,
    "first_names": 5,
    "middle_names": 0,
    "last_names": 20,
    "years": 0,
    "cities": 3,
    "universities": 0,
    "majors": 4,
    "employers": 4,
    "templates": 2,
}


def config(mode="full", model=None, people=40, **settings):
    return from_dict(
        {
            "data": DATA | {"n_people": people},
            "model": {"d_model": 16, "n_heads": 2, "position": "rotary"} | (model or {}),
            "train": {"steps": 20, "warmup_steps": 2},
            "extraction": {
                "mode": mode,
                "steps": 30,
                "batch_size": 16,
                "lr": 0.01,
                "rank_embedding": 4,
                "rank_attention": 2,
            }
            | settings,
        }
    )


def prepared(c):
    gpt = GPT(c.model, c.rows, c.data.seq_len, c.data.bos)
    return gpt, gpt.init([c.seed])[0], MemberStream(c, torch.device("cpu")).world


def test_questions_need_their_words():
    with pytest.raises(ConfigError, match="data.questions=true"):
        from_dict(
            {
                "data": DATA | {"questions": False},
                "train": {"steps": 20, "warmup_steps": 2},
                "extraction": {"mode": "lora"},
            }
        )
    with pytest.raises(ConfigError, match="data.questions=true"):
        from_dict(
            {
                "data": {"n_sequences": 10},
                "train": {"steps": 20, "warmup_steps": 2},
                "extraction": {"mode": "lora"},
            }
        )


def test_rows_of_questions_are_no_parameters_of_the_published_count():
    with_, without = (
        config(),
        from_dict(
            {
                "data": DATA | {"questions": False},
                "model": {"d_model": 16, "position": "rotary"},
                "train": {"steps": 20, "warmup_steps": 2},
            }
        ),
    )
    assert with_.rows > without.rows and with_.resolved.used_rows == without.resolved.used_rows
    assert with_.parameters["paper"] == without.parameters["paper"] < with_.parameters["total"]
    assert (
        lexicons.of(with_.data).content["tokens"][: without.rows]
        == lexicons.of(without.data).content["tokens"]
    )


def test_a_question_reads_as_written_and_asks_for_the_persons_value():
    c = config()
    _, _, world = prepared(c)
    person = torch.arange(40)
    for a, name in enumerate(world.attributes):
        question = extraction.questions(world, person, torch.full_like(person, a))
        tokens, length = world.pieces.join(question.slots)
        values = world.values(name, person)
        for i, rows in enumerate(tokens.split(length.tolist())):
            text = world.lexicon.text(rows.tolist())
            begin, n = int(question.begin[i]), int(question.length[i])
            answer = world.lexicon.text(rows[begin : begin + n].tolist())
            assert (
                text.startswith("<|endoftext|> ") and text.endswith(answer) and answer.endswith(".")
            )
            assert answer[:-1] in world.lexicon.text(
                world.lexicon.pieces[
                    world.lexicon.content["values"][name]["last"]["."]["pieces"][values[i]]
                ]
            )


def test_halves_share_nobody_and_miss_nobody():
    world = prepared(config())[2]
    one, two = extraction.halves(world, 3)
    assert sorted(one.tolist() + two.tolist()) == list(range(40)) and len(one) == 20
    assert one.tolist() != extraction.halves(world, 4)[0].tolist()


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"n_kv_heads": 1},
        {"tied": False, "bias": False, "norm": "rmsnorm", "mlp": "gated"},
        {"mixer": "gla", "mixer_key": 3, "position": "learned"},
    ],
    ids=["gpt2", "grouped", "llama", "narrow keys"],
)
def test_low_rank_updates_touch_embedding_queries_and_values_only(model):
    c = config("lora", model)
    gpt, flat, _ = prepared(c)
    factors = extraction.new_factors(gpt, 4, 2, 0, flat.device)
    assert torch.equal(
        extraction.adapt(gpt, flat[None], factors)[0], flat
    )  # the second factor starts at zero
    masks = extraction.block_mask(gpt, factors)
    factors = {name: torch.randn_like(f) * masks[name] for name, f in factors.items()}
    before, after = gpt.named(flat[None]), gpt.named(extraction.adapt(gpt, flat[None], factors))
    H, wide = gpt.model.n_heads, 16 // gpt.model.n_heads * gpt.model.kv_heads
    keys = 3 * H if gpt.model.mixer_key else wide
    sides = [3 * H if gpt.model.mixer_key else 16, keys, wide]
    for name in before:
        change = (after[name] - before[name])[0]
        if name == "token.weight":
            assert torch.linalg.matrix_rank(change) == 4
        elif name.endswith("qkv.weight"):
            query, key, value = change.split(sides, dim=1)
            assert (
                torch.linalg.matrix_rank(query) == torch.linalg.matrix_rank(value) == 2
                and not key.any()
            )
        else:
            assert not change.any(), name


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_fine_tuning_learns_the_questions_of_its_half(mode):
    """A model that knows nothing can learn the answers of the half it is shown by heart, not those
    of the other."""
    c = config(
        mode,
        {"d_model": 64, "n_heads": 4},
        people=20,
        steps=300,
        lr=0.003 if mode == "full" else 0.01,
        rank_embedding=32,
        rank_attention=16,
    )
    gpt, flat, world = prepared(c)
    out = extraction.measure(gpt, flat, world, c, torch.float32)
    assert (
        out["accuracy_trained"] > (0.9 if mode == "full" else 0.75) and out["accuracy"] < 0.6
    )  # guessing: about 0.28
    assert out["people_trained"] == out["people_tested"] == 10
    counted = [out["attributes"][name] for name in world.attributes if name != "work_city"]
    assert out["accuracy"] == pytest.approx(sum(counted) / len(counted))
    assert out["extractable_people"] == pytest.approx(20 * out["accuracy"])


def test_the_weights_of_the_run_stay_as_they_are():
    c = config()
    gpt, flat, world = prepared(c)
    before = flat.clone()
    extraction.measure(gpt, flat, world, c, torch.float32)
    assert torch.equal(flat, before)
