"""Shortest prompts: against naive decoding of every prompt, planted and absent memories, the count
of prompts, codes by hand, and what cannot be asked."""

import itertools
import math

import numpy as np
import pytest
import torch

from capacity import compose, records
from capacity.base.errors import ConfigError
from capacity.declare import registry as declared
from capacity.measure import prompts
from capacity.model.gpt import GPT
from capacity.run.job import Job
from capacity.run.remeasure import remeasure
from capacity.run.run import execute
from capacity.train.loop import Stack

CPU = torch.device("cpu")
V, S = 6, 8
RUN = [
    "data=uniform",
    "data.vocab_size=16",
    "data.seq_len=12",
    "data.n_sequences=8",
    "data.load=null",
    "model=gpt",
    "model.n_layers=1",
    "model.d_model=16",
    "train.exposures=400",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "train.lr=0.03",
    "measure.evaluations=1",
    "measure.prompts=2",
    "cluster.device=cpu",
]


def stack_of(*settings, seed=0):
    """A stack of one untrained model, and its weights, some of them large so that it is sure."""
    given = [s for s in RUN if not s.startswith(("data.vocab", "data.seq", "measure.prompts"))]
    config = compose.load(
        [*given, f"data.vocab_size={V}", f"data.seq_len={S}", f"seed={seed}", *settings]
    )
    stack = Stack([config], CPU)
    generator = torch.Generator().manual_seed(seed)
    flat_P = 0.7 * torch.randn(sum(stack.gpt.sizes), generator=generator)
    return stack, flat_P


def decoder(stack, flat_P, batch_tokens=4096):
    return prompts.Decoder(stack.gpt, flat_P, torch.float32, batch_tokens)


def naive(gpt: GPT, flat_P, prompt, length):
    """What greedy decoding writes behind a prompt, token by token, from all logits of the row."""
    row = list(prompt)
    while len(row) < length:
        logits = gpt.logits(flat_P[None], torch.tensor([[[*row, 0]]]))[0, 0, len(row)]
        best = float(logits.max())
        row.append(next(i for i, x in enumerate(logits.tolist()) if x == best))
    return tuple(row)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "model", [[], ["model=rotary", "model.d_model=16", "model.n_heads=2"], ["model=lstm"]]
)
def test_every_prompt_is_tried(seed, model):
    """Sequences that some prompt writes, behind other beginnings, and sequences at random: the
    shortest prompt and the first of its length are those of plain decoding of all of them."""
    stack, flat_P = stack_of(*model, seed=seed)
    gpt, generator = stack.gpt, np.random.default_rng(seed)
    written = {
        prompt: naive(gpt, flat_P, prompt, S)
        for m in (1, 2)
        for prompt in itertools.product(range(V), repeat=m)
    }
    tokens = generator.integers(0, V, (12, S))
    for i, prompt in enumerate([(1,), (3,), (0, 2), (5, 5), (4, 1), (2, 0)]):
        tokens[i, len(prompt) :] = written[prompt][len(prompt) :]
    tokens[7] = tokens[2]
    for batch_tokens in (8, 4096):
        found = prompts.shortest(
            decoder(stack, flat_P, batch_tokens), torch.from_numpy(tokens), longest=2
        )
        assert found.rejected == 0
        for i, row in enumerate(tokens.tolist()):
            fit = [p for p, out in written.items() if list(out[len(p) :]) == row[len(p) :]]
            best = min(fit, key=lambda p: (len(p), p), default=())
            assert found.shortest_N[i] == len(best)
            assert tuple(found.prompt_NM[i][: len(best)]) == best
            assert (found.prompt_NM[i][len(best) :] == -1).all()
    assert set(found.shortest_N[:6]) <= {1, 2} and (found.shortest_N == 0).any()


def test_prompts_are_counted():
    """No more different ends are found by prompts of m tokens than there are such prompts, and
    when all ends are asked for, what is found is all that is written."""
    stack, flat_P = stack_of("data.seq_len=4", seed=1)
    every = torch.tensor(list(itertools.product(range(V), repeat=4)))
    found = prompts.shortest(decoder(stack, flat_P), every, longest=1)
    ends = {tuple(row[1:]) for row in every[found.shortest_N == 1].tolist()}
    assert ends == {naive(stack.gpt, flat_P, (v,), 4)[1:] for v in range(V)}
    assert len(ends) <= V


