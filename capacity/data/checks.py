"""Checks of the settings of data that need more than one of them, or their files. Each raises a
ConfigError with the keys, the values and the remedy."""

from __future__ import annotations

import math
from collections import Counter

from capacity.base.errors import ConfigError
from capacity.data import lexicons, resolve, tiers
from capacity.data.lexicon import different_texts
from capacity.data.text import pool_digest
from capacity.settings.data import (
    BiodData,
    BiosData,
    CorpusData,
    Data,
    MixedData,
    TextData,
    UniformData,
    WordedData,
)
from capacity.settings.fresh import FreshData, MqarData
from capacity.settings.measure import Measure
from capacity.settings.model import Model
from capacity.settings.train import Train


def check(data: Data, items: int) -> None:
    """Check settings whose N is `items`."""
    CHECKS[data.kind](data, items)


def _check_uniform(data: UniformData, items: int) -> None:
    # 2^48 tokens is far above any random-data study (the largest published run has 2^29) and
    # far below overflow.
    if (data.skip + items) * data.seq_len > 2**48:
        raise ConfigError(
            f"data: {items} sequences of {data.seq_len} tokens are more than 2^48 tokens"
        )
    tiers.of(data, items)


def _check_fresh(data: FreshData, items: int) -> None:
    if items * data.seq_len > 2**56:  # blocks of random words are counted in 64 bits
        raise ConfigError(
            f"data: {items} sequences of {data.seq_len} tokens are more than 2^56 tokens"
        )


def _check_fact_cells(data: Data, train: Train) -> None:
    named = "measure.fact_cells=true"
    if data.kind != "bios":
        raise ConfigError(
            f"{named}: counts values of lists, which data.kind={data.kind} does not have alone; "
            "leave it out, or choose data=bios"
        )
    if isinstance(data, BiosData) and data.other_people:
        raise ConfigError(
            f"{named}: counts the texts of measured people, but those of "
            f"data.other_people={data.other_people} show values too; leave one of the two out"
        )
    if train.start_from:
        raise ConfigError(
            f"{named}: with train.start_from={train.start_from} the weights come from a run whose "
            "texts are not counted; leave one of the two out"
        )


def check_held_out(data: Data, items: int, measure: Measure, train: Train) -> None:
    """People who are held out need names of their own, and nothing may have trained on them. Other
    kinds of data have no people and ask nobody. Cells of facts count all texts that a model saw."""
    if measure.fact_cells and isinstance(data, WordedData):
        _check_fact_cells(data, train)
    if isinstance(data, BiosData):
        _check_halved(data, items, measure, train)
    held_out = measure.held_out_people
    if not held_out or not isinstance(data, WordedData):
        return
    named = f"measure.held_out_people={held_out}"
    if isinstance(data, CorpusData):
        raise ConfigError(
            f"{named}: data.kind=corpus has the people of its file and no lists to draw others "
            "from; leave it out (allowed for bios and biod)"
        )
    if isinstance(data, MixedData):
        raise ConfigError(
            f"{named}: data.kind=mixed asks no people but its own; leave it out, or choose "
            "data=bios"
        )
    if held_out < 2:
        raise ConfigError(f"{named}: gives no interval; give 0 or at least 2 people")
    if train.start_from:
        raise ConfigError(
            f"{named}: with train.start_from={train.start_from} the weights come from a run that "
            "may have been trained on these people; leave one of the two out"
        )
    taken = data.skip + items + (data.other_people if isinstance(data, BiosData) else 0)
    if taken + held_out > data.n_names:
        raise ConfigError(
            f"{named}: {taken:,} of {data.n_names:,} different names are taken already; give at "
            f"most {data.n_names - taken:,}, or longer lists of names"
        )


