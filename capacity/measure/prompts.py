"""Adversarial compression: the shortest prompt that makes a model write a sequence.

Schwarzschild et al., "Rethinking LLM Memorization through the Lens of Adversarial Compression"
(arXiv 2404.15146, section 3): ACR(y) = |y| / |x*|, x* the shortest prompt behind which greedy
decoding writes y; memorized if ACR > 1. They search for x* by gradients, so that a failure tells
nothing. Here all V^m prompts of m tokens are tried, which a small vocabulary allows: up to the
length that is asked for, what is not found is not there.

Convention. Models have a table of positions, so that a prompt takes the place of the first m
tokens of a row, behind BOS, and y is the rest, S - m tokens at their own places: ACR = (S - m)/m.
In the paper y is a whole string and a prompt stands in front of it. y therefore differs by m; that
its first m tokens are given up makes ACR smaller than the paper's, never larger, and ACR > 1 means
m < S/2. Of equally likely tokens greedy decoding writes the one with the smallest number, as
`torch.argmax` does; what is written by such a choice is counted (`ties`).

Beyond the lengths that are tried the own first m tokens of a sequence are a prompt, too: the
shortest that does bounds |x*| from above (`own`). A sequence without any prompt of up to M tokens
has M < |x*| <= own, and whether its ACR is above 1 is known only if own < S/2.

Bits. Sequences can be sent as prompts to who has the model. One symbol of each, of M + 1 equally
likely ones, says whether a prompt is used and of how many tokens; m tokens of the row are sent as
they are, and m more as the prompt:

    saved = sum over found ones of (S - 2 m) log2 V - n log2(M + 1)

against n S log2 V for sequences as uniform tokens. Where tokens are uniform its mean is at most
what the weights say of the sequences, as of every code (Kraft's inequality), also if negative:
nothing is cut off at 0. The model's own arithmetic code (`code`, the strict convention of
`measure.memorization`, of the same sequences) is another such code: neither bounds the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import uniform
from capacity.declare import prompts as declared
from capacity.feed import split
from capacity.fitting.statistics import proportion
from capacity.measure import sequence_scores
from capacity.model.gpt import GPT
from capacity.settings.data import TextData, UniformData

MEASURE = declared.MEASURE
PROMPTS_AT_ONCE = 2**16  # that are decoded side by side; bounds memory to so many rows


@dataclass(frozen=True)
class Found:
    """Of each of n sequences: tokens of its shortest prompt, 0 where none of those tried writes
    it, int64 [n]; that prompt, of equally short ones the first in the order of its tokens, int64
    [n, M], -1 behind it; and whether a choice between equally likely tokens wrote it, bool [n].

    rejected: prompts that wrote a sequence token by token and did not when all its tokens were
    scored at once, which rounding allows; they count as none.
    """

    shortest_N: np.ndarray
    prompt_NM: np.ndarray
    tied_N: np.ndarray
    rejected: int


class _Ends:
    """Different ends of sequences, int64 [U, L], as a trie: by how many tokens agree so far."""

    def __init__(self, end_UL: Tensor, vocab_size: int) -> None:
        self.V = vocab_size
        node_U = torch.zeros(len(end_UL), dtype=torch.int64, device=end_UL.device)
        self.steps: list[Tensor] = []
        for token_U in end_UL.T:
            keys, node_U = torch.unique(node_U * vocab_size + token_U, return_inverse=True)
            self.steps.append(keys)
        self.end_of = torch.empty_like(node_U)  # by last node
        self.end_of[node_U] = torch.arange(len(node_U), device=node_U.device)

    def step(self, d: int, node_B: Tensor, token_B: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows go on with the d-th token of some end, bool [B], and the nodes of those."""
        wanted_B = node_B * self.V + token_B
        at_B = torch.searchsorted(self.steps[d], wanted_B).clamp(max=len(self.steps[d]) - 1)
        goes_on_B = self.steps[d][at_B] == wanted_B
        return goes_on_B, at_B[goes_on_B]


