"""What a record says besides its measures, and the columns that a table of runs has of plans
alone."""

from __future__ import annotations

from capacity.declare.field import FLOAT, INT, LEVELS, LIST, SECTION, TEXT, Column, Field

COUNTS = {
    "total": "all trained numbers, a tied embedding once, BOS included",
    "paper": "as the papers count: without BOS, or without rows that no text uses",
    "non_embedding": "blocks and final norm only",
    "active": "total without experts that a token does not visit, and table rows that it does not "
    "read",
    "idle": "total - active",
    "used": "text: total without rows of the table that no sequence or canary has",
}
ALSO_NEEDED = ("total", "paper", "non_embedding")  # of COUNTS; records of old lack the last


def _same(path: str, type: str, unit: str, meaning: str, needed: bool = False) -> Field:
    """A number whose column is the last key of its path."""
    return Field(path, type, unit, meaning, column=path.rpartition(".")[2], needed=needed)


def _text(path: str, meaning: str = "", needed: bool = False) -> Field:
    return Field(path, TEXT, "", meaning, needed=needed)


# Of a failed record only, and of a finished one only.
FAILED = (Field("error.reason", TEXT, "", "why a run failed", column="error", needed=True),)
FINISHED = (
    Field(
        "convergence.gain_last_tenth",
        FLOAT,
        "fraction",
        "bits gained over the last tenth of the steps / final bits",
        column="gain_last_tenth",
        needed=True,
        missing=True,
    ),
    *(
        Field(
            f"training.exposures_{which}",
            INT,
            "times",
            f"the same, counted ({which} over items)",
            column=f"exposures_{which}",
            column_type=FLOAT,
            needed=True,
        )
        for which in ("min", "max")
    ),
)

# Columns of the table of runs in its order: what a run is; settings follow these.
ABOUT: tuple[Field | Column, ...] = (
    Field(
        "run_id",
        TEXT,
        "",
        "hash of all that the run depends on; names its folder in results/runs",
        column="run_id",
        needed=True,
    ),
    Field(
        "study",
        TEXT,
        "",
        "study or studies that have the run, separated by '; '",
        column="study",
        needed=True,
        missing=True,
    ),
    Field(
        "status",
        TEXT,
        "",
        "finished, failed, or missing: no record yet (capacity status tells queued, running and "
        "interrupted ones apart)",
        column="status",
        needed=True,
    ),
    *FAILED,
    Column(
        "model",
        TEXT,
        "",
        "name of the model: layers x width, with the settings that tell models of equal "
        "layers and width in this study apart",
    ),
    Column(
        "variant",
        TEXT,
        "",
        "what the study calls the run beside its size, amount of data, exposures and seed: a name "
        "of its entry names, or the settings that vary; empty where nothing else does",
    ),
    Column("kind", TEXT, "", "kind of data"),
    Column("seed", INT, "", "of data, initial weights and batch order together"),
)

# What is counted of a run.
COUNTED: tuple[Field | Column, ...] = (
    *(
        Field(
            f"parameters.{name}",
            INT,
            "parameters",
            meaning,
            column=f"parameters_{name}",
            needed=name in ALSO_NEEDED,
        )
        for name, meaning in COUNTS.items()
    ),
    Column("vocab_size", INT, "rows", "rows of the token table"),
    _same(
        "data.n_sequences",
        INT,
        "sequences",
        "N, sequences of the data set; of text, members of the split",
    ),
    _same("data.rows", INT, "rows", "text: rows of the token table"),
    _same("data.used_rows", INT, "rows", "text: those that some sequence or canary has"),
    _same(
        "data.fitting_vocab_size",
        INT,
        "rows",
        "text: data.vocab_size that has 90% of its rows in use, where this one has fewer",
    ),
    Field("data.null_rows", INT, "rows", "text: rows without data.field, skipped as asked"),
    Field("data.source_rows", INT, "rows", "text: rows that were read, with data.null_rows=skip"),
    _same("data.n_people", INT, "people", "N, people who are measured"),
    _same("data.n_items", INT, "items", "mixed: N, people and random rows together"),
    _same(
        "data.entropy_bits",
        FLOAT,
        "bits",
        "what the data hold: N S log2 V of uniform tokens, R^max P of facts; of text a "
        "code of log2 V per token",
        needed=True,
    ),
    _same("data.load", FLOAT, "bits per parameter", "entropy_bits / parameters_total", needed=True),
    Column("trained_on", TEXT, "", "text: which sequences the run was trained on"),
    Column("pool", TEXT, "", "text: digest of the pool of sequences"),
    Column(
        "tokens_per_parameter",
        FLOAT,
        "tokens per parameter",
        "tokens of the training set / parameters_total; of a study of text, whose runs.csv has "
        "parameters_used, of these",
    ),
    Column(
        "tokens_per_parameter_used",
        FLOAT,
        "tokens per parameter",
        "text: tokens of the training set / parameters_used",
    ),
    _same("training.steps", INT, "steps", "optimizer steps", needed=True),
    _same("training.tokens", INT, "tokens", "predicted tokens over the training", needed=True),
    _same("training.flops", FLOAT, "FLOP", "model FLOPs of training, 3 x forward", needed=True),
    Field(
        "training.exposures_expected",
        FLOAT,
        "times",
        "mean number of times an item is seen, as expected from the steps",
        column="exposures",
    ),
    FINISHED[1],
    _same("training.exposures_mean", FLOAT, "times", "the same, counted (mean over items)"),
    FINISHED[2],
)

