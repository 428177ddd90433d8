"""A pretend GPU: tensors of a device of its own, whose numbers live on the CPU, and which refuse
what CUDA refuses.

Operations on such a tensor run on the CPU tensor within it, below autograd, so a training or a
whole run goes through all its code with `device` being something that is not a CPU. What it raises:

- tensors of two devices in one operation (0-dimensional CPU tensors may go into pointwise ones),
- numpy's view of a tensor on the device,
- while a graph is captured: whatever would wait for the device (`.item()`, `nonzero`, boolean
  indices, `repeat_interleave` by a tensor, ...) and every copy from or to the host.

Outside of a capture waits and copies are counted (`PretendGPU.seen`). A capture keeps its
operations; `replay` makes them again on the same memory, as a CUDA graph does, so a number that the
host had read while capturing stays what it was.

Entering `PretendGPU` registers a device with torch and replaces functions of it: for a process of
its own (`pretend_gpu_cases.py`), never for one in which other tests run.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from capacity.train import loop

NAME = "pretend"
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)
# operations after which the host has to know a number of the device: a value, or a size
WAITS = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
    aten._unique.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
}


class NotOnAGPU(RuntimeError):
    """What CUDA would refuse."""


class OnDevice(Tensor):
    """A tensor of the device; `raw` holds its numbers."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor):
        made = Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    def __repr__(self):
        return f"OnDevice({self.raw!r})"

    def tolist(self):
        _gpu().copy("device to host", "tolist")
        return self.raw.tolist()

    def numpy(self, *args, **more):
        raise NotOnAGPU(f"{_where()}: a tensor of the device has no numpy view; use .cpu()")

    __array__ = numpy

    def __getitem__(self, key):
        return super().__getitem__(_lists_moved(key))

    def __setitem__(self, key, value):
        return super().__setitem__(_lists_moved(key), value)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _gpu().run(func, args, kwargs or {})


def _lists_moved(key: Any) -> Any:
    """Lists as indices become tensors on the device, by a copy."""
    if isinstance(key, tuple):
        return tuple(map(_lists_moved, key))
    return torch.tensor(key, device=_gpu().device) if isinstance(key, list) else key


class PretendGPU(TorchDispatchMode):
    """The device, as a context: `with PretendGPU() as gpu: Stack(configs, gpu.device)`."""

    active: PretendGPU | None = None

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str, str]] = Counter()  # kind, operation, line of capacity
        self.tape: list[tuple] | None = None  # of the capture that is under way
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> PretendGPU:
        assert PretendGPU.active is None
        if not hasattr(torch, NAME):
            backend_registration._setup_privateuseone_for_python_backend(NAME)
        self.device = torch.device(NAME, 0)
        PretendGPU.active = self
        super().__enter__()
        replaced = {
            "torch.tensor": self._tensor(torch.tensor),
            "torch.cuda.Stream": _Stream,
            "torch.cuda.current_stream": _Stream,
            "torch.cuda.stream": lambda stream: contextlib.nullcontext(),
            "torch.cuda.set_stream": lambda stream: None,
            "torch.cuda.CUDAGraph": Graph,
            "torch.cuda.graph": self.capture,
            "torch.cuda.synchronize": lambda *device: self.wait("synchronize"),
            "torch.cuda.is_current_stream_capturing": lambda: self.tape is not None,
        }
        for name, new in replaced.items():
            self._patches.enter_context(mock.patch(name, new))
        return self

    def __exit__(self, *error):
        self._patches.close()
        PretendGPU.active = None
        return super().__exit__(*error)

    def recorded(self):
        """A context in which stacks on this device record their steps, as on CUDA."""
        return mock.patch.object(loop, "plain", loop.record)

    @contextlib.contextmanager
    def capture(self, graph: Graph):
        """What `torch.cuda.graph` is: operations are kept in the graph."""
        assert self.tape is None
        self.tape = graph.operations
        try:
            yield
        finally:
            self.tape = None

    def wait(self, func: Any) -> None:
        self._note("wait", func)

    def copy(self, kind: str, func: Any) -> None:
        self._note(kind, func)

    def _note(self, kind: str, func: Any) -> None:
        self.seen[kind, str(func), _where()] += 1
        if self.tape is not None:
            raise NotOnAGPU(f"{_where()}: {kind} while a graph is captured: {func}")

    def _tensor(self, make):
        def tensor(data, *, dtype=None, device=None, **more):
            out = make(data, dtype=dtype, **more)
            if device is None or torch.device(device).type != NAME:
                return out if device is None else out.to(device)
            self.copy("host to device", "torch.tensor")
            return OnDevice(out)

        return tensor

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """An operation on tensors of the device, of the host or of none."""
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = any(isinstance(x, OnDevice) for x in tensors)
        asked = kwargs.get("device")
        if here:
            self._check(func, args, tensors)
        if func in COPIES:
            self._check_copy(func, args, asked)
        out_here = here if asked is None else torch.device(asked).type == NAME
        if asked is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
        raw_args, raw_kwargs = tree_map_only(OnDevice, lambda x: x.raw, (args, kwargs))
        out = func(*raw_args, **raw_kwargs)
        if func is aten._to_copy.default and out.data_ptr() == raw_args[0].data_ptr():
            out = out.clone()  # to another device always copies
        if self.tape is not None and (here or out_here):
            self.tape.append((func, raw_args, raw_kwargs, out))
        if not out_here or func in (aten._local_scalar_dense.default, aten.equal.default):
            return out
        wrapped = tree_map_only(Tensor, OnDevice, out)
        if here and func is not aten._to_copy.default:
            return return_and_correct_aliasing(func, args, kwargs, wrapped)
        return wrapped

    def _check(self, func: Any, args: tuple, tensors: list[Tensor]) -> None:
        if func in WAITS:
            self.wait(func)
        strange = [x for x in tensors if not isinstance(x, OnDevice)]
        if func in INDEXING:
            indices = [x for x in args[1] if x is not None]
            if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
                self.wait(f"{func} by a mask")
            if strange:  # indices and values of the host are copied
                self.copy("host to device", func)
        elif func not in COPIES:
            scalars = torch.Tag.pointwise in func.tags
            bad = [tuple(x.shape) for x in strange if x.dim() or not scalars]
            if bad:
                raise NotOnAGPU(
                    f"{_where()}: {func} has tensors of two devices; on the host: {bad}"
                )

    def _check_copy(self, func: Any, args: tuple, asked: Any) -> None:
        if func is aten.copy_.default:
            to, of = (isinstance(x, OnDevice) for x in args[:2])
        else:
            of = isinstance(args[0], OnDevice)
            to = of if asked is None else torch.device(asked).type == NAME
        if to != of:
            self.copy("host to device" if to else "device to host", func)


def _gpu() -> PretendGPU:
    assert PretendGPU.active is not None, "a tensor of a pretend GPU outlived it"
    return PretendGPU.active


def _where() -> str:
    """The innermost line of the package that led here."""
    lines = [
        f"capacity/{frame.filename.rpartition('/capacity/')[2]}:{frame.lineno}"
        for frame in traceback.extract_stack()
        if "/capacity/" in frame.filename and "/tests/" not in frame.filename
    ]
    return lines[-1] if lines else "outside of capacity"


class _Stream:
    """All work is done when it is asked for, so streams have nothing to wait for."""

    def wait_stream(self, other: _Stream) -> None: ...


class Graph:
    """Operations on the device, kept with the tensors that they read and wrote."""

    def __init__(self) -> None:
        self.operations: list[tuple] = []

    def replay(self) -> None:
        """Make them again: results go where they went."""
        for func, args, kwargs, out in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
