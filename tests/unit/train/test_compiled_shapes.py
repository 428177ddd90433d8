"""Programs of torch.compile: one for every stack of a process, whatever came before it."""

import functools
import gc
import weakref

import pytest
import torch

from capacity.config import from_dict
from capacity.train import loop
from capacity.train.loop import Stack
from stack_members import CPU, config


def compiled_stack(members):
    made = [config(seed, "rotary").as_dict() for seed in range(members)]
    return Stack(
        [from_dict({**c, "cluster": {**c["cluster"], "compile": "always"}}) for c in made], CPU
    )


def gradient(stack):
    state = stack.start()
    tokens = torch.zeros(len(stack.configs), 8, 8, dtype=torch.int64)
    return loop.gradient(stack, state.flat_MP, tokens)


@pytest.fixture
def programs(monkeypatch):
    """What torch.compile made, by a backend that runs its graphs as they are."""
    made = []

    def backend(graph, inputs):
        made.append(tuple(inputs[0].shape))
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(loop, "compiled", functools.partial(loop.compiled, backend=backend))
    yield made
    torch._dynamo.reset()


def test_every_stack_of_a_process_is_compiled(programs):
    """More of them than torch.compile makes of one code object, of a shape each; and each only
    once."""
    limit = 2  # eight by default
    stacks = [compiled_stack(members) for members in range(1, limit + 2)]
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=limit):
        for _ in range(2):
            for stack in stacks:
                gradient(stack)
    assert len(programs) == limit + 1 == len(set(programs))
    loss, grad = gradient(stacks[1])
    stacks[1].loss = stacks[1].gpt.loss
    wanted = gradient(stacks[1])
    assert torch.allclose(loss, wanted[0]) and torch.allclose(grad, wanted[1], atol=1e-6)


def test_a_program_goes_with_its_stack(programs):
    """A process that trains one stack after the other keeps no program of those that ended."""
    stack = compiled_stack(2)
    gradient(stack)
    model = weakref.ref(stack.gpt)
    del stack
    gc.collect()
    assert len(programs) == 1 and model() is None
