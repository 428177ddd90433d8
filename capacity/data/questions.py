"""How many tokens a question about a person can have, so that settings whose model has too few
positions for its questions are refused before training (standard library only).

An upper bound over all people, values and templates of a world: which of them the seed draws is
not known here. `measure.questions` and `measure.extraction` build the questions themselves.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from capacity.base.errors import ConfigError
from capacity.data import lexicons
from capacity.data.lexicon import (
    Lexicon,
    attributes_of,
    sentence_groups,
    value_sizes,
    world_templates,
)
from capacity.settings.data import BiodData, BiosData, CorpusData, Data, WordedData

FOLLOWS = {"employer": "work_city", "work_city": "employer"}  # one of them tells of the other


def context_of(data: Data, asked: str) -> str:
    """The context that is used: `asked`, or for auto the one that suits the texts."""
    if asked != "auto":
        return asked
    if isinstance(data, BiodData):
        return "first" if data.order == "permute" else "text"
    return (
        "first"
        if isinstance(data, BiosData) and data.biographies is None and data.order == "permute"
        else "text"
    )


def check_words(extraction: str, data: Data) -> None:
    """ConfigError where extraction.mode asks questions that the vocabulary has no words for."""
    if extraction != "none" and not getattr(data, "questions", False):
        raise ConfigError(
            f"extraction.mode={extraction}: needs data.kind=bios and data.questions=true, so that "
            "the vocabulary has the words of the questions"
        )


def check(
    data: WordedData, asked: str, contexts: int, extraction: bool, wording: bool = False
) -> None:
    """ConfigError where a question needs more positions than data.seq_len, which the model has.

    asked: measure.context; contexts: measure.contexts; extraction: whether questions of extraction
    are asked besides; wording: whether whole texts are.
    """
    context = context_of(data, asked)
    lexicon = lexicons.of(data)
    if wording:
        _check_wording(data, context)
    name = f"a question in context {context}" if isinstance(data, BiosData) else "a question"
    needed = {name: longest(lexicon, data, context, contexts)}
    if extraction and isinstance(data, BiosData):
        needed["a question of extraction"] = _of_extraction(lexicon, data)
    if wording and isinstance(data, BiosData):
        needed["a whole text (measure.wording)"] = whole(lexicon, data)
    what, tokens = max(needed.items(), key=lambda item: item[1])
    if tokens > data.seq_len:
        remedy = (
            ", or measure.context=first" if context == "text" and data.kind == "bios" else ""
        ) * (what == name)
        raise ConfigError(
            f"data.seq_len={data.seq_len}: {what} of this data can have {tokens} tokens, and the "
            f"model has data.seq_len positions; give data.seq_len={tokens} or more{remedy}"
        )


def _check_wording(data: WordedData, context: str) -> None:
    if not isinstance(data, BiosData) or data.kind != "bios":
        raise ConfigError(
            f"measure.wording=true: data.kind={data.kind} has no wording of known entropy; leave "
            "it out (allowed for bios)"
        )
    if context != "text":
        raise ConfigError(
            "measure.wording=true: name and values have to be asked in the text at hand; give "
            "measure.context=text"
        )


@lru_cache(maxsize=256)
def whole(lexicon: Lexicon, data: BiosData) -> int:
    """The most tokens of a whole text behind EOS, which is not predicted."""
    name = _name(lexicon, data)
    sentences = [_sentence(lexicon, data, attribute, name) for attribute in attributes_of(data)]
    first = max((one.named - one.later for one in sentences), default=0)
    return int(data.tag == "main") + sum(one.later for one in sentences) + first


@lru_cache(maxsize=256)
def longest(lexicon: Lexicon, data: WordedData, context: str, contexts: int) -> int:
    """The most predicted tokens of a question, those in front of the asked span among them; EOS,
    which begins it, is not predicted."""
    if isinstance(data, CorpusData):
        return _of_corpus(lexicon, data, contexts)
    if isinstance(data, BiodData):
        return _of_biod(lexicon, data, context)
    head = int(data.tag == "main")
    name = _name(lexicon, data)
    asked_last = next(iter(lexicon.content["last"].values()))["lengths"]  # as a name alone has it
    own = head + name + max(asked_last[: data.last_names])
    sentences = [_sentence(lexicon, data, attribute, name) for attribute in attributes_of(data)]
    asked = _in_own_texts(data, sentences) if context == "text" else _alone(data, sentences)
    return max(own, head + asked)


def _name(lexicon: Lexicon, data: BiosData | BiodData) -> int:
    """Most tokens of first and middle name."""
    first, middle = lexicon.content["first"], lexicon.content["middle"]
    return lexicon.most(first, data.first_names) + lexicon.most(middle, data.middle_names)


@dataclass(frozen=True)
class _Sentence:
    """Most tokens of an attribute's sentence: all of it, with the full name or as one that is not
    the first; and up to the end of its value, or of its subject, likewise."""

    named: int
    later: int
    named_to_value: int
    later_to_value: int
    later_to_subject: int


def _sentence(lexicon: Lexicon, data: BiosData, attribute: str, name: int) -> _Sentence:
    """Most tokens over templates, values and people."""
    content = lexicon.content
    value = content["values"][attribute]
    *leads, n = value_sizes(content, data, attribute)
    lead = sum(lexicon.most(part, size) for part, size in zip(value["parts"], leads, strict=True))
    by_template = []
    for template in world_templates(content, data, attribute):
        subject_first = template[1]
        before, between, after = (lexicon.length(template[i]) for i in (0, 3, 5))
        subject_glue, value_glue = template[2::2] if subject_first else template[4:1:-2]
        last = value["last"][value_glue]
        stated, asked = lead + lexicon.most(last["pieces"], n), lead + max(last["lengths"][:n])
        full = name + lexicon.most(content["last"][subject_glue]["pieces"], data.last_names)
        pronoun = content["pronoun"].get(subject_glue, {"pieces": []})["pieces"]
        who = full if data.full_names else lexicon.most(pronoun)
        whole, opening = before + stated + between + after, before + subject_first * between
        by_template.append(
            _Sentence(
                named=whole + full,
                later=whole + who,
                named_to_value=opening + subject_first * full + asked,
                later_to_value=opening + subject_first * who + asked,
                later_to_subject=before + (not subject_first) * (stated + between) + who,
            )
        )
    fields = dataclasses.fields(_Sentence)
    return _Sentence(*(max(getattr(one, field.name) for one in by_template) for field in fields))


def _alone(data: BiosData, sentences: list[_Sentence]) -> int:
    """Context first: the sentence behind EOS, or for the gender the sentence behind another one."""
    asked = [one.named_to_value for one in sentences]
    if "gender" in data.attribute_sizes:
        following = sentences[1:] + sentences[:1]
        asked += [
            one.named + two.later_to_subject for one, two in zip(sentences, following, strict=True)
        ]
    return max(asked)


def _in_own_texts(data: BiosData, sentences: list[_Sentence]) -> int:
    """Context text: the value behind all that may stand before it in a person's own text."""
    names, groups = attributes_of(data), sentence_groups(data, data.order)
    lengths = [max(one.named_to_value for one in sentences)]
    for group in groups:
        others = [i for other in groups if other is not group for i in other]
        for place, asked in enumerate(group):
            hidden = FOLLOWS.get(names[asked])
            before = [i for i in (*others, *group[:place]) if names[i] != hidden]
            more = [sentences[i].named - sentences[i].later for i in before]  # of the first one
            preceding = sum(sentences[i].later for i in before) + max(more, default=0)
            lengths.append(preceding + sentences[asked].later_to_value)
    if "gender" in data.attribute_sizes:
        pairs = itertools.permutations(sentences, 2)
        lengths += [one.named + two.later_to_subject for one, two in pairs]
    return max(lengths)


