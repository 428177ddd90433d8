"""`capacity data`: what a run would be trained on: bits, vocabulary, samples with their places; and
the same as a file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from capacity import compose
from capacity.base import table
from capacity.base.errors import ConfigError
from capacity.base.table import Column, Table
from capacity.base.words import WIDTH, command, count, digits, plural, wrap
from capacity.config import Config
from capacity.data import entropy, lexicons
from capacity.data.biographies import BiodWorld, BiosWorld
from capacity.data.facts import frequency_bits
from capacity.data.resolve import BiodResolved, CorpusResolved, MixedResolved
from capacity.inspection import people, people_file, sequences
from capacity.inspection.people import Decoder, Shown, Told
from capacity.inspection.settings import as_text
from capacity.settings.data import (
    BiodData,
    BiosData,
    CorpusData,
    TextData,
    UniformData,
    worded_data,
)
from capacity.settings.fresh import FreshData, fresh_data, sequence_bits

SAMPLES = 3
MOST_COUNTED = 10**6  # people whose values are counted for the bits by frequency
ATTRIBUTES = 20  # rows of the table of bits
SHOWN_TOKENS = 400  # of a sample


def show(overrides: list[str], output: Path | None, texts: int | None) -> str:
    """What `capacity train` with these settings trains on, in lines of at most 80 columns; with
    `output` all of it is written to a file, too. texts: of each person of a generator, None: all
    that a run shows, or four. ConfigError for settings or files that are wrong."""
    if output is not None and output.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--output {output}: expected a file that ends in .jsonl or .parquet")
    config = compose.load(overrides)
    if isinstance(config.data, UniformData | TextData | FreshData):
        fresh = isinstance(config.data, FreshData)
        lines = _of_fresh(config) if fresh else _of_sequences(config)
        if output is not None:
            about = sequences.write(output, config, _about(config))
            lines += ["", *_written_sequences(output, about)]
        return "\n".join(lines)
    if output is not None and not config.resolved.people(config.items):
        raise ConfigError(
            f"--output {output}: data.n_people=0: there are no people to write; random rows follow "
            "from the seed"
        )
    decoder = Decoder(config)
    n_texts = people.texts_of(config, texts)
    lines = _of_people(config, decoder, n_texts)
    if output is not None:
        persons = people.people(config, decoder, n_texts, None)
        about = people_file.write(output, persons, _about(config))
        lines += ["", *_written_people(config, output, about, n_texts)]
    return "\n".join(lines)


def _about(config: Config) -> dict[str, Any]:
    """What a file is of: settings of the data with the digest of what they were compiled from, and
    the seed."""
    return {
        "data": config.as_dict()["data"],
        "seed": config.seed,
        "entropy_bits": config.entropy_bits,
        "attributes": {
            name: {"bits": bits, "values": values} for name, values, bits in _source_bits(config)
        },
    }


# People


def _of_people(config: Config, decoder: Decoder, n_texts: int) -> list[str]:
    data, resolved = worded_data(config.data), config.resolved
    n = resolved.people(config.items)
    rows = config.items - n  # random ones, of mixed data
    beside = f" and {plural(rows, 'random row')}" if rows else ""
    lines = wrap(
        f"{_title(config)}: {plural(n, 'person', 'people')}{beside}, "
        f"{count(config.entropy_bits)}bit ({'R^max' if not rows else 'of both'}), seed "
        f"{config.seed}"
    )
    size = f"vocabulary  {plural(resolved.rows, 'row')} of the token table"
    used = resolved.used_rows
    size += f", {used:,} in use" if used != resolved.rows else ", all in use"
    kind = getattr(data, "tokenizer", "bpe")
    lines += wrap(f"{size} ({kind} tokens; lexicon {lexicons.of(data).digest})", "", " " * 12)
    mean = lexicons.of(data).mean_tokens(data)
    lines += wrap(
        f"tokens      {digits(mean)} of a text on average, and 1 of its end; "
        f"{count(resolved.tokens_of(config.items) * config.items)} to show everybody once, in "
        "windows of "
        f"{data.seq_len:,}",
        "",
        " " * 12,
    )
    if isinstance(data, BiosData) and data.other_parts:
        lines += wrap(
            f"mixture     {data.other_parts:,} of {data.other_parts + data.main_parts:,} parts are "
            f"of {data.other_people:,} other people, who are not measured and not written",
            "",
            " " * 12,
        )
    if _splits(config):
        lines += ["split       half of the people are taught by questions, the others are asked"]
    if isinstance(resolved, MixedResolved) and rows:
        lines += wrap(
            f"rows        each a marker and {resolved.data.row_len:,} tokens, one of "
            f"{resolved.symbols:,} ids each: {digits(resolved.row_bits, 4)} bits a row, "
            f"{digits(rows * resolved.row_bits, 6)} in all",
            "",
            " " * 12,
        )
    if not n:
        return lines
    lines += ["", *_bits(config)]
    for note in resolved.notes(config.items):
        lines += wrap(note, "", "  ")
    for i, person in enumerate(people.people(config, decoder, max(1, n_texts), SAMPLES), 1):
        lines += ["", *_sample(i, person, config, decoder)]
    return lines


def _splits(config: Config) -> bool:
    return config.extraction.mode != "none"


def _title(config: Config) -> str:
    data = config.data
    return f"data={data.kind}" + (f" {data.path}" if isinstance(data, CorpusData) else "")


def _source_bits(config: Config) -> list[tuple[str, float, float]]:
    """(attribute, number of possible values, bits of one value) by the convention of the data's
    kind, the name first where it counts; of sequences one token."""
    data, n = config.data, config.resolved.people(config.items)
    if isinstance(data, BiosData) and not n:
        return []
    if isinstance(data, BiosData):
        named = [("(name)", float(data.n_names), entropy.name_bits(data.n_names, n) / n)]
        sizes = data.attribute_sizes.items()
        return named + [(k, float(v), data.value_bits(k)) for k, v in sizes]
    if isinstance(data, BiodData):
        named = [("(name)", float(data.n_names), entropy.name_bits(data.n_names, n) / n)]
        value = float(data.diversity**data.chunks), data.chunks * math.log2(data.diversity)
        return named + [(f"ID {k + 1}", *value) for k in range(data.attributes)]
    if isinstance(data, CorpusData):
        resolved = CorpusResolved(data)
        named = []
        if data.n_names is not None:
            named = [("(name)", float(data.n_names), resolved.name_bits(n) / n)]
        return named + [
            (name, about.alternatives or len(about.all_counts), about.all_bits)
            for name, about in resolved.facts.attributes.items()
        ]
    return [("token", float(data.vocab_size), math.log2(data.vocab_size))]


def _bits(config: Config) -> list[str]:
    """Bits by attribute, by the convention of this kind of data and by the frequencies of the
    values that came."""
    data, n = config.data, config.resolved.people(config.items)
    counted = _frequencies(config)
    columns = [
        Column("attribute", right=False),
        Column("values"),
        Column("people"),
        Column("bits each"),
        Column("bits"),
        Column("came"),
        Column("by frequency"),
    ]
    rows = []
    for name, values, bits in _source_bits(config):
        came, by_frequency, having = counted.get(name, (None, None, n))
        rows.append(
            [
                name,
                _whole(values),
                f"{having:,}",
                digits(bits),
                digits(bits * having, 4),
                "" if came is None else f"{came:,}",
                "" if by_frequency is None else digits(by_frequency),
            ]
        )
    caption = "bits by attribute"
    left = len(rows) - ATTRIBUTES
    out = table.text(Table(columns, rows[:ATTRIBUTES], caption))
    if left > 0:
        out.append(f"  and {left:,} more attributes")
    if isinstance(data, BiodData):
        sets = BiodResolved(data).bits(n) - n * sum(b for _, _, b in _source_bits(config))
        out += wrap(f"which strings make up the sets of values: {digits(sets, 6)} bits", "  ")
    out += wrap(f"all: {digits(config.entropy_bits, 7)} bits", "  ")
    return out + wrap(_convention(config), "  ")


def _convention(config: Config) -> str:
    data = config.data
    if isinstance(data, CorpusData) and data.value_bits == "frequency":
        names = "" if data.n_names is not None else "; names count none (data.n_names is not given)"
        return "bits each: sum of (c/n) log2(n/c) over values that c of n people have" + names
    if isinstance(data, BiosData) and data.value_zipf:
        return (
            f"bits each: entropy of a value, drawn by Zipf's law with exponent {data.value_zipf:g} "
            "from its list (dates and gender: all alike), of names log2(N0/N); by frequency: what "
            "the values that came hold by how often they came, as data=corpus counts"
        )
    return (
        "bits each: log2 of the number of values that each is drawn from, of names log2(N0/N); by "
        "frequency: what the values that came hold by how often they came, as data=corpus counts "
        "by default"
    )


def _whole(values: float) -> str:
    return f"{int(values):,}" if values < 1e9 else f"{values:.3g}"


def _frequencies(config: Config) -> dict[str, tuple[int, float, int]]:
    """By attribute, how many different values came, their entropy by frequency, and people who have
    one; empty for more than MOST_COUNTED people."""
    data, n = config.data, config.resolved.people(config.items)
    if isinstance(data, CorpusData):
        return {
            name: (
                len(about.all_counts),
                frequency_bits(about.all_counts.values()),
                about.having,
            )
            for name, about in CorpusResolved(data).facts.attributes.items()
        }
    if n > MOST_COUNTED:
        return {}
    person, device = torch.arange(n), torch.device("cpu")
    drawn: dict[str, torch.Tensor] = {}
    if isinstance(data, BiosData):
        bios = BiosWorld(data, lexicons.of(data), n, config.seed, device)
        drawn = {name: bios.values(name, person) for name in data.attribute_sizes}
    elif isinstance(data, BiodData):
        chunks = BiodWorld(data, lexicons.of(data), n, config.seed, device).chunks(person)
        drawn = {f"ID {k + 1}": chunks[:, k] for k in range(data.attributes)}
    out = {}
    for name, value in drawn.items():
        came = value.unique(dim=0, return_counts=True)[1].tolist()
        out[name] = len(came), frequency_bits(came), n
    return out


def _sample(number: int, person: Told, config: Config, decoder: Decoder) -> list[str]:
    """A person, the first text with its places marked, its tokens and questions."""
    shown = person.texts[0]
    more = len(person.texts) - 1
    texts = f", the first of {plural(more + 1, 'text')}" if more > 0 else ""
    lines = [f"{number}. {person.name} ({person.split}{texts})"]
    lines += wrap(marked(shown), "   ")
    words = tokens_of(shown, config, decoder)
    spans = token_spans(shown, words)
    placed = [
        f"{name or 'name'} {first + 1}" + (f" to {first + length}" if length > 1 else "")
        for name, (first, length) in spans.items()
    ]
    lines += wrap(f"tokens of values: {', '.join(placed)}", "   ", "     ")
    lines += _tokens([_visible(word) for word in words])
    shown_questions = [one for one in person.asked if one.attribute != "gender"][:2]
    for one in shown_questions:
        front = one.prompt if len(one.prompt) <= 50 else "..." + one.prompt[-47:]
        lines += wrap(
            f"asked for {one.attribute or 'the name'}: {front!r} -> {one.answer!r}", "   ", "     "
        )
    if (left := len(person.asked) - len(shown_questions)) > 0:
        lines.append(f"   and {plural(left, 'question')} more")
    return lines


def _tokens(words: Sequence[str]) -> list[str]:
    """Tokens side by side; a line ends between two of them."""
    lines, line = [], f"   {plural(len(words), 'token')}: "
    for i, word in enumerate(words[:SHOWN_TOKENS]):
        part = word + ("|" if i + 1 < len(words) else "")
        if len(line) + len(part) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = "     "
        line += part
    more = len(words) - SHOWN_TOKENS
    return [*lines, line.rstrip() + (f" and {more:,} more" if more > 0 else "")]


def marked(shown: Shown) -> str:
    """A text with its places in brackets, each with the attribute that it states: [Rome: city]."""
    out, at = "", 0
    placed = sorted((span, name) for name, span in _stated(shown).items())
    for (start, end), name in placed:
        out += shown.text[at:start] + f"[{shown.text[start:end]}: {name or 'name'}]"
        at = end
    return out + shown.text[at:]


def _stated(shown: Shown) -> dict[str, tuple[int, int]]:
    """Places that are stated; the name under an empty text, so that they can be sorted."""
    return {name or "": span for name, span in shown.places.items() if span is not None}


def tokens_of(shown: Shown, config: Config, decoder: Decoder) -> list[bytes]:
    """The bytes of each token of a text as the run has it: with a space in front; of a corpus cut
    at the ends of its places."""
    return decoder.encoded(shown, isinstance(config.data, CorpusData))


def token_spans(shown: Shown, words: Sequence[bytes]) -> dict[str, tuple[int, int]]:
    """By attribute (the name under an empty text) the first token and the number of tokens that
    hold any of its characters."""
    ends = list(itertools.accumulate(map(len, words)))
    out = {}
    for name, (start, end) in sorted(_stated(shown).items(), key=lambda one: one[1]):
        a, b = (1 + len(shown.text[:place].encode()) for place in (start, end))
        first = next(i for i, stop in enumerate(ends) if stop > a)
        last = next(i for i, stop in enumerate(ends) if stop >= b)
        out[name] = first, last - first + 1
    return out


def _visible(word: bytes) -> str:
    return word.decode("utf-8", "replace").replace(" ", "_")


def _written_people(config: Config, output: Path, about: dict[str, Any], n_texts: int) -> list[str]:
    data = config.data
    lines = wrap(
        f"{output}: {plural(about['people'], 'person', 'people')}, digest {about['digest']}, seed "
        f"{config.seed}; what it is of: {output.name}.about.json",
        "",
        "  ",
    )
    if isinstance(data, BiosData | BiodData) and getattr(data, "biographies", None) is None:
        lines += wrap(
            f"a run shows a new text at every exposure; of each person {n_texts} were written "
            "(--texts)",
            "  ",
        )
    lines += command(["capacity", "data", *_read_by(config, output)], "  read by: ", "    ")
    if isinstance(data, BiodData):
        lines += wrap(
            "which strings make up the sets of values counts no bits there, names and values do",
            "  ",
        )
    return lines


def _read_by(config: Config, output: Path) -> list[str]:
    """Settings that read a file of these people with the same bits; where values are drawn by
    Zipf's law with those of how often values came."""
    data = worded_data(config.data)
    out = ["data=corpus", f"data.path={as_text(str(output))}"]
    if data.n_names is not None:
        out.append(f"data.n_names={as_text(data.n_names)}")
    if isinstance(data, CorpusData):
        alike = data.value_bits == "alternatives"
    else:
        alike = not getattr(data, "value_zipf", 0.0)
    if alike:
        out.append("data.value_bits=alternatives")
    for name, usual in (("seq_len", 512), ("tokenizer", "bpe"), ("missing_attributes", "refuse")):
        if (value := getattr(data, name, usual)) != usual:
            out.append(f"data.{name}={value}")
    return out


