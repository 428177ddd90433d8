"""What a model says of people: of whole texts token by token, and of a name and the values behind
it. Both are `loops.Next`, and both tell themselves when a row has nothing left to say."""

from __future__ import annotations

import numpy as np

from capacity.certify.grammar import Choice, Grammar
from capacity.certify.spelling import STOP, Predicts, or_stop


class Texts:
    """Rows are texts without their head, each ended by STOP, which is told like any token: it is
    what begins the next text of the stream."""

    def __init__(self, model: Predicts, grammar: Grammar) -> None:
        self.model, self.head = model, np.array(grammar.head, np.int64)

    def closed(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> np.ndarray:
        """Texts that have ended, bool [n]."""
        return (prefixes_nt == STOP).any(1)

    def __call__(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        head = np.broadcast_to(self.head, (len(prefixes_nt), len(self.head)))
        return self.model(np.concatenate([head, prefixes_nt], axis=1))


class People:
    """Rows are people: the name, then each value that is asked for, every one in so many places as
    the longest has, and ended as `spelling` says. What stands in front of a value follows from the
    name."""

    def __init__(self, model: Predicts, grammar: Grammar) -> None:
        self.model, self.grammar = model, grammar
        self.lists = [grammar.name_lists]
        self.lists += [grammar.value_lists(k) for k in range(len(grammar.asked))]
        width = np.array([lists.longest for lists in self.lists])
        self.begins = (width.cumsum() - width).tolist()
        self.width = int(width.sum())
        self._names: dict[tuple[int, ...], Choice] = {}

    def row(self, values: list[tuple[int, ...]]) -> np.ndarray:
        """The row of a person: tokens of the name, then those of each value."""
        row = np.zeros(self.width, np.int64)
        for begin, value in zip(self.begins, values, strict=True):
            row[begin : begin + len(value)] = value
        return row

    def split(self, row: list[int]) -> list[tuple[int, ...]]:
        """`row` again."""
        ends = [*self.begins[1:], self.width]
        parts = (row[begin:end] for begin, end in zip(self.begins, ends, strict=True))
        return [_spelled(part) for part in parts]

    def closed(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> np.ndarray:
        """Rows whose name or value at this place is over, bool [n]."""
        k, begin = self._at(prefixes_nt.shape[1])
        lists = self.lists[k]
        out = np.zeros(len(prefixes_nt), bool)
        for i, row in enumerate(prefixes_nt[:, begin:].tolist()):
            spelled = tuple(row)
            over = STOP in spelled
            out[i] = over or (lists.is_whole(spelled) and not lists.follows(spelled))
        return out

    def __call__(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k, begin = self._at(prefixes_nt.shape[1])
        lists = self.lists[k]
        spelled_n = [tuple(row) for row in prefixes_nt[:, begin:].tolist()]
        if k == 0:
            rows = [(*self.grammar.head, *spelled) for spelled in spelled_n]
        else:
            names = [self._name(row) for row in prefixes_nt[:, : self.begins[1]].tolist()]
            rows = [
                (*self.grammar.prompt(k - 1, name), *spelled)
                for name, spelled in zip(names, spelled_n, strict=True)
            ]
        table, bits = self._of_rows(rows)
        for i, spelled in enumerate(spelled_n):
            if lists.is_whole(spelled):
                table[i], bits[i] = or_stop(table[i], bits[i], lists.follows(spelled))
        return table, bits

    def _of_rows(self, rows: list[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
        """What the model says behind rows of several lengths, each length at once."""
        lengths = np.array([len(row) for row in rows])
        found = []
        for n in np.unique(lengths):
            mine = np.flatnonzero(lengths == n)
            found.append((mine, *self.model(np.array([rows[i] for i in mine], np.int64))))
        table = np.zeros((len(rows), found[0][1].shape[1]), np.int64)
        bits = np.zeros(table.shape)
        for mine, table_mV, bits_mV in found:
            table[mine], bits[mine] = table_mV, bits_mV
        return table, bits

    def _at(self, place: int) -> tuple[int, int]:
        """Which value a place belongs to, and where that begins."""
        k = int(np.searchsorted(self.begins, place, side="right")) - 1
        return k, self.begins[k]

    def _name(self, row: list[int]) -> Choice:
        spelled = _spelled(row)
        if spelled not in self._names:
            # a name that is none was refused at the end of its block
            self._names[spelled] = next(
                choice
                for choice, end in self.grammar.name_lists.matches(spelled)
                if end == len(spelled)
            )
        return self._names[spelled]


def _spelled(row: list[int]) -> tuple[int, ...]:
    return tuple(row[: row.index(STOP)] if STOP in row else row)


def nothing(prefixes_nt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """No model: for the layout of rows."""
    raise AssertionError(f"asked behind {prefixes_nt.shape}")