def _check_halved(data: BiosData, items: int, measure: Measure, train: Train) -> None:
    """Halves of one set of people: all of the set are asked, and nothing else may have been trained
    on them."""
    if not data.halved:
        if data.split_seed:
            raise ConfigError(
                f"data.split_seed={data.split_seed}: with data.trained_on={data.trained_on} people "
                "follow from the seed; leave it out, or give data.trained_on=half"
            )
        return
    named = "data.trained_on=half"
    if isinstance(data, MixedData):
        raise ConfigError(
            f"{named}: data.kind=mixed has random rows besides people, who alone are halved; "
            "leave it out, or choose data=bios"
        )
    held_out, asked = measure.held_out_people, measure.people
    for given, remedy in (
        (data.other_people and f"data.other_people={data.other_people}", "data.other_people=0"),
        (train.start_from and f"train.start_from={train.start_from}", "no train.start_from"),
        (held_out and f"measure.held_out_people={held_out}", "measure.held_out_people=0"),
        (asked and f"measure.people={asked}", "no measure.people"),
    ):
        if given:
            raise ConfigError(
                f"{named} and {given}: a half of the people is trained on, nobody else, and all of "
                f"both halves are asked; give {remedy}"
            )
    if items < 2:
        raise ConfigError(f"{named}: data.n_people={items} leaves one person out; give at least 2")
    if data.skip + 2 * items > data.n_names:
        raise ConfigError(
            f"{named}: 2 x {items:,} people need distinct names, but {data.n_names:,} are all "
            f"there are; give data.n_people of at most {(data.n_names - data.skip) // 2:,}, or "
            "longer lists of names"
        )


def check_seen_once(data: FreshData, model: Model, train: Train, lengths: tuple[int, ...]) -> None:
    """Sequences that are seen once have steps, not exposures; those that are longer than in
    training need a model that has positions for them, and enough keys."""
    if train.steps is None:
        raise ConfigError(
            f"train.exposures={train.exposures:g}: no sequence of data.kind={data.kind} is seen "
            "twice; give train.steps"
        )
    longest = max(lengths, default=1)
    listed = ",".join(map(str, lengths))
    if model.position == "learned" and longest > 1:
        raise ConfigError(
            f"measure.lengths=[{listed}]: model.position=learned has no positions behind those of "
            "training; choose model.position=none or rotary, or measure.lengths=[1]"
        )
    if isinstance(data, MqarData) and longest > 1 and longest * data.pairs > data.symbols:
        raise ConfigError(
            f"measure.lengths=[{listed}]: {longest} x data.pairs={data.pairs} keys, but "
            f"data.vocab_size={data.vocab_size} has {data.symbols}; give lengths of at most "
            f"{data.symbols // data.pairs}"
        )


def _check_mqar(data: MqarData, items: int) -> None:
    for name in ("vocab_size", "seq_len"):
        if (value := getattr(data, name)) % 2:
            raise ConfigError(f"data.{name}={value}: expected an even number, such as {value + 1}")
    if data.pairs > data.symbols:
        raise ConfigError(
            f"data.pairs={data.pairs}: keys are distinct, and data.vocab_size={data.vocab_size} "
            f"has {data.symbols}; give at most {data.symbols}"
        )
    if 4 * data.pairs > data.seq_len:
        raise ConfigError(
            f"data.pairs={data.pairs}: a pair takes 2 tokens and its query and answer 2 more, but "
            f"data.seq_len={data.seq_len}; give at most {data.seq_len // 4} pairs, or "
            f"data.seq_len={4 * data.pairs} or more"
        )
    _check_fresh(data, items)


def _check_bios(data: BiosData, items: int) -> None:
    _check_people(data, items)
    # reads pools and templates: wrong files are found here, before training
    shortest = lexicons.of(data).shortest(data)
    _keep_apart(items, data.seq_len, shortest, "data.n_people")
    _keep_tiers_apart(data, items, shortest)
    if data.other_people:
        _keep_apart(data.other_people, data.seq_len, shortest, "data.other_people")


