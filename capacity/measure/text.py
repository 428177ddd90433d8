"""What a model of text holds of the sequences that it was trained on, beside those that it was not,
from one forward pass each.

The numbers of single sequences go to scores.safetensors beside the record, where
`analysis/text/attacks.py` joins those of a target with reference and shadow models', without any
model.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import canaries
from capacity.data.tiers import Tiers
from capacity.declare import text as declared
from capacity.feed import split, used_rows
from capacity.fitting import membership, separation
from capacity.fitting.statistics import proportion
from capacity.fitting.verbatim import TRIES, discoverable, exposure
from capacity.measure import canary_kinds, provenance
from capacity.measure import sequence_scores as sequences
from capacity.measure import tiers as by_tier
from capacity.model.gpt import GPT
from capacity.settings.data import text_data

MEASURE = declared.MEASURE
BAG_OF_WORDS = {
    "bag_of_words_auc": membership.bag_of_words_auc,
    "bag_of_words_sd": membership.bag_of_words_sd,
}


def bits(gpt: GPT, flat_P: Tensor, trained_NS: Tensor, config: Config, dtype: torch.dtype) -> float:
    """Bits of the training set that the model takes off a code of log2 V per token: memorized and
    generalised ones together."""
    from capacity.measure.memorization import code_lengths

    lengths = code_lengths(gpt, flat_P, trained_NS, dtype, config.measure.batch_tokens)
    return trained_NS.shape[0] * config.data.seq_len * math.log2(config.rows) - float(lengths.sum())


def measure(
    gpt: GPT,
    flat_P: Tensor,
    config: Config,
    dtype: torch.dtype,
    classes: tuple[Tiers, np.ndarray] | None = None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Numbers for the record, and the table of scored sequences: row (of the pool), seen (0 or 1),
    the columns of `sequences.scores` and those of `provenance.columns`.

    members are the sequences that this run was trained on, held_out those that it is scored on
    besides. classes: tiers of a run that has some, and the number of each member's.
    """
    dealt = split.of(config)
    tokens = torch.from_numpy(dealt.pool.tokens_NS[dealt.scored]).to(flat_P.device)
    columns = sequences.scores(gpt, flat_P, tokens, dtype, config.measure.batch_tokens)
    seen, S = dealt.seen, config.data.seq_len
    zlib_bytes = dealt.pool.zlib_bytes(dealt.scored)
    about = provenance.columns(dealt, config)
    units = about.get("unit")
    sides = None if units is None else (units[seen], units[~seen])
    total = seen.sum() * S * math.log2(config.rows) - float(
        columns["loss"][seen].sum(dtype=np.float64)
    ) / math.log(2)
    counts = config.parameters | {"used": used_rows.counted(config)["used"]}
    out = {
        "version": MEASURE.version,
        "n_members": int(seen.sum()),
        "n_held_out": int((~seen).sum()),
        "bits": total,
        "bits_per_parameter": {name: total / p for name, p in counts.items()},
        "tokens_per_parameter": {name: float(seen.sum()) * S / p for name, p in counts.items()},
    }
    for name, mask in (("members", seen), ("held_out", ~seen)):
        out[name] = {
            "loss_bits_per_token": float(columns["loss"][mask].mean(dtype=np.float64))
            / (S * math.log(2)),
            "correct": float(columns["correct"][mask].mean(dtype=np.float64)),
            "extraction_strength": float(columns["tail"][mask].mean(dtype=np.float64)) / S,
            "extractable": {
                f"{S // d}": float((columns["tail"][mask] >= S - S // d).mean())
                for d in (2, 4)
                if S // d
            },
        }
        written = columns["tail"][mask]
        out[name]["extractable_interval"] = {
            tokens: list(
                proportion(
                    part,
                    separation.trials(
                        written >= S - int(tokens), None if units is None else units[mask]
                    ),
                )
            )
            for tokens, part in out[name]["extractable"].items()
        }
        out[name]["discoverable"] = {
            f"{n}": float(discoverable(columns["suffix_loss"][mask], n).mean()) for n in TRIES
        }
    attacks = membership.attacks(columns, zlib_bytes)
    out["membership"] = {
        name: separation.statistics(score[seen], score[~seen], units=sides)
        for name, score in attacks.items()
    }
    # of a non-member, which then is none of those that are told apart, nor is its document
    place = membership.recall_prefix(seen, units)
    prefix = dealt.pool.tokens_NS[dealt.scored[place]][: S // 2]
    at_prefix = membership.at_prefix(seen, units)
    out["recall_prefix"] = {"row": int(dealt.scored[place])}
    alone = (
        columns["loss"] - columns["suffix_loss"] if S % 2 == 0 else None
    )  # of the first half, which the prefix leaves room for
    columns["recall"] = sequences.recall(
        gpt,
        flat_P,
        tokens,
        sequences.Prefix(torch.from_numpy(prefix).to(flat_P.device), alone),
        dtype,
        config.measure.batch_tokens,
    )
    other = ~seen & ~at_prefix
    out["membership"]["recall"] = separation.statistics(
        columns["recall"][seen],
        columns["recall"][other],
        units=None if units is None else (units[seen], units[other]),
    )
    if canaries.several(text_data(config.data)):
        out["canary_kinds"] = canary_kinds.groups(gpt, flat_P, dealt, config, dtype)
    elif text_data(config.data).canaries:
        out["canaries"] = exposures(gpt, flat_P, dealt, config, dtype)
    both = tokens.cpu().numpy()
    for name, of in BAG_OF_WORDS.items():
        out[name] = of(both[seen], both[~seen], config.rows, units=sides)
    table = {
        "row": dealt.scored.astype(np.int64),
        "seen": seen.astype(np.uint8),
        "zlib": zlib_bytes,
        **columns,
        **about,
    }
    attacks["recall"] = columns["recall"]
    if classes is not None:
        tier_N = np.zeros(len(seen), np.uint8)
        tier_N[seen] = classes[1]  # members are scored in the order in which they are trained on
        out["tiers"] = by_tier.of_text(classes[0], tier_N, columns, math.log2(config.rows), S)
        table["tier"] = tier_N
    about = provenance.measure(dealt, config, table, attacks, at_prefix)
    return MEASURE.returns(out | about), table


def canary_losses(
    gpt: GPT, flat_P: Tensor, canaries_NS: Tensor, config: Config, dtype: torch.dtype
) -> list[float]:
    """Loss in bits per token of each canary."""
    nats_N = sequences.scores(gpt, flat_P, canaries_NS, dtype, config.measure.batch_tokens)[
        "loss"
    ].astype(float)
    return (nats_N / (config.data.seq_len * math.log(2))).tolist()


def exposures(
    gpt: GPT, flat_P: Tensor, dealt: split.Split, config: Config, dtype: torch.dtype
) -> list[dict]:
    """By level of repeats: exposure in bits (mean, standard error, largest), loss in bits per
    token, and the part of the canaries whose second half greedy decoding writes when given the
    first, with its exact interval over canaries; and of each canary its exposure and whether it is
    written, since a mean of numbers that end at chance and at a ceiling carries no law."""

    def scored(tokens: np.ndarray) -> dict[str, np.ndarray]:
        return sequences.scores(
            gpt,
            flat_P,
            torch.from_numpy(tokens).to(flat_P.device),
            dtype,
            config.measure.batch_tokens,
        )

    S, mine, others = config.data.seq_len, scored(dealt.canaries), scored(dealt.candidates)
    bits_of = exposure(mine["loss"], others["loss"])
    out = []
    for level in text_data(config.data).repeats:
        at = dealt.repeats == level
        extracted, loss = mine["tail"][at] >= S - S // 2, mine["loss"][at].astype(float)
        n, written = int(at.sum()), float(extracted.mean())
        out.append(
            {
                "repeats": level,
                "canaries": n,
                "exposure": float(bits_of[at].mean()),
                "exposure_se": float(bits_of[at].std(ddof=1) / math.sqrt(n)) if n > 1 else None,
                "exposure_max": float(bits_of[at].max()),
                "exposures": bits_of[at].tolist(),
                "extracted": extracted.astype(int).tolist(),
                "at_most": math.log2(len(dealt.candidates) + 1),
                "losses": (loss / (S * math.log(2))).tolist(),
                "loss_bits_per_token": float(loss.mean()) / (S * math.log(2)),
                "extractable": written,
                "extractable_interval": list(proportion(written, n)),
            }
        )
    return out
