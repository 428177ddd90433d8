"""Data parallel ranks without processes: threads stand for them, whose tensors are handed over in
memory."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from capacity.train.loop import CHANGED, Stack, advance
from capacity.train.ranks import Ranks

CPU = torch.device("cpu")
PARTS = 4


class Room:
    """Where threads lay down what the others take."""

    def __init__(self, size):
        self.barrier, self.there = threading.Barrier(size), [None] * size

    def handed_over(self, rank, mine):
        self.there[rank] = mine
        self.barrier.wait()
        everybody = list(self.there)
        self.barrier.wait()
        return everybody


class InRoom(Ranks):
    def __init__(self, rank, size, room):
        super().__init__(rank, size)
        self.room = room

    def _gathered(self, mine):
        return torch.stack(self.room.handed_over(self.rank, mine))

    def _exchanged(self, sent_WMS):
        return torch.stack([one[self.rank] for one in self.room.handed_over(self.rank, sent_WMS)])


def trained(configs, size, steps=6, started=None):
    """The states that all ranks end with, with whole moments."""
    room = Room(size)

    def one(rank):
        try:
            ranks = InRoom(rank, size, room)
            stack = Stack(configs, CPU, PARTS, ranks)
            state = ranks.take(stack, copied(started or stack.start()))
            advance(stack, state, steps, lambda: False)
            return ranks.give(stack, state)
        except BaseException:
            room.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def copied(state):
    names = (*CHANGED, "cursor_MC")
    return dataclasses.replace(state, **{name: getattr(state, name).clone() for name in names})


def equal(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in CHANGED)
