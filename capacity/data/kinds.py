"""The kinds of data that a run can train on, as frozen settings; `data.kind` picks one (standard
library only).

Every kind answers the same questions: how many rows the token table needs, how many items
(sequences, people) there are, how many bits they hold, how many tokens one exposure of an item
takes, and which of its settings are part of a run's identity.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from capacity.base.errors import ConfigError
from capacity.data import entropy
from capacity.settings import field as settings
from capacity.settings.field import setting

LARGEST = 2**40


class _Sequences:
    """What the kinds of single sequences have in common: a learned BOS in front, every token
    predicted, all rows in use."""

    bos: ClassVar[bool] = True
    unit: ClassVar[str] = "sequences"
    size_key: ClassVar[str] = "n_sequences"

    @property
    def rows(self) -> int:
        """Rows of the token table."""
        return self.vocab_size

    @property
    def used_rows(self) -> int:
        """Rows that the training data can touch."""
        return self.vocab_size

    @property
    def tokens_per_item(self) -> float:
        """Predicted tokens per exposure of an item."""
        return float(self.seq_len)


@dataclass(frozen=True)
class UniformData(_Sequences):
    """Sequences of independent, uniform tokens (Morris et al., arXiv 2505.24832, section 3): H = N
    S log2 V bits."""

    kind: str = setting("uniform", "which generator", choices=("uniform",))
    vocab_size: int = setting(256, "V, number of different tokens", low=2, high=2**31 - 1)
    seq_len: int = setting(32, "S, tokens per sequence", low=2, high=65536)
    n_sequences: int | None = setting(
        None, "N, sequences in the training set (or give data.load)", low=1, high=LARGEST
    )
    load: float | None = setting(
        None, "H/P: bits of data per parameter (total), instead of n_sequences", above=0.0, high=1e9
    )

    def items(self, parameters: int) -> int:
        """N: as given, or the whole number of sequences nearest to the demanded load (at least
        1)."""
        if self.n_sequences is not None:
            return self.n_sequences
        return max(1, round(self.load * parameters / (self.seq_len * math.log2(self.vocab_size))))

    def bits(self, items: int) -> float:
        """N S log2 V, exact: every token is uniform and independent."""
        return items * self.seq_len * math.log2(self.vocab_size)

    def identity(self, items: int) -> dict:
        """What a result depends on."""
        out = settings.identity(self) | {"n_sequences": items}
        del out["load"]
        return out

    def check(self, items: int) -> None:
        # 2^48 tokens is far above any random-data study (the largest published run has 2^29) and
        # far below overflow.
        if items * self.seq_len > 2**48:
            raise ConfigError(
                f"data: {items} sequences of {self.seq_len} tokens are more than 2^48 tokens"
            )


def _keep_apart(people: int, seq_len: int, shortest: int, key: str) -> None:
    """Half of the people lie between two renderings of one person (data/stream.py); they must fill
    a window."""
    if people // 2 * (shortest + 1) < seq_len:
        enough = 2 * -(-seq_len // (shortest + 1))
        raise ConfigError(
            f"{key}={people}: a window of data.seq_len={seq_len} tokens could show a person twice, "
            f"biographies "
            f"have {shortest} tokens or more; give at least {enough} people or shorter windows"
        )


class _Worded:
    """What the kinds with words have in common: their vocabulary and pieces come from a compiled
    lexicon."""

    @property
    def compiled(self):
        """The `lexicon.Lexicon`: token ids of every piece of text that this data can show."""
        from capacity.data import (
            lexicon,
        )  # needs tokenizers, unless the lexicon was compiled before

        return lexicon.of(self)

    @property
    def rows(self) -> int:
        return self.compiled.rows + (getattr(self, "tag", "none") != "none")

    @property
    def used_rows(self) -> int:
        return self.compiled.used_rows(self) + (getattr(self, "tag", "none") != "none")


@dataclass(frozen=True)
class BiosData(_Worded):
    """bioS(N), synthetic biographies (Physics of Language Models 3.3, arXiv 2404.05405, section
    2.2), and its variants.

    A world has the first so many values of each pool. Two streams of biographies can be mixed: the
    main one, which is measured, and another one of other people (junk, celebrities), which is not.
    """

    bos: ClassVar[bool] = False  # windows of a stream; EOS stands in front of every biography
    unit: ClassVar[str] = "people"
    size_key: ClassVar[str] = "n_people"

    kind: str = setting("bios", "which generator", choices=("bios",))
    n_people: int | None = setting(
        None, "N, people who are measured (or give data.load)", low=1, high=LARGEST
    )
    load: float | None = setting(
        None, "R^max: bits of data per parameter (total), instead of n_people", above=0.0, high=1e9
    )
    seq_len: int = setting(512, "predicted tokens per window of the stream", low=8, high=65536)
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
    first_names: int = setting(400, "first names", low=1)
    middle_names: int = setting(400, "middle names; 0: none", low=0)
    last_names: int = setting(1000, "last names", low=1)
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

    @property
    def n_names(self) -> int:
        """N0, different full names."""
        return self.first_names * max(1, self.middle_names) * self.last_names

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
        """log2 S0, 47.592 at the published sizes (Definition 4.3 and footnote 12)."""
        return sum(math.log2(size) for size in self.attribute_sizes.values())

    def items(self, parameters: int) -> int:
        if self.n_people is not None:
            return self.n_people
        return entropy.largest_population(self.load * parameters, self.n_names, self.attribute_bits)

    def bits(self, items: int) -> float:
        """R^max P = N log2(N0/N) + N log2 S0."""
        return entropy.knowledge_ceiling(items, self.n_names, self.attribute_bits)

    @property
    def tokens_per_item(self) -> float:
        """Mean tokens of the stream per exposure of a measured person: biography, EOS, tag, and the
        other stream's part."""
        lengths = self.compiled.mean_tokens(self)
        main, other = lengths + 1 + (self.tag == "main"), lengths + 1 + (self.tag == "other")
        if not self.other_parts:
            return main
        if self.windows == "pure":  # the parts are windows of equal length
            return main * (self.main_parts + self.other_parts) / self.main_parts
        return main + other * self.other_parts / self.main_parts

    def identity(self, items: int) -> dict:
        out = settings.identity(self) | {"n_people": items, "lexicon": self.compiled.digest}
        for name in ("load", "pools_dir", "templates_file"):
            del out[name]
        return out

    def check(self, items: int) -> None:
        if not set(self.attribute_sizes) - {"gender"}:
            raise ConfigError(
                "data: years, cities, universities, majors and employers are all 0; a person needs "
                "one of them"
            )
        if items + self.other_people > self.n_names:
            others = f" and {self.other_people:,} others" if self.other_people else ""
            raise ConfigError(
                f"data.n_people={items}: {items:,} people{others} need distinct names, but "
                f"{self.first_names} x "
                f"{max(1, self.middle_names)} x {self.last_names} = {self.n_names:,} are all there "
                f"are"
            )
        if (self.other_people > 0) != (self.other_parts > 0):
            raise ConfigError(
                f"data.other_people={self.other_people} and data.other_parts={self.other_parts}: "
                f"the other stream "
                "needs both above 0, no other stream needs both 0"
            )
        if self.tag == "other" and not self.other_people:
            raise ConfigError(
                "data.tag=other: there is no other stream; allowed: none, main, or "
                "data.other_people above 0"
            )
        if self.same_sentences and self.biographies is None:
            raise ConfigError(
                "data.same_sentences=true: needs a number of texts per person; set data.biographies"
            )
        self._check_texts()
        shortest = self.compiled.shortest(
            self
        )  # reads pools and templates: wrong files are found here, before training
        _keep_apart(items, self.seq_len, shortest, "data.n_people")
        if self.other_people:
            _keep_apart(self.other_people, self.seq_len, shortest, "data.other_people")

    def _check_texts(self) -> None:
        from capacity.data.lexicon import different_texts

        for name, asked, order, same in (
            ("biographies", self.biographies, self.order, self.same_sentences),
            ("other_biographies", self.other_biographies, self.other_order, False),
        ):
            if asked is not None and asked > (
                most := different_texts(self.compiled.content, self, order, same)
            ):
                raise ConfigError(
                    f"data.{name}={asked}: with this order and these templates a person has only "
                    f"{most} different "
                    "texts"
                )


