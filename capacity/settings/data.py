"""The settings of each kind of data that a run can train on; `data.kind` picks one. What they
amount to with their files at hand, such as rows and bits, is in `data.resolve` (standard library
only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from capacity.settings import canaries as kinds_of_canaries
from capacity.settings import named, timed_facts
from capacity.settings.bios import BiosData, MixedData
from capacity.settings.field import setting
from capacity.settings.fresh import CopyData, FreshData, MqarData
from capacity.settings.named import LARGEST
from capacity.settings.tiers import tiers as _tiers
from capacity.settings.tiers import zipf as _zipf
from capacity.settings.tiers import zipf_tiers as _zipf_tiers


class _Sequences:
    """What the kinds of single sequences have in common: a learned BOS in front, every token
    predicted, all rows in use."""

    bos: ClassVar[bool] = True
    unit: ClassVar[str] = "sequences"
    size_key: ClassVar[str] = "n_sequences"


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
    tiers: tuple[str, ...] = _tiers()
    zipf: float = _zipf()
    zipf_tiers: int = _zipf_tiers()
    skip: int = named.skip(
        "sequences of this seed before the first one: data sets of one seed that skip each other's "
        "have none in common"
    )


@dataclass(frozen=True)
class BiodData(named.Named):
    """bioD(N, K, C, D, L, T) (Physics of Language Models 3.3, Definition 2.2): names and K
    attributes of C chunks, each chunk one of D strings of L symbols over an alphabet of T; every
    symbol is one token by construction."""

    kind: str = setting("biod", "which generator", choices=("biod",))
    n_people: int | None = setting(None, "N, people (or give data.load)", low=4, high=LARGEST)
    load: float | None = named.load()
    skip: int = named.skip_people()
    seq_len: int = named.seq_len()
    pools_dir: str | None = setting(None, "folder of name lists; empty: the lists of this package")
    lexicon: str | None = setting(
        None, "digest of the compiled names and tokens; filled in by itself"
    )
    first_names: int = named.first_names()
    middle_names: int = named.middle_names()
    last_names: int = named.last_names()
    attributes: int = setting(6, "K, attributes per person", low=1, high=1000)
    chunks: int = setting(1, "C, chunks per value", low=1, high=1000)
    diversity: int = setting(100, "D, different strings per attribute", low=1, high=10**6)
    length: int = setting(1, "L, symbols per chunk", low=1, high=1000)
    alphabet: int = setting(
        1000, "T, different symbols; each is one row of the token table", low=2, high=10**6
    )
    separator: str = setting("comma", "what stands between chunks", choices=("comma", "none"))
    order: str = setting(
        "permute",
        "attributes of a text: in a new order at every exposure, or always in one",
        choices=("permute", "fixed"),
        neutral="permute",
    )
    wording: str = setting(
        "sentences",
        "sentences: a subject, its attribute and a stop around every value; attributes: the name, "
        "then one token in front of every value says which it is; values: the name, then values",
        choices=("sentences", "attributes", "values"),
        neutral="sentences",
    )
    rows: int | None = setting(
        None,
        "rows of the token table, some of which no text uses; empty: those that texts use",
        low=2,
        high=10**6,
        neutral=None,
    )
    tiers: tuple[str, ...] = _tiers()
    zipf: float = _zipf()
    zipf_tiers: int = _zipf_tiers()


@dataclass(frozen=True)
class CorpusData:
    """Biographies of your own, such as bioR: a JSONL or Parquet file with one person per line or
    row, {"person": "...", "attributes": {"name": "value", ...}, "texts": ["...", ...]}; an exposure
    shows one of the texts. A text may be {"text": "...", "spans": {"name": [start, end]}}:
    docs/how-to/corpus.md."""

    bos: ClassVar[bool] = False
    unit: ClassVar[str] = "people"
    size_key: ClassVar[str] = "n_people"

    kind: str = setting("corpus", "which generator", choices=("corpus",))
    path: str = setting(
        "people.jsonl",
        "the file, JSONL or Parquet (.parquet)",
        form=(r"[\s\S]*\S[\s\S]*", "the name of a file"),
    )
    n_people: int | None = setting(
        None, "people, the first ones of the file; empty: all", low=4, high=LARGEST
    )
    n_names: float | None = setting(
        None, "N0, size of the space of names; empty: names count no bits", low=1
    )
    seq_len: int = named.seq_len()
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
    missing_attributes: str = setting(
        "refuse",
        "a person without one of the attributes (absent or null): refuse the file, or allow: this "
        "person is not asked for it",
        choices=("refuse", "allow"),
        neutral="refuse",
    )
    value_bits: str = setting(
        "frequency",
        "bits of a value: frequency: log2(n / c) of a value that c of n people have; alternatives: "
        "log2 of the number of equally likely values that the file says it was drawn from",
        choices=("frequency", "alternatives"),
        neutral="frequency",
    )
    tiers: tuple[str, ...] = _tiers()
    zipf: float = _zipf()
    zipf_tiers: int = _zipf_tiers()


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
        "files: a pattern such as texts/*.txt (txt, jsonl, csv, tsv, also packed by gzip or zstd; "
        "parquet, arrow), also in an installed package as package:NAME/FILE; hub: the name",
    )
    field: str = setting("text", "column that holds the text; a.b: b of the object a")
    null_rows: str = setting(
        "refuse",
        "a row without data.field (null or absent): refuse the file, or skip the row and count it",
        choices=("refuse", "skip"),
        neutral="refuse",
    )
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
    view_windows: tuple[str, ...] = kinds_of_canaries.windows()
    canary_lengths: tuple[int, ...] = kinds_of_canaries.lengths()
    canary_noise: tuple[str, ...] = kinds_of_canaries.noise()
    copy_noise: tuple[str, ...] = kinds_of_canaries.copy_noise()
    facts: int = timed_facts.facts()
    fact_views: int = timed_facts.views()
    fact_wordings: int = timed_facts.wordings()
    held_out_wordings: int = timed_facts.held_out_wordings()
    known_facts: int = timed_facts.known_facts()
    split_seed: int = setting(
        0, "which sequences are held out and which are members", low=0, high=2**63 - 1
    )
    text_seed: int = setting(
        0,
        "grammar: which documents it writes; the words, their frequencies and the rules stay, so "
        "that another seed is another sample of the same text (a BPE is trained on it anew)",
        low=0,
        high=2**63 - 1,
        neutral=0,
    )
    split_by: str | None = setting(
        None,
        "document: windows of one document, and its exact copies, are on one side, members or "
        "held out; window: a stream of all documents is cut and split window by window, so that "
        "parts of a document are on both; empty: document for files and hub, window for a grammar",
        choices=("document", "window"),
        neutral=None,
    )
    group: str | None = setting(
        None,
        "column, such as person or source, whose equal values stay on one side; of plain text "
        "files: file",
        neutral=None,
    )
    near_duplicates: str = setting(
        "report",
        "report: count held-out sequences that share data.overlap_tokens tokens with the training "
        "set; keep_together: besides, documents that share them stay on one side",
        choices=("report", "keep_together"),
        neutral="report",
    )
    overlap_tokens: int = setting(
        13,
        "tokens in a row that near-duplicates share (13: Brown et al., arXiv 2005.14165, "
        "appendix C)",
        low=2,
        high=1024,
        neutral=13,
    )
    pool: str | None = setting(None, "digest of the pool of sequences; filled in by itself")
    tiers: tuple[str, ...] = _tiers()
    zipf: float = _zipf()
    zipf_tiers: int = _zipf_tiers()

    @property
    def splits_documents(self) -> bool:
        """Whether a new pool is split by document; a kept one says so itself."""
        if self.split_by is not None:
            return self.split_by == "document"
        return self.source != "grammar"


def text_data(data: Data) -> TextData:
    """The settings of text; TypeError for another kind, which is a mistake of the caller."""
    if not isinstance(data, TextData):
        raise TypeError(f"data.kind={data.kind}: expected text")
    return data


def mixed_data(data: Data) -> MixedData:
    """The settings of people and random rows; TypeError for another kind, which is a mistake of the
    caller."""
    if not isinstance(data, MixedData):
        raise TypeError(f"data.kind={data.kind}: expected mixed")
    return data


def worded_data(data: Data) -> WordedData:
    """The settings of a kind with words; TypeError for another kind."""
    if isinstance(data, UniformData | TextData | FreshData):
        raise TypeError(f"data.kind={data.kind}: expected bios, biod or corpus")
    return data


WordedData = BiosData | BiodData | CorpusData  # their text comes from a compiled lexicon
Data = UniformData | WordedData | TextData | FreshData

KINDS: dict[str, type[Data]] = {
    "text": TextData,
    "uniform": UniformData,
    "bios": BiosData,
    "mixed": MixedData,
    "biod": BiodData,
    "corpus": CorpusData,
    "copy": CopyData,
    "mqar": MqarData,
}
