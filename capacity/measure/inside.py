"""How much of what a model stores about people it can say (Inside-Out, arXiv 2503.15299, section
2): the rank of the true value among all values of its list, by what the model says and by a linear
probe of its hidden states.

K_q = (D - rank) / (D - 1) is the share of the D - 1 other values that score below the true one; the
rank counts an equal score as half above. K is its mean over people and attributes, K* the share of
questions with K_q = 1. The paper draws wrong answers from the model; here the list is closed and
every value of it is scored, so that nothing is drawn. Bits are log2 D plus the mean log2 of the
posterior over the list, never cut off at 0: a wrong posterior costs.

External scores, of all D values of each attribute in its list (`data/inside.py`):

biography  log P(value | the person's text, or the sentence alone, in front of it), by the weights
           of the run; a value that starts longer ones is worth its mass without theirs
question   log P(value and full stop | question), by the weights that were tuned on questions about
           other people; without a fine-tuning by those of the run
frequency  log of how many trained people have the value, which needs no model: the scores of who
           knows the texts and nobody in them

Internal scores, of the same weights as `question`, from the hidden states that the first token of
the answer is predicted from: softmax regression on the index of the value, fitted on one half of
the people asked, whom the fine-tuning did not ask either, and evaluated on the other half, and the
same with halves exchanged, so that everybody is evaluated once.

probe        layer and penalty chosen by likelihood in two folds of the fitting half
probe_final  the final layer, the penalty chosen alike
both         log P of `question` over a temperature, plus a probe: whether states hold anything
             that is not said, with the few weights of a probe spent on that alone
shuffled     `probe` with values dealt out anew among all people asked: what it finds by itself

A probe has (d + 1) D weights of its own per attribute, more than it has people to fit at small
size: it may miss what is there, and adds what the fitting half says of frequencies. Its penalty
also calibrates it. The posterior of `question` is therefore also told at the temperature that suits
the other half best (`calibrated_bits`); K and K* of an attribute are the same at any temperature.
People never trained on, whose values are hashes of their number, are asked the same by `question`
and by `probe` (fitted on trained people): nothing can be known of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from capacity.config import Config
from capacity.data import hashing
from capacity.data import inside as lists
from capacity.data.biographies import BiosWorld
from capacity.data.questions import context_of
from capacity.declare import inside as declared
from capacity.fitting import softmax
from capacity.measure import extraction
from capacity.measure import memorization as bits
from capacity.measure.questions import (
    Question,
    Scorer,
    ask,
    extensions,
    value_question,
)
from capacity.model.gpt import GPT

MEASURE = declared.MEASURE
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # of a mean loss in nats; features of deviation 1
FOLDS = 2  # of the fitting half, which choose layer and penalty
ROWS = 8192  # questions joined at once
MOST_LOG_TEMPERATURE = math.log(100.0)


@dataclass(frozen=True)
class Ranks:
    """Of people (index R) and one attribute: K_q [R] and log2 of the posterior of the true value
    [R], of D values."""

    k_R: Floats
    log2_R: Floats
    values: int

    @property
    def bits_R(self) -> Floats:
        return math.log2(self.values) + self.log2_R


def ranks(score_RD: Floats, value_R: Labels) -> Ranks:
    """By scores in nats [R, D], of which a softmax is the posterior. Equal scores count half."""
    own_R1 = np.take_along_axis(score_RD, value_R[:, None], 1)
    D = score_RD.shape[1]
    above = (score_RD > own_R1).sum(1)
    equal = (score_RD == own_R1).sum(1) - 1
    rank_R = 1 + above + equal / 2
    log_p = np.take_along_axis(softmax.log_probabilities(score_RD), value_R[:, None], 1)[:, 0]
    return Ranks((D - rank_R) / (D - 1), log_p / math.log(2), D)


@dataclass(frozen=True)
class _Asker:
    """What one attribute is asked by: nats of questions by weights, and how many tokens it took."""

    world: BiosWorld
    attribute: str
    batch_tokens: int
    counted: list[int]

    @property
    def values(self) -> int:
        return self.world.sizes[self.attribute]

    def true(self, person_R: Tensor) -> Labels:
        return self.world.values(self.attribute, person_R).cpu().numpy().astype(np.int64)

    def biography(self, person_R: Tensor, context: str, scorer: Scorer) -> tuple[Floats, Floats]:
        """Log P of every value in the first text or sentence of each person [R, D], and tokens of
        the values there [R, D]."""

        def question(person: Tensor, value: Tensor) -> Question:
            swap = {self.attribute: value}
            return value_question(self.world, person, self.attribute, 0, context, swap)

        score_RD, length_RD = self._all(person_R, question, scorer)
        if self.attribute != "birth_date":  # years have equally many digits, none starts another
            whole_RD = score_RD.copy()
            longer_RD = np.zeros_like(score_RD)
            for v, u in extensions(self.world, self.attribute):
                longer_RD[:, v] += np.exp(whole_RD[:, u] - whole_RD[:, v])
            score_RD = whole_RD + np.log1p(-np.minimum(longer_RD, 1 - 1e-15))
        return score_RD, length_RD

    def question(self, person_R: Tensor, scorer: Scorer) -> tuple[Floats, Floats]:
        """Log P of every value with its full stop behind the question, and its tokens, [R, D]."""
        a = self.world.attributes.index(self.attribute)

        def question(person: Tensor, value: Tensor) -> Question:
            return extraction.questions(self.world, person, torch.full_like(person, a), value)

        return self._all(person_R, question, scorer)

    def _all(
        self, person_R: Tensor, question: Callable[[Tensor, Tensor], Question], scorer: Scorer
    ) -> tuple[Floats, Floats]:
        D = self.values
        value_D = torch.arange(D, device=person_R.device)
        scores, lengths = [], []
        for some in person_R.split(max(1, ROWS // D)):
            asked = question(some.repeat_interleave(D), value_D.repeat(len(some)))
            nats, _ = ask(self.world.pieces, asked, scorer, self.batch_tokens)
            self.counted.append(int((asked.begin + asked.length).sum()))
            scores.append(-nats.reshape(-1, D))
            lengths.append(asked.length.double().cpu().numpy().reshape(-1, D))
        return np.concatenate(scores), np.concatenate(lengths)

    def states(
        self, gpt: GPT, flat_P: Tensor, person_R: Tensor, dtype: torch.dtype
    ) -> list[Floats]:
        """By layer, the hidden states [R, F] at the last token of the question."""
        a = self.world.attributes.index(self.attribute)
        out = []
        for some in person_R.split(ROWS):
            asked = extraction.questions(self.world, some, torch.full_like(some, a))
            tokens, length = self.world.pieces.join(asked.slots)
            first, width = length.cumsum(0) - length, int(asked.begin.max()) + 1
            at = first[:, None] + torch.arange(width, device=tokens.device)
            rows = tokens[at.clamp(max=len(tokens) - 1)].long()
            # an answer must not be seen where it is not hidden by causality
            rows[torch.arange(width, device=tokens.device)[None, :] >= asked.begin[:, None]] = 0
            self.counted.append(int(asked.begin.sum()))
            most = max(1, self.batch_tokens // width)
            with torch.no_grad():
                parts = [
                    gpt.states(flat_P, row, begin - 1, dtype)
                    for row, begin in zip(rows.split(most), asked.begin.split(most), strict=True)
                ]
            out.append(torch.cat(parts, 1).double().cpu().numpy())
        return list(np.concatenate(out, 1))


@dataclass(frozen=True)
class _Probe:
    """A fitted probe: which layer it reads, weights, and how features are made standard."""

    layer: int
    penalty: float
    w_FC: Floats
    mean_F: Floats
    deviation_F: Floats

    def scores(self, layers: list[Floats], said_ND: Floats | None = None) -> Floats:
        x = (layers[self.layer] - self.mean_F) / self.deviation_F
        return softmax.log_posterior(self.w_FC, x, 0.0 if said_ND is None else said_ND)


def fitted(
    layers: list[Floats], label_N: Labels, values: int, said_ND: Floats | None = None
) -> _Probe:
    """The probe of the layer and the penalty that are most likely in folds of these people, fitted
    to all of them. layers: [N, F] each; said_ND: scores that the probe adds to."""
    fold_N = np.arange(len(label_N)) % FOLDS
    said = np.zeros((len(label_N), values)) if said_ND is None else said_ND
    best = (-math.inf, 0, PENALTIES[-1])
    for layer, x in enumerate(layers):
        told = np.zeros(len(PENALTIES))
        for fold in range(FOLDS):
            seen = fold_N != fold
            mean, deviation = softmax.standard(x[seen])
            x_N = (x - mean) / deviation
            path = softmax.path(x_N[seen], label_N[seen], values, PENALTIES, said[seen])
            for i, w in enumerate(path):
                log_p = softmax.log_posterior(w, x_N[~seen], said[~seen])
                told[i] += log_p[np.arange((~seen).sum()), label_N[~seen]].sum()
        i = int(told.argmax())
        best = max(best, (float(told[i]), layer, PENALTIES[i]))
    _, layer, penalty = best
    mean, deviation = softmax.standard(layers[layer])
    x_N = (layers[layer] - mean) / deviation
    w = softmax.fit(x_N, label_N, values, penalty, offset_NC=said)
    return _Probe(layer, penalty, w, mean, deviation)


def crossed(
    layers: list[Floats], label_R: Labels, values: int, said_RD: Floats | None = None
) -> tuple[Floats, list[_Probe]]:
    """Scores [R, D] of everybody by the probe of the other half (people with even and with odd
    index), and both probes, that of even ones first. said_RD: scores that a probe adds to, at the
    temperature of the half it is fitted on."""
    half_R = np.arange(len(label_R)) % 2
    score = np.empty((len(label_R), values))
    probes = []
    for half in (0, 1):
        mine, other = half_R == half, half_R != half
        said = None
        if said_RD is not None:
            said = said_RD / temperature(said_RD[mine], label_R[mine])
        mine_said, other_said = (None, None) if said is None else (said[mine], said[other])
        probe = fitted([x[mine] for x in layers], label_R[mine], values, mine_said)
        score[other] = probe.scores([x[other] for x in layers], other_said)
        probes.append(probe)
    return score, probes


def temperature(score_ND: Floats, value_N: Labels) -> float:
    """What scores have to be divided by to make these values most likely, 0.01 to 100."""
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        log_p = softmax.log_probabilities(score_ND / math.exp(log_t))
        return -float(log_p[np.arange(len(value_N)), value_N].sum())

    bounds = (-MOST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE)
    found: Any = minimize_scalar(loss, bounds=bounds, method="bounded")
    return math.exp(float(found.x))


def calibrated(score_RD: Floats, value_R: Labels) -> Floats:
    """Scores of everybody over the temperature of the other half of the people (even or odd
    index), [R, D]."""
    out, half_R = score_RD.copy(), np.arange(len(value_R)) % 2
    for half in (0, 1):
        mine = half_R == half
        out[~mine] /= temperature(score_RD[mine], value_R[mine])
    return out


def people(world: BiosWorld, config: Config) -> tuple[Tensor, Tensor]:
    """The people who are asked, drawn by the seed of those whom no fine-tuning asks, in an order
    that knows nothing of them, and as many never trained on."""
    count = config.measure.inside
    there = torch.arange(world.n_people, device=world.device)
    if config.extraction.mode != "none":
        there = extraction.halves(world, config.seed)[1]
    key = hashing.key(config.seed, "inside people")
    drawn = hashing.permute(key, torch.arange(count, device=world.device), len(there))
    first = world.n_people + world.data.other_people
    return there[drawn], torch.arange(first, first + count, device=world.device)


def measure(
    gpt: GPT, flat_P: Tensor, tuned: Tensor, world: BiosWorld, config: Config, dtype: torch.dtype
) -> dict[str, Any]:
    """All scores of the people asked, ready for the record. flat_P: weights of the run, which are
    asked in texts; tuned: those that are asked by questions."""
    asked, never = people(world, config)
    context = context_of(world.data, config.measure.context)
    names, counted = lists.attributes(world.data), []
    batch_tokens = max(1, min(config.measure.batch_tokens, bits.LOGITS_AT_ONCE // gpt.vocab_size))
    told: dict[str, dict[str, Ranks]] = {}
    probes: list[_Probe] = []
    for name in names:
        one = _Asker(world, name, batch_tokens, counted)
        told[name], some = _attribute(one, (gpt, flat_P, tuned, dtype), (asked, never), context)
        probes += some
    width = gpt.model.d_model
    return MEASURE.returns(
        {
            "version": MEASURE.version,
            "people": len(asked),
            "fitted_on": len(asked) // 2,
            "context": context,
            "asked": "tuned" if config.extraction.mode != "none" else "trained",
            "log2_values": float(np.mean([math.log2(world.sizes[name]) for name in names])),
            "probe_weights": int(sum((width + 1) * world.sizes[name] for name in names)),
            "probe_layer": float(np.mean([1 + probe.layer for probe in probes])),
            "layers": gpt.model.n_layers * gpt.model.loops,
            "tokens": int(sum(counted)),
            "scores": {score: _summary(told, score) for score in declared.SCORES},
            "attributes": {
                name: {"values": world.sizes[name]}
                | {score: float(by[score].k_R.mean()) for score in declared.SCORES}
                for name, by in told.items()
            },
        }
    )


def _attribute(
    one: _Asker,
    of: tuple[GPT, Tensor, Tensor, torch.dtype],
    who: tuple[Tensor, Tensor],
    context: str,
) -> tuple[dict[str, Ranks], list[_Probe]]:
    """By score, what one attribute of the people asked gives, and the probes of both halves."""
    gpt, flat_P, tuned, dtype = of
    asked, never = who
    D, true, others = one.values, one.true(asked), one.true(never)
    everybody = one.true(torch.arange(one.world.n_people, device=asked.device))
    count_D = np.bincount(everybody, minlength=D).astype(float)
    biography, lengths = one.biography(asked, context, _scorer(gpt, flat_P, dtype))
    question, answer_lengths = one.question(asked, _scorer(gpt, tuned, dtype))
    never_question, _ = one.question(never, _scorer(gpt, tuned, dtype))
    layers = one.states(gpt, tuned, asked, dtype)
    never_layers = one.states(gpt, tuned, never, dtype)
    probe, probes = crossed(layers, true, D)
    final, _ = crossed(layers[-1:], true, D)
    both, _ = crossed(layers, true, D, question)
    dealt = np.random.default_rng(hashing.key(0, "inside " + one.attribute)).permutation(true)
    shuffled, _ = crossed(layers, dealt, D)
    never_probe = np.concatenate(
        [p.scores([x[half::2] for x in never_layers]) for half, p in enumerate(probes)]
    )
    never_true = np.concatenate([others[0::2], others[1::2]])
    with np.errstate(divide="ignore"):  # of a value that nobody has: -inf, and no true one
        seen = np.broadcast_to(np.log(count_D), (len(true), D))
    return {
        "biography": ranks(biography, true),
        "biography_by_length": ranks(biography / lengths, true),
        "question": ranks(question, true),
        "question_by_length": ranks(question / answer_lengths, true),
        "question_calibrated": ranks(calibrated(question, true), true),
        "probe": ranks(probe, true),
        "probe_final": ranks(final, true),
        "both": ranks(both, true),
        "shuffled": ranks(shuffled, dealt),
        "frequency": ranks(seen, true),
        "never_question": ranks(never_question, others),
        "never_probe": ranks(never_probe, never_true),
    }, probes


def _summary(told: Mapping[str, Mapping[str, Ranks]], score: str) -> dict[str, float]:
    """Means over people and attributes of one score, and the standard error of K over people."""
    k_AR = np.array([by[score].k_R for by in told.values()])
    bits_AR = np.array([by[score].bits_R for by in told.values()])
    k_R = k_AR.mean(axis=0)
    return {
        "k": float(k_R.mean()),
        "k_se": float(k_R.std(ddof=1)) / math.sqrt(len(k_R)),
        "k_star": float((k_AR == 1).mean()),
        "bits": float(bits_AR.mean()),
    }


def _scorer(gpt: GPT, flat_P: Tensor, dtype: torch.dtype) -> Scorer:
    def scorer(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nll, greedy = gpt.score(flat_P[None], tokens_BT[None], dtype)
        return nll[0], greedy[0]

    return scorer
