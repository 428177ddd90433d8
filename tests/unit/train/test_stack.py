"""Stacks: members of different lengths, a step that can be recorded and replayed, failures and
memory, exact resume."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch.fx.experimental.proxy_tensor import make_fx

import stacks
from capacity import records
from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.cost import COMPILE_S, COMPILE_SAVES, GUESSES, micro_batches, stack_bytes
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train import loop
from capacity.train.loop import Stack, advance
from capacity.train.optim import COLUMNS, orthogonal
from capacity.train.stack_key import stack_key

CPU = torch.device("cpu")
PEOPLE = {
    "kind": "bios",
    "n_people": 40,
    "seq_len": 24,
    "first_names": 20,
    "middle_names": 0,
    "last_names": 50,
    "years": 0,
    "cities": 6,
    "universities": 0,
    "majors": 5,
    "employers": 0,
    "templates": 4,
    "vocabulary": "world",
}
VARIANTS = {
    "gpt": {},
    "rotary": {"position": "rotary", "bias": False, "tied": False},
    "llama": {
        "position": "rotary",
        "norm": "rmsnorm",
        "mlp": "gated",
        "activation": "silu",
        "mlp_ratio": 8 / 3,
        "bias": False,
        "tied": False,
    },
    "mistral": {
        "position": "rotary",
        "norm": "rmsnorm",
        "mlp": "gated",
        "activation": "silu",
        "mlp_ratio": 3.5,
        "bias": False,
        "n_kv_heads": 1,
    },
    "quarter": {"mlp_ratio": 1.0, "n_layers": 2},
    "no mlp": {"mlp_ratio": 0.0},
    "moe": {"n_experts": 4, "mlp_ratio": 1.0},
    "people": {"position": "rotary"},
    "people, documents apart": {"position": "rotary", "document_mask": True},
}


def config(seed=0, variant="gpt", precision="fp32", **train):
    data = (
        PEOPLE
        if variant.startswith("people")
        else {"vocab_size": 16, "seq_len": 8, "n_sequences": 30 + 7 * seed}
    )
    return from_dict(
        {
            "data": data,
            "model": {"d_model": 8, "n_heads": 2} | VARIANTS[variant],
            "seed": seed,
            "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5, "precision": precision}
            | train,
        }
    )


def members(variant="gpt", precision="fp32", lengths=(60, 60, 60)):
    return [
        config(0, variant, precision, steps=lengths[0]),
        config(1, variant, precision, steps=lengths[1], lr=0.003),
        config(
            2,
            variant,
            precision,
            steps=lengths[2],
            weight_decay=0.1,
            grad_clip=0.2,
            beta2=0.95,
            warmup_steps=0,
        ),
    ]


def trained(configs, until, stepper=None):
    return stacks.trained(configs, until, CPU, stepper)


def traced(stack, state):
    """The step as operations on tensors alone, taken down once, with numbers that are not those of
    the run."""
    tensors = [getattr(state, name) for name in loop.CHANGED]

    def one(tokens, now, *tensors):
        loop.step(
            stack,
            dataclasses.replace(state, **dict(zip(loop.CHANGED, tensors, strict=True))),
            tokens,
            now,
        )
        return ()

    T = stack.gpt.seq_len + (not stack.gpt.bos)
    tokens = torch.zeros(
        len(stack.configs), stack.configs[0].train.batch_size, T, dtype=torch.int64
    )
    taken = make_fx(one)(
        tokens, torch.zeros(len(stack.configs), COLUMNS), *[t.clone() for t in tensors]
    )
    return lambda tokens, now: taken(tokens, now, *tensors)


def run(configs, results, stop=lambda: False, report=lambda event: None):
    return execute(configs, Job(results, CPU, None, report, stop))


def weights(results, config):
    return (records.run_dir(results, config.run_id) / "weights.safetensors").read_bytes()


def lines(results, config):
    return [
        {k: v for k, v in line.items() if k != "wall_s"}
        for line in records.read_metrics(results, config.run_id)
    ]


# ------------------------------------------------------------------------------- one step, replayed


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_taken_down_once_is_every_step(variant, precision):
    """What a CUDA graph needs: nothing that changes from step to step is read outside of tensors,
    and all is in place."""
    configs = members(variant, precision, lengths=(20, 30, 60))
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    for name in loop.CHANGED:
        assert torch.equal(getattr(plain, name), getattr(replayed, name)), name
    assert not torch.equal(plain.flat_MP, Stack(configs, CPU).start().flat_MP)


def test_a_replayed_step_freezes_what_fails():
    configs = [config(0), config(1, lr=1e30, grad_clip=0.0)]
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    assert (
        replayed.alive_M.tolist() == [True, False]
        and replayed.dead_step_M[1] == plain.dead_step_M[1] > 0
    )
    assert torch.equal(plain.flat_MP, replayed.flat_MP)


# ------------------------------------------------------------------------ members and their company


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_member_equals_its_solo_run_whatever_its_company(variant):
    configs = members(variant, lengths=(30, 45, 60))
    assert len({stack_key(c) for c in configs}) == 1
    _, state = trained(configs, 30)
    for m, c in enumerate(configs):
        stack, solo = trained([c], 30)
        assert torch.allclose(state.flat_MP[m], solo.flat_MP[0], atol=2e-4), m
        assert torch.equal(state.alive_M[m : m + 1], solo.alive_M)


def test_members_of_different_lengths_end_as_alone(tmp_path):
    """One ends early, one fails on the way; each is on record as soon as it has ended, with the
    lines of a solo run."""
    configs = [*members(lengths=(30, 47, 60)), config(3, lr=1e30, grad_clip=0.0)]
    seen = []

    def report(event):
        if event["event"] == "progress":
            seen.append(
                (
                    event["step"],
                    event["runs"],
                    sum(
                        (tmp_path / "stack" / "runs" / c.run_id / "record.json").exists()
                        for c in configs
                    ),
                )
            )

    assert list(run(configs, tmp_path / "stack", report=report).values()).count("failed") == 1
    assert [len(runs) for step, runs, _ in seen if step in (1, 20, 31, 48)] == [4, 3, 2, 1]
    assert [n for step, _, n in seen if step in (1, 20, 31, 48)] == [0, 1, 2, 3]
    for c in configs[:3]:
        run([c], tmp_path / "alone")
        ours, theirs = lines(tmp_path / "stack", c), lines(tmp_path / "alone", c)
        assert [line["step"] for line in ours] == [line["step"] for line in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.keys() == b.keys() and all(
                a[k] == pytest.approx(b[k], rel=0.02, abs=0.02) for k in a
            )
        a, b = (records.read(tmp_path / where, c.run_id) for where in ("stack", "alone"))
        assert (
            a["training"]["exposures_max"] == b["training"]["exposures_max"]
            and a["training"]["stack"] == 4
        )
        assert a["measures"]["memorization"]["strict"]["bits"] == pytest.approx(
            b["measures"]["memorization"]["strict"]["bits"], rel=0.03
        )


@pytest.mark.parametrize("variant", ["gpt", "people"])
@pytest.mark.parametrize("stop_after", [1, 12, 29, 30, 31, 46, 59])
def test_an_interrupted_stack_of_different_lengths_ends_bit_identical(
    tmp_path, variant, stop_after
):
    configs = members(variant, lengths=(30, 47, 60))
    assert set(run(configs, tmp_path / "plain").values()) == {"finished"}
    looks = iter(range(10**9))
    outcome = run(configs, tmp_path / "cut", stop=lambda: next(looks) >= 2 * stop_after)
    assert "interrupted" in outcome.values()
    assert set(run(configs, tmp_path / "cut").values()) == {"finished"}
    for c in configs:
        assert weights(tmp_path / "cut", c) == weights(tmp_path / "plain", c)
        assert lines(tmp_path / "cut", c) == lines(tmp_path / "plain", c)
        a, b = (records.read(tmp_path / where, c.run_id) for where in ("cut", "plain"))
        assert (
            a["measures"] == b["measures"]
            and a["training"]["exposures_max"] == b["training"]["exposures_max"]
        )


def test_a_crash_while_records_are_written_changes_nothing(tmp_path, monkeypatch):
    """A member has ended, its record is being written, the process dies: the others go on in the
    company they have now."""
    from capacity.run import record as module

    configs = members(lengths=(30, 47, 60))
    run(configs, tmp_path / "plain")

    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    monkeypatch.setattr(module, "finished", killed)
    with pytest.raises(Killed):
        run(configs, tmp_path / "cut")
    monkeypatch.undo()
    assert set(run(configs, tmp_path / "cut").values()) == {"finished"}
    for c in configs[1:]:
        assert weights(tmp_path / "cut", c) == weights(tmp_path / "plain", c)


def test_a_checkpoint_of_another_version_is_refused_and_kept(tmp_path):
    """Its fields may mean something else; nothing is trained over it without being told."""
    looks = iter(range(10**9))
    assert set(run([config()], tmp_path, stop=lambda: next(looks) >= 20).values()) == {
        "interrupted"
    }
    path = records.run_dir(tmp_path, config().run_id) / "checkpoint.safetensors"
    meta = json.loads(safe_open(path, "pt").metadata()["capacity"])
    old = save(
        load(path.read_bytes()),
        metadata={"capacity": json.dumps({k: v for k, v in meta.items() if k != "logged"})},
    )
    path.write_bytes(old)
    with pytest.raises(ConfigError, match="not a checkpoint .*logged.*remove it"):
        run([config()], tmp_path)
    assert path.read_bytes() == old


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("most, sizes", [(3, [5, 3, 2]), (1, [5, 3, 2, 1, 1, 1, 2, 1, 1])])
def test_a_stack_without_room_goes_on_in_halves(tmp_path, monkeypatch, most, sizes):
    configs = [config(seed, steps=20) for seed in range(5)]
    started, notes, real = [], [], Stack.start

    def start(self):
        started.append(len(self.configs))
        if len(self.configs) > most:
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 GiB\nmore words"
            )
        return real(self)

    monkeypatch.setattr(Stack, "start", start)
    outcome = run(
        configs,
        tmp_path,
        report=lambda e: notes.append(e["text"]) if e["event"] == "note" else None,
    )
    assert set(outcome.values()) == {"finished"} and len(outcome) == 5
    assert started == sizes
    assert (
        "5 runs in one stack: OutOfMemoryError: CUDA out of memory" in notes[0]
        and "3 at a time" in notes[0]
    )
    assert "\n" not in "".join(notes)


def test_one_run_without_room_is_a_failure_that_says_so(tmp_path, monkeypatch):
    def start(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stack, "start", start)
    assert set(run([config()], tmp_path).values()) == {"failed"}
    assert "out of memory" in records.read(tmp_path, config().run_id)["error"]["reason"]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "moe"])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_trains_as_the_whole(variant, parts):
    """To rounding, which training amplifies; a part may be smaller than the others."""
    _, whole = trained(members(variant), 12)
    stack = Stack(members(variant), CPU, parts)
    state = stack.start()
    advance(stack, state, 12, lambda: False)
    assert torch.allclose(state.flat_MP, whole.flat_MP, atol=1e-4)
    assert torch.allclose(state.loss_sum_M, whole.loss_sum_M, rtol=1e-5)


def test_one_run_without_room_computes_its_batch_in_parts(tmp_path, monkeypatch):
    notes, tried, real = [], [], Stack.start

    def start(self):
        tried.append(self.parts)
        if self.parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self)

    monkeypatch.setattr(Stack, "start", start)
    asked = [config(steps=20)]
    assert set(
        run(
            asked,
            tmp_path,
            report=lambda e: notes.append(e["text"]) if e["event"] == "note" else None,
        ).values()
    ) == {"finished"}
    assert tried == [1, 2, 4] and "going on with the batch of 8 in 4 parts" in notes[1]
    tried.clear()
    experts = [config(variant="moe", steps=20)]
    assert set(run(experts, tmp_path).values()) == {"failed"} and tried == [1]


def test_parts_follow_from_memory_or_are_given():
    c = config()
    whole = stack_bytes(c, 3, "cpu")
    assert micro_batches(c, 3, "cpu", whole) == 1 and micro_batches(c, 3, "cpu", 0.0) == 8
    parts = micro_batches(c, 3, "cpu", 0.6 * whole)
    assert stack_bytes(c, 3, "cpu", parts) <= 0.6 * whole < stack_bytes(c, 3, "cpu", parts // 2)
    assert micro_batches(config(variant="moe"), 3, "cpu", 0.0) == 1
    given = from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "micro_batches": 5}})
    assert micro_batches(given, 3, "cpu", 1e12) == 5 and given.run_id == c.run_id
    for changes, words in (
        ({"micro_batches": 9}, "more parts than the rows of a batch, train.batch_size=8"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], **changes}})
    moe = config(variant="moe").as_dict()
    with pytest.raises(ConfigError, match="the places of experts depend on the whole batch"):
        from_dict({**moe, "cluster": {**moe["cluster"], "micro_batches": 2}})


def test_a_stack_that_runs_out_of_room_on_the_way_keeps_what_is_done(tmp_path, monkeypatch):
    """One member has finished and is on record when the others run out of memory: it is not trained
    again."""
    configs, real, calls = members(lengths=(20, 60, 60)), loop.step, []

    def step(stack, state, *args):
        calls.append(len(stack.configs))
        if len(stack.configs) == 2 and state.step == 40 and stack.parts == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(stack, state, *args)

    monkeypatch.setattr(loop, "step", step)
    assert set(run(configs, tmp_path).values()) == {"finished"}
    assert (
        calls.count(3) == 20 and calls.count(1) == 2 * 40
    )  # each of the two went on from its checkpoint at step 20


# --------------------------------------------------------------------------------------------- Muon


@pytest.mark.parametrize("variant", ["gpt", "mistral", "moe"])
def test_muon_replayed_and_in_company(variant):
    configs = [
        config(seed, variant, optimizer="muon", steps=steps, lr=0.01 + 0.01 * seed)
        for seed, steps in ((0, 20), (1, 60))
    ]
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    assert torch.equal(plain.flat_MP, replayed.flat_MP)
    for m, c in enumerate(configs):
        _, solo = trained([c], 14)
        assert torch.allclose(plain.flat_MP[m], solo.flat_MP[0], atol=5e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 24), (2, 24, 6), (1, 1, 5)])
def test_orthogonal_keeps_directions_and_levels_sizes(shape):
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    turned = orthogonal(matrices)
    sizes = torch.linalg.svdvals(turned)
    assert 0.65 < float(sizes.min()) and float(sizes.max()) < 1.25
    assert torch.allclose(
        u.transpose(1, 2) @ turned @ v.transpose(1, 2),
        torch.diag_embed(
            torch.diagonal(u.transpose(1, 2) @ turned @ v.transpose(1, 2), dim1=1, dim2=2)
        ),
        atol=1e-6,
    )  # the same singular vectors
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("variant", ["gpt", "mistral", "moe"])
def test_muon_equals_a_slow_reading_of_its_rule(variant):
    """One matrix at a time, queries, keys, values and experts apart; everything else by torch's
    AdamW."""
    c = config(
        0,
        variant,
        optimizer="muon",
        lr=0.02,
        weight_decay=0.1,
        grad_clip=0.5,
        momentum=0.9,
        warmup_steps=0,
        final_lr_fraction=1.0,
    )
    stack = Stack([c], CPU)
    state, gpt = stack.start(), stack.gpt
    mine = {
        name: w[0].clone().double().requires_grad_() for name, w in gpt.named(state.flat_MP).items()
    }
    inside = [
        n
        for n in mine
        if n.startswith("blocks.")
        and n.endswith("weight")
        and "norm" not in n
        and "router" not in n
    ]
    decays = [w.name for w in gpt.layout if w.decays and w.name not in inside]
    others = torch.optim.AdamW(
        [
            {"params": [mine[n] for n in decays], "weight_decay": 0.1},
            {"params": [mine[n] for n in mine if n not in decays + inside], "weight_decay": 0.0},
        ],
        lr=0.02,
        betas=(c.train.beta1, c.train.beta2),
        eps=c.train.eps,
    )
    buffers = {name: torch.zeros_like(mine[name]) for name in inside}
    d, wide = c.model.d_model, c.model.kv_heads * (c.model.d_model // c.model.n_heads)
    for tokens in stack.feed.chunk(state.cursor_MC, 0, 6):
        leaf = (
            torch.cat([mine[w.name].detach().reshape(-1) for w in gpt.layout])[None]
            .float()
            .requires_grad_()
        )
        (grad,) = torch.autograd.grad(gpt.loss(leaf, tokens)[0], leaf)
        grad = gpt.named(grad * min(1.0, 0.5 / float(grad.norm())))
        for name, weight in mine.items():
            weight.grad = grad[name][0].double()
        others.step()
        for name in inside:
            g = mine[name].grad
            buffers[name] = 0.9 * buffers[name] + 0.1 * g
            ahead = 0.1 * g + 0.9 * buffers[name]
            parts = ahead.split([d, wide, wide], -1) if name.endswith("qkv.weight") else [ahead]
            turned = []
            for part in parts:
                each = part if part.dim() == 3 else part[None]
                rows, columns = each.shape[1:]
                done = (
                    torch.stack([orthogonal(one[None])[0] for one in each])
                    * 0.2
                    * max(rows, columns) ** 0.5
                )
                turned.append(done if part.dim() == 3 else done[0])
            with torch.no_grad():
                mine[name].mul_(1 - 0.02 * 0.1).sub_(0.02 * torch.cat(turned, -1))
        advance(stack, state, state.step + 1, lambda: False)
    for name, w in gpt.named(state.flat_MP).items():
        assert torch.allclose(w[0].double(), mine[name].detach(), atol=3e-4), name


# ------------------------------------------------------------------------------------------ compile


@pytest.mark.slow
def test_a_compiled_step_does_what_the_plain_one_does():
    """Where there is a compiler; elsewhere the next test shows what happens."""
    plain = [config(0, "rotary"), config(1, "rotary", lr=0.003)]
    fast = [
        from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "compile": "always"}})
        for c in plain
    ]
    assert [c.run_id for c in fast] == [c.run_id for c in plain]
    if not any(map(shutil.which, ("g++", "clang++"))):
        return
    _, a = trained(plain, 12)
    _, b = trained(fast, 12)
    assert torch.allclose(a.flat_MP, b.flat_MP, atol=2e-4) and torch.allclose(
        a.loss_sum_M, b.loss_sum_M, rtol=1e-4
    )


def test_compiling_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    c = config()
    fast = from_dict({**c.as_dict(), "cluster": {**c.as_dict()["cluster"], "compile": "always"}})
    with pytest.raises(ConfigError, match="cluster.compile=always: no C.. compiler"):
        run([fast], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compiling_is_weighed_against_the_length_of_training(monkeypatch):
    """auto: only where the time saved pays for the time that it takes, and where there is a
    compiler."""

    def stack(compile, steps, members=1):
        made = [config(seed, steps=steps).as_dict() for seed in range(members)]
        return [from_dict({**c, "cluster": {**c["cluster"], "compile": compile}}) for c in made]

    monkeypatch.setattr(loop, "has_compiler", lambda: True)
    long = 2 * int(
        COMPILE_S / COMPILE_SAVES / GUESSES["cuda"].step_s
    )  # the device whose steps are shorter
    assert [loop.compiles(stack(c, long), CPU) for c in ("never", "auto", "always")] == [
        False,
        True,
        True,
    ]
    assert [loop.compiles(stack(c, 100), CPU) for c in ("never", "auto", "always")] == [
        False,
        False,
        True,
    ]
    monkeypatch.setattr(loop, "has_compiler", lambda: False)
    assert not loop.compiles(stack("auto", long), CPU) and loop.compiles(
        stack("auto", long), torch.device("cuda")
    )