def _check_people(data: BiosData, items: int) -> None:
    """People have values, names and texts of their own."""
    if not set(data.attribute_sizes) - {"gender"}:
        raise ConfigError(
            "data: years, cities, universities, majors and employers are all 0; a person needs "
            "one of them"
        )
    if data.skip + items + data.other_people > data.n_names:
        others = f" and {data.other_people:,} others" if data.other_people else ""
        others += f" behind data.skip={data.skip}" if data.skip else ""
        raise ConfigError(
            f"data.n_people={items}: {items:,} people{others} need distinct names, but "
            f"{data.first_names} x "
            f"{max(1, data.middle_names)} x {data.last_names} = {data.n_names:,} are all there "
            f"are"
        )
    if (data.other_people > 0) != (data.other_parts > 0):
        raise ConfigError(
            f"data.other_people={data.other_people} and data.other_parts={data.other_parts}: "
            f"the other stream "
            "needs both above 0, no other stream needs both 0"
        )
    if data.tag == "other" and not data.other_people:
        raise ConfigError(
            "data.tag=other: there is no other stream; allowed: none, main, or "
            "data.other_people above 0"
        )
    if data.same_sentences and data.biographies is None:
        raise ConfigError(
            "data.same_sentences=true: needs a number of texts per person; set data.biographies"
        )
    _check_texts(data)


def _check_mixed(data: MixedData, items: int) -> None:
    resolved = resolve.of(data)
    assert isinstance(resolved, resolve.MixedResolved)
    _check_counts(data)
    for name in ("other_people", "other_parts", "tiers", "zipf", "value_zipf", "questions"):
        if (value := getattr(data, name)) and value != BiosData.__dataclass_fields__[name].default:
            raise ConfigError(
                f"data.{name}={value}: data.kind=mixed has people and random rows and no other "
                "streams, tiers, popular values or questions; leave it out, or choose data=bios"
            )
    if data.tag != "none":
        raise ConfigError(
            f"data.tag={data.tag}: random rows have a marker of their own and people have EOS; "
            "leave it out"
        )
    if data.row_vocab is not None and data.row_vocab > (most := resolved.lexicon.rows - 1):
        raise ConfigError(
            f"data.row_vocab={data.row_vocab}: the vocabulary has {most} ids behind EOS; give at "
            f"most {most}, or leave it empty for all of them"
        )
    if data.row_len > data.seq_len:
        raise ConfigError(
            f"data.row_len={data.row_len}: a row is asked for in one window of "
            f"data.seq_len={data.seq_len} tokens; give at most {data.seq_len}"
        )
    people, rows = resolved.split(items)
    if data.has_people:
        _check_bios(data, people) if not rows else _check_people(data, people)
    if rows:
        _keep_families_apart(data, resolved, items)


def _check_counts(data: MixedData) -> None:
    """Either numbers of both families, or bits of both and a share."""
    if data.load is not None and data.n_rows is not None:
        raise ConfigError(
            f"data.load={data.load:g} and data.n_rows={data.n_rows}: data.load and "
            "data.random_share say how many rows there are; give only one of the two"
        )
    if data.load is None and data.n_rows is None:
        raise ConfigError(
            f"data.n_rows: with data.n_people={data.n_people} the number of random rows has to be "
            "given (0: none)"
        )
    if not (data.has_people or data.has_rows):
        raise ConfigError(
            "data.n_people=0 and data.n_rows=0: nothing to train on; give one above 0"
        )
    if min(data.row_rate, data.person_rate) > 1:
        raise ConfigError(
            f"data.row_rate={data.row_rate} and data.person_rate={data.person_rate}: one of the "
            "two families is seen once in a cycle; give 1 for one of them"
        )
    if max(data.row_rate, data.person_rate) > 1 and not (data.has_people and data.has_rows):
        raise ConfigError(
            f"data.row_rate={data.row_rate} and data.person_rate={data.person_rate}: there is only "
            "one family, which has no rate beside another; give 1 for both"
        )


def _keep_families_apart(data: MixedData, resolved: resolve.MixedResolved, items: int) -> None:
    """Half of a round lies between two renderings of one item; it must fill a window."""
    gap = tiers.Tiers(tuple(tier for _, tier in resolved.families(items))).gap
    shortest = data.row_len + 1
    if data.has_people:
        shortest = min(shortest, resolved.lexicon.shortest(data) + 1)
    if gap * shortest < data.seq_len:
        raise ConfigError(
            f"data.seq_len={data.seq_len}: a window could show a person or row twice, since "
            f"between two renderings of one lie at least {gap} others of {shortest} tokens or "
            "more; give more of both, smaller rates, or shorter windows"
        )