def _of_extraction(lexicon: Lexicon, data: BiosData) -> int:
    """Predicted tokens of a question of `measure.extraction`, with its answer and what follows."""
    content, name = lexicon.content, _name(lexicon, data)
    lengths = []
    for attribute in attributes_of(data):
        value = content["values"][attribute]
        *leads, n = value_sizes(content, data, attribute)
        before, subject_first, glue1, between, glue2, after = content["questions"][attribute][0]
        subject_glue, value_glue = (glue1, glue2) if subject_first else (glue2, glue1)
        lengths.append(
            sum(map(lexicon.length, (before, between, after)))
            + name
            + lexicon.most(content["last"][subject_glue]["pieces"], data.last_names)
            + sum(lexicon.most(value["parts"][i], size) for i, size in enumerate(leads))
            + lexicon.most(value["last"][value_glue]["pieces"], n)
        )
    return max(lengths)


def _of_biod(lexicon: Lexicon, data: BiodData, context: str) -> int:
    content = lexicon.content
    last = lexicon.most(content["last"]["'s"]["pieces"], data.last_names)
    commas = (data.chunks - 1) * lexicon.length(content["comma"])
    heads = [lexicon.length(piece) for piece in content["heads"]]
    value = data.chunks * data.length + commas
    name = _name(lexicon, data) + last
    if context == "first":
        return name + max(heads) + value
    between = lexicon.length(content["stop"]) + lexicon.length(content["pronoun"])
    return name + sum(heads) + data.attributes * value + (data.attributes - 1) * between


def _of_corpus(lexicon: Lexicon, data: CorpusData, contexts: int) -> int:
    """Where the values stand in the first texts of each person that state them, or end where a
    longer value stands in their place (`measure.corpus`)."""
    content = lexicon.content
    people = list(zip(content["texts"], content["spans"], strict=True))[: data.n_people]
    longest_form: dict[tuple, int] = {}  # name and tokens of a value -> of the longest with them
    asked: list[tuple[int, tuple]] = []
    for texts, spans in people:
        seen: Counter = Counter()
        for piece, places in zip(texts, spans, strict=True):
            for name, place in places.items():
                if place is None:
                    continue
                begin, length = place
                form = tuple(lexicon.pieces[piece][begin : begin + length])
                for end in range(1, length + 1):
                    key = (name, form[:end])
                    longest_form[key] = max(length, longest_form.get(key, 0))
                if seen[name] < contexts:
                    asked.append((begin, (name, form)))
                seen[name] += 1
    return max((begin + longest_form[form] for begin, form in asked), default=0)
