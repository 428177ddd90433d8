"""New facts in several wordings at set steps: wordings go round, what is implied follows from the
place, views come as planned, probes ask for the value alone; exact resume and stacks."""

import collections
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import records
from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import text, timed_facts
from capacity.declare.text import MEASURE
from capacity.feed import canary_schedule, split
from capacity.feed.feed import TableFeed
from capacity.measure import timed_facts as measure
from capacity.run.remeasure import remeasure
from capacity.train.loop import Stack
from small_text import SMALL
from stack_members import CPU, run

FACTS = [*SMALL, "data.seq_len=40", "data.documents=800", "data.facts=4", "data.fact_views=3"]
FACTS += ["data.fact_wordings=6", "data.known_facts=5", "data.last_view=0.4", "train.steps=120"]
FACTS += ["data.view_spacing=12"]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6), st.integers(2, 6), st.integers(0, 6), st.integers(1, 4), st.integers(0, 9)
)
def test_wordings_go_round_and_what_is_implied_follows(n, views, more, held_out, seed):
    """Held-out wordings of a fact are shown of others only; duplicates repeat one text and
    paraphrases none; of known subjects place and region are said once in every wording."""
    wordings = min(16, views + held_out + more)
    if views > wordings - held_out:
        return  # refused
    facts = timed_facts._of(n, views, wordings, held_out, 3, seed)
    assert [fact.arm for fact in facts.new] == [a for a in timed_facts.ARMS for _ in range(n)]
    subjects = set()
    for fact in facts.new:
        texts = [said.text for said in fact.views]
        asked = {kind: [s.text for s in said] for kind, said in fact.asked.items()}
        assert not set(texts) & set(asked["semantic"]) and len(asked["semantic"]) == held_out
        count = {"duplicate": 1, "paraphrase": views, "once": 1, "never": 0}[fact.arm]
        assert len(set(texts)) == count
        assert (
            len(texts) == {"duplicate": views, "paraphrase": views, "once": 1, "never": 0}[fact.arm]
        )
        assert fact.arm == "never" or texts[0] == asked["memorization"][0]
        values = {s.text[slice(*s.value)] for s in fact.views}
        values |= {s.text[slice(*s.value)] for k in timed_facts.KINDS[:2] for s in fact.asked[k]}
        assert len(values) == 1
        assert all(s.text == f"{s.text[: s.value[1]]}." for s in fact.views)
        subjects.add(asked["memorization"][0][: asked["memorization"][0].index(values.pop())])
    assert len(subjects) == 4 * n or n > wordings  # names, and the words about them
    assert len(facts.known) == wordings * (2 * 3 + timed_facts.PLACES)
    regions = dict(_place_and_region(facts, wordings))
    assert len(regions) == timed_facts.PLACES
    assert len(set(regions.values())) <= timed_facts.REGIONS
    for fact in facts.new:
        place = _value(fact.asked["memorization"][0])
        assert {_value(said) for said in fact.asked["composition"]} == {regions[place]}
    told = facts.known[: 6 * wordings]
    for i in range(3):
        mine = told[2 * i * wordings : (2 * i + 2) * wordings]
        place, region = ({_value(s) for s in part} for part in (mine[:wordings], mine[wordings:]))
        assert len(place) == 1 and region == {regions[place.pop()]}
        assert len({said.text for said in mine}) == 2 * wordings


def _value(said):
    return said.text[said.value[0] + 1 : said.value[1]]


def _place_and_region(facts, wordings):
    rows = facts.known[6 * wordings :]
    for i in range(0, len(rows), wordings):
        words = set.intersection(
            *(set(said.text.strip(".").split()) for said in rows[i:][:wordings])
        )
        region = _value(rows[i])
        yield (words - {region}).pop(), region


def test_every_view_is_at_its_step_and_nothing_else_of_new_facts_is_trained_on():
    config = load(FACTS)
    feed, dealt = TableFeed([config], CPU), split.of(config)
    rows, tokens = feed.batch_rows(0, config.steps)[:, 0].numpy(), feed.tokens.numpy()
    facts, encoder = timed_facts.of(config.data), text.tokenizer(config.data)
    assert config.trained_items == 60 + 6 * (2 * 5 + 64) == 60 + len(dealt.facts.known)
    where = collections.defaultdict(list)
    for step, row in zip(*np.nonzero(rows >= config.trained_items), strict=True):
        where[tuple(tokens[rows[step, row]])].append(int(step))
    planned = timed_facts.steps_of_views(config.data, config.steps)
    behind = set()
    for fact, steps in zip(facts.new, planned, strict=True):
        assert len(steps) == (1 if fact.arm == "once" else 3)
        assert set(np.diff(steps)) <= {12} and max(steps) < timed_facts.last_step(config.data, 120)
        for said, step in zip(fact.views, steps, strict=False):
            ids = tuple(token + 1 for token in encoder.whole(said.text))
            row = next(r for r, at in where.items() if r[: len(ids)] == ids and step in at)
            where[row].remove(step)
            behind.add(row[len(ids) :])
        twin = planned[int(np.arange(16)[facts.new.index(fact)]) % 4]
        assert fact.arm != "never" or steps == twin
    assert not any(where.values())
    assert len(behind) == 4 * (3 + 3 + 1)  # other text behind every view
    exposures = canary_schedule.exposures(config, config.steps)
    counted = np.bincount(rows[rows < config.trained_items], minlength=config.trained_items)
    assert exposures == {"min": counted.min(), "mean": counted.mean(), "max": counted.max()}


