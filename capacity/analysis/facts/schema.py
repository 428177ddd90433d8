"""What fit.json of a study of facts holds, by name (schema 4).

Numbers that do not exist are None. R is in bits per parameter of the count "paper" (all but the
rows of unused tokens), exposures are mean times that a person was shown.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypeAlias, TypedDict

from capacity.fitting.misfit import LackOfFit

# pandas.DataFrame and Series; by their own annotations a selection of rows may be either, so that
# they tell a checker nothing.
Frame: TypeAlias = Any
Column: TypeAlias = Any


class Arm(TypedDict):
    """Runs that are equal but for the seed, means over seeds; a row of arms.csv."""

    arm: int
    curve: int
    curve_name: str
    arm_name: str
    model: str  # its name, such as 2x16
    n_people: float
    exposures: float  # asked for
    parameters_paper: float
    parameters_total: float
    r_max: float
    seeds: int
    r: float | None
    r_sd: float | None
    r_low: float | None  # 95% over seeds
    r_high: float | None
    r_se_people: float | None
    noise_sd: float | None  # of R of one run, as intervals of peaks and ratios take it
    noise_dof: float | None
    noise_of: str  # its own seeds, or a line through arms
    r_total: float | None  # per parameter of the count "total"
    fraction: float | None  # R / R^max
    accuracy: float | None
    accuracy_sd: float | None
    extraction_accuracy: float | None
    extraction_accuracy_sd: float | None
    accuracy_guess: float | None  # what the best way of guessing gets; None: not measured
    extraction_accuracy_guess: float | None
    bits: float | None
    exposures_counted: float | None
    best: str  # settings of `best_over` that were chosen
    rising: int  # runs, as are the following
    off: int
    finished: int
    failed: int
    missing: int


class Against(TypedDict):
    """A ratio to the peak of another arm; method says from what its interval is, why that there is
    none."""

    value: float | None
    interval: list[float] | None
    method: str
    why: str | None
    name: str


class Peak(TypedDict):
    """The model with the largest R of a curve."""

    curve: int
    name: str
    n_people: float
    exposures: float
    against_first: Against | None
    value: float
    interval: list[float] | None
    dof: float | None  # of the interval
    bias: float | None
    reason: str | None  # why there is no interval
    model: str
    arm: int
    parameters: int
    r_max: float
    seeds: int
    models: int
    largest_r_max: float
    rising: int
    edge: str | None
    own_interval: list[float] | None


class Estimate(TypedDict):
    """A fitted number and its 95% interval."""

    value: float
    interval: list[float] | None


class OtherForm(TypedDict):
    """The form that fits worse."""

    form: str
    e95: float
    rms: float


class ExposureLaw(TypedDict):
    """R against exposures of one model and N; where there is a reason why not, only model, series,
    n_people, reason and unlearned (runs with R <= 0, which count with 0)."""

    model: str
    series: str
    n_people: float
    reason: str | None
    unlearned: int
    form: str
    runs: int
    exposures: list[float]
    r_max: float
    r_at_most: float  # mean R at the most exposures
    lack_of_fit: LackOfFit | None  # None where no exposures have several runs
    scatter: dict[str, float]  # standard deviation about the law by source, bits per parameter
    r_inf: Estimate
    e0: Estimate
    b: Estimate
    e95: Estimate
    bounds: list[str]  # what lies on a bound of the search, in words
    rms: float
    agreeing: int
    starts: int
    other: OtherForm
    held_out: dict[str, float | None]  # rms by form
    plateau_reached: bool
    data_limited: bool  # R_inf is at least 90% of R^max: the plateau is that of the data
    e95_error: float | None  # standard error of log E95
    e95_dof: float | None


class LawRatio(TypedDict):
    """E95 of one law over that of another one of the same model and N. Lists: of both laws."""

    model: str
    n_people: float
    above: str
    below: str
    what: str
    value: float | None
    interval: list[float] | None
    shown: str | None  # more, less, or None: no difference shown
    data_limited: list[bool]
    r_inf_of_r_max: list[float]
    forms: list[str]


class Chosen(TypedDict):
    """What choosing the best setting of one arm did to its R."""

    arm: str
    model: str
    options: int
    seeds: int
    quoted: float
    held_out: float
    percent: float
    noise_percent: float


class Choice(TypedDict):
    """The same over arms; left_out: why -> arms."""

    arms: list[Chosen]
    left_out: dict[str, int]
    percent: float | None
    interval: list[float] | None
    noise_percent: float | None


class BestOver(TypedDict):
    settings: list[str]
    at_edge: dict[str, list[str]]
    choice: Choice | None


class NoiseOf(TypedDict):
    """Line of the noise of one run over seeds through a class of arms: sd of R = sd (R / at)^slope;
    of files before schema 4 the pooled sd relative to R, without at and slope."""

    sd: float
    at: float
    slope: float
    slope_sd: float
    arms: int
    dof: int
    of: str


class DataLimited(TypedDict):
    """Arms whose data are few enough to be held whole: R^max is at most below_peak of the largest R
    over models and people of their kind and exposures."""

    below_peak: float
    arms: int
    min: float | None  # of R / R^max
    mean: float | None
    models: list[dict[str, Any]]
    lowest: str | None


class OtherExposures(TypedDict):
    """How often each of `people` others is seen where exposures of the main people are `asked`."""

    people: int
    asked: float
    each: float


class Fit(TypedDict):
    """The whole file; `differences` comes with the comparison of variants."""

    kind: str
    schema: int
    study: str
    versions: dict[str, str]
    inputs_sha256: str
    question: str
    scale: str
    overrides: list[str]
    data_kinds: list[str]
    convention: dict[str, str]
    n: dict[str, int]
    best_over: BestOver
    varied: list[str]
    vocabulary_sizes: list[int] | None
    noise: dict[str, NoiseOf]
    arms: list[Arm]
    peaks: list[Peak]
    data_limited: DataLimited
    exposure_laws: list[ExposureLaw]
    law_ratios: list[LawRatio]
    other_exposures: NotRequired[list[OtherExposures]]  # absent where there are no others
    verdicts: list[dict[str, Any]]
    flags: dict[str, list[str]]
    bootstrap: dict[str, Any]