# How a run was trained.
TRAINED: tuple[Field | Column, ...] = (
    FINISHED[0],
    Field(
        "convergence.{quantity}_at_90_percent",
        FLOAT,
        "bits",
        "{quantity} after 90% of the steps",
        missing=True,
    ),
    Column("wall_s", FLOAT, "s", "time of training / runs of the stack: this run's share"),
    Field("training.wall_s", FLOAT, "s", "time of training of the whole stack", needed=True),
    Field("training.stack", INT, "runs", "runs that trained together", needed=True),
    Field("training.threads", INT, "threads", "CPU threads of the process", needed=True),
    Field("training.tiers", LEVELS),
    Field("training.tiers.[tier].rate", INT, "", "relative rate at which tier {tier} is seen"),
    Field("training.tiers.[tier].items", INT, "items", "items of tier {tier}, 1 is the most seen"),
    *(
        Field(
            f"training.tiers.[tier].exposures_{which}",
            FLOAT if which == "mean" else INT,
            "times",
            f"times that an item of tier {{tier}} was seen, counted ({which} over items)",
            column=f"exposures_{which}_tier_{{tier}}",
        )
        for which in ("min", "mean", "max")
    ),
    Field("training.micro_batches", INT, "parts", "parts in which a batch was computed"),
    Field("training.ranks", INT, "ranks", "processes that trained it together (cluster.ranks)"),
    _text(
        "training.order_changed",
        "where steps were made otherwise than those before (a batch in another number of parts, "
        "another kind of device, kernels, compilation): from which step on, and how; sums are then "
        "taken in another order, which rounds otherwise",
    ),
    _text("training.device", "device of the training", needed=True),
    _text("training.master_weights", "master_weights of the training", needed=True),
    _text("training.optimizer_state", "optimizer_state of the training"),
    _text("training.qat", "qat of the training"),
    Field("training.loss_scale", FLOAT, "", "last loss scale (fp16)"),
    Field(
        "training.steps_skipped",
        INT,
        "steps",
        "steps without an update, because a gradient overflowed (fp16)",
    ),
    _text(
        "storage.weights", "format that the model must be stored in to be used as it was trained"
    ),
    Field("storage.bits", INT, "bits", "what that takes"),
    Field(
        "storage.bits_per_weight", FLOAT, "bits per parameter", "storage.bits / parameters_total"
    ),
)

# Where and when: the last columns.
ENVIRONMENT: tuple[Field | Column, ...] = (
    Field("environment.cores", INT, "cores", "cores of the machine that trained"),
    Field("environment.{setting}", TEXT, "", "{setting} where the run trained", missing=True),
    _text("finished_at", "when the record was written (UTC)", needed=True),
)

# What readers need and no table shows.
HIDDEN = (
    Field("schema", INT, needed=True),
    Field("config", SECTION, needed=True),
    Field("identity", SECTION, needed=True),
    Field("measures", SECTION, needed=True),
    Field("convergence", SECTION, needed=True, missing=True),
    Field("convergence.meaning", TEXT),
    Field("error", SECTION, needed=True, missing=True),
    Field("environment", SECTION, needed=True),
    # of a table it is the setting train.precision, as which it is given already
    Field("training.precision", TEXT, column="train.precision", needed=True),
    Field("storage.quantized", LIST),
    Field("storage.skipped", LIST),
)
FIELDS: tuple[Field, ...] = (
    *HIDDEN,
    *(one for one in (*ABOUT, *COUNTED, *TRAINED, *ENVIRONMENT) if isinstance(one, Field)),
)
ALWAYS = tuple(one for one in FIELDS if one not in (*FAILED, *FINISHED))