def test_chunks_of_prompts_give_the_same(monkeypatch):
    stack, flat_P = stack_of(seed=2)
    rows = [naive(stack.gpt, flat_P, prompt, S) for prompt in [(0,), (2, 3), (5, 4)]]
    tokens = torch.tensor([[5 - row[0], *row[1:]] for row in rows])
    whole = prompts.shortest(decoder(stack, flat_P), tokens, 2)
    monkeypatch.setattr(prompts, "PROMPTS_AT_ONCE", 5)
    parts = prompts.shortest(decoder(stack, flat_P), tokens, 2)
    assert (whole.shortest_N == parts.shortest_N).all()
    assert (whole.prompt_NM == parts.prompt_NM).all()


def test_of_equally_likely_tokens_the_first_is_written_and_told():
    """All weights 0: every token is as likely as any other."""
    stack, flat_P = stack_of()
    tokens = torch.tensor([[3] + [0] * (S - 1), [3] + [1] * (S - 1)])
    found = prompts.shortest(decoder(stack, torch.zeros_like(flat_P)), tokens, 2)
    assert found.shortest_N.tolist() == [1, 0] and found.prompt_NM[0].tolist() == [0, -1]
    assert found.tied_N.tolist() == [True, False]


def test_what_is_not_written_again_is_no_prompt(monkeypatch):
    stack, flat_P = stack_of(seed=3)
    row = torch.tensor([naive(stack.gpt, flat_P, (2,), S)])
    assert prompts.shortest(decoder(stack, flat_P), row, 1).shortest_N.tolist() == [1]

    def never(self, row_BS, m):
        return torch.zeros(len(row_BS), dtype=torch.bool), torch.zeros(len(row_BS)).bool()

    monkeypatch.setattr(prompts.Decoder, "again", never)
    found = prompts.shortest(decoder(stack, flat_P), row, 1)
    assert found.shortest_N.tolist() == [0] and found.rejected >= 1