class Decoder:
    """Greedy decoding of one member's weights flat_P."""

    def __init__(self, gpt: GPT, flat_P: Tensor, dtype: torch.dtype, batch_tokens: int) -> None:
        self.gpt, self.flat_P, self.dtype, self.most = gpt, flat_P, dtype, batch_tokens

    def next(self, seen_BT: Tensor) -> Tensor:
        """The most likely token behind each row, of equals the first, int64 [B]; T >= 1."""

        def first(logits_NV: Tensor, _: Tensor) -> Tensor:
            return logits_NV.argmax(-1)

        B, T = seen_BT.shape
        row_BT = torch.cat([seen_BT, seen_BT.new_zeros(B, 1)], 1)  # the last one is seen by nobody
        with torch.no_grad():
            parts = [
                self.gpt.by_token(self.flat_P, rows, first, self.dtype, T)[:, 0]
                for rows in row_BT.split(max(1, self.most // (T + 1)))
            ]
        return torch.cat(parts)

    def again(self, row_BS: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """Whether greedy decoding behind the first m tokens of each row writes all others, from a
        pass over the whole row, and whether it chooses between equals on the way, bool [B]."""

        def right(logits_NV: Tensor, token_N: Tensor) -> Tensor:
            most_N1 = logits_NV.amax(-1, keepdim=True)
            tied_N = (logits_NV == most_N1).sum(-1) > 1
            return torch.stack([logits_NV.argmax(-1) == token_N, tied_N], 1)

        rows = max(1, self.most // row_BS.shape[1])
        with torch.no_grad():
            parts = [
                self.gpt.by_token(self.flat_P, one, right, self.dtype, m)
                for one in row_BS.split(rows)
            ]
        right_BT, tied_BT = torch.cat(parts).unbind(-1)
        return right_BT.all(1), tied_BT.any(1)


def shortest(decoder: Decoder, tokens_NS: Tensor, longest: int) -> Found:
    """The shortest prompts of sequences among all of up to `longest` tokens. A branch ends where
    what it wrote begins no sequence that has none yet, so that few prompts are decoded to their
    ends."""
    N, device, rejected = len(tokens_NS), tokens_NS.device, 0
    shortest_N = torch.zeros(N, dtype=torch.int64, device=device)
    prompt_NM = torch.full((N, longest), -1, dtype=torch.int64, device=device)
    tied_N = torch.zeros(N, dtype=torch.bool, device=device)
    for m in range(1, longest + 1):
        open_K = (shortest_N == 0).nonzero()[:, 0]
        if not len(open_K):
            break
        end_UL, of_K = torch.unique(tokens_NS[open_K, m:], dim=0, return_inverse=True)
        prompt_Um, tied_U, failed = _by_length(decoder, end_UL, m)
        rejected += failed
        found_K = prompt_Um[of_K, 0] >= 0
        at = open_K[found_K]
        shortest_N[at] = m
        prompt_NM[at, :m] = prompt_Um[of_K[found_K]]
        tied_N[at] = tied_U[of_K[found_K]]
    return Found(shortest_N.cpu().numpy(), prompt_NM.cpu().numpy(), tied_N.cpu().numpy(), rejected)


def _by_length(decoder: Decoder, end_UL: Tensor, m: int) -> tuple[Tensor, Tensor, int]:
    """Of each of several different ends the first prompt of m tokens that writes it, [U, m], -1
    where there is none; whether by a choice between equals, bool [U]; and how many were
    rejected."""
    V, device, rejected = decoder.gpt.vocab_size, end_UL.device, 0
    ends = _Ends(end_UL, V)
    prompt_Um = torch.full((len(end_UL), m), -1, dtype=torch.int64, device=device)
    tied_U = torch.zeros(len(end_UL), dtype=torch.bool, device=device)
    power_m = V ** torch.arange(m - 1, -1, -1, device=device)
    for first in range(0, V**m, PROMPTS_AT_ONCE):
        number_B = torch.arange(first, min(first + PROMPTS_AT_ONCE, V**m), device=device)
        row_BT = number_B[:, None] // power_m % V
        node_B = torch.zeros(len(row_BT), dtype=torch.int64, device=device)
        for d in range(end_UL.shape[1]):
            token_B = decoder.next(row_BT)
            goes_on_B, node_B = ends.step(d, node_B, token_B)
            row_BT = torch.cat([row_BT[goes_on_B], token_B[goes_on_B, None]], 1)
            if not len(row_BT):
                break
        if not len(row_BT):
            continue
        right_B, chosen_B = decoder.again(row_BT, m)
        rejected += int((~right_B).sum())
        # rows are in the order of prompts: written backwards, the first of an end stays
        for b in right_B.nonzero()[:, 0].flip(0).tolist():
            u = int(ends.end_of[node_B[b]])
            if prompt_Um[u, 0] < 0 or int(_number(prompt_Um[u], V)) >= first:
                prompt_Um[u], tied_U[u] = row_BT[b, :m], chosen_B[b]
    return prompt_Um, tied_U, rejected


def _number(prompt_m: Tensor, V: int) -> int:
    """The place of a prompt in the order of all of its length."""
    number = 0
    for token in prompt_m.tolist():
        number = number * V + token
    return number


def saved_bits(shortest_N: np.ndarray, seq_len: int, vocab_size: int, longest: int) -> np.ndarray:
    """Bits that the code by prompts saves of each sequence, fp64 [n]: see the module."""
    saved_N = (seq_len - 2 * shortest_N) * math.log2(vocab_size)
    return np.where(shortest_N > 0, saved_N, 0.0) - math.log2(longest + 1)


def sides(config: Config, trained_NS: Tensor) -> tuple[Tensor, Tensor]:
    """Members and as many sequences that were never trained on, int64 [n, S] each, drawn evenly
    from all there are: of random data those behind the training set, of text held-out ones."""
    asked, data = config.measure.prompt_targets, config.data
    if isinstance(data, UniformData):
        n, skip = min(asked, len(trained_NS)), data.skip + config.items
        others = uniform.tokens(config.seed, n, data.seq_len, data.vocab_size, skip)
        members_NS, others_NS = trained_NS, torch.from_numpy(others)
    else:
        assert isinstance(data, TextData)
        dealt = split.of(config)
        members_NS, others_NS = (
            torch.from_numpy(dealt.pool.tokens_NS[dealt.scored[side]])
            for side in (dealt.seen, ~dealt.seen)
        )
        n = min(asked, len(members_NS), len(others_NS))
    device = trained_NS.device
    return tuple(  # type: ignore[return-value]
        side[torch.linspace(0, len(side) - 1, n).round().long().to(side.device)].to(device).long()
        for side in (members_NS, others_NS)
    )


def measure(
    gpt: GPT, flat_P: Tensor, trained_NS: Tensor, config: Config, dtype: torch.dtype
) -> dict:
    """All numbers of this measure for one member of a stack, ready for its record; trained_NS: its
    training set, int [N, S]."""
    longest, batch_tokens = config.measure.prompts, config.measure.batch_tokens
    members, others = sides(config, trained_NS)
    n, S, V = len(members), config.data.seq_len, gpt.vocab_size
    both = torch.cat([members, others])
    found = shortest(Decoder(gpt, flat_P, dtype, batch_tokens), both, longest)
    scores = sequence_scores.scores(gpt, flat_P, both, dtype, batch_tokens)
    own_N = np.maximum(1, S - scores["tail"].astype(np.int64))
    code_N = S * math.log2(V) - scores["loss"].astype(float) / math.log(2)
    ends = {tuple(row) for row in members[:, longest:].tolist()}
    shared = sum(tuple(row) in ends for row in others[:, longest:].tolist())
    out: dict[str, Any] = {
        "version": MEASURE.version,
        "longest": longest,
        "sequences": n,
        "prompts": sum(V**m for m in range(1, longest + 1)),
        "shared": shared,
        "rejected": found.rejected,
    }
    for name, side in (("members", slice(0, n)), ("held_out", slice(n, None))):
        out[name] = _side(
            found.shortest_N[side], own_N[side], found.tied_N[side], code_N[side], (S, V, longest)
        )
    return MEASURE.returns(out)


def _side(
    shortest_N: np.ndarray,
    own_N: np.ndarray,
    tied_N: np.ndarray,
    code_N: np.ndarray,
    of: tuple[int, int, int],
) -> dict:
    """Of one side; of: tokens of a sequence, V and M."""
    (S, V, longest), n = of, len(shortest_N)
    found_N = shortest_N > 0
    known_N = np.where(found_N, shortest_N, own_N)  # a prompt that is there
    least_N = np.where(found_N, shortest_N, np.minimum(longest + 1, own_N))
    saved_N = saved_bits(shortest_N, S, V, longest)
    memorized, within = float((2 * known_N < S).mean()), {}
    for m in range(1, longest + 1):
        within[f"{m}"] = float((found_N & (shortest_N <= m)).mean())
    return {
        "within": within,
        "within_interval": {m: list(proportion(share, n)) for m, share in within.items()},
        "memorized": memorized,
        "memorized_interval": list(proportion(memorized, n)),
        "unknown": float(((2 * known_N >= S) & (2 * least_N < S)).mean()),
        "ratio_at_least": float(((S - known_N) / known_N).mean()),
        "ratio_at_most": float(((S - least_N) / least_N).mean()),
        "own_memorized": float((2 * own_N < S).mean()),
        "ties": int(tied_N.sum()),
        "saved_bits": float(saved_N.sum()),
        "code_bits": float(code_N.sum()),
        "shortest": shortest_N.tolist(),
        "own": own_N.tolist(),
    }