# Sequences


def _of_sequences(config: Config) -> list[str]:
    data = config.data
    assert isinstance(data, UniformData | TextData)
    by_split = sequences.counts(config)
    sizes = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in by_split.items() if n)
    lines = wrap(
        f"{_title(config)}: {sizes} sequences of {data.seq_len:,} tokens, seed {config.seed}",
        "",
        "  ",
    )
    bits = math.log2(data.vocab_size)
    if isinstance(data, TextData):
        rows, used = sequences.vocabulary(data)
        lines += wrap(
            f"vocabulary  {rows:,} rows of the token table, {used:,} in use by sequences of the "
            f"text ({data.tokenizer} tokens)",
            "",
            " " * 12,
        )
    else:
        lines += [f"vocabulary  {data.vocab_size:,} rows of the token table, all in use"]
    lines += [f"tokens      {config.items * data.seq_len:,} to show every sequence once"]
    exact = "exact" if isinstance(data, UniformData) else "a code of log2 V; the text holds fewer"
    lines += wrap(
        f"bits        {digits(bits)} a token, {digits(bits * data.seq_len, 4)} a sequence, "
        f"{digits(config.entropy_bits, 7)} in all ({exact})",
        "",
        " " * 12,
    )
    for note in config.resolved.notes(config.items):
        lines += wrap(note, "", "  ")
    most = SAMPLES if isinstance(data, UniformData) else 1
    for i, one in enumerate(sequences.sequences(config, most), 1):
        if i > SAMPLES:
            break
        repeats = "" if one.repeats is None else f", {one.repeats} times"
        lines += ["", f"{i}. {one.split.replace('_', ' ')} {one.number}{repeats}"]
        words = [str(t) for t in one.tokens] if one.words is None else None
        if words is not None:
            lines += wrap(" ".join(words[:SHOWN_TOKENS]), "   ")
        else:
            shown = [w.replace(" ", "_").replace("\n", "\\n") for w in one.words or []]
            lines += wrap("".join(one.words or []), "   ")
            lines += _tokens(shown)
    return lines


