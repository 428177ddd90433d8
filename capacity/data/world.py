"""What worlds of people have in common, whatever their texts: pieces of text, keyed names, and all
that follows from a seed, which is one number of a run or one of each rendering.

Letters: R renderings, M members of a stack, S slots of pieces, N names.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from capacity.data import hashing
from capacity.data.halves import Halves
from capacity.data.lexicon import Lexicon
from capacity.settings.data import BiodData, BiosData, WordedData

EMPTY, EOS = 0, 1  # pieces


class Pieces:
    """Token ids of all pieces, one after the other."""

    def __init__(self, pieces: list[list[int]], device: torch.device) -> None:
        self.length = torch.tensor([len(p) for p in pieces], device=device)
        self.start = self.length.cumsum(0) - self.length
        self.tokens = torch.tensor(list(itertools.chain(*pieces)), dtype=torch.int32, device=device)

    def append(self, tokens_PL: Tensor) -> int:
        """Add P pieces of L tokens each; returns the number of the first."""
        first = len(self.length)
        P, L = tokens_PL.shape
        begin = len(self.tokens)
        self.start = torch.cat([self.start, begin + L * torch.arange(P, device=self.start.device)])
        self.length = torch.cat([self.length, torch.full((P,), L, device=self.length.device)])
        self.tokens = torch.cat([self.tokens, tokens_PL.reshape(-1).to(self.tokens)])
        return first

    def cut(self, pieces_MS: Tensor, begins_MS: Tensor, ends_MS: Tensor, count: int) -> Tensor:
        """Token ids of rows of pieces, each row one after the other, from a place in it on, int32
        [M, count]. begins, ends: of each piece, counted from that place; rows have to be long
        enough. Waits for nothing on a device."""
        taken_MS = ends_MS.clamp(0, count).sub_(begins_MS.clamp(0, count))
        shift = torch.repeat_interleave(
            self.start[pieces_MS].sub_(begins_MS).view(-1),
            taken_MS.view(-1),
            output_size=len(pieces_MS) * count,
        )
        where_MN = shift.view(-1, count).add_(torch.arange(count, device=shift.device))
        return self.tokens[where_MN]

    def join(self, pieces_RS: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids of all renderings one after the other, int32 [sum], and the length of each,
        int64 [R]."""
        flat = pieces_RS.reshape(-1)
        flat = flat[flat != EMPTY]
        length = self.length[flat]
        shift = self.start[flat] - (length.cumsum(0) - length)
        where = torch.arange(int(length.sum()), device=flat.device) + torch.repeat_interleave(
            shift, length
        )
        return self.tokens[where], self.length[pieces_RS].sum(1)


class World:
    """People and texts of one run; or of several that differ in nothing but their seeds, where each
    number that follows from the seed is one of each rendering, int64 [R] (see
    `biographies.Worlds`)."""

    pieces: Pieces
    seeded: dict[str, int | Tensor]

    def __init__(
        self, data: WordedData, lexicon: Lexicon, n_people: int, device: torch.device
    ) -> None:
        self.lexicon, self.n_people, self.device = lexicon, n_people, device
        self.pieces = Pieces(lexicon.content["pieces"], device)

    def with_seed(self, seed: int) -> Self:
        """The same world with the people and orders of another seed."""
        other = copy.copy(self)
        other.set_seed(seed)
        return other

    def set_seed(self, seed: int) -> None:
        """Set all that follows from the seed."""
        raise NotImplementedError

    def with_seeded(self, seeded: dict[str, int | Tensor]) -> Self:
        """The same world with other numbers in the place of those that follow from the seed."""
        other = copy.copy(self)
        other.seeded = seeded
        return other

    def share_pieces(self, others: Sequence[Self]) -> None:
        """Let worlds of other seeds have the pieces of this one, where they hold any of their
        own."""

    def render(self, person_R: Tensor, exposure_R: Tensor, other: bool = False) -> Tensor:
        """Pieces [R, slots] of texts behind EOS."""
        raise NotImplementedError


def over(key: int | Tensor, dims: int) -> int | Tensor:
    """A key of each rendering for indices that have so many further dimensions."""
    return key if isinstance(key, int) else key.view(-1, *[1] * dims)


class Names:
    """Distinct full names by person: a keyed permutation of all N0 names, so that no table and no
    rejection is needed."""

    def __init__(
        self,
        content: dict,
        data: BiosData | BiodData,
        device: torch.device,
        halves: Halves | None = None,
    ) -> None:
        self.halves = halves
        self.half_key: int | Tensor = 0
        self.sizes = data.first_names, max(1, data.middle_names), data.last_names
        self.n_names, self.skip = data.n_names, data.skip
        self.key: int | Tensor = 0
        self.first = torch.tensor(content["first"][: data.first_names], device=device)
        self.middle = torch.tensor(content["middle"][: data.middle_names] or [EMPTY], device=device)
        self.glues = list(content["last"])
        rows = [content["last"][glue] for glue in self.glues]
        self.last_GN = torch.tensor(
            [row["pieces"][: data.last_names] for row in rows], device=device
        )
        self.last_length_GN = torch.tensor(
            [row["lengths"][: data.last_names] for row in rows], device=device
        )

    def with_seeded(self, seeded: Mapping[str, int | Tensor]) -> Names:
        """The same lists in an order of another key, "names"; "half": of who is shown of people
        that are halved."""
        other = copy.copy(self)
        other.key, other.half_key = seeded["names"], seeded.get("half", 0)
        return other

    def index(self, person_R: Tensor) -> Tensor:
        """The number from which all that is drawn of a run's people follows."""
        if self.halves is not None:
            person_R = self.halves.row(self.half_key, person_R)
        return person_R + self.skip

    def parts(self, person_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of first, middle and last name."""
        index = hashing.permute(self.key, self.index(person_R), self.n_names)
        _, middle, last = self.sizes
        return index // (middle * last), index // last % middle, index % last


class NamedWorld(World):
    """A world whose people have names of a keyed order."""

    names: Names

    def with_seeded(self, seeded: dict[str, int | Tensor]) -> Self:
        other = super().with_seeded(seeded)
        other.names = self.names.with_seeded(seeded)
        return other
