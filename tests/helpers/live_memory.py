"""What a training step needs at its peak, without a device: the tensors that live at once while it
is traced on meta tensors, which have sizes and no numbers."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from capacity import counts
from capacity.model import attention
from capacity.train import loop
from capacity.train.optim import COLUMNS

META = torch.device("meta")


class Live(TorchDispatchMode):
    """Sums the storages of meta tensors from their first appearance to their end."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.sizes = 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.device == META:
                self.add(leaf)
        return out

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.now += self.sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.gone, key)

    def gone(self, key):
        self.now -= self.sizes.pop(key)


class Fused(torch.autograd.Function):
    """Attention as a fused kernel of a GPU keeps it: its operands, what comes out (by position,
    then head), and a number per head and position."""

    @staticmethod
    def forward(ctx, q, k, v):
        N, H, T, K = q.shape
        out = q.new_empty(N, T, H, K).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out, q.new_empty(N, H, T, dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx, grad):
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


def of_step(configs, monkeypatch):
    """Bytes at the peak of a step of a stack, its state included, as on a GPU."""
    stack = loop.Stack(configs, torch.device("cpu"))
    state = stack.start()
    for name in loop.CHANGED:
        setattr(state, name, getattr(state, name).to(META))
    stack.decay_P, stack.rounding_M1 = stack.decay_P.to(META), stack.rounding_M1.to(META)
    for name, column in vars(stack.hyper).items():
        setattr(stack.hyper, name, column.to(META))
    shape = len(configs), configs[0].train.batch_size, stack.gpt.seq_len + (not stack.gpt.bos)
    tokens = torch.zeros(shape, dtype=torch.int64, device=META)
    now = torch.zeros(len(configs), COLUMNS, device=META)
    monkeypatch.setattr(
        attention, "library_attention", lambda q, k, v, _: Fused.apply(q, k, v).transpose(1, 2)
    )
    monkeypatch.setitem(counts.HEAD_CHUNK, "cpu", counts.HEAD_CHUNK["cuda"])
    live = Live()
    with live:
        for name in loop.CHANGED:
            live.add(getattr(state, name))
        loop.step(stack, state, tokens, now)
    return live.peak
