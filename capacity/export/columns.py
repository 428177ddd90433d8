"""What each column of the tidy table means, of which type and in which unit it is, and the order of
columns (standard library).

Settings keep the help text of their field. All other columns are in REGISTRY, whose order is the
order of the table: a pattern, a type, a unit and a meaning, where {0} is the first group of the
pattern. A column that no pattern knows is an error, not a guess.
"""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from typing import get_type_hints

from capacity.config import SECTIONS, Config
from capacity.settings.data import KINDS

# Sections of settings that are columns. The others say where a run executed, never what it is or
# what was measured, and may name a site.
SETTINGS = ("data", "model", "train", "measure", "extraction", "quantize")
TYPES = {int: "int", float: "float", bool: "bool", str: "text"}
TEXT, INT, FLOAT, BOOL = "text", "int", "float", "bool"

# Where a number of record.json goes by another name, that of the tables of `fit-laws`. All others
# keep their path in the file.
NAMES = tuple(
    (re.compile(path), name)
    for path, name in (
        (r"parameters\.(\w+)", r"parameters_{0}"),
        (r"data\.(\w+)", r"{0}"),
        (r"training\.(steps|tokens|flops)", r"{0}"),
        (r"training\.exposures_(min|mean|max)", r"exposures_{0}"),
        (r"training\.exposures_expected", r"exposures"),
        (r"convergence\.gain_last_tenth", r"gain_last_tenth"),
        (r"measures\.memorization\.(strict|paper)\.(bits|ceiling_bits)", r"{0}_{1}"),
        (r"measures\.knowledge\.(bits|p1_nats|p2_nats|accuracy|ceiling_bits)", r"{0}"),
        (r"measures\.knowledge\.bits_se_over_people", r"bits_se"),
        (r"measures\.knowledge\.attributes\.(.+)\.(bits|accuracy)", r"{1}_{0}"),
        (r"measures\.extraction\.accuracy", r"extraction_accuracy"),
        (r"measures\.text\.(bits|n_members|bag_of_words_auc|bag_of_words_sd)", r"{0}"),
        (r"measures\.text\.n_held_out", r"n_others"),
        (
            r"measures\.text\.(members|held_out)\.(loss_bits_per_token|correct|extraction_strength)",
            r"{0}_{1}",
        ),
        (r"measures\.text\.(members|held_out)\.extractable\.(\d+)", r"{0}_extractable_{1}"),
        (r"measures\.text\.membership\.(\w+)\.auc_interval\.(low|high)", r"{0}_auc_{1}"),
        (r"measures\.text\.membership\.(\w+)\.(?!auc_interval|f1_median_interval)(.+)", r"{0}_{1}"),
        (r"measures\.text\.canaries\.(\d+)\.(exposure|extractable)", r"{1}_{0}"),
        (r"measures\.text\.canaries\.\d+\.at_most", r"exposure_at_most"),
        (r"training\.precision", r"train.precision"),
    )
)