@dataclass(frozen=True)
class BiodData(_Worded):
    """bioD(N, K, C, D, L, T) (Physics of Language Models 3.3, Definition 2.2): names and K
    attributes of C chunks, each chunk one of D strings of L symbols over an alphabet of T; every
    symbol is one token by construction."""

    bos: ClassVar[bool] = False
    unit: ClassVar[str] = "people"
    size_key: ClassVar[str] = "n_people"

    kind: str = setting("biod", "which generator", choices=("biod",))
    n_people: int | None = setting(None, "N, people (or give data.load)", low=4, high=LARGEST)
    load: float | None = setting(
        None, "R^max: bits of data per parameter (total), instead of n_people", above=0.0, high=1e9
    )
    seq_len: int = setting(512, "predicted tokens per window of the stream", low=8, high=65536)
    pools_dir: str | None = setting(None, "folder of name lists; empty: the lists of this package")
    lexicon: str | None = setting(
        None, "digest of the compiled names and tokens; filled in by itself"
    )
    first_names: int = setting(400, "first names", low=1)
    middle_names: int = setting(400, "middle names; 0: none", low=0)
    last_names: int = setting(1000, "last names", low=1)
    attributes: int = setting(6, "K, attributes per person", low=1, high=1000)
    chunks: int = setting(1, "C, chunks per value", low=1, high=1000)
    diversity: int = setting(100, "D, different strings per attribute", low=1, high=10**6)
    length: int = setting(1, "L, symbols per chunk", low=1, high=1000)
    alphabet: int = setting(
        1000, "T, different symbols; each is one row of the token table", low=2, high=10**6
    )
    separator: str = setting("comma", "what stands between chunks", choices=("comma", "none"))

    @property
    def n_names(self) -> int:
        return self.first_names * max(1, self.middle_names) * self.last_names

    def items(self, parameters: int) -> int:
        if self.n_people is not None:
            return self.n_people
        sets = self.attributes * entropy.diversity_bits(
            self.alphabet, self.length, self.diversity, 0.0
        )
        value_bits = self.attributes * self.chunks * math.log2(self.diversity)
        return max(
            4, entropy.largest_population(self.load * parameters - sets, self.n_names, value_bits)
        )

    def bits(self, items: int) -> float:
        """R^max P (Definition 4.1)."""
        return entropy.biod_ceiling(
            items,
            self.n_names,
            self.attributes,
            self.chunks,
            self.diversity,
            self.length,
            self.alphabet,
        )

    @property
    def tokens_per_item(self) -> float:
        return self.compiled.mean_tokens(self) + 1

    def identity(self, items: int) -> dict:
        out = settings.identity(self) | {"n_people": items, "lexicon": self.compiled.digest}
        del out["load"], out["pools_dir"]
        return out

    def check(self, items: int) -> None:
        if math.log2(self.diversity) > self.length * math.log2(self.alphabet):
            raise ConfigError(
                f"data.diversity={self.diversity}: only {self.alphabet}^{self.length} = "
                f"{self.alphabet**self.length} different strings exist (data.alphabet^data.length)"
            )
        if items > self.n_names:
            raise ConfigError(f"data.n_people={items}: only {self.n_names:,} different names exist")
        _keep_apart(items, self.seq_len, self.compiled.shortest(self), "data.n_people")


