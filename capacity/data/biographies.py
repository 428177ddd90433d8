"""People and their biographies as token ids, drawn by index on any device: nothing but the pieces
of text is stored.

Person i, the text of its e-th exposure and the e-th order of all people are hashes of (seed, i, e),
so a rendering can be repeated anywhere. Letters: R renderings, K sentences, A attributes, G glues.
A sentence takes NINE slots of pieces.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from capacity.data import halves, hashing
from capacity.data.lexicon import (
    Lexicon,
    attributes_of,
    sentence_groups,
    value_sizes,
    world_templates,
)
from capacity.data.resolve_people import MixedResolved
from capacity.data.world import EMPTY, EOS, NamedWorld, Names, Pieces, World, over
from capacity.settings import popularity
from capacity.settings.data import BiodData, BiosData, CorpusData, MixedData, WordedData

RANKS = -1  # index of the word that deals ranks; people have those from 0 on
SENTENCE = 9  # before, slot of three, between, slot of three, after


class BiosWorld(NamedWorld):
    """Pieces, people and texts of bioS and its variants."""

    def __init__(
        self, data: BiosData, lexicon: Lexicon, n_people: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(data, lexicon, n_people, device)
        content = lexicon.content
        self.data = data
        self.attributes = attributes_of(data)
        self.names = Names(content, data, device, halves.of(data, n_people, device))
        self.tag = (
            self.pieces.append(torch.tensor([[lexicon.rows]], device=device))
            if data.tag != "none"
            else EMPTY
        )
        self.set_seed(seed)
        self.sizes = data.attribute_sizes
        self.popular = {
            name: torch.tensor(
                list(itertools.accumulate(popularity.shares(size, s))), device=device
            )
            for name, size in self.sizes.items()
            if (s := data.value_zipf_of(name))
        }
        self.headquarters = torch.tensor(
            content["headquarters"][: data.employers] or [0], device=device
        )
        none = {
            "pieces": [EMPTY, EMPTY],
            "lengths": [0, 0],
        }  # a glue of questions only, which have the full name
        pronouns = [content["pronoun"].get(glue, none) for glue in self.names.glues]
        self.pronoun_G2 = torch.tensor([p["pieces"] for p in pronouns], device=device)
        self.pronoun_length_G2 = torch.tensor([p["lengths"] for p in pronouns], device=device)
        self.orders = {
            order: _orders(data, order, device) for order in ("permute", "fixed", "pairs")
        }
        self._templates(content)

    def set_seed(self, seed: int) -> None:
        names = (*self.attributes, "gender", "text", "order", "names")
        self.seeded = halves.keys(self.data, seed, names)
        self.names = self.names.with_seeded(self.seeded)

    def _templates(self, content: dict) -> None:
        """Tables over (attribute, template), padded: before, between and after pieces, glues, which
        slot comes first."""
        self.parts, self.value_glues, rows = [], [], []
        for name in self.attributes:
            value = content["values"][name]
            sizes = value_sizes(content, self.data, name)
            glues = list(value["last"])
            n = sizes[2]
            self.value_glues.append(glues)
            self.parts.append(
                (
                    [
                        torch.tensor(part[:size] or [EMPTY], device=self.device)
                        for part, size in zip(value["parts"], sizes[:2], strict=True)
                    ],
                    torch.tensor(
                        [value["last"][g]["pieces"][:n] for g in glues], device=self.device
                    ),
                    torch.tensor(
                        [value["last"][g]["lengths"][:n] for g in glues], device=self.device
                    ),
                )
            )
            some = []
            for before, subject_first, glue1, between, glue2, after in world_templates(
                content, self.data, name
            ):
                subject, value_glue = (glue1, glue2) if subject_first else (glue2, glue1)
                some.append(
                    [
                        before,
                        int(subject_first),
                        self.names.glues.index(subject),
                        between,
                        glues.index(value_glue),
                        after,
                    ]
                )
            rows.append(some)
        most = max(map(len, rows))
        self.n_templates_A = torch.tensor([len(some) for some in rows], device=self.device)
        self.template_ATC = torch.tensor(
            [some + [some[0]] * (most - len(some)) for some in rows], device=self.device
        )
        self.clear = self._clear_templates(rows)

    def _clear_templates(self, rows: list[list[list[int]]]) -> list[list[int]]:
        """By attribute, the templates in which nothing but a value of the attribute can follow the
        text in front of it: they begin with the subject, and no other template, of this or another
        attribute, goes on differently after that text.

        In the others even perfect knowledge pays for the choice of the template ("studied ..." and
        "studied at ...").
        """
        text = {
            piece: tuple(self.lexicon.pieces[piece])
            for some in rows
            for piece in (row[3] for row in some)
        }
        openings = [
            (a, row[2], text[row[3]])
            for a, some in enumerate(rows)
            for row in some
            if row[0] == EMPTY and row[1]
        ]

        def clear(a: int, row: list[int]) -> bool:
            mine = text[row[3]]
            return (
                row[0] == EMPTY
                and bool(row[1])
                and not any(
                    glue == row[2]
                    and other[: len(mine)] == mine
                    and (len(other) > len(mine) or b != a)
                    for b, glue, other in openings
                )
            )

        clear_templates = [
            [t for t, row in enumerate(some) if clear(a, row)] for a, some in enumerate(rows)
        ]
        return [here or list(range(len(rows[a]))) for a, here in enumerate(clear_templates)]

    def values(self, attribute: str, person_R: Tensor) -> Tensor:
        """Index of each person's value; of the city of work, that of the employer's headquarters;
        of gender 0 He, 1 She."""
        if attribute == "work_city":
            return self.headquarters[self.values("employer", person_R)]
        key, size = self.seeded[attribute], self.sizes.get(attribute, 1)
        word_R = hashing.words(key, self.names.index(person_R))
        if (ends_V := self.popular.get(attribute)) is None:
            return word_R % size
        rank_R = torch.searchsorted(ends_V, word_R % popularity.GRID, right=True)
        return hashing.permute(hashing.words(key, RANKS), rank_R, size)

    def chances(self, attribute: str) -> Tensor:
        """Probability of each value of an attribute, fp64 [V], of a world of one seed."""
        rank_V = torch.arange(size := self.sizes[attribute], device=self.device)
        if (ends_V := self.popular.get(attribute)) is None:
            return torch.full_like(rank_V, 1, dtype=torch.float64) / size
        value_V = hashing.permute(hashing.words(self.seeded[attribute], RANKS), rank_V, size)
        share_V = ends_V.diff(prepend=ends_V.new_zeros(1)).double() / popularity.GRID
        return torch.empty_like(share_V).index_copy_(0, value_V, share_V)

    def texts(
        self,
        person_R: Tensor,
        exposure_R: Tensor,
        biographies: int | None,
        order: str,
        same_sentences: bool,
    ) -> tuple[Tensor, Tensor]:
        """Order of the sentences [R, K] and template of each attribute [R, A] of the text shown at
        an exposure.

        With a number of texts per person, they take turns, each person beginning with another one.
        """
        key = self.seeded["text"]
        person_R, text = self.names.index(person_R), exposure_R
        if biographies is not None:
            text = (exposure_R + hashing.words(self.seeded["order"], person_R)) % biographies
        word = hashing.words(key, person_R, torch.zeros_like(text) if same_sentences else text)
        drawn = [
            hashing.words(word, a) % self.n_templates_A[a] for a in range(len(self.attributes))
        ]
        table = self.orders[order]
        if same_sentences:  # as many different orders as there are texts
            which = hashing.permute(hashing.words(self.seeded["order"], person_R), text, len(table))
        else:
            which = hashing.words(self.seeded["order"], person_R, text) % len(table)
        return table[which], torch.stack(drawn, 1)

    def value_slots(self, a: int, value_R: Tensor, glue_R: Tensor) -> tuple[Tensor, Tensor]:
        """Three pieces of values of attribute `a` with their glue [R, 3], and their tokens without
        the glue [R]."""
        (lead1, lead2), last_GN, length_GN = self.parts[a]
        n3, n2 = last_GN.shape[1], len(lead2)
        slots = torch.stack(
            [lead1[value_R // (n3 * n2)], lead2[value_R // n3 % n2], last_GN[glue_R, value_R % n3]],
            1,
        )
        return slots, self.pieces.length[slots[:, :2]].sum(1) + length_GN[glue_R, value_R % n3]

    def sentences(
        self,
        person_R: Tensor,
        order_RK: Tensor,
        template_RA: Tensor,
        swap: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pieces [R, K, 9] of sentences (attribute -1: none), whether the subject comes first [R,
        K], and for each sentence the tokens of its value without glue [R, K]. The first sentence
        has the full name, the others a pronoun.

        swap: attribute -> other value indices than the person's own.
        """
        R, K = order_RK.shape
        known = order_RK.clamp(min=0)
        rows_RAC = self.template_ATC[
            torch.arange(len(self.attributes), device=self.device), template_RA
        ]
        value_RA3 = torch.empty(R, len(self.attributes), 3, dtype=torch.int64, device=self.device)
        length_RA = torch.empty(R, len(self.attributes), dtype=torch.int64, device=self.device)
        for a, name in enumerate(self.attributes):
            value = swap[name] if swap and name in swap else self.values(name, person_R)
            value_RA3[:, a], length_RA[:, a] = self.value_slots(a, value, rows_RAC[:, a, 4])
        before, subject_first, subject_glue, between, _, after = rows_RAC.gather(
            1, known[:, :, None].expand(R, K, 6)
        ).unbind(2)
        value_RK3 = value_RA3.gather(1, known[:, :, None].expand(R, K, 3))
        subject_RK3 = self._subjects(person_R, subject_glue)
        first = subject_first.bool()
        slots = torch.cat(
            [
                before[..., None],
                torch.where(first[..., None], subject_RK3, value_RK3),
                between[..., None],
                torch.where(first[..., None], value_RK3, subject_RK3),
                after[..., None],
            ],
            2,
        )
        slots[order_RK < 0] = EMPTY
        return slots, first, length_RA.gather(1, known)

    def _subjects(self, person_R: Tensor, glue_RK: Tensor) -> Tensor:
        first, middle, last = self.names.parts(person_R)
        R, K = glue_RK.shape
        out = torch.zeros(R, K, 3, dtype=torch.int64, device=self.device)
        named = K if self.data.full_names else 1
        out[:, :named, 0] = self.names.first[first][:, None]
        out[:, :named, 1] = self.names.middle[middle][:, None]
        out[:, :named, 2] = self.names.last_GN[glue_RK[:, :named], last[:, None]]
        if named < K:
            out[:, named:, 0] = self.pronoun_G2[
                glue_RK[:, named:], self.values("gender", person_R)[:, None]
            ]
        return out

    def head(self, count: int, other: bool = False) -> Tensor:
        """EOS and, if this stream is tagged, its tag [count, 2]."""
        tag = self.tag if self.data.tag == ("other" if other else "main") else EMPTY
        return torch.tensor([[EOS, tag]], device=self.device).expand(count, 2)

    def render(self, person_R: Tensor, exposure_R: Tensor, other: bool = False) -> Tensor:
        """Pieces [R, 2 + 9 K] of whole biographies behind EOS; person indices of the other stream
        begin at n_people."""
        d = self.data
        order, template = (
            self.texts(person_R, exposure_R, d.other_biographies, d.other_order, False)
            if other
            else self.texts(person_R, exposure_R, d.biographies, d.order, d.same_sentences)
        )
        slots, _, _ = self.sentences(person_R, order, template)
        return torch.cat([self.head(len(person_R), other), slots.flatten(1)], 1)