_COUNTS = {
    "total": "all trained numbers, a tied embedding once, BOS included",
    "paper": "as the papers count: without BOS, or without rows that no text uses",
    "non_embedding": "blocks and final norm only",
    "active": "total without experts that a token does not visit",
}
_RATIOS = r"(total|paper|non_embedding|active)"
_ABOUT = (
    (r"run_id", TEXT, "", "hash of all that the run depends on; names its folder in results/runs"),
    (r"study", TEXT, "", "study or studies that have the run, separated by '; '"),
    (
        r"status",
        TEXT,
        "",
        "finished, failed, or missing: no record yet (capacity status tells queued, running and "
        "interrupted ones apart)",
    ),
    (r"error", TEXT, "", "why a run failed"),
    (
        r"label",
        TEXT,
        "",
        "layers x width, with the settings that tell equal shapes of the study apart",
    ),
    (r"kind", TEXT, "", "kind of data"),
    (r"seed", INT, "", "of data, initial weights and batch order together"),
)
_COUNTED = (
    *((f"parameters_{name}", INT, "parameters", words) for name, words in _COUNTS.items()),
    (r"vocab_size", INT, "rows", "rows of the token table"),
    (
        r"n_sequences",
        INT,
        "sequences",
        "N, sequences of the data set; of text, members of the split",
    ),
    (r"n_people", INT, "people", "N, people who are measured"),
    (
        r"entropy_bits",
        FLOAT,
        "bits",
        "what the data hold: N S log2 V of uniform tokens, R^max P of facts; of text a "
        "code of log2 V per token",
    ),
    (r"load", FLOAT, "bits per parameter", "entropy_bits / parameters_total"),
    (r"trained_on", TEXT, "", "text: which sequences the run was trained on"),
    (r"pool", TEXT, "", "text: digest of the pool of sequences"),
    (
        r"tokens_per_parameter",
        FLOAT,
        "tokens per parameter",
        "tokens of the training set / parameters_total",
    ),
    (r"steps", INT, "steps", "optimizer steps"),
    (r"tokens", INT, "tokens", "predicted tokens over the training"),
    (r"flops", FLOAT, "FLOP", "model FLOPs of training, 3 x forward"),
    (
        r"exposures",
        FLOAT,
        "times",
        "mean number of times an item is seen, as expected from the steps",
    ),
    (r"exposures_(min|mean|max)", FLOAT, "times", "the same, counted ({0} over items)"),
)
_TRAINED = (
    (
        r"gain_last_tenth",
        FLOAT,
        "fraction",
        "bits gained over the last tenth of the steps / final bits",
    ),
    (r"convergence\.(\w+)_at_90_percent", FLOAT, "bits", "{0} after 90% of the steps"),
    (r"wall_s", FLOAT, "s", "time of training / runs of the stack: this run's share"),
    (r"training\.wall_s", FLOAT, "s", "time of training of the whole stack"),
    (r"training\.stack", INT, "runs", "runs that trained together"),
    (r"training\.threads", INT, "threads", "CPU threads of the process"),
    (r"training\.micro_batches", INT, "parts", "parts in which a batch was computed"),
    (r"training\.(device|master_weights|optimizer_state|qat)", TEXT, "", "{0} of the training"),
    (r"training\.loss_scale", FLOAT, "", "last loss scale (fp16)"),
    (
        r"training\.steps_skipped",
        INT,
        "steps",
        "steps without an update, because a gradient overflowed (fp16)",
    ),
    (
        r"storage\.weights",
        TEXT,
        "",
        "format that the model must be stored in to be used as it was trained",
    ),
    (r"storage\.bits", INT, "bits", "what that takes"),
    (r"storage\.bits_per_weight", FLOAT, "bits per parameter", "storage.bits / parameters_total"),
)
_MEASURED = (
    (
        r"(strict|paper)_bits",
        FLOAT,
        "bits",
        "memorized bits, {0} convention (strict: every token from BOS; paper: "
        "mean over positions 2..S times S)",
    ),
    (
        r"(strict|paper)_ceiling_bits",
        FLOAT,
        "bits",
        "most bits that the data can give, {0} convention; of an unfinished run the expected one",
    ),
    (
        r"bits",
        FLOAT,
        "bits",
        "people: learned bits (3.3, Definitions 4.1 and 4.3); text: bits off a code of log2 V per "
        "token",
    ),
    (r"bits_se", FLOAT, "bits", "standard error of bits over people, where not all were asked"),
    (r"ceiling_bits", FLOAT, "bits", "R^max P, what the facts hold"),
    (r"p1_nats", FLOAT, "nats", "loss of the name, summed over tokens, mean over people"),
    (
        r"p2_nats",
        FLOAT,
        "nats",
        "loss of the values, summed over tokens (and attributes of bioS), mean over people",
    ),
    (r"accuracy", FLOAT, "fraction", "attribute values that are reproduced exactly"),
    (r"extraction_accuracy", FLOAT, "fraction", "questions about held-out people answered exactly"),
    (r"n_members", INT, "sequences", "sequences trained on that were scored"),
    (r"n_others", INT, "sequences", "held-out sequences that were scored"),
    (
        r"bag_of_words_auc",
        FLOAT,
        "",
        "AUC of a bag of words without any model; near 0.5 where the split is sound",
    ),
    (r"bag_of_words_sd", FLOAT, "", "standard deviation of that AUC over random splits"),
    (r"(members|held_out)_loss_bits_per_token", FLOAT, "bits per token", "mean code length of {0}"),
    (r"(members|held_out)_correct", FLOAT, "fraction", "tokens of {0} that greedy decoding writes"),
    (
        r"(members|held_out)_extraction_strength",
        FLOAT,
        "fraction",
        "mean longest end of a sequence of {0} that greedy decoding writes",
    ),
    (
        r"(members|held_out)_extractable_(\d+)",
        FLOAT,
        "fraction",
        "sequences of {0} whose end greedy decoding writes, given {1} tokens",
    ),
    (r"exposure_at_most", FLOAT, "bits", "largest exposure that a canary can have"),
    (r"exposure_(\d+)", FLOAT, "bits", "mean exposure of canaries that were inserted {0} times"),
    (
        r"extractable_(\d+)",
        FLOAT,
        "fraction",
        "of those canaries, part whose second half greedy decoding writes",
    ),
    (r"(\w+)_auc_(low|high)", FLOAT, "", "{1} end of the 95% interval of {0}_auc"),
    (r"(\w+)_auc", FLOAT, "", "membership attack {0}: area under the ROC curve"),
    (r"(\w+)_advantage", FLOAT, "", "attack {0}: largest true minus false positive rate"),
    (r"(\w+)_f1_median", FLOAT, "", "attack {0}: F1 where half of all is flagged; chance is 0.5"),
    (
        r"(\w+)_tpr_at_([\d.]+)",
        FLOAT,
        "fraction",
        "attack {0}: true positive rate at a false positive rate of {1}; "
        "empty where too few to tell",
    ),
    (r"bits_(.+)", FLOAT, "bits per person", "learned bits of the attribute {0}"),
    (r"accuracy_(.+)", FLOAT, "fraction", "values of {0} that are reproduced exactly"),
)
_BY_PATH = (
    (r"measures\.(\w+)\.version", INT, "", "version of the measure {0}"),
    (
        r"measures\.memorization\.(n|distinct)_sequences",
        INT,
        "sequences",
        "sequences that were scored ({0})",
    ),
    (r"measures\.memorization\.entropy_bits", FLOAT, "bits", "N S log2 V"),
    (
        r"measures\.memorization\.loss_bits_per_token",
        FLOAT,
        "bits per token",
        "mean code length, strict",
    ),
    (
        r"measures\.memorization\.strict_clipped_bits",
        FLOAT,
        "bits",
        "strict bits with each sequence cut off at 0: biased upward",
    ),
    (
        r"measures\.memorization\.(strict|paper)\.fraction_of_ceiling",
        FLOAT,
        "fraction",
        "{0}_bits / {0}_ceiling_bits",
    ),
    (
        rf"measures\.memorization\.(strict|paper)\.bits_per_parameter\.{_RATIOS}",
        FLOAT,
        "bits per parameter",
        "{0}_bits / parameters_{1}",
    ),
    (
        r"measures\.knowledge\.context",
        TEXT,
        "",
        "how values are asked for: first (their sentence first, behind the "
        "name) or text (the person's own)",
    ),
    (r"measures\.knowledge\.people", INT, "people", "people of the data"),
    (r"measures\.knowledge\.people_asked", INT, "people", "people who were asked"),
    (r"measures\.knowledge\.p3_nats", FLOAT, "nats", "bioD: loss of the first chunk of a value"),
    (
        r"measures\.knowledge\.(name|value|diversity)_bits",
        FLOAT,
        "bits",
        "part of bits that is about the {0}",
    ),
    (
        r"measures\.knowledge\.log2_(names|values)",
        FLOAT,
        "bits",
        "log2 of the number of possible {0} of a person",
    ),
    (r"measures\.knowledge\.fraction_of_ceiling", FLOAT, "fraction", "bits / ceiling_bits"),
    (r"measures\.knowledge\.memorized_people", FLOAT, "people", "accuracy times people"),
    (
        rf"measures\.knowledge\.bits_per_parameter\.{_RATIOS}",
        FLOAT,
        "bits per parameter",
        "R: bits / parameters_{0}",
    ),
    (
        rf"measures\.knowledge\.ceiling_per_parameter\.{_RATIOS}",
        FLOAT,
        "bits per parameter",
        "R^max: ceiling_bits / parameters_{0}",
    ),
    (
        r"measures\.knowledge\.attributes\.(.+)\.entropy_bits",
        FLOAT,
        "bits per person",
        "what a value of {0} holds",
    ),
    (
        r"measures\.knowledge\.attributes\.(.+)\.nats",
        FLOAT,
        "nats",
        "loss of {0}, summed over tokens, mean over people",
    ),
    (
        r"measures\.knowledge\.attributes\.(.+)\.nats_sd_over_contexts",
        FLOAT,
        "nats",
        "standard deviation of that loss over contexts",
    ),
    (
        r"measures\.knowledge\.attributes\.(.+)\.contexts",
        INT,
        "contexts",
        "contexts in which {0} was asked for",
    ),
    (
        r"measures\.knowledge\.attributes\.(.+)\.people",
        INT,
        "people",
        "people whose texts have the value of {0} (corpus)",
    ),
    (r"measures\.extraction\.mode", TEXT, "", "full or lora"),
    (r"measures\.extraction\.steps", INT, "steps", "of the fine-tuning on questions"),
    (r"measures\.extraction\.lr", FLOAT, "", "peak learning rate of the fine-tuning"),
    (r"measures\.extraction\.people_(trained|tested)", INT, "people", "people that were {0} on"),
    (
        r"measures\.extraction\.accuracy_trained",
        FLOAT,
        "fraction",
        "questions answered about people of the fine-tuning",
    ),
    (
        r"measures\.extraction\.accuracy_se_over_people",
        FLOAT,
        "fraction",
        "binomial standard error of extraction_accuracy",
    ),
    (
        r"measures\.extraction\.extractable_people",
        FLOAT,
        "people",
        "twice extraction_accuracy times the held-out people",
    ),
    (
        r"measures\.extraction\.attributes\.(.+)",
        FLOAT,
        "fraction",
        "questions about {0} of held-out people answered exactly",
    ),
    (
        r"measures\.extraction\.attributes_trained\.(.+)",
        FLOAT,
        "fraction",
        "the same of {0}, people of the fine-tuning",
    ),
    (
        rf"measures\.text\.bits_per_parameter\.{_RATIOS}",
        FLOAT,
        "bits per parameter",
        "bits / parameters_{0}",
    ),
    (
        rf"measures\.text\.tokens_per_parameter\.{_RATIOS}",
        FLOAT,
        "tokens per parameter",
        "tokens of the members scored / parameters_{0}",
    ),
    (
        r"measures\.text\.(members|held_out)\.discoverable\.(\d+)",
        FLOAT,
        "fraction",
        "sequences of {0} whose second half {1} samples hold with probability 1/2",
    ),
    (
        r"measures\.text\.membership\.(\w+)\.f1_median_interval\.(low|high)",
        FLOAT,
        "",
        "{1} end of the 95% interval of {0}_f1_median",
    ),
    (
        r"measures\.text\.canaries\.(\d+)\.canaries",
        INT,
        "canaries",
        "canaries that were inserted {0} times",
    ),
    (
        r"measures\.text\.canaries\.(\d+)\.exposure_(se|max)",
        FLOAT,
        "bits",
        "their exposure: {1} over canaries",
    ),
    (
        r"measures\.text\.canaries\.(\d+)\.loss_bits_per_token",
        FLOAT,
        "bits per token",
        "their mean code length ({0} times)",
    ),
    (r"environment\.cores", INT, "cores", "cores of the machine that trained"),
    (r"environment\.(\w+)", TEXT, "", "{0} where the run trained"),
    (r"finished_at", TEXT, "", "when the record was written (UTC)"),
)
_QUANTIZED = (
    (
        r"method",
        TEXT,
        "",
        "none (the unquantized model, fp32), bf16 and fp16 (all weights cast), rtn (round to "
        "nearest) or gptq",
    ),
    (r"bits", INT, "bits", "bits of a code, or of the format"),
    (r"(symmetric|embeddings|act_order)", BOOL, "", "setting quantize.{0} of this variant"),
    (r"(granularity|scales|rest)", TEXT, "", "setting quantize.{0} of this variant"),
    (r"(group_size|calibration)", INT, "", "setting quantize.{0} of this variant"),
    (r"damping", FLOAT, "", "setting quantize.damping of this variant"),
    (r"calibration_tokens", INT, "tokens", "tokens that the inputs of maps were taken from"),
    (
        r"held_bits",
        FLOAT,
        "bits",
        "what is held after quantization: strict bits, or bits as in the table of runs",
    ),
    (r"paper_bits", FLOAT, "bits", "memorized bits after quantization, paper convention"),
    (
        r"accuracy",
        FLOAT,
        "fraction",
        "attribute values that are reproduced exactly after quantization",
    ),
    (
        r"fraction_of_unquantized",
        FLOAT,
        "fraction",
        "held_bits / those of the unquantized model; below 0: worse than a uniform guess",
    ),
    (r"bits_per_parameter", FLOAT, "bits per parameter", "held_bits / parameters_total"),
    (r"stored_bits", INT, "bits", "codes, scales, zero points and the rest, without padding"),
    (r"stored_bits_per_weight", FLOAT, "bits per parameter", "stored_bits / parameters_total"),
    (r"bits_per_stored_bit", FLOAT, "fraction", "held_bits / stored_bits"),
)
REGISTRY = {
    quantized: tuple((re.compile(pattern), *rest) for pattern, *rest in parts)
    for quantized, parts in (
        (False, (*_ABOUT, *_COUNTED, *_TRAINED, *_MEASURED, *_BY_PATH)),
        (True, (*_ABOUT, *_COUNTED, *_QUANTIZED)),
    )
}
AFTER = len(_ABOUT)  # settings follow these