@dataclass(frozen=True)
class CorpusData(_Worded):
    """Biographies of your own, such as bioR: a JSONL file with one person per line, {"person":
    "...", "attributes": {"name": "value", ...}, "texts": ["...", ...]}; an exposure shows one of
    the texts."""

    bos: ClassVar[bool] = False
    unit: ClassVar[str] = "people"
    size_key: ClassVar[str] = "n_people"

    kind: str = setting("corpus", "which generator", choices=("corpus",))
    path: str = setting("people.jsonl", "the JSONL file")
    n_people: int | None = setting(
        None, "people, the first ones of the file; empty: all", low=4, high=LARGEST
    )
    n_names: float | None = setting(
        None, "N0, size of the space of names; empty: names count no bits", low=1
    )
    seq_len: int = setting(512, "predicted tokens per window of the stream", low=8, high=65536)
    lexicon: str | None = setting(None, "digest of the compiled corpus; filled in by itself")
    tokenizer: str = setting(
        "bpe",
        "bpe: trained on the corpus; gpt2: GPT-2's, rows in use only",
        choices=("bpe", "gpt2"),
    )
    vocab_size: int | None = setting(
        None,
        "rows asked of the trained BPE; empty: until every word is one token",
        low=2,
        high=2**20,
    )

    def items(self, parameters: int) -> int:
        return self.compiled.n_people

    def bits(self, items: int) -> float:
        """N log2(N0/N) + N sum of log2(different values): what the corpus holds if its values were
        uniform; an upper bound."""
        names = entropy.name_bits(self.n_names, items) if self.n_names is not None else 0.0
        return names + items * self.compiled.attribute_bits

    @property
    def tokens_per_item(self) -> float:
        return self.compiled.mean_tokens(self) + 1

    def identity(self, items: int) -> dict:
        out = settings.identity(self) | {"n_people": items, "lexicon": self.compiled.digest}
        del out["path"]
        return out

    def check(self, items: int) -> None:
        if self.n_people is not None and self.n_people > items:
            raise ConfigError(f"data.n_people={self.n_people}: {self.path} has only {items} people")
        if self.n_names is not None and self.n_names < items:
            raise ConfigError(
                f"data.n_names={self.n_names:g}: less than the {items} people of {self.path}"
            )
        _keep_apart(items, self.seq_len, self.compiled.shortest(self), "data.n_people")


