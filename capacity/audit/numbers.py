"""All numbers of an audit, and its verdict.

The rule of the verdict stands before any data are seen, and none of its words is "safe":

    differs      words, phrases or lengths tell the files apart without a model: no verdict
    evidence     the primary attack, or dataset inference, ranks members higher by more than chance:
                 p below 5%, corrected for the two (Holm), and an AUC above 0.5
    no evidence  neither does, and the 95% interval of the primary attack's AUC lies within 0.45 to
                 0.55: an average document is hardly told apart by this attack; single documents can
                 still be, and by stronger attacks more
    cannot tell  neither does, and the interval is too wide to say so
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from capacity.audit import attacks, bits, canaries, extraction, predicted
from capacity.audit import documents as tables
from capacity.audit.schema import About, Attack, Blind, DatasetInference, Model, Numbers, Sizes
from capacity.audit.scored import Documents, ScoredModel, TokenScores
from capacity.base.errors import ConfigError
from capacity.base.files import plain
from capacity.base.words import p_value, plural
from capacity.fitting import blind, dataset_inference
from capacity.fitting.statistics import ALPHA, holm

if TYPE_CHECKING:
    import pandas as pd

# Groups of a side: fewer have too few permutations for a look without a model to fire (of 4 and 4
# units 70, so that p corrected for three looks is at least 0.086)
FEWEST_UNITS = 5
HARDLY = (0.45, 0.55)  # an AUC within is called no evidence
DIFFERS, EVIDENCE, NONE, UNKNOWN = "differs", "evidence", "no evidence", "cannot tell"


@dataclass(frozen=True)
class Audited:
    """numbers: of audit.json; documents, and groups where there are some: tables by model's
    name (`audit/documents.py` says their columns)."""

    numbers: Numbers
    documents: dict[str, pd.DataFrame]
    groups: dict[str, pd.DataFrame]


def check(documents: Documents) -> None:
    """ConfigError where a side has fewer units than intervals need: before anything is scored."""
    unit_D = documents.unit_D
    for side, of in (("members", documents.member_D), ("others", ~documents.member_D)):
        if (units := len(np.unique(unit_D[of]))) < FEWEST_UNITS:
            what = "document" if documents.groups is None else "group"
            raise ConfigError(
                f"--{side}: {plural(units, what)}; an interval over {what}s needs at least "
                f"{FEWEST_UNITS}"
            )


def audit(  # noqa: PLR0913  what a reader is told beside the scores
    documents: Documents,
    models: Sequence[ScoredModel],
    about: About,
    *,
    reference: TokenScores | None = None,
    capacity: tuple[float, str] | None = None,
    counts: Mapping[str, Mapping[str, int]] | None = None,
    looked: Blind | None = None,
) -> Audited:
    """Everything that is said of the checkpoint, the first of the models, and of its variants.

    capacity: bits that the model can hold, and whose law that is; the quoted one where it is None.
    counts: rows and left_out by side, as `Sizes` has them. looked: of `look`, where it was told
    already. seconds of the numbers are empty.
    """
    check(documents)
    unit_D = documents.unit_D
    looked = look(documents, about["seed"]) if looked is None else looked
    found, by_document, by_group = [], {}, {}
    size = bits.quoted_capacity(about["parameters"]) if capacity is None else capacity
    for model in models:
        scores = attacks.scores(documents, model.tokens, reference)
        primary = attacks.primary(reference)
        _enough(scores[primary], documents)
        flagged = tables.flag(scores[primary], documents)
        by_document[model.name] = tables.table(documents, model.tokens, reference, scores, flagged)
        if (groups := tables.groups(documents, flagged)) is not None:
            by_group[model.name] = groups
        one: Model = {
            "name": model.name,
            "stored_bits": model.stored_bits,
            "attacks": attacks.all_statistics(scores, documents),
            "primary": primary,
            "dataset_inference": inferred(documents, model.tokens, reference, about["seed"]),
            "bits": None
            if reference is None
            else bits.memorized(documents, model.tokens, reference, size),
            "extraction": extraction.extraction(documents, model.tokens),
            "canaries": None if model.canaries is None else canaries.levels(model.canaries),
            "at_risk": tables.at_risk(flagged, documents),
            "resolves": flagged.resolves,
            "at_risk_groups": None if groups is None else int(groups.at_risk.sum()),
        }
        found.append(one)
    said, reasons = verdict(looked, found[0])
    t = about["tokens_per_parameter"]
    numbers = {
        "about": about,
        "sizes": {
            side: _sizes(documents, models[0].tokens, of, unit_D, (counts or {}).get(side, {}))
            for side, of in (("members", documents.member_D), ("others", ~documents.member_D))
        },
        "blind": looked,
        "predicted": None if t is None else predicted.predicted(t),
        "models": found,
        "verdict": said,
        "reasons": reasons,
        "seconds": {},
    }
    return Audited(cast(Numbers, plain(numbers)), by_document, by_group)


def look(documents: Documents, seed: int = 0) -> Blind:
    """What tells the files apart without a model. It needs none, so that it can be told first."""
    found = blind.looks(documents.texts, documents.member_D, documents.unit_D, seed=seed)
    looks: dict[str, Any] = {
        name: {"value": one.value, "interval": list(one.interval), "p": one.p}
        for name, one in found.by_name.items()
    }
    return cast(
        Blind,
        looks
        | {
            "differs": found.differs,
            "permutations": found.permutations,
            "documents": found.documents,
        },
    )


def inferred(
    documents: Documents, tokens: TokenScores, reference: TokenScores | None, seed: int = 0
) -> DatasetInference:
    """Dataset inference on all scores."""
    features = attacks.features(documents, tokens, reference)
    member, unit_D = documents.member_D, documents.unit_D
    known = tokens.predicted_D() > 0
    mine, theirs = member & known, ~member & known
    found = dataset_inference.infer(
        features[mine], features[theirs], (unit_D[mine], unit_D[theirs]), seed
    )
    out: DatasetInference = {
        "p": found.p,
        "features": features.shape[1],
        "units": list(found.units),
    }
    if found.p is None:
        out["reason"] = found.reason
    return out


def verdict(looked: Blind, model: Model) -> tuple[str, list[str]]:
    """The word and its reasons, in words; see the head of this module."""
    if looked["differs"]:
        which = {"words": "words", "n_grams": "phrases", "lengths": "lengths"}
        return DIFFERS, [
            f"{which[name]} tell the files apart without a model: AUC {_ends(looked[name])}"
            for name in looked["differs"]
        ]
    attack: Attack = model["attacks"][model["primary"]]
    auc, set_p = attack["auc"], model["dataset_inference"]["p"]
    assert auc["interval"] is not None
    above = auc["value"] > 0.5
    corrected = holm([attack["p"], set_p])
    reasons = []
    if above and _small(corrected[0]):
        reasons.append(f"the primary attack ranks members above others: AUC {_ends(auc)}")
    if above and _small(corrected[1]):
        reasons.append(
            f"all scores together tell members from others as a set: p {p_value(set_p)} (dataset "
            "inference)"
        )
    if reasons:
        return EVIDENCE, reasons
    where = f"AUC of the primary attack {_ends(auc)}"
    if HARDLY[0] <= auc["interval"][0] and auc["interval"][1] <= HARDLY[1]:
        return NONE, [f"{where} lies within {HARDLY[0]} to {HARDLY[1]}"]
    return UNKNOWN, [f"{where} is not shown to be above 0.5, nor to be near it"]


def _small(p: float | None) -> bool:
    return p is not None and p < ALPHA


def _ends(estimate: Any) -> str:
    low, high = estimate["interval"]
    return f"{estimate['value']:.3f} [{low:.3f}, {high:.3f}]"


def _enough(score_D: np.ndarray, documents: Documents) -> None:
    """ConfigError where too few documents have a score: too short to predict a token of."""
    known = np.isfinite(score_D)
    for side, of in (("members", documents.member_D), ("others", ~documents.member_D)):
        if (units := len(np.unique(documents.unit_D[of & known]))) < FEWEST_UNITS:
            raise ConfigError(
                f"--{side}: {plural(units, 'document')} with a token that the model predicts; an "
                f"interval needs at least {FEWEST_UNITS}"
            )


def _sizes(
    documents: Documents,
    tokens: TokenScores,
    of: np.ndarray,
    unit_D: np.ndarray,
    counts: Mapping[str, int],
) -> Sizes:
    return {
        "rows": int(counts.get("rows", documents.copies_D[of].sum())),
        "documents": int(of.sum()),
        "left_out": int(counts.get("left_out", 0)),
        "units": len(np.unique(unit_D[of])),
        "tokens": int(tokens.predicted_D()[of].sum()),
        "bytes": int(documents.bytes_D[of].sum()),
    }