def name_of(path: str) -> str:
    """The column of a number of record.json."""
    for pattern, name in NAMES:
        if found := pattern.fullmatch(path):
            return name.format(*found.groups())
    return path


@lru_cache(maxsize=1)
def settings() -> dict[str, tuple[str, str]]:
    """Type and help text of every setting that is a column, by dotted key, in the order of the
    table; where kinds of data differ in what a setting means, what each says."""
    types: dict[str, str] = {}
    helps: dict[str, dict[str, list[str]]] = {}
    for section in SETTINGS:
        for kind, cls in KINDS.items() if section == "data" else [("", SECTIONS[section])]:
            hints = get_type_hints(cls)
            for field in dataclasses.fields(cls):
                key, hint = f"{section}.{field.name}", hints[field.name]
                plain = next((t for t in getattr(hint, "__args__", ()) if t in TYPES), hint)
                types.setdefault(
                    key, TEXT if getattr(hint, "__origin__", None) is tuple else TYPES[plain]
                )
                helps.setdefault(key, {}).setdefault(field.metadata["help"], []).append(kind)
    return {
        key: (
            types[key],
            "; ".join(
                f"{', '.join(kinds)}: " * (len(told) > 1) + text for text, kinds in told.items()
            ),
        )
        for key, told in helps.items()
    }


def describe(name: str, quantized: bool = False) -> tuple[str, str, str]:
    """(type, unit, meaning) of a column. KeyError for one that is not known."""
    if name in (known := settings()):
        return known[name][0], "", known[name][1]
    _, kind, unit, meaning, groups = _found(name, quantized)
    return kind, unit, meaning.format(*groups)


def in_order(names, quantized: bool = False) -> list[str]:
    """Names of columns in the order of the table, which depends on the names alone."""
    known = list(settings())

    def place(name: str) -> tuple:
        if name in known:
            return AFTER, 0, known.index(name), []
        at = _found(name, quantized)[0]
        return (
            (at, 0, 0, [])
            if at < AFTER
            else (AFTER, 1, at, [int(x) if x.isdigit() else 0 for x in re.split(r"(\d+)", name)])
        )

    return sorted(names, key=lambda name: (place(name), name))


def _found(name: str, quantized: bool) -> tuple:
    for i, (pattern, *rest) in enumerate(REGISTRY[quantized]):
        if found := pattern.fullmatch(name):
            return i, *rest, found.groups()
    raise KeyError(f"{name}: not a column that capacity/export/columns.py knows")


assert set(SETTINGS) <= {field.name for field in dataclasses.fields(Config)}
