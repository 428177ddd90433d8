"""The numbers of an audit, as audit.json holds them; what is not finite or was not asked is None.

Intervals are 95%, over units: groups where --group names some, else documents.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict, final

SCHEMA = 1


class Estimate(TypedDict):
    """A number and its 95% interval, None where there is none."""

    value: float
    interval: list[float] | None


@final
class About(TypedDict):
    """What was asked. model, reference: as the command named them; parameters: of the model;
    window: tokens; opens_with: the token that stands before every window, None where there is none;
    tokens_per_parameter: of --training-tokens."""

    model: str
    model_sha256: str
    model_type: str
    parameters: int
    vocab_size: int
    context: int
    window: int
    opens_with: int | None
    dtype: str
    reference: str | None
    members: str
    others: str
    members_sha256: str
    others_sha256: str
    group: str | None
    training_tokens: int | None
    tokens_per_parameter: float | None
    seed: int


@final
class Sizes(TypedDict):
    """What was scored of one file. rows: of the file; documents: different texts that were scored;
    left_out: different texts that the budget of tokens left out; units: groups, or documents."""

    rows: int
    documents: int
    left_out: int
    units: int
    tokens: int
    bytes: int


class Look(Estimate):
    """An AUC without a model, less what random labels of the same units give; p: two-sided, of
    permuted units, corrected for the number of looks (Holm)."""

    p: float


@final
class Blind(TypedDict):
    """What tells the files apart without a model. words: of a bag of words; n_grams: of the share
    of a document's n-grams that other documents of the members' file have, less those of the
    others' file; lengths: of the number of bytes. differs: names of those whose p is below 5%;
    verdicts of membership stand only where it is empty. documents: as many were looked at (of a
    very large file a part)."""

    words: Look
    n_grams: Look
    lengths: Look
    differs: list[str]
    permutations: int
    documents: int


class Attack(TypedDict):
    """One membership score. auc, f1: chance is 0.5. tpr: by false positive rate, "0.01" and
    "0.001"; None where others are too few. p: two-sided, of an AUC of 0.5, not corrected for the
    number of attacks. documents: that have the score (ReCaLL: without those of its prefix)."""

    auc: Estimate
    tpr: dict[str, Estimate | None]
    f1: Estimate
    p: float
    documents: int


@final
class DatasetInference(TypedDict):
    """Were these documents trained on, as a set? (Maini et al., arXiv 2406.06443) p: one-sided,
    over units of the half that no weight was fitted on, of members and of others; reason: why there
    is none."""

    p: float | None
    features: int
    units: list[int]
    reason: NotRequired[str]


@final
class Predicted(TypedDict):
    """The repaired law of membership at the stated tokens per parameter. scope: where it was
    measured; extrapolated: whether the ratio lies outside."""

    f1: float
    tokens_per_parameter: float
    extrapolated: bool
    scope: str
    source: str


class MemorizedBits(TypedDict):
    """log2 p - log2 p_ref summed over documents: signed, and with negative documents as 0."""

    signed: Estimate
    clipped: Estimate
    per_token: Estimate  # signed


@final
class Bits(TypedDict):
    """Memorized bits against the reference. others_scaled: the clipped bits of the others, per
    token, times the tokens of the members: what chance gives. share: (clipped bits of members less
    that) over capacity; capacity: bits, capacity_source says whose law."""

    members: MemorizedBits
    others: MemorizedBits
    others_scaled: float
    capacity: float
    capacity_source: str
    share: Estimate


class Extracted(TypedDict):
    """Of suffixes of one length, with the window before it as prefix: how many, the part that is
    the greedy continuation, and by number of tries n the part that is (n, 0.5)-discoverable (Hayes
    et al., arXiv 2410.19482)."""

    suffixes: int
    greedy: Estimate
    discoverable: dict[str, Estimate]


class Longest(TypedDict):
    """tokens: of the run; document: its id."""

    tokens: int
    document: str


@final
class Extraction(TypedDict):
    """By suffix length ("16", "32", "50"; absent where a side has no such suffix): members, others
    and their difference (greedy). longest: by side the longest run of tokens that greedy decoding
    writes verbatim, and the document it is in."""

    by_suffix: dict[str, dict[str, Extracted]]
    difference: dict[str, Estimate]
    longest: dict[str, Longest]


@final
class CanaryLevel(TypedDict):
    """Canaries that were shown equally often. exposure: mean bits; at_most: log2 (candidates + 1);
    log2_e_value: mean over canaries of log2 of the e-value 2^saved bits, None where the file does
    not state the bits of a canary; at_ceiling: canaries of rank one."""

    repeats: int
    canaries: int
    exposure: Estimate
    at_most: float
    at_ceiling: int
    extracted: Estimate
    log2_e_value: float | None


@final
class AtRisk(TypedDict):
    """By level of copies ("1", "2", "3 to 4", ...): documents of members, those flagged at a
    calibrated false positive rate of 1%, and the share with its interval over units; of the others
    the same under "others", each ranked among the rest of them. flagged is 0 and the share [0, 1]
    where fewer than 99 others cannot resolve 1%: `Model.resolves` says so."""

    level: str
    documents: int
    flagged: int
    share: Estimate


class Model(TypedDict):
    """What was found of one model: the checkpoint itself, or one of its quantized variants."""

    name: str
    stored_bits: int | None
    attacks: dict[str, Attack]
    primary: str  # the attack that decides and flags documents: fixed before the data are seen
    dataset_inference: DatasetInference
    bits: Bits | None
    extraction: Extraction
    canaries: list[CanaryLevel] | None
    at_risk: list[AtRisk]
    resolves: bool  # whether there are others enough for a false positive rate of 1%
    at_risk_groups: int | None  # groups of members whose documents rank high, corrected (Holm)


@final
class Numbers(TypedDict):
    """audit.json: the head of `analysis/finding.py`, then this."""

    about: About
    sizes: dict[str, Sizes]
    blind: Blind
    predicted: Predicted | None
    models: list[Model]
    verdict: str  # differs, evidence, no evidence, cannot tell
    reasons: list[str]
    seconds: dict[str, float]
