"""How long questions can be: at least what is really asked, and no longer than a person of the
world could have."""

import numpy as np
import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import lexicons, questions
from capacity.data.biographies import WORLDS
from capacity.measure import extraction, knowledge
from capacity.measure.questions import Asking

POCKET = ["data=bios_pocket", "data.n_people=300", "train.steps=20", "train.warmup_steps=2"]
WORDS = [  # attributes left out, so that what is longest is asked of another kind
    "data.cities=0",
    "data.universities=0",
    "data.majors=0",
    "data.years=0",
    "data.employers=0",
]
CASES = [
    POCKET,
    [*POCKET, "measure.context=text"],
    [*POCKET, "data.biographies=5"],
    [*POCKET, "data.biographies=5", "measure.context=first", "data.full_names=true"],
    [*POCKET, "data.order=fixed"],
    [*POCKET, "data.order=pairs", "data.full_names=true"],
    [*POCKET, "data.order=pairs", "data.biographies=3", "data.same_sentences=true"],
    [*POCKET, "data.templates=1", *WORDS[:4]],
    [*POCKET, "data.templates=1", "measure.context=text", *WORDS[:3]],
    [*POCKET, *WORDS[1:], "data.other_people=50", "data.other_parts=1", "data.tag=main"],
    [*POCKET, "data.vocab_size=300", "data.seq_len=512"],
    [*POCKET, "data.questions=true", "data.middle_names=5"],
    ["data=biod_pocket", "train.steps=20", "train.warmup_steps=2"],
    ["data=biod_pocket", "train.steps=20", "train.warmup_steps=2", "data.chunks=3"],
]


def asked_positions(config):
    """The most positions that the measure of a run feeds to its model, by asking one that notes
    them; of an extraction those of all questions as they are trained on."""
    seen = []

    def scorer(tokens_BT):
        seen.append(tokens_BT.shape[1] - 1)
        shape = tokens_BT.shape[0], tokens_BT.shape[1] - 1
        # as if nothing were known, so that no bound on bits is in the way
        return torch.full(shape, 50.0), torch.zeros(shape, dtype=torch.bool)

    data = config.data
    world = WORLDS[data.kind](data, lexicons.of(data), config.items, 0, torch.device("cpu"))
    asking = Asking(scorer, None, config.measure.contexts, config.measure.context, 2**20)
    knowledge.measure(world, asking, config.parameters)
    if getattr(data, "questions", False):
        person = torch.arange(config.items)
        for a in range(len(world.attributes)):
            rows, _ = extraction._padded(
                world, extraction.questions(world, person, torch.full_like(person, a))
            )
            seen.append(rows.shape[1] - 1)
    return max(seen)


@pytest.mark.parametrize("overrides", CASES, ids=lambda o: " ".join(o[4:] or o[:1])[:60])
def test_the_bound_holds_for_what_is_asked_and_is_close(overrides):
    config = load([*overrides, "measure.contexts=8"])
    context = questions.context_of(config.data, config.measure.context)
    lexicon = lexicons.of(config.data)
    bound = questions.longest(lexicon, config.data, context, 8)
    if getattr(config.data, "questions", False):
        bound = max(bound, questions._of_extraction(lexicon, config.data))
    asked = asked_positions(config)
    # a question of 300 people meets the longest name and value, not always together in one text
    assert 0.85 * bound <= asked <= bound, (asked, bound)


@pytest.mark.parametrize("context", ["text", "first"])
def test_a_window_too_short_for_its_questions_is_refused_with_what_is_enough(context):
    given = [*POCKET, "data.biographies=5", f"measure.context={context}", "data.n_people=2000"]
    with pytest.raises(ConfigError, match=r"data\.seq_len=8: a question in context") as error:
        load([*given, "data.seq_len=8"])
    enough = int(str(error.value).partition("give data.seq_len=")[2].split()[0])
    assert load([*given, f"data.seq_len={enough}"]).data.seq_len == enough
    with pytest.raises(ConfigError, match=f"can have {enough} tokens"):
        load([*given, f"data.seq_len={enough - 1}"])
    assert ("measure.context=first" in str(error.value)) == (context == "text")


def test_questions_of_extraction_count_too():
    given = [*POCKET, "data.questions=true", "extraction=full", "data.n_people=2000"]
    config = load(given)
    lexicon = lexicons.of(config.data)
    alone = questions.longest(lexicon, config.data, "first", 4)
    needed = questions._of_extraction(lexicon, config.data)
    assert needed != alone
    if needed > alone:
        with pytest.raises(ConfigError, match="a question of extraction of this data can have"):
            load([*given, f"data.seq_len={alone}"])
    assert load([*given, f"data.seq_len={max(alone, needed)}"])


def test_of_a_corpus_the_bound_is_exact(here):
    text = "".join(
        f'{{"person": "Ann {n}", "attributes": {{"city": "C{n}"}}, "texts": '
        f'["Ann {n} has lived for a long time in C{n} .", "In C{n} Ann {n} lives ."]}}\n'
        for n in range(16)
    )
    (here / "people.jsonl").write_text(text)
    given = ["data=corpus", "train.steps=20", "train.warmup_steps=2"]
    config = load([*given, "data.seq_len=40"])
    bound = questions.longest(lexicons.of(config.data), config.data, "text", 4)
    assert asked_positions(config) == bound
    assert bound > 8
    if bound > 8:
        with pytest.raises(ConfigError, match=f"a question of this data can have {bound} tokens"):
            load([*given, f"data.seq_len={bound - 1}"])
    assert load([*given, f"data.seq_len={bound}"])
    assert np.isfinite(bound)
