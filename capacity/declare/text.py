"""Memory of text: what `measure/text.py` says of a model."""

from __future__ import annotations

from capacity.declare import canary_kinds, tiers, timed_facts
from capacity.declare.field import (
    FLOAT,
    INT,
    INTERVAL,
    LEVELS,
    LIST,
    SECTION,
    TEXT,
    VERSION,
    Field,
    Measure,
    per_parameter,
)
from capacity.declare.text_printed import lines


def _side(name: str) -> tuple[Field, ...]:
    """Of the sequences of one side, members or held out."""
    return (
        Field(
            f"{name}.loss_bits_per_token",
            FLOAT,
            "bits per token",
            f"mean code length of {name}",
            column=f"{name}_loss_bits_per_token",
            needed=True,
        ),
        Field(
            f"{name}.correct",
            FLOAT,
            "fraction",
            f"tokens of {name} that greedy decoding writes",
            column=f"{name}_correct",
        ),
        Field(
            f"{name}.extraction_strength",
            FLOAT,
            "fraction",
            f"mean longest end of a sequence of {name} that greedy decoding writes",
            column=f"{name}_extraction_strength",
        ),
        Field(
            f"{name}.extractable.{{tokens}}",
            FLOAT,
            "fraction",
            f"sequences of {name} whose end greedy decoding writes, given {{tokens}} tokens",
            column=f"{name}_extractable_{{tokens}}",
        ),
        Field(
            f"{name}.extractable_interval.{{tokens}}",
            INTERVAL,
            "fraction",
            f"{{end}} end of the exact 95% interval of {name}_extractable_{{tokens}}",
            optional=True,
        ),
        Field(
            f"{name}.discoverable.{{samples}}",
            FLOAT,
            "fraction",
            f"sequences of {name} whose second half {{samples}} samples hold with probability 1/2",
        ),
    )


def attacks(
    section: str, prefix: str, words: str, needed: bool, of_auc: str = ""
) -> tuple[Field, ...]:
    """Statistics of every attack. prefix: of columns; words: on whom, where not on all; of_auc:
    what is said besides of their AUC."""

    def attack(name: str, type: str, meaning: str, column: str = "", unit: str = "") -> Field:
        meaning = f"{meaning}{words}{of_auc if name == 'auc' else ''}"
        missing = name.startswith("tpr")
        return Field(f"{section}.{{attack}}.{name}", type, unit, meaning, column, missing=missing)

    return (
        Field(section, SECTION, needed=needed, optional=not needed),
        attack(
            "auc",
            FLOAT,
            "membership attack {attack}: area under the ROC curve",
            f"{prefix}{{attack}}_auc",
        ),
        attack(
            "advantage",
            FLOAT,
            "attack {attack}: largest true minus false positive rate",
            f"{prefix}{{attack}}_advantage",
        ),
        attack(
            "f1_median",
            FLOAT,
            "attack {attack}: F1 where half of all is flagged; chance is 0.5",
            f"{prefix}{{attack}}_f1_median",
        ),
        attack(
            "tpr_at_{rate}",
            FLOAT,
            "attack {attack}: true positive rate at a false positive rate of {rate}; empty where "
            "too few non-members resolve it",
            f"{prefix}{{attack}}_tpr_at_{{rate}}",
            "fraction",
        ),
        attack(
            "auc_interval",
            INTERVAL,
            f"{{end}} end of the 95% interval of {prefix}{{attack}}_auc",
            f"{prefix}{{attack}}_auc_{{end}}",
        ),
        attack(
            "f1_median_interval",
            INTERVAL,
            f"{{end}} end of the 95% interval of {prefix}{{attack}}_f1_median",
        ),
        attack(
            "tpr_at_{rate}_interval",
            INTERVAL,
            f"{{end}} end of the 95% interval of {prefix}{{attack}}_tpr_at_{{rate}}, the "
            "threshold's noise included",
            unit="fraction",
        ),
    )


MEMBERSHIP = (
    *attacks("membership", "", "", needed=True),
    *attacks(
        "without_overlap",
        "clean_",
        "; held-out sequences that share nothing with the training set (overlap)",
        needed=False,
    ),
)


