"""The numbers of a study of text as memory.json holds them; what is not finite is None there."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, final

from capacity.fitting import misfit

SCHEMA = 4
# A pandas.DataFrame or a column of one. Its annotations do not say which operations on a frame give
# a frame, so that a checker would object to correct code everywhere.
Frame = Any


class Estimate(TypedDict):
    """A number and its 95% interval, None where there is none. In the file an infinite number is
    None too."""

    value: float
    interval: list[float] | None


@final
class NoLaw(TypedDict):
    """Why there is no law."""

    reason: str


class Crossing(TypedDict):
    """Tokens per parameter at which a law has fallen to a level. sources: what its interval knows
    (`crossing.SOURCES`); over_runs: the interval by runs as replicates, which knows training alone;
    scatter: their standard deviations in log t; dof: of Student's t."""

    t: float | None
    interval: list[float] | None
    over_runs: list[float] | None
    sources: list[str]
    scatter: dict[str, float]
    dof: float | None


class SetUp(TypedDict):
    """Where F1 falls to 0.75 with one model and budget; the curve is that of all."""

    name: str
    runs: int
    splits: int
    texts: int
    crossing: Crossing


class TokenBits(TypedDict):
    """What a token of the data costs in bits: low and high of the models of the study, by the code
    (reference or the smallest loss on held-out text), and log2 V."""

    low: float
    high: float
    uniform: float
    code: str


@final
class MembershipLaw(TypedDict):
    """A sigmoid of `membership_law` fitted to runs; bounds: what lies on one, in words."""

    form: str
    c1: float
    c2: float
    c3: float
    intervals: dict[str, list[float] | None]
    bounds: list[str]
    points: int
    rmse: float
    falls_to: dict[str, Crossing]
    lack_of_fit: misfit.LackOfFit | None


class AsPrinted(TypedDict):
    """The printed form with its own constants on these runs."""

    constants: dict[str, float]
    rmse: float
    rises_with_data: bool


class Prediction(TypedDict):
    """What a law fitted to smaller models predicts for the runs of a larger one."""

    model: str
    parameters: int
    constants: dict[str, float]
    rmse: float
    t: list[float]
    measured: list[float]
    predicted: list[float]


class CanaryMisfit(TypedDict):
    """Probability of so much bend, and of so much of passes at equal views, if a law holds; any: of
    a smaller one of both as small as the smaller one is."""

    bend: float | None
    passes: float | None
    any: float | None


class Censored(TypedDict):
    """Canaries at or below the lower limit, between, and at the ceiling; low, high in bits."""

    below: int
    between: int
    above: int
    low: float
    high: float


class OtherLimit(TypedDict):
    """Slopes of the exposure law with another lower limit, bits."""

    low: float
    b: float | None
    c: float | None


class LevelLine(TypedDict):
    """Slopes through those level means that lie between the ends: a description, no law."""

    levels: int
    of: int
    sizes: int
    b: float | None
    c: float | None


@final
class CanaryLaw(TypedDict):
    """A law of exposure or extraction of single canaries; c where models differ in size. points:
    canaries of all runs; canaries: different ones. covariance of a, b, c; dof of their t intervals.
    Of exposure only: sigma (bits), the scatter of a canary about the line; censored; other_limits:
    the slopes where the lower limit lies elsewhere."""

    law: str
    points: int
    runs: int
    canaries: int
    sizes: int
    dof: int
    covariance: list[list[float]]
    lack_of_fit: CanaryMisfit | None
    sigma: NotRequired[float]
    censored: NotRequired[Censored]
    other_limits: NotRequired[list[OtherLimit]]
    a: Estimate
    b: Estimate
    c: NotRequired[Estimate]


class HalfExtracted(TypedDict):
    """Views at which the logistic law gives a half; beyond: more than any run tried."""

    parameters: int
    views: float
    interval: list[float] | None
    beyond: bool


class CanaryLevel(TypedDict):
    """Means over targets of one level of repeats."""

    exposure: float
    extractable: float


