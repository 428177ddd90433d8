"""Bits that a model holds in context: of sequences that say something new and then ask for it.

Let l_t = -log2 p(x_t | x_<t) over the Q tokens of a sequence that are asked for, each one of A
equally likely answers. The bits held are

    sum over t of (log2 A - l_t),   between -infinity and Q log2 A,

the mean over held-out sequences, never cut off at 0. Let s be all that a model keeps of what was
said when the first answer is asked for. Answers are independent of the rest that is seen, and given
s the model's probabilities are those of some code for them, so that the mean is at most the mutual
information I(answers; s) (Gibbs' inequality; the bound of Barber and Agakov, NIPS 2003): a lower
bound of what the state holds, whatever the weights are. Divided by the numbers of the state it
stands beside Collins et al. (arXiv 1611.09913), who count what hidden units keep of a history.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from capacity import counts
from capacity.config import Config
from capacity.data import fresh
from capacity.declare import context as declared
from capacity.feed.fresh import FreshFeed
from capacity.model.gpt import GPT
from capacity.settings.fresh import fresh_data, sequence_bits

MEASURE = declared.MEASURE
LOGITS_AT_ONCE = 2**26  # as of `measure.memorization`


def lengths(config: Config) -> tuple[int, ...]:
    """Lengths that are scored, in those of training, 1 among them. Sequences of recall need as many
    keys."""
    if config.measure.lengths:
        return tuple(sorted({1, *config.measure.lengths}))
    if config.model.position == "learned":
        return (1,)
    data = fresh_data(config.data)
    return tuple(k for k in (1, 2, 4) if data.kind == "copy" or k * data.asked <= data.symbols)


def answers(
    gpt: GPT,
    flat_P: Tensor,
    rows: tuple[Tensor, Tensor],
    dtype: torch.dtype,
    batch_tokens: int,
) -> Tensor:
    """Of every sequence, bits of the code for what is asked for, and how many answers are the most
    likely token: fp64 [N, 2]. rows: tokens int64 [N, T] and which are asked for, bool [N, T]."""
    T = rows[0].shape[1]
    at_once = max(1, min(batch_tokens // T, LOGITS_AT_ONCE // (T * gpt.vocab_size)))
    parts = []
    with torch.no_grad():
        for tokens_BT, asked_BT in zip(*(t.split(at_once) for t in rows), strict=True):
            nll, likeliest = gpt.score(flat_P[None], tokens_BT[None], dtype)
            bits = torch.where(asked_BT, nll[0].double() / math.log(2), 0.0).sum(1)
            parts.append(torch.stack([bits, (likeliest[0] & asked_BT).double().sum(1)], dim=1))
    return torch.cat(parts)


def held(
    gpt: GPT, flat_P: Tensor, feed: FreshFeed, m: int, config: Config, dtype: torch.dtype
) -> float:
    """Bits held of held-out sequences of the length of training, mean."""
    rows = feed.sequences(m, fresh.HELD_OUT, 0, config.measure.sequences)
    code_N2 = answers(gpt, flat_P, rows, dtype, config.measure.batch_tokens)
    return sequence_bits(fresh_data(config.data)) - float(code_N2[:, 0].mean())


def measure(
    gpt: GPT, flat_P: Tensor, feed: FreshFeed, m: int, config: Config, dtype: torch.dtype
) -> dict:
    """All numbers of this measure for member m, ready for its record."""
    rows, scored_N = [], None
    for times in lengths(config):
        row, bits_N = _of_length(gpt, flat_P, feed, m, config, dtype, times)
        rows.append({"times": times} | row)
        scored_N = bits_N if times == 1 else scored_N
    assert scored_N is not None  # 1 is among the lengths
    last = min(config.measure.sequences, config.trained_items)
    trained = feed.sequences(m, fresh.TRAINED, config.trained_items - last, last)
    code_N2 = answers(gpt, flat_P, trained, dtype, config.measure.batch_tokens)
    trained_N = sequence_bits(fresh_data(config.data)) - code_N2[:, 0]
    (mean, se), (mean_trained, se_trained) = map(_mean, (scored_N, trained_N))
    return MEASURE.returns(
        {"version": MEASURE.version, "sequences": config.measure.sequences}
        | {name: value for name, value in rows[0].items() if name != "times"}
        | {
            "trained": {
                "sequences": last,
                "bits": mean_trained,
                "minus_held_out": mean_trained - mean,
                "minus_held_out_se": math.hypot(se, se_trained),
            },
            "lengths": rows,
        }
    )


def _of_length(  # noqa: PLR0913  what is scored, and how
    gpt: GPT,
    flat_P: Tensor,
    feed: FreshFeed,
    m: int,
    config: Config,
    dtype: torch.dtype,
    times: int,
) -> tuple[dict, Tensor]:
    """Numbers of sequences of so many times the length, and the bits held of each, fp64 [N]."""
    data = fresh_data(config.data)
    data = data.longer(times) if times > 1 else data
    ceiling = sequence_bits(data)
    rows = feed.sequences(m, fresh.HELD_OUT, 0, config.measure.sequences, times)
    reader = gpt.of_length(data.seq_len) if times > 1 else gpt
    code_N2 = answers(reader, flat_P, rows, dtype, config.measure.batch_tokens)
    bits_N = ceiling - code_N2[:, 0]
    mean, se = _mean(bits_N)
    numbers = counts.state_numbers(config.model, data.said + 1)  # and BOS
    return {
        "bits": mean,
        "bits_se": se,
        "ceiling_bits": ceiling,
        "fraction_of_ceiling": mean / ceiling,
        "loss_bits_per_token": float(code_N2[:, 0].mean()) / data.asked,
        "recall": float(code_N2[:, 1].mean()) / data.asked,
        "state_numbers": numbers,
        "bits_per_state_number": mean / numbers,
    }, bits_N


def _mean(values_N: Tensor) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values_N.mean()), float(values_N.std()) / math.sqrt(len(values_N))