def _check_texts(data: BiosData) -> None:
    """As many different texts as are asked for have to exist."""
    for name, asked, order, same in (
        ("biographies", data.biographies, data.order, data.same_sentences),
        ("other_biographies", data.other_biographies, data.other_order, False),
    ):
        if asked is not None and asked > (
            most := different_texts(lexicons.of(data).content, data, order, same)
        ):
            raise ConfigError(
                f"data.{name}={asked}: with this order and these templates a person has only "
                f"{most} different "
                "texts"
            )


def _check_biod(data: BiodData, items: int) -> None:
    if math.log2(data.diversity) > data.length * math.log2(data.alphabet):
        raise ConfigError(
            f"data.diversity={data.diversity}: only {data.alphabet}^{data.length} = "
            f"{data.alphabet**data.length} different strings exist (data.alphabet^data.length)"
        )
    if data.wording == "values" and data.order != "fixed" and data.attributes > 1:
        raise ConfigError(
            "data.wording=values: nothing tells which attribute a value is of in a new order; give "
            "data.order=fixed, data.attributes=1 or data.wording=attributes"
        )
    if data.skip + items > data.n_names:
        behind = f" behind data.skip={data.skip}" if data.skip else ""
        raise ConfigError(
            f"data.n_people={items}{behind}: only {data.n_names:,} different names exist"
        )
    shortest = lexicons.of(data).shortest(data)
    _keep_apart(items, data.seq_len, shortest, "data.n_people")
    _keep_tiers_apart(data, items, shortest)


def _check_corpus(data: CorpusData, items: int) -> None:
    if data.n_people is not None and data.n_people > items:
        raise ConfigError(f"data.n_people={data.n_people}: {data.path} has only {items} people")
    if data.n_names is not None and data.n_names < items:
        raise ConfigError(
            f"data.n_names={data.n_names:g}: less than the {items} people of {data.path}"
        )
    if not resolve.of(data).bits(items):
        raise ConfigError(
            f"{data.path}: everybody has the same values, so there is nothing to learn (0 bits); "
            "give values that differ, or data.n_names above the number of people, so that names "
            "count"
        )
    shortest = lexicons.of(data).shortest(data)
    _keep_apart(items, data.seq_len, shortest, "data.n_people")
    _keep_tiers_apart(data, items, shortest)