class Canaries(TypedDict):
    """Of `canaries.analyse`."""

    half_extracted: list[HalfExtracted]
    levels: dict[str, CanaryLevel]
    exposure: CanaryLaw | NoLaw
    logistic: CanaryLaw | NoLaw
    lines: dict[str, LevelLine]


class RandomCapacity(TypedDict):
    """What a model holds of random data, strict bits per parameter (P total). study: where it was
    measured; of: model, its own plateau, or law, alpha of C = alpha P over models."""

    study: str
    of: str
    alpha: Estimate


class Descent(TypedDict):
    """Of `double_descent.analyse`, one model. sizes: columns by name, a row per size of the data;
    data, memorized, clipped and generalised in bits per parameter, losses in bits per token.

    alpha: by seeds that did not choose its size; most: the largest mean over sizes, too high by the
    noise that chose it, and alpha itself where left_out is False (one seed). Both absent from files
    of before 2026-11-29, whose alpha is the most.

    Capacity has two meanings, side by side: peak_over_capacity is of the most that the model
    memorized of this text; peak_over_random of what it holds of random data, the paper's. None
    where that was not measured. Absent from files of before 2026-11-28."""

    parameters: int
    sizes: dict[str, list[float]]
    seeds: int
    alpha: Estimate
    most: NotRequired[float]
    left_out: NotRequired[bool]
    at_edge: bool
    clear: bool
    peak: Estimate
    peak_over_capacity: Estimate
    random: NotRequired[RandomCapacity | None]
    peak_over_random: NotRequired[Estimate | None]


class FormErrors(TypedDict):
    """A form of forgetting fitted to one curve; errors are root mean squares in bits. on_bound: low
    or high by the name of a parameter that lies on that bound of its search; absent from files of
    before 2026-11-29."""

    a: float
    t0: float
    b: float
    half_life: float
    rmse: float
    tail: float
    on_bound: NotRequired[dict[str, str]]


class ForgettingCell(TypedDict):
    """A curve of forgetting: canaries of one model, batch, text, point of training and number of
    views. share: bits at first over what they would be if the canaries cost no bit; strong: whether
    there is something to forget; errors: None where half of it is not lost, or there is nothing."""

    model: str
    batch: int
    text: str
    point: float
    views: int
    parameters: int
    canaries: int
    lags: list[float]
    bits: list[float]
    errors: dict[str, FormErrors] | None
    share: float
    strong: bool
    first_bits: Estimate
    last_bits: Estimate
    half_life: Estimate


class FormScore(TypedDict):
    """A form over all curves: median errors relative to the bits at first, in how many curves it is
    the best, and in how many each parameter lies on a bound, by words; the last is absent from
    files of before 2026-11-29."""

    rmse: float | None
    tail: float | None
    best_rmse: int
    best_tail: int
    on_bound: NotRequired[dict[str, int]]


class Exponent(TypedDict):
    """An exponent of a product of powers; dof: of Student's t behind its interval."""

    exponent: float
    interval: list[float]
    dof: float


class LackOfFit(TypedDict):
    """How far measured points lie off a law, by the noise of replicates alone: p is the chance of
    a larger chi2."""

    chi2: float
    dof: int
    p: float


@final
class PowerLaw(TypedDict):
    """A product of powers of what curves differ in. bounds: of the curves, lower bounds; scatter:
    in octaves, by source, "curves" and "runs", of which one is absent that the curves cannot tell
    from others."""

    curves: int
    bounds: int
    at_one: float
    scatter: dict[str, float]
    lack_of_fit: LackOfFit
    views: NotRequired[Exponent]
    parameters: NotRequired[Exponent]
    batch: NotRequired[Exponent]
    point: NotRequired[Exponent]


class Median(TypedDict):
    """Half-lives in updates of curves that have enough to forget: the median of all, infinite where
    most kept more than half within the run, and the range of those that did not (kept: how many
    did)."""

    curves: int
    kept: int
    median: float
    low: float | None
    high: float | None