def _orders(data: BiosData, order: str, device: torch.device) -> Tensor:
    """All orders of the sentences, [orders, K]."""
    groups = sentence_groups(data, order)
    return torch.tensor(
        [list(itertools.chain(*some)) for some in itertools.permutations(groups)], device=device
    )


class BiodWorld(NamedWorld):
    """Pieces, people and texts of bioD: K attributes in one order or a new one per exposure."""

    def __init__(
        self, data: BiodData, lexicon: Lexicon, n_people: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(data, lexicon, n_people, device)
        content = lexicon.content
        self.data = data
        self.names = Names(content, data, device)
        self.common = self.pieces  # of all seeds
        self.heads = torch.tensor(content["heads"], device=device)
        self.comma = content["comma"]
        self.stop, self.pronoun = content["stop"], content["pronoun"]
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        self.seeded = {
            name: hashing.key(seed, name) for name in ("biod values", "biod order", "names")
        }
        self.names = self.names.with_seeded(self.seeded)
        self.symbols_KDL = self._diversity_sets(hashing.key(seed, "biod sets"))
        self.pieces = copy.copy(self.common)
        self.append_chunks(self.pieces)

    def append_chunks(self, pieces: Pieces) -> None:
        """Add the strings of this seed to pieces, which it then uses."""
        rows = self.lexicon.content["first_symbol"] + self.symbols_KDL
        self.seeded["first chunk"] = pieces.append(rows.reshape(-1, self.data.length))
        self.pieces = pieces

    def share_pieces(self, others: Sequence[BiodWorld]) -> None:
        for other in others:
            other.append_chunks(self.pieces)

    def _diversity_sets(self, key: int) -> Tensor:
        """D distinct strings of T^L for each attribute, int64 [K, D, L]."""
        d = self.data
        attribute = torch.arange(d.attributes, device=self.device)[:, None]
        string = torch.arange(d.diversity, device=self.device)[None, :]
        if d.length * math.log2(d.alphabet) < 60:  # number all strings and permute them
            number = hashing.permute(
                hashing.words(key, attribute), string.expand(d.attributes, -1), d.alphabet**d.length
            )
            digits = [number // d.alphabet**i % d.alphabet for i in range(d.length)]
            return torch.stack(digits, 2)
        # of more than 2^60 strings two of at most 10^6 agree with a probability below 10^-6
        return torch.stack(
            [hashing.words(key, attribute, string, i) % d.alphabet for i in range(d.length)], 2
        )

    def chunks(self, person_R: Tensor) -> Tensor:
        """Which string of its attribute's set each chunk is, int64 [R, K, C]."""
        k = torch.arange(self.data.attributes, device=self.device)[None, :, None]
        c = torch.arange(self.data.chunks, device=self.device)[None, None, :]
        key = over(self.seeded["biod values"], 2)
        number_R11 = person_R[:, None, None] + self.data.skip
        return hashing.words(key, number_R11, k, c) % self.data.diversity

    def sentences(self, person_R: Tensor, order_RK: Tensor) -> Tensor:
        """Pieces [R, K', 4 + 2 C] of the sentences of the attributes order_RK: subject, head,
        chunks with separators, stop."""
        d, (R, K) = self.data, order_RK.shape
        drawn = self.chunks(person_R).gather(1, order_RK[:, :, None].expand(R, K, d.chunks))
        piece = over(self.seeded["first chunk"], 2) + order_RK[:, :, None] * d.diversity + drawn
        out = torch.zeros(R, K, 4 + 2 * d.chunks, dtype=torch.int64, device=self.device)
        first, middle, last = self.names.parts(person_R)
        out[:, 0, 0], out[:, 0, 1] = self.names.first[first], self.names.middle[middle]
        out[:, 0, 2] = self.names.last_GN[0, last]
        out[:, 1:, 0] = self.pronoun
        out[:, :, 3] = self.heads[order_RK]
        out[:, :, 4::2] = piece
        out[:, :, 5:-1:2] = self.comma
        out[:, :, -1] = self.stop
        return out

    def render(self, person_R: Tensor, exposure_R: Tensor, other: bool = False) -> Tensor:
        head = torch.full((len(person_R), 1), EOS, device=self.device)
        order = self.order(person_R, exposure_R)
        return torch.cat([head, self.sentences(person_R, order).flatten(1)], 1)

    def order(self, person_R: Tensor, exposure_R: Tensor) -> Tensor:
        """Attributes of these texts in the order in which they stand there, int64 [R, K]."""
        attribute = torch.arange(self.data.attributes, device=self.device)[None, :]
        if self.data.order == "fixed":
            return attribute.expand(len(person_R), -1)
        number_R1 = person_R[:, None] + self.data.skip
        key = over(self.seeded["biod order"], 1)
        drawn = hashing.words(key, number_R1, exposure_R[:, None], attribute)
        return drawn.argsort(dim=1, stable=True)


class CorpusWorld(World):
    """An imported corpus: each person's texts take turns, in an order of the person's own."""

    def __init__(
        self, data: CorpusData, lexicon: Lexicon, n_people: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(data, lexicon, n_people, device)
        self.data = data
        texts = lexicon.content["texts"]
        self.count = torch.tensor([len(t) for t in texts], device=device)
        self.first = self.count.cumsum(0) - self.count
        self.text = torch.tensor(list(itertools.chain(*texts)), device=device)
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        self.seeded = {"texts": hashing.key(seed, "texts")}

    def render(self, person_R: Tensor, exposure_R: Tensor, other: bool = False) -> Tensor:
        which = (exposure_R + hashing.words(self.seeded["texts"], person_R)) % self.count[person_R]
        head = torch.full_like(person_R, EOS)
        return torch.stack([head, self.text[self.first[person_R] + which]], 1)


class MixedWorld(BiosWorld):
    """A world of people with random rows; row i of a seed does not depend on how many there are."""

    data: MixedData

    def __init__(
        self, data: MixedData, lexicon: Lexicon, n_people: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(data, lexicon, n_people, seed, device)
        self.symbols = MixedResolved(data).symbols
        self.marker = lexicon.rows  # id in front of a row
        if data.has_rows:
            self.marker_piece = self.pieces.append(torch.tensor([[self.marker]], device=device))
            ids = 1 + torch.arange(self.symbols, device=device)
            self.first_symbol = self.pieces.append(ids[:, None])

    def set_seed(self, seed: int) -> None:
        super().set_seed(seed)
        self.seeded["rows"] = hashing.key(seed, "rows")

    def rows(self, row_R: Tensor) -> Tensor:
        """Token ids of random rows, int64 [R, S]: independent and uniform over 1 to V, but for a
        relative bias below V / 2^62."""
        place_S = torch.arange(self.data.row_len, device=self.device)
        words = hashing.words(
            over(self.seeded["rows"], 1), row_R[:, None] + self.data.skip, place_S
        )
        return 1 + words % self.symbols

    def render_rows(self, row_R: Tensor) -> Tensor:
        """Pieces [R, 1 + S] of rows behind their marker."""
        head = torch.full_like(row_R, self.marker_piece)[:, None]
        return torch.cat([head, self.first_symbol - 1 + self.rows(row_R)], 1)


WORLDS: dict[str, Callable[..., World]] = {
    "bios": BiosWorld,
    "mixed": MixedWorld,
    "biod": BiodWorld,
    "corpus": CorpusWorld,
}


class Worlds:
    """Worlds that differ in nothing but their seeds, rendered together: tables and pieces are
    there once, so that the members of a stack pay for the operations of one."""

    def __init__(
        self,
        data: WordedData,
        lexicon: Lexicon,
        n_people: int,
        seeds: Sequence[int],
        device: torch.device,
    ) -> None:
        first = WORLDS[data.kind](data, lexicon, n_people, seeds[0], device)
        self.each: list[World] = [first, *(first.with_seed(seed) for seed in seeds[1:])]
        first.share_pieces(self.each[1:])
        self.pieces = first.pieces
        self.seeded_NM = torch.tensor(
            [[world.seeded[name] for world in self.each] for name in first.seeded], device=device
        )

    def alone(self, m: int) -> Worlds:
        """That of one member, which shares tables and pieces with the others."""
        one = copy.copy(self)
        one.each = [self.each[m]]
        one.seeded_NM = self.seeded_NM[:, m : m + 1]
        return one

    def of(self, member_R: Tensor | None) -> World:
        """The world of renderings of these members, int64 [R]; None: of the only one."""
        first = self.each[0]
        if member_R is None:
            assert len(self.each) == 1, "renderings of several members need their numbers"
            return first
        seeded = self.seeded_NM[:, member_R].unbind(0)
        return first.with_seeded(dict(zip(first.seeded, seeded, strict=True)))