@dataclass(frozen=True)
class TextData(_Sequences):
    """Sequences of text (Morris et al., arXiv 2505.24832, section 4): members are trained on,
    held-out ones only scored, reference data teach a reference model."""

    kind: str = setting("text", "which generator", choices=("text",))
    source: str = setting(
        "grammar",
        "grammar: invented text, needs nothing; files: local ones; hub: a data set by name",
        choices=("grammar", "files", "hub"),
    )
    path: str | None = setting(
        None,
        "files: a pattern such as texts/*.txt (txt, jsonl, parquet, arrow), also in an installed "
        "package as "
        "package:NAME/FILE; hub: the name",
    )
    field: str = setting("text", "column that holds the text")
    split: str = setting("train", "split of a data set of the hub")
    revision: str | None = setting(
        None,
        "commit, tag or branch of a data set of the hub; a commit pins its content",
        neutral=None,
    )
    documents: int | None = setting(
        None,
        "documents that are read, the first ones; empty: all (grammar: 10,000)",
        low=1,
        high=LARGEST,
    )
    tokenizer: str = setting(
        "bpe", "bpe: trained on the documents; gpt2: GPT-2's", choices=("bpe", "gpt2")
    )
    vocab_size: int = setting(
        1024, "V, rows of the token table with the end of text; 50258 for gpt2", low=3, high=2**20
    )
    seq_len: int = setting(64, "S, tokens per sequence", low=2, high=65536)
    n_sequences: int | None = setting(
        None, "N, members (or give data.tokens_per_parameter)", low=1, high=LARGEST
    )
    tokens_per_parameter: float | None = setting(
        None, "N S / P (total), instead of n_sequences", above=0.0, high=1e9
    )
    n_held_out: int = setting(
        1000, "non-members, which are scored and never trained on", low=2, high=LARGEST
    )
    n_reference: int | None = setting(
        None, "sequences of a reference model (trained_on=reference or others)", low=1, high=LARGEST
    )
    trained_on: str = setting(
        "members",
        "members; reference: n_reference sequences, the members among them; others: n_reference "
        "sequences "
        "without the members; half: a random half of members and held-out ones, by the run's seed "
        "(shadow model)",
        choices=("members", "reference", "others", "half"),
    )
    canaries: int = setting(
        0,
        "random sequences that are inserted at each of data.repeats, to measure exposure",
        low=0,
        high=2**20,
        neutral=0,
    )
    repeats: tuple[int, ...] = setting(
        (0, 1, 4, 16, 64, 256), "how often a canary stands in the training set, by level", low=0
    )
    canary_text: str = setting(
        "random",
        "canaries are random tokens, or sequences of the text that nothing else uses (pool)",
        choices=("random", "pool"),
        neutral="random",
    )
    last_view: float | None = setting(
        None,
        "part of training after which no canary is seen any more; each is seen as often as its "
        "level "
        "says, at set steps before; empty: canaries are shuffled into the training set",
        above=0.0,
        high=1.0,
        neutral=None,
    )
    view_spacing: int = setting(
        8, "steps between two views of a canary, with data.last_view", low=1, high=2**31, neutral=8
    )
    split_seed: int = setting(
        0, "which sequences are held out and which are members", low=0, high=2**63 - 1
    )
    pool: str | None = setting(None, "digest of the pool of sequences; filled in by itself")

    @property
    def pool_digest(self) -> str:
        """Names the table of sequences: the source's content and all that cuts it into tokens."""
        if self.pool is not None:
            return self.pool
        from capacity.data import text

        cut = [
            text.SCHEMA,
            text.source_digest(
                self.source, self.path, self.field, self.split, self.documents, self.revision
            ),
            self.tokenizer,
            self.vocab_size,
            self.seq_len,
        ]
        return hashlib.sha256(repr(cut).encode()).hexdigest()[:16]

    def items(self, parameters: int) -> int:
        """N of the split: members, also where a run trains on more."""
        if self.n_sequences is not None:
            return self.n_sequences
        return max(1, round(self.tokens_per_parameter * parameters / self.seq_len))

    def trained_items(self, items: int) -> int:
        """Rows of the training set, canaries with their repeats among them, given the N members of
        the split."""
        inserted = self.canaries * sum(self.repeats) if self.last_view is None else 0
        if self.trained_on in ("reference", "others"):
            return (self.n_reference or 0) + inserted
        return ((items + self.n_held_out) // 2 if self.trained_on == "half" else items) + inserted

    def bits(self, items: int) -> float:
        """N S log2 V: what uniform tokens would hold; the text's own entropy is lower and not
        known."""
        return items * self.seq_len * math.log2(self.vocab_size)

    def identity(self, items: int) -> dict:
        out = settings.identity(self) | {"n_sequences": items, "pool": self.pool_digest}
        if self.trained_on not in ("reference", "others"):
            del out["n_reference"]
        if not self.canaries:
            del out["repeats"]
        for name in (
            "tokens_per_parameter",
            "source",
            "path",
            "field",
            "split",
            "documents",
            "revision",
        ):  # the pool's digest says it
            out.pop(name, None)
        return out

    def check(self, items: int) -> None:
        if self.trained_on == "others" and self.n_reference is None:
            raise ConfigError(
                "data.n_reference: data.trained_on=others needs the number of sequences"
            )
        if self.trained_on == "reference" and (self.n_reference or 0) < items:
            raise ConfigError(
                f"data.n_reference={self.n_reference}: a reference model trains on the {items} "
                f"members and more; give a "
                "whole number that is not smaller"
            )
        if self.source == "grammar" and self.path is not None:
            raise ConfigError(
                f"data.path={self.path}: data.source=grammar reads no file; use data.source=files "
                f"or hub"
            )
        if self.revision is not None and self.source != "hub":
            raise ConfigError(
                f"data.revision={self.revision}: only a data set of the hub has one "
                f"(data.source=hub)"
            )
        if self.source == "hub" and not self.path:
            raise ConfigError("data.path: data.source=hub needs the name of a data set")
        if self.tokenizer == "gpt2" and self.vocab_size != 50258:
            raise ConfigError(
                f"data.vocab_size={self.vocab_size}: GPT-2's tokens and an end of text of our own "
                f"are 50258 rows"
            )
        self.pool_digest

    def check_views(self, steps: int, batch_size: int) -> None:
        """ConfigError where canaries at set steps (data/views.py) do not fit into a training."""
        last, most = round(self.last_view * steps), max(self.repeats, default=0)
        if not self.canaries or not most or 0 not in self.repeats:
            raise ConfigError(
                f"data.last_view={self.last_view:g}: needs canaries that are seen and some that "
                f"never are; give data.canaries, and "
                "data.repeats with 0 among them"
            )
        if not self.view_spacing * most < last < steps:
            raise ConfigError(
                f"data.last_view={self.last_view:g}: is step {last} of {steps}, but {most} views "
                f"every "
                f"data.view_spacing={self.view_spacing} steps need more than "
                f"{self.view_spacing * most} before it, and one after it"
            )
        seen = (
            i * self.canaries + j
            for i, repeats in enumerate(self.repeats)
            if repeats
            for j in range(self.canaries)
        )
        at_once = max(Counter(j % self.view_spacing for j in seen).values())
        if at_once > batch_size:
            raise ConfigError(
                f"data.canaries={self.canaries}: {at_once} of them would meet in a batch of "
                f"{batch_size}; give fewer, a larger "
                "train.batch_size or a larger data.view_spacing"
            )


KINDS: dict[str, type] = {
    "text": TextData,
    "uniform": UniformData,
    "bios": BiosData,
    "biod": BiodData,
    "corpus": CorpusData,
}