def _count(path: str, unit: str, meaning: str, column: str = "") -> Field:
    return Field(path, INT, unit, meaning, column=column, optional=True)


SPLIT = (
    Field(
        "split.by",
        TEXT,
        "",
        "whether sequences were split by document or one by one (window)",
        column="split_by",
        optional=True,
    ),
    _count("split.documents", "documents", "documents of the source", "documents"),
    _count(
        "split.documents_with_copies",
        "documents",
        "documents whose text stands in the source more than once",
        "documents_with_copies",
    ),
    _count("split.members_documents", "documents", "documents that members come from"),
    _count("split.held_out_documents", "documents", "documents that held-out sequences come from"),
    _count(
        "split.documents_on_both",
        "documents",
        "documents with sequences among members and held-out ones",
        "documents_on_both",
    ),
    _count("split.units", "sets", "sets of documents that stay on one side", "split_units"),
    _count("split.members_units", "sets", "such sets that members come from"),
    _count("split.held_out_units", "sets", "such sets that held-out sequences come from"),
    _count("split.groups", "groups", "different values of data.group", "groups"),
    _count(
        "split.groups_on_both",
        "groups",
        "values of data.group with sequences among members and held-out ones",
        "groups_on_both",
    ),
    _count(
        "split.documents_without_group", "documents", "documents that have no value of data.group"
    ),
    _count("overlap.tokens", "tokens", "tokens in a row that overlap means", "overlap_tokens"),
    _count(
        "overlap.sequences",
        "sequences",
        "held-out sequences that share so many tokens in a row with the training set",
        "overlapping",
    ),
    Field(
        "overlap.fraction",
        FLOAT,
        "fraction",
        "held-out sequences that share so many tokens in a row with the training set",
        column="overlap",
        optional=True,
    ),
    Field(
        "overlap.limit",
        FLOAT,
        "fraction",
        "part of them above which held-out sequences are no clean non-members",
        optional=True,
    ),
)


def _of_copies(name: str, type: str, unit: str, meaning: str) -> Field:
    """Of sequences whose document has so many copies, or more up to up_to."""
    end = "_{end}" if type == INTERVAL else ""
    column = f"copies_{{copies}}_{name.removesuffix('_interval')}{end}"
    meaning = f"from documents with {{copies}} copies or more, to up_to: {meaning}"
    return Field(f"copies.[copies].{name}", type, unit, meaning, column, missing=type != INT)


COPIES = (
    Field("copies", LEVELS, optional=True),
    _of_copies("up_to", INT, "copies", "the largest number of copies"),
    *(
        _of_copies(side, INT, "sequences", f"sequences {words}")
        for side, words in (("members", "trained on"), ("held_out", "held out"))
    ),
    _of_copies("auc", FLOAT, "", "area under the ROC curve of the loss attack"),
    Field(
        "copies.[copies].attacks.{attack}",
        FLOAT,
        "",
        "from documents with {copies} copies or more, to up_to: AUC of the attack {attack}",
        column="copies_{copies}_{attack}_auc",
        missing=True,
    ),
    _of_copies("auc_interval", INTERVAL, "", "{end} end of the 95% interval of the AUC"),
    _of_copies(
        "tpr_at_{rate}",
        FLOAT,
        "fraction",
        "its true positive rate at a false positive rate of {rate}; empty where too few "
        "non-members resolve it",
    ),
    _of_copies(
        "tpr_at_{rate}_interval",
        INTERVAL,
        "fraction",
        "{end} end of its 95% interval, the threshold's noise included",
    ),
    *(
        field
        for side in ("members", "held_out")
        for field in (
            _of_copies(
                f"{side}_extractable",
                FLOAT,
                "fraction",
                f"sequences of {side} whose second half greedy decoding writes",
            ),
            _of_copies(
                f"{side}_extractable_interval",
                INTERVAL,
                "",
                "{end} end of its exact 95% interval, over documents where these are split",
            ),
        )
    ),
)