def _keep_apart(people: int, seq_len: int, shortest: int, key: str) -> None:
    """Half of the people lie between two renderings of one person (feed/stream.py); they must fill
    a window."""
    if people // 2 * (shortest + 1) < seq_len:
        enough = 2 * -(-seq_len // (shortest + 1))
        raise ConfigError(
            f"{key}={people}: a window of data.seq_len={seq_len} tokens could show a person twice, "
            f"biographies "
            f"have {shortest} tokens or more; give at least {enough} people or shorter windows"
        )


def _keep_tiers_apart(data: WordedData, items: int, shortest: int) -> None:
    """The same where people are seen at different rates: half of a round lies between two
    renderings of one person."""
    classes = tiers.of(data, items)
    if classes is not None and classes.gap * (shortest + 1) < data.seq_len:
        given = f"data.tiers={','.join(data.tiers)}" if data.tiers else f"data.zipf={data.zipf:g}"
        raise ConfigError(
            f"{given}: between two texts of a person of the largest rate lie at least "
            f"{classes.gap} others of {shortest} tokens or more, fewer than a window of "
            f"data.seq_len={data.seq_len}, which could show the person twice; give more people, "
            "smaller rates, or shorter windows"
        )


def _check_text(data: TextData, items: int) -> None:
    if data.trained_on == "others" and data.n_reference is None:
        raise ConfigError("data.n_reference: data.trained_on=others needs the number of sequences")
    if data.trained_on == "reference" and (data.n_reference or 0) < items:
        raise ConfigError(
            f"data.n_reference={data.n_reference}: a reference model trains on the {items} "
            f"members and more; give a "
            "whole number that is not smaller"
        )
    if data.source == "grammar" and data.path is not None:
        raise ConfigError(
            f"data.path={data.path}: data.source=grammar reads no file; use data.source=files or "
            f"hub"
        )
    if data.text_seed and data.source != "grammar":
        raise ConfigError(
            f"data.text_seed={data.text_seed}: only a grammar writes another text by a seed; of "
            f"data.source={data.source} give another data.path, or 0"
        )
    if data.revision is not None and data.source != "hub":
        raise ConfigError(
            f"data.revision={data.revision}: only a data set of the hub has one (data.source=hub)"
        )
    if data.source == "hub" and not data.path:
        raise ConfigError("data.path: data.source=hub needs the name of a data set")
    if not data.splits_documents:
        for name, given in (
            (f"group={data.group}", data.group is not None),
            ("near_duplicates=keep_together", data.near_duplicates == "keep_together"),
        ):
            if given:
                raise ConfigError(
                    f"data.{name}: needs documents that stay on one side; give "
                    "data.split_by=document"
                )
    if data.source == "grammar" and data.group is not None:
        raise ConfigError(f"data.group={data.group}: the documents of a grammar have no columns")
    if data.tokenizer == "gpt2" and data.vocab_size != 50258:
        raise ConfigError(
            f"data.vocab_size={data.vocab_size}: GPT-2's tokens and an end of text of our own "
            f"are 50258 rows"
        )
    _check_text_tiers(data, items)
    pool_digest(data)  # finds files that are missing


def _check_text_tiers(data: TextData, items: int) -> None:
    """Members have tiers where each is one row of the training set and nothing else is."""
    if tiers.of(data, items) is None:
        return
    given = f"data.tiers={','.join(data.tiers)}" if data.tiers else f"data.zipf={data.zipf:g}"
    for name, other, allowed in (
        (f"trained_on={data.trained_on}", data.trained_on != "members", "trained_on=members"),
        (f"canaries={data.canaries}", data.canaries > 0, "canaries=0"),
        ("split_by=document", data.splits_documents, "split_by=window"),
    ):
        if other:
            raise ConfigError(
                f"{given}: rates are those of members, each of which is seen by itself, but "
                f"data.{name}; give data.{allowed}"
            )


def check_views(data: TextData, steps: int, batch_size: int) -> None:
    """Canaries at set steps (data.last_view, feed/canary_schedule.py) have to fit into the
    training."""
    if data.last_view is None or data.facts:
        return
    last, most = round(data.last_view * steps), max(data.repeats, default=0)
    if not data.canaries or not most or 0 not in data.repeats:
        raise ConfigError(
            f"data.last_view={data.last_view:g}: needs canaries that are seen and some that "
            f"never are; give data.canaries, and "
            "data.repeats with 0 among them"
        )
    if not data.view_spacing * most < last < steps:
        raise ConfigError(
            f"data.last_view={data.last_view:g}: is step {last} of {steps}, but {most} views "
            f"every "
            f"data.view_spacing={data.view_spacing} steps need more than "
            f"{data.view_spacing * most} before it, and one after it"
        )
    seen = (
        i * data.canaries + j
        for i, repeats in enumerate(data.repeats)
        if repeats
        for j in range(data.canaries)
    )
    at_once = max(Counter(j % data.view_spacing for j in seen).values())
    if at_once > batch_size:
        raise ConfigError(
            f"data.canaries={data.canaries}: {at_once} of them would meet in a batch of "
            f"{batch_size}; give fewer, a larger "
            "train.batch_size or a larger data.view_spacing"
        )


CHECKS = {
    "text": _check_text,
    "copy": _check_fresh,
    "mqar": _check_mqar,
    "uniform": _check_uniform,
    "bios": _check_bios,
    "mixed": _check_mixed,
    "biod": _check_biod,
    "corpus": _check_corpus,
}
