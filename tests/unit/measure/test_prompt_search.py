"""The search for longer prompts: its gradient against differences, its hits against plain decoding,
its recall against all prompts, its counts by hand, and what cannot be searched for."""

import itertools
import math

import numpy as np
import pytest
import torch

from capacity import compose, records
from capacity.base.errors import ConfigError
from capacity.declare import registry as declared
from capacity.measure import prompt_search, prompts
from capacity.measure.prompt_search import Budget, Search
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
    "measure.prompts=1",
    "measure.prompt_search=20",
    "measure.prompt_swaps=16",
    "measure.prompt_top_k=8",
    "cluster.device=cpu",
]
MODELS = [
    [],
    ["model=rotary", "model.d_model=16", "model.n_heads=2"],
    ["model=lstm"],
    ["model.tied=false", "model.n_experts=2", "model.eval_capacity_factor=2"],
]


def stack_of(*settings, seed=0):
    """A stack of one untrained model, and its weights, some of them large so that it is sure."""
    given = [s for s in RUN if not s.startswith(("data.vocab", "data.seq"))]
    config = compose.load(
        [*given, f"data.vocab_size={V}", f"data.seq_len={S}", f"seed={seed}", *settings]
    )
    stack = Stack([config], CPU)
    generator = torch.Generator().manual_seed(seed)
    return stack, 0.7 * torch.randn(sum(stack.gpt.sizes), generator=generator)


def search_of(stack, flat_P, steps=60, swaps=12, top_k=3, seed=0, batch_tokens=4096):
    decoder = prompts.Decoder(stack.gpt, flat_P, torch.float32, batch_tokens)
    return Search(decoder, Budget(steps, swaps, top_k), seed)


def naive(gpt, flat_P, prompt, length):
    """What greedy decoding writes behind a prompt, token by token, from all logits of the row."""
    row = list(prompt)
    while len(row) < length:
        logits = gpt.logits(flat_P[None], torch.tensor([[[*row, 0]]]))[0, 0, len(row)]
        row.append(int(logits.argmax()))
    return tuple(row)


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_is_that_of_the_embedding(model):
    """Of a token's embedding, moved a little towards another's in the table itself: the change of
    the loss, by differences, is what the gradient says."""
    stack, flat_P = stack_of("data.seq_len=5", *model, seed=3)
    gpt, flat_P = stack.gpt, flat_P.double()
    row, m = torch.tensor([[2, 4, 1, 0, 3], [5, 0, 2, 2, 1]]), 2
    by_BmV = gpt.prompt_gradients(flat_P, row, m, torch.float64)
    assert by_BmV.std() > 0.05  # beside which differences are exact
    w = gpt.named(flat_P[None])
    x_MND = gpt._embed(w, row[None]).view(1, 2, 5, -1)

    def loss(x):
        behind = gpt._behind(w, row[None], gpt.context(row[None]), x.reshape(1, 10, -1))
        logits = gpt._product(behind, gpt._table(w).transpose(1, 2)).view(2, 5, V)
        nll = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), row.flatten(), reduction="none"
        )
        return nll.view(2, 5)[:, m:].sum()

    for b, place, v in itertools.product(range(2), range(m), range(V)):
        ends = []
        for sign in (1, -1):
            moved = x_MND.clone()
            moved[0, b, place + 1] += sign * 1e-2 * w["token.weight"][0, v]  # behind BOS
            ends.append(loss(moved))
        slope = float(ends[0] - ends[1]) / 2e-2
        assert float(by_BmV[b, place, v]) == pytest.approx(slope, rel=0.02, abs=3e-3)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_found_is_written_by_plain_decoding(model):
    """Ends that prompts of three tokens write, behind other beginnings: none is called shorter than
    the shortest of all prompts, and every prompt found writes the end, naively decoded."""
    stack, flat_P = stack_of(*model, seed=1)
    gpt, generator = stack.gpt, np.random.default_rng(0)
    planted = [tuple(generator.integers(0, V, 3)) for _ in range(6)]
    rows = torch.tensor([naive(gpt, flat_P, p, S) for p in planted])
    rows[:, :3] = torch.from_numpy(generator.integers(0, V, (6, 3)))
    search, number = search_of(stack, flat_P), np.arange(6)
    exact = prompts.shortest(search.decoder, rows, 3).shortest_N
    assert (exact > 0).all()
    prompt = search.of_length(rows, number, 3, "here")
    hits = prompt[:, 0] >= 0
    assert hits.any()
    for row, one in zip(rows[hits].tolist(), prompt[hits].tolist(), strict=True):
        assert naive(gpt, flat_P, one, S)[3:] == tuple(row[3:])
    assert (prompt[~hits] == -1).all()
    own = np.full(6, S)
    bound, rejected = search.shorten(rows, own, number, 0)
    assert rejected == 0 and (bound >= exact).all() and (bound < S).any()