def test_a_probe_stands_before_each_view_and_several_in_its_window():
    config = load(FACTS)
    steps = timed_facts.probe_steps(config.data, config.steps)
    assert list(steps) == sorted(set(steps)) and steps[-1] == config.steps
    for views in timed_facts.steps_of_views(config.data, config.steps):
        for step in views:
            assert step in steps
            assert any(step < probe <= step + 12 for probe in steps)


def test_probes_cost_the_tokens_of_the_value_and_no_other():
    """By a slow form: log-softmax of the logits of one text at a time, over the ids of the value
    behind those of the text before."""
    config = load(FACTS)
    stack = Stack([config], CPU, 1)
    flat_P = stack.start().flat_MP[0]
    told = measure.probe(stack.gpt, flat_P, config, torch.float32)
    encoder, facts = text.tokenizer(config.data), timed_facts.of(config.data).new
    for kind in timed_facts.KINDS:
        slow = []
        for fact in facts:
            costs = []
            for said in fact.asked[kind]:
                ids = [token + 1 for token in encoder.whole(said.text)]
                before = len(encoder.whole(said.text[: said.value[0]]))
                value = len(encoder.whole(said.text[slice(*said.value)]))
                assert (
                    "".join(encoder.word(t - 1) for t in ids[before : before + value])
                    == said.text[slice(*said.value)]
                )
                nats = stack.gpt.by_token(
                    flat_P,
                    torch.tensor([ids]),
                    lambda x, y: -x.log_softmax(-1).gather(1, y[:, None]),
                )
                costs.append(float(nats.flatten()[before : before + value].sum()))
            slow.append(np.mean(costs))
        # sums of fp32 numbers of about 20 nats, and 5 decimals that are kept
        assert told[f"fact_nats_{kind}"] == pytest.approx(slow, abs=5e-5)


def test_the_known_are_the_same_whatever_is_new_and_need_no_new_ones():
    one = load(FACTS)
    data = dataclasses.replace(one.data, facts=0, last_view=None)
    none = dataclasses.replace(one, data=data)
    assert timed_facts.of(none.data).known == timed_facts.of(one.data).known
    assert none.trained_items == one.trained_items and not canary_schedule.probe_steps(none)
    assert len(split.of(none).facts.views) == 0
    without = dataclasses.replace(one.data, known_facts=0)
    assert timed_facts.kinds(without) == ("memorization", "semantic")
    assert set(timed_facts.of(without).new[0].asked) == {"memorization", "semantic"}


def test_resume_and_stacks_are_exact_and_a_record_says_what_was_asked(tmp_path):
    one = load(FACTS)
    other = dataclasses.replace(one, seed=1)
    run([one], tmp_path / "whole")
    calls = iter([False] * 15 + [True] * 99)
    assert run([one], tmp_path / "cut", stop=lambda: next(calls)) == {one.run_id: "interrupted"}
    run([one], tmp_path / "cut")
    run([one, other], tmp_path / "both")
    record = records.read(tmp_path / "whole", one.run_id)
    for folder in ("cut", "both"):
        assert records.read(tmp_path / folder, one.run_id)["measures"] == record["measures"]
    facts = record["measures"]["text"]["facts"]
    assert [(p["arm"], p["kind"]) for p in facts] == [
        (arm, kind) for arm in timed_facts.ARMS for kind in timed_facts.KINDS
    ]
    for part in facts:
        views = 1 if part["arm"] == "once" else 3
        assert np.shape(part["before"]) == np.shape(part["best"]) == (4, views)
        assert np.shape(part["later"]) == (4, len(part["lags"]))
        assert len(part["step"]) == len(part["nats"])
    assert "views" not in record["measures"]["text"]
    printed = MEASURE.lines(record["measures"]["text"], record)
    assert any("paraphrase, semantic" in line for line in printed)
    assert max(len(line) for one in printed for line in one.splitlines()) <= 80
    again = remeasure(tmp_path / "whole", one.run_id, CPU, None)
    assert again["measures"]["text"]["facts"] == facts


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["data.fact_views=5"], "there are 4; give at most 4 views"),
        (["data.held_out_wordings=4"], "there are 2; give at most 2 views"),
        (["data.fact_wordings=17"], "from 2 to 16"),
        (["data.last_view=null"], "give data.last_view"),
        (["data.last_view=0.9"], "is step 108 of 120"),
        (["data.last_view=0.2"], "need 36 before it"),
        (["data.view_spacing=40"], "need 120 before it"),
        (["data.facts=90"], "would meet in a batch of 8"),
        (["data.canaries=2"], "does not go with data.canaries=2"),
        (["data.trained_on=half"], "give data.trained_on=members"),
        (["data.tiers=[0.5x1,0.5x2]"], "give data.tiers=[]"),
        (["data.source=files", "data.path=x.txt"], "source=grammar, whose words"),
        (["data.facts=0", "data.last_view=null", "data.canaries=2"], "data.known_facts=5"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(more, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("Some words of a text.")
    with pytest.raises(ConfigError) as refused:
        load([*FACTS, *more])
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_facts_that_are_longer_than_a_row_are_refused():
    with pytest.raises(ConfigError, match="give longer rows"):
        split.of(load([*FACTS, "data.seq_len=12"]))
