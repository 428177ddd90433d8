"""The settings of synthetic biographies, and of people and random rows that one model is trained on
at once (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from capacity.settings import named, popularity
from capacity.settings.field import setting
from capacity.settings.named import LARGEST, Named
from capacity.settings.tiers import tiers as _tiers
from capacity.settings.tiers import zipf as _zipf
from capacity.settings.tiers import zipf_tiers as _zipf_tiers


@dataclass(frozen=True)
class BiosData(Named):
    """bioS(N), synthetic biographies (Physics of Language Models 3.3, arXiv 2404.05405, section
    2.2), and its variants.

    A world has the first so many values of each pool. Two streams of biographies can be mixed: the
    main one, which is measured, and another one of other people (junk, celebrities), which is not.
    """

    kind: str = setting("bios", "which generator", choices=("bios",))
    n_people: int | None = setting(
        None, "N, people who are measured (or give data.load)", low=1, high=LARGEST
    )
    load: float | None = named.load()
    skip: int = named.skip_people()
    seq_len: int = named.seq_len()
    pools_dir: str | None = setting(None, "folder of value lists; empty: the lists of this package")
    templates_file: str | None = setting(None, "sentence templates; empty: those of this package")
    lexicon: str | None = setting(
        None, "digest of the compiled pools, templates and tokens; filled in by itself"
    )
    tokenizer: str = setting(
        "bpe",
        "bpe: trained on the pools and templates; gpt2: GPT-2's, rows in use only",
        choices=("bpe", "gpt2"),
    )
    vocab_size: int | None = setting(
        None,
        "rows asked of the trained BPE; empty: until every word is one token",
        low=2,
        high=2**20,
    )
    vocabulary: str = setting(
        "pools",
        "what the tokens come from: the whole pools, so that the size of the world does not "
        "change them, or this world only",
        choices=("pools", "world"),
    )
    questions: bool = setting(
        False, "rows for the words of questions as well, which extraction needs"
    )
    first_names: int = named.first_names()
    middle_names: int = named.middle_names()
    last_names: int = named.last_names()
    months: int = setting(12, "months of birth", low=1, high=12)
    days: int = setting(28, "days of birth", low=1, high=28)
    years: int = setting(200, "years of birth from 1900 on; 0: no birth dates", low=0, high=200)
    cities: int = setting(200, "cities of birth; 0: none", low=0)
    universities: int = setting(300, "universities; 0: none", low=0)
    majors: int = setting(100, "majors; 0: none", low=0)
    employers: int = setting(
        263, "employers, each with the city of its headquarters; 0: none", low=0
    )
    templates: int | None = setting(
        None, "templates per attribute, the first ones; empty: all", low=1
    )
    full_names: bool = setting(False, "the full name in every sentence instead of a pronoun")
    biographies: int | None = setting(
        None, "different texts per person; empty: a new one at every exposure", low=1
    )
    order: str = setting(
        "permute",
        "order of the sentences: drawn anew for every text, fixed, or fixed pairs drawn anew "
        "(date and city, university and major, employer and its city)",
        choices=("permute", "fixed", "pairs"),
    )
    same_sentences: bool = setting(
        False, "a person's texts differ in the order of their sentences only"
    )
    other_people: int = setting(
        0, "people of the other stream; 0: no other stream", low=0, high=LARGEST
    )
    other_parts: int = setting(
        0,
        "of every main_parts + other_parts biographies or windows, so many of the other stream",
        low=0,
        high=10**6,
    )
    main_parts: int = setting(1, "... and so many of the main stream", low=1, high=10**6)
    other_biographies: int | None = setting(None, "biographies, for the other stream", low=1)
    other_order: str = setting(
        "permute", "order, for the other stream", choices=("permute", "fixed", "pairs")
    )
    windows: str = setting(
        "pure", "whether a window holds one stream only or both", choices=("pure", "mixed")
    )
    tag: str = setting(
        "none",
        "which stream's biographies start with a token of their own",
        choices=("none", "main", "other"),
    )
    tiers: tuple[str, ...] = _tiers()
    zipf: float = _zipf()
    zipf_tiers: int = _zipf_tiers()
    value_zipf: float = popularity.value_zipf()

    @property
    def attribute_sizes(self) -> dict[str, int]:
        """Number of values of each independent attribute in the order of S0; the city of work
        follows from the employer, and the gender shows in a pronoun only."""
        sentences = sum(
            map(bool, (self.years, self.cities, self.universities, self.majors))
        ) + 2 * bool(self.employers)
        sizes = {
            "gender": 2 * (sentences > 1 and not self.full_names),
            "birth_date": self.months * self.days * self.years,
            "birth_city": self.cities,
            "university": self.universities,
            "major": self.majors,
            "employer": self.employers,
        }
        return {name: size for name, size in sizes.items() if size > 0}

    @property
    def attribute_bits(self) -> float:
        """log2 S0, 47.592 at the published sizes (Definition 4.3 and footnote 12); with value_zipf
        the entropy of one person's values, which stands in its place."""
        return sum(map(self.value_bits, self.attribute_sizes))

    def value_zipf_of(self, attribute: str) -> float:
        """The exponent by which values of an attribute are drawn; 0: all alike."""
        return self.value_zipf if attribute in popularity.LISTS else 0.0

    def value_bits(self, attribute: str) -> float:
        """Entropy of one value of an attribute, log2 of its list's size where all are alike."""
        size = self.attribute_sizes[attribute]
        return popularity.entropy_bits(size, self.value_zipf_of(attribute))


@dataclass(frozen=True)
class MixedData(BiosData):
    """People of bioS and random rows in one stream, so that one model is asked for both kinds of
    bits at once.

    A row is a marker of its own, as EOS is that of a biography, and row_len independent, uniform
    tokens behind it, the same at every exposure; they are drawn from ids of the one vocabulary,
    those behind EOS (id 0). Both families take turns in one order. With no rows the run is one of
    data=bios, token by token; with no people it is one of rows alone. data.skip counts rows too.
    """

    unit: ClassVar[str] = "items"
    size_key: ClassVar[str] = "n_items"

    kind: str = setting("mixed", "which generator", choices=("mixed",))
    n_people: int | None = setting(
        None, "people (0: none), with data.n_rows (or give data.load)", low=0, high=LARGEST
    )
    n_rows: int | None = setting(
        None, "random rows (0: none), with data.n_people", low=0, high=LARGEST
    )
    load: float | None = setting(
        None,
        "bits of both per parameter (total), instead of n_people and n_rows; data.random_share "
        "says how many of them are random",
        above=0.0,
        high=1e9,
    )
    random_share: float = setting(
        0.5, "part of the bits of data.load that random rows hold", low=0.0, high=1.0
    )
    row_len: int = setting(32, "S, tokens of a random row", low=2, high=65536)
    row_vocab: int | None = setting(
        None,
        "V, different tokens of random rows, the first ids behind EOS; empty: all but EOS",
        low=2,
        high=2**31 - 1,
    )
    row_rate: int = setting(1, "a row is seen so many times ...", low=1, high=64)
    person_rate: int = setting(1, "... where a person is seen so many times", low=1, high=64)

    @property
    def has_rows(self) -> bool:
        """Whether any row is asked for."""
        return self.random_share > 0 if self.load is not None else bool(self.n_rows)

    @property
    def has_people(self) -> bool:
        """Whether any person is."""
        return self.random_share < 1 if self.load is not None else bool(self.n_people)