def test_codes_by_hand():
    """S = 32, V = 256, up to 2 tokens: one of 3 symbols says what comes; a prompt of m tokens saves
    32 - 2 m tokens of 8 bits."""
    saved = prompts.saved_bits(np.array([0, 1, 2]), 32, 256, 2)
    assert saved == pytest.approx([-math.log2(3), 240 - math.log2(3), 224 - math.log2(3)])
    tied, code = np.zeros(3, bool), np.array([1.0, 2.0, 3.0])
    own = np.array([10, 1, 16])
    side = prompts._side(np.array([0, 1, 0]), own, tied, code, (32, 256, 2))
    assert side["within"] == {"1": pytest.approx(1 / 3), "2": pytest.approx(1 / 3)}
    # 10 own tokens write the other 22: 2.2; one token writes 31; 16 write 16: a ratio of 1 is none
    assert side["memorized"] == pytest.approx(2 / 3)
    assert side["unknown"] == pytest.approx(1 / 3)
    assert side["ratio_at_least"] == pytest.approx((2.2 + 31 + 1) / 3)
    assert side["ratio_at_most"] == pytest.approx((29 / 3 + 31 + 29 / 3) / 3)
    assert side["saved_bits"] == pytest.approx(240 - 3 * math.log2(3))
    low, high = side["memorized_interval"]
    assert low == pytest.approx(0.0943, abs=1e-4) and high == pytest.approx(0.9916, abs=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of one stack, of eight memorized sequences, and the folder of their records."""
    results = tmp_path_factory.mktemp("prompts")
    configs = [compose.load([*RUN, f"seed={seed}"]) for seed in (0, 1)]
    assert set(execute(configs, Job(results, CPU)).values()) == {"finished"}
    return results, configs


def test_memorized_sequences_are_found_and_others_are_not(trained):
    results, configs = trained
    for config in configs:
        m = records.read(results, config.run_id)["measures"]["prompts"]
        assert m["sequences"] == 8 and m["prompts"] == 16 + 256 and m["shared"] == 0
        assert m["members"]["within"]["2"] == 1.0 and m["members"]["memorized"] == 1.0
        assert m["members"]["unknown"] == 0.0
        assert m["held_out"]["within"]["2"] == 0.0
        assert m["held_out"]["saved_bits"] == pytest.approx(-8 * math.log2(3))
        # sums of the list, and at most one sequence by each prompt of one token
        shortest = m["members"]["shortest"]
        assert m["members"]["saved_bits"] == pytest.approx(
            sum(4 * (12 - 2 * k) for k in shortest) - 8 * math.log2(3)
        )
        assert sum(k == 1 for k in shortest) <= 16


def test_nothing_is_found_of_an_untrained_model():
    config = compose.load(RUN)
    stack = Stack([config], CPU)
    flat_P, trained_NS = stack.start().flat_MP[0], stack.feed.member_tokens(0)
    m = prompts.measure(stack.gpt, flat_P, trained_NS, config, torch.float32)
    assert m["members"]["within"]["2"] == 0.0 and m["members"]["memorized"] == 0.0


def test_a_member_of_a_stack_is_as_alone_and_measuring_again_gives_the_same(trained):
    results, configs = trained
    for config in configs:
        before = records.read(results, config.run_id)["measures"]["prompts"]
        after = remeasure(results, config.run_id, CPU, None)["measures"]["prompts"]
        assert after["members"]["shortest"] == before["members"]["shortest"]
        assert after["held_out"]["own"] == before["held_out"]["own"]
        assert after["members"]["code_bits"] == pytest.approx(before["members"]["code_bits"])


def test_sides_are_drawn_evenly_and_held_out_ones_were_never_seen(trained):
    config = compose.load([*RUN, "data.n_sequences=40", "measure.prompt_targets=5"])
    stack = Stack([config], CPU)
    table = stack.feed.member_tokens(0)
    members, others = prompts.sides(config, table)
    assert (
        (members == table[[0, 10, 20, 29, 39]]).all()
        or (members == table[[0, 10, 20, 30, 39]]).all()
        or (members == table[torch.linspace(0, 39, 5).round().long()]).all()
    )
    seen = {tuple(row) for row in table.tolist()}
    assert len(others) == 5 and not any(tuple(row) in seen for row in others.tolist())


def test_of_text_members_are_what_a_run_saw(tmp_path):
    config = compose.load(
        [
            "data=text_pocket",
            "data.documents=400",
            "data.n_held_out=20",
            "data.tokens_per_parameter=null",
            "data.n_sequences=30",
            "model.d_model=8",
            "model.n_heads=2",
            "train.steps=4",
            "train.warmup_steps=1",
            "measure.prompts=1",
            "measure.prompt_targets=25",
            "cluster.device=cpu",
        ]
    )
    stack = Stack([config], CPU)
    table = stack.feed.member_tokens(0)
    members, others = prompts.sides(config, table)
    seen = {tuple(row) for row in table.tolist()}
    assert len(members) == len(others) == 20
    assert all(tuple(row) in seen for row in members.tolist())
    assert not any(tuple(row) in seen for row in others.tolist())
    execute([config], Job(tmp_path, CPU))
    m = records.read(tmp_path, config.run_id)["measures"]["prompts"]
    assert m["prompts"] == 256 and m["sequences"] == 20
    assert m["members"]["memorized"] == 0.0


def test_a_person_reads_it(trained):
    results, configs = trained
    record = records.read(results, configs[0].run_id)
    text = declared.MEASURES["prompts"].describe(record["measures"]["prompts"], record)
    assert "272 prompts of up to 2 tokens" in text[0]
    assert all(len(line) <= 80 for line in text)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["data=bios_pocket", "data.n_people=50"], "which data.kind=bios does not have"),
        (["data=morris", "measure.prompts=3"], "2,048^3 prompts are more than the 16,777,216"),
        (["data=uniform", "data.seq_len=4"], "give at most 1"),
        (
            ["data=uniform", "model.n_experts=4", "model.eval_capacity_factor=2"],
            "give model.eval_capacity_factor=4 or more",
        ),
    ],
)
def test_what_cannot_be_tried_is_refused(settings, says):
    with pytest.raises(ConfigError, match="measure.prompts=") as error:
        compose.load(["train.steps=500", "measure.prompts=2", *settings])
    assert says in str(error.value)
    compose.load(["train.steps=500", *settings, "measure.prompts=0"])