def test_prompts_of_every_length_above_the_shortest_there_are():
    """A prompt with its own next token is one, so that going down loses none."""
    stack, flat_P = stack_of(seed=2)
    row = torch.tensor([naive(stack.gpt, flat_P, (4,), S)])
    search = search_of(stack, flat_P, steps=0)
    for m in range(1, S):
        assert search.is_written(row, m).tolist() == [True]
        assert search.of_length(row, np.array([0]), m, "here")[0].tolist() == row[0, :m].tolist()
    bound, _ = search.shorten(row, np.array([S]), np.array([0]), 0)
    assert bound.tolist() == [1]  # its own beginnings, without a swap


def test_with_enough_swaps_nearly_all_that_all_prompts_find_is_found_and_nothing_else():
    """Shortest prompts of two of 36, and ends that none of two writes."""
    stack, flat_P = stack_of(seed=4)
    every = torch.tensor(list(itertools.product(range(V), repeat=2)))
    ends = torch.tensor([naive(stack.gpt, flat_P, p, S) for p in every.tolist()])
    rows = torch.cat([ends, ends])
    rows[:36, :2] = (ends[:, :2] + 1) % V
    rows[36:, 2:] = (ends[:, 2:] + 1) % V
    search = search_of(stack, flat_P, top_k=V)
    exact = prompts.shortest(search.decoder, rows, 2).shortest_N
    again = search.found_again(rows, np.arange(72), 2)
    assert not again[exact == 0].any() and (exact == 0).any()
    assert again[exact > 0].mean() > 0.9


def test_results_hang_on_the_seed_and_the_sequence_and_not_on_who_else_is_searched_for():
    stack, flat_P = stack_of(seed=5)
    generator = np.random.default_rng(1)
    rows = torch.tensor([naive(stack.gpt, flat_P, p, S) for p in generator.integers(0, V, (9, 2))])
    rows[:, :2] = torch.from_numpy(generator.integers(0, V, (9, 2)))
    number = np.arange(9)

    def found(at, **given):
        return search_of(stack, flat_P, steps=3, swaps=2, **given).of_length(
            rows[at], number[at], 2, "here"
        )

    whole = found(number)
    assert (whole == found(number)).all()
    assert (whole[[2, 7, 3]] == found(np.array([2, 7, 3]))).all()
    assert (whole == found(number, batch_tokens=16)).all()
    assert any((whole != found(number, seed=seed)).any() for seed in (1, 2, 3))


def test_without_a_gradient_swaps_are_random():
    stack, flat_P = stack_of(seed=6)
    flat = torch.zeros_like(flat_P).requires_grad_()
    search, row = search_of(stack, flat, top_k=V), torch.full((1, S), 3)

    def never(*_):
        raise AssertionError("a gradient was asked for")

    stack.gpt.prompt_gradients = never
    tried = torch.cat([search._swapped(row, np.array([0]), 4, s, "here")[0] for s in range(200)])
    changed = tried[:, :4] != 3
    assert (tried[:, 4:] == 3).all() and (changed.sum(1) <= 1).all()
    # of 2,400 swaps each of 4 places is hit by a quarter, five of six tokens are others
    assert changed.sum(0).numpy() == pytest.approx(500, abs=80)
    stack.gpt.__dict__.pop("prompt_gradients")
    with pytest.raises(AssertionError):
        stack.gpt.prompt_gradients = never
        search_of(stack, flat, top_k=V - 1)._swapped(row, np.array([0]), 4, 1, "here")


def test_swaps_are_of_the_steepest_tokens():
    """With top_k = 1 each place may take one token alone, the one of steepest descent."""
    stack, flat_P = stack_of(seed=7)
    row = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1]])
    best = stack.gpt.prompt_gradients(flat_P, row, 3)[0].argmin(1)
    tried = search_of(stack, flat_P, top_k=1, swaps=60)._swapped(row, np.array([0]), 3, 1, "here")
    for one in tried[0]:
        (changed,) = [int(i) for i in (one != row[0]).nonzero()] or [None]
        assert changed is None or one[changed] == best[changed]