CANARIES = (
    Field("canaries", LEVELS, optional=True),
    Field(
        "canaries.[repeats].at_most",
        FLOAT,
        "bits",
        "largest exposure that a canary can have",
        column="exposure_at_most",
    ),
    Field(
        "canaries.[repeats].exposure",
        FLOAT,
        "bits",
        "mean exposure of canaries that were inserted {repeats} times",
        column="exposure_{repeats}",
    ),
    Field(
        "canaries.[repeats].extractable",
        FLOAT,
        "fraction",
        "of the canaries inserted {repeats} times, part whose second half greedy decoding writes",
        column="extractable_{repeats}",
    ),
    Field(
        "canaries.[repeats].extractable_interval",
        INTERVAL,
        "fraction",
        "{end} end of the exact 95% interval of extractable_{repeats}",
        optional=True,
    ),
    Field(
        "canaries.[repeats].canaries",
        INT,
        "canaries",
        "canaries that were inserted {repeats} times",
    ),
    Field(
        "canaries.[repeats].exposure_se",
        FLOAT,
        "bits",
        "their exposure: standard error over canaries",
        missing=True,
    ),
    Field(
        "canaries.[repeats].exposure_max", FLOAT, "bits", "their exposure: largest over canaries"
    ),
    Field(
        "canaries.[repeats].exposures",
        LIST,
        "bits",
        "exposure of each of them, in their order (since version 2)",
    ),
    Field(
        "canaries.[repeats].losses",
        LIST,
        "bits per token",
        "code length of each of them (since version 2)",
    ),
    Field(
        "canaries.[repeats].extracted",
        LIST,
        "0 or 1",
        "of each of them, whether greedy decoding writes its second half (since version 2)",
    ),
    Field(
        "canaries.[repeats].loss_bits_per_token",
        FLOAT,
        "bits per token",
        "their mean code length ({repeats} times)",
    ),
)


MEASURE = Measure(
    name="text",
    # 2: canaries one by one; the prefix of ReCaLL is never trained on, also in shadow models
    version=2,
    data=("text",),
    held="bits",
    evaluated="bits",
    bounded=False,  # general knowledge of the language counts at every use
    fields=(
        VERSION,
        Field(
            "n_members",
            INT,
            "sequences",
            "sequences trained on that were scored",
            column="n_members",
            needed=True,
        ),
        Field(
            "n_held_out",
            INT,
            "sequences",
            "held-out sequences that were scored",
            column="n_others",
            needed=True,
        ),
        Field(
            "bits",
            FLOAT,
            "bits",
            "bits off a code of log2 V per token",
            column="bits",
            needed=True,
        ),
        Field(
            "bag_of_words_auc",
            FLOAT,
            "",
            "AUC of a bag of words without any model; near 0.5 where the split is sound",
            column="bag_of_words_auc",
            needed=True,
        ),
        Field(
            "bag_of_words_sd",
            FLOAT,
            "",
            "standard deviation of that AUC over random splits",
            column="bag_of_words_sd",
        ),
        *per_parameter("bits_per_parameter", "bits", summary={"total": "bits_per_parameter"}),
        Field(
            "tokens_per_parameter.total",
            FLOAT,
            "tokens per parameter",
            "tokens of the members scored / parameters_total",
            needed=True,
        ),
        Field(
            "tokens_per_parameter.{parameters}",
            FLOAT,
            "tokens per parameter",
            "tokens of the members scored / parameters_{parameters}",
        ),
        *_side("members"),
        *_side("held_out"),
        Field(
            "recall_prefix.row",
            INT,
            "",
            "row of the pool whose first half is the prefix of ReCaLL: the first scored one that "
            "the run was not trained on (since version 2; before, the first one)",
            column="recall_prefix_row",
        ),
        *CANARIES,
        *canary_kinds.FIELDS,
        Field("views", SECTION, optional=True),
        *timed_facts.FIELDS,
        *MEMBERSHIP,
        *SPLIT,
        *COPIES,
        *tiers.TEXT,
        *attacks("tiers.[tier].membership", "tier_{tier}_", " of tier {tier}", needed=False),
    ),
    describe=lines,
)