class Forgetting(TypedDict):
    """Of `forgetting.analyse`."""

    cells: list[ForgettingCell]
    strong: int
    forms: dict[str, FormScore]
    first_bits: dict[str, PowerLaw | NoLaw]
    half_life: dict[str, PowerLaw | NoLaw]
    medians: dict[str, Median]


class RiskLevel(TypedDict):
    """Sequences of documents of `copies` to `up_to` copies (None: of all), how many on average over
    runs, the share that is flagged at a false positive rate of 1%, and the mean of the runs' own
    95% intervals."""

    copies: int | None
    up_to: int | None
    sequences: float
    flagged: float
    interval: list[float]


class GroupsAtRisk(TypedDict):
    """Groups (by the number of their value) of members, and those whose sequences rank higher than
    those of held-out groups in every run, corrected for their number; resolved: whether there are
    groups of held-out sequences enough to tell."""

    groups: int
    resolved: bool
    at_risk: list[int]


class HighestRisk(TypedDict):
    """A member that stands out: its row of the pool, mean false positive rate at which it is
    flagged, in how many runs that is at most 1%; number of its document and group, and copies,
    where scores have them."""

    row: int
    rate: float
    flagged: int
    document: int | None
    group: int | None
    copies: int | None


@final
class AtRisk(TypedDict):
    """Of `at_risk.of`: runs of one model and size. attack: loss, or reference; others: held-out
    sequences that members are compared with, the fewest; levels: all members first, then by
    copies where these vary; highest: those that stand out furthest first."""

    model: str
    tokens_per_parameter: float
    runs: int
    attack: str
    others: int
    others_flagged: RiskLevel
    levels: list[RiskLevel]
    groups: GroupsAtRisk | None
    highest: list[HighestRisk]


@final
class InfluenceOfPair(TypedDict):
    """Of `subset_effects`: rows of the pool, of the one that was seen and of the one whose loss it
    lowers by so many bits; surely: beyond all that chance gives."""

    seen: int
    on: int
    bits: float
    se: float
    surely: bool


@final
class Influence(TypedDict):
    """pairs: looked at, ordered; surely: beyond all that chance gives; tail, chance: share of pairs
    beyond `fitting.subsets.TAIL`, and by permutation."""

    pairs: int
    surely: int
    tail: float
    chance: float
    strongest: list[InfluenceOfPair]


@final
class SubsetEffects(TypedDict):
    """Of `subset_effects.of`: models that differ in their seed, each trained on half of the pool.
    bits: memorized of `members` sequences, as many as a model has seen, with its 95% over models;
    above, surely: `fitting.subsets.Memorized`; rho: `fitting.subsets.Rarity`, None with too
    few models; influence: None where there are too many pairs."""

    model: str
    tokens_per_parameter: float
    parameters: float
    models: int
    sequences: int
    members: float
    bits: float
    interval: list[float]
    above: float
    surely: int
    rho: float | None
    rho_interval: list[float] | None
    rho_p: float | None
    tenths: list[list[float]]
    influence: Influence | None


class Memory(TypedDict):
    """The file. laws, predictions: by value, f1_median and auc of the loss attack; descent: by
    model; forms: rows of `fitting.selection.forms`; verdicts: rows of `published.verdict`;
    at_risk: absent where no run has scores of 99 held-out sequences, and from files of before
    2026-11-29; subsets: absent without 16 shadow models of one family, and from files of before
    2026-11-30."""

    kind: str
    schema: int
    study: str
    versions: dict[str, str]
    inputs_sha256: str
    targets: int
    finished: int
    runs: int
    laws: dict[str, MembershipLaw | NoLaw]
    notes: list[str]
    printed: AsPrinted | None
    logarithmic: MembershipLaw | NoLaw | None
    forms: list[dict[str, Any]] | None
    setups: list[SetUp]
    token_bits: TokenBits | None
    predictions: dict[str, list[Prediction]]
    canaries: Canaries | None
    descent: dict[str, Descent]
    verdicts: list[dict[str, Any]]
    forgetting: Forgetting | None
    at_risk: NotRequired[list[AtRisk]]
    subsets: NotRequired[list[SubsetEffects]]