def test_counts_by_hand():
    """S = 32, V = 256, M = 2: borders at 15, one of 16 symbols says what comes."""
    shortest, own = np.array([0, 1, 0, 0, 0]), np.array([10, 1, 32, 20, 3])
    bound = np.array([8, 1, 16, 15, 3])
    side = prompt_search._side(bound, shortest, own, (32, 256, 2))
    assert side["searched"] == 3 and side["shortened"] == 3
    assert side["added"] == pytest.approx(1 / 5) and side["memorized"] == pytest.approx(4 / 5)
    assert side["unknown"] == pytest.approx(1 / 5)
    ratio = (24 / 8 + 31 + 1 + 17 / 15 + 29 / 3) / 5
    assert side["ratio_at_least"] == pytest.approx(ratio)
    tokens = (32 - 16) + (32 - 2) + (32 - 30) + (32 - 6)
    assert side["saved_bits"] == pytest.approx(8 * tokens - 5 * math.log2(16))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of one stack, of eight memorized sequences, and the folder of their records."""
    results = tmp_path_factory.mktemp("prompts")
    configs = [compose.load([*RUN, f"seed={seed}"]) for seed in (0, 1)]
    assert set(execute(configs, Job(results, CPU)).values()) == {"finished"}
    return results, configs


def test_a_record_says_what_was_searched_and_measuring_again_gives_the_same(trained):
    results, configs = trained
    for config in configs:
        record = records.read(results, config.run_id)
        tried, m = (record["measures"][name] for name in ("prompts", "prompt_search"))
        assert m["top_k"] == 8 and m["sequences"] == 8 and m["rejected"] == 0
        known = np.where(tried["members"]["shortest"], tried["members"]["shortest"],
                         tried["members"]["own"])  # fmt: skip
        assert (np.array(m["members"]["bound"]) <= known).all()
        assert m["members"]["memorized"] >= tried["members"]["memorized"] == 1.0
        # 16^(2 m - 12) of random ends at most have a prompt of 5 tokens
        assert m["held_out"]["memorized"] == 0.0
        assert m["held_out"]["searched"] == 8
        assert m["held_out"]["saved_bits"] == pytest.approx(-8 * math.log2(6))
        assert m["recall"]["1"]["sequences"] == tried["members"]["shortest"].count(1) > 0
        # 20 steps of 16 swaps, half of 16 tokens each: nothing is left out for long
        assert m["recall"]["1"]["found"] > 0.6
        assert m["recall"]["5"]["by_chance"] == pytest.approx(320 / 16**5, rel=1e-3)
        after = remeasure(results, config.run_id, CPU, None)["measures"]["prompt_search"]
        assert after == m


def test_a_person_reads_it(trained):
    results, configs = trained
    record = records.read(results, configs[0].run_id)
    measure = declared.MEASURES["prompt_search"]
    text = measure.describe(record["measures"]["prompt_search"], record)
    assert "20 steps of 16 swaps" in text[0]
    assert all(len(line) <= 80 for line in text)


def test_of_an_untrained_model_nothing_is_brought_out():
    config = compose.load([*RUN, "measure.prompt_search=2"])
    stack = Stack([config], CPU)
    flat_P, trained_NS = stack.start().flat_MP[0], stack.feed.member_tokens(0)
    given = (stack.gpt, flat_P, trained_NS, config, torch.float32)
    m = prompt_search.measure(*given, prompts.measure(*given))
    assert m["members"]["memorized"] == m["members"]["added"] == 0.0


def test_a_search_without_short_prompts_is_refused():
    with pytest.raises(ConfigError, match=r"measure\.prompt_search=5: .* give measure\.prompts=1"):
        compose.load([*RUN, "measure.prompts=0", "measure.prompt_search=5"])
    with pytest.raises(ConfigError, match=r"measure\.prompts=1: .*data\.kind=bios"):
        compose.load(
            [
                "data=bios_pocket",
                "data.n_people=50",
                "train.steps=500",
                "measure.prompts=1",
                "measure.prompt_search=5",
            ]  # fmt: skip
        )