def _of_fresh(config: Config) -> list[str]:
    """Of sequences that are new at every step."""
    data, by_split = fresh_data(config.data), sequences.counts(config)
    lines = wrap(
        f"{_title(config)}: sequences of {data.seq_len:,} tokens, {by_split['train']:,} in "
        f"{config.steps:,} steps, none seen twice, {by_split['held_out']:,} held out, seed "
        f"{config.seed}",
        "",
        "  ",
    )
    lines += [f"vocabulary  {data.rows:,} rows of the token table, all in use"]
    lines += wrap(
        f"bits        {digits(math.log2(data.symbols))} an answer, "
        f"{plural(data.asked, 'answer')} a sequence: {digits(sequence_bits(data), 5)} bits, which "
        f"{data.said:,} tokens say; the loss counts answers only",
        "",
        " " * 12,
    )
    for one in sequences.sequences(config, 1):
        answers = f"{plural(len(one.asked or []), 'answer')} in brackets"
        lines += ["", f"{one.split.replace('_', ' ')} {one.number}, {answers}"]
        shown = [f"[{t}]" if i in (one.asked or []) else str(t) for i, t in enumerate(one.tokens)]
        lines += wrap(" ".join(shown[:SHOWN_TOKENS]), "   ")
    return lines


def _written_sequences(output: Path, about: dict[str, Any]) -> list[str]:
    return wrap(
        f"{output}: {plural(about['sequences'], 'sequence')}, digest {about['digest']}, seed "
        f"{about['seed']}; what it is of: {output.name}.about.json. Sequences have no person, so "
        "that data=corpus does not read them",
        "",
        "  ",
    )
