"""Adversarial compression beyond the prompts that can all be tried: a search for shorter ones.

`measure.prompts` tries every prompt of up to M tokens; beyond that it knows the own beginnings of
sequences. Here prompts between the two are searched for by greedy coordinate gradient (GCG: Zou et
al., arXiv 2307.15043, algorithm 1; MiniPrompt: Schwarzschild et al., arXiv 2404.15146, section
3.2): a step takes the gradient of the loss of what the prompt is to make the model write by the
one-hot vectors of its tokens, draws `swaps` exchanges of one token, each of a place drawn evenly
and of the top_k tokens of the steepest descent there, and goes on from the best of them, also
where it is worse. With top_k = V nothing is left to the gradient: random search, which the paper
has for a control.

Lengths. What a prompt of m tokens writes it also writes with its own next token taken into the
prompt, so that there is a prompt of every length above the shortest. The search therefore goes
down: from the shortest prompt known, the own beginning at first, without its last token, and again
from what was found, until a length at which nothing is found. MiniPrompt begins at 5 tokens and
goes up and down, since in front of a string nothing is known beforehand.

Every hit is decoded greedily, token by token, before it counts. So a prompt that is found bounds
the shortest one from above; one that is not found says nothing, which is why it is told how often
the same search, begun at random tokens, finds a prompt of a length that is known to have one
(`recall`).

Of random tokens that no model was trained on, V^m prompts write at most V^m of V^(S - m) ends: a
prompt of fewer than S/2 tokens is there for a share of at most V^(2 m - S), whatever the model and
the search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.base.rng import BLOCK, raw_words
from capacity.config import Config
from capacity.declare import prompt_search as declared
from capacity.fitting.statistics import proportion
from capacity.measure import prompts
from capacity.measure.prompts import Decoder
from capacity.model.gpt import GPT

MEASURE = declared.MEASURE


@dataclass(frozen=True)
class Budget:
    """steps of each length at most, swaps tried in each, of the top_k tokens of a place."""

    steps: int
    swaps: int
    top_k: int


@dataclass(frozen=True)
class Search:
    """A search with one member's weights; random numbers of each sequence depend on the seed, its
    own number and the length alone, not on who else is searched for."""

    decoder: Decoder
    budget: Budget
    seed: int

    def of_length(self, row_NS: Tensor, number_N: np.ndarray, m: int, name: str) -> Tensor:
        """Prompts of m tokens behind which the model writes the rest of each row, int64 [N, m], -1
        where none was found; the first m tokens of a row are where its search begins. number_N:
        int [N], of its random numbers, with the name of the search."""
        prompt_Nm = torch.full_like(row_NS[:, :m], -1)
        at_once = max(1, self.decoder.most // (self.budget.swaps * row_NS.shape[1]))
        for part in torch.arange(len(row_NS), device=row_NS.device).split(at_once):
            prompt_Nm[part] = self._together(row_NS[part], number_N[part.cpu().numpy()], m, name)
        return prompt_Nm

    def _together(self, row_NS: Tensor, number_N: np.ndarray, m: int, name: str) -> Tensor:
        row_NS, swaps = row_NS.clone(), self.budget.swaps
        prompt_Nm = torch.full_like(row_NS[:, :m], -1)
        open_K = torch.arange(len(row_NS), device=row_NS.device)
        for step in range(self.budget.steps + 1):
            K = len(open_K)
            if step:
                tried_KCS = self._swapped(
                    row_NS[open_K], number_N[open_K.cpu().numpy()], m, step, name
                )
                loss_N, written_N = self._scored(tried_KCS.flatten(0, 1), m)
                loss_KC = loss_N.masked_fill(written_N, -1.0).view(K, swaps)
                best_K = loss_KC.argmin(1)  # of equals the first
                every_K = torch.arange(K, device=row_NS.device)
                row_NS[open_K] = tried_KCS[every_K, best_K]
                hit_K = written_N.view(K, swaps)[every_K, best_K]
            else:
                hit_K = self._scored(row_NS, m)[1]
            at = open_K[hit_K]
            prompt_Nm[at] = row_NS[at, :m]
            open_K = open_K[~hit_K]
            if not len(open_K):
                break
        return prompt_Nm

    def _swapped(
        self, row_KS: Tensor, number_K: np.ndarray, m: int, step: int, name: str
    ) -> Tensor:
        """Rows with one token of their prompt exchanged, int64 [K, swaps, S]."""
        gpt, swaps = self.decoder.gpt, self.budget.swaps
        V, top_k, K = gpt.vocab_size, min(self.budget.top_k, gpt.vocab_size), len(row_KS)
        blocks = -(-2 * swaps // BLOCK)
        drawn = [
            raw_words(self.seed, f"prompts, {name}, {m}, {i}", step * blocks, 2 * swaps)
            for i in number_K.tolist()
        ]
        words = np.stack(drawn).reshape(K, 2, swaps)
        place_KC, pick_KC = (
            torch.from_numpy((words[:, i] % n).astype(np.int64)).to(row_KS.device)
            for i, n in ((0, np.uint64(m)), (1, np.uint64(top_k)))
        )
        if top_k < V:
            rows = max(1, self.decoder.most // row_KS.shape[1])
            by_KmV = torch.cat(
                [
                    gpt.prompt_gradients(self.decoder.flat_P, part, m, self.decoder.dtype)
                    for part in row_KS.split(rows)
                ]
            )
            best_Kmk = by_KmV.topk(top_k, largest=False).indices
            every_K1 = torch.arange(K, device=row_KS.device)[:, None]
            pick_KC = best_Kmk[every_K1, place_KC, pick_KC]
        tried_KCS = row_KS[:, None].repeat(1, swaps, 1)
        return tried_KCS.scatter_(2, place_KC[..., None], pick_KC[..., None])

    def _scored(self, row_BS: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """Summed loss in nats of what stands behind the first m tokens, fp32 [B], and whether
        greedy decoding writes it, bool [B]."""
        decoder = self.decoder

        def nll(logits_NV: Tensor, token_N: Tensor) -> Tensor:
            return F.cross_entropy(logits_NV, token_N, reduction="none")

        rows = max(1, decoder.most // row_BS.shape[1])
        with torch.no_grad():
            loss_BT = torch.cat(
                [
                    decoder.gpt.by_token(decoder.flat_P, part, nll, decoder.dtype, m)
                    for part in row_BS.split(rows)
                ]
            )
        # the most likely of V tokens has a probability of 1 / V or more; the rest is rounding
        written_B = loss_BT.amax(1) <= 1.01 * math.log(decoder.gpt.vocab_size)
        if bool(written_B.any()):
            at = written_B.nonzero()[:, 0]
            written_B[at] = decoder.again(row_BS[at], m)[0]
        return loss_BT.sum(1), written_B

    def is_written(self, row_BS: Tensor, m: int) -> Tensor:
        """Whether greedy decoding, token by token, writes the rest of each row, bool [B]."""
        alive = torch.arange(len(row_BS), device=row_BS.device)
        for place in range(m, row_BS.shape[1]):
            if not len(alive):
                break
            token = self.decoder.next(row_BS[alive, :place])
            alive = alive[token == row_BS[alive, place]]
        out = torch.zeros(len(row_BS), dtype=torch.bool, device=row_BS.device)
        out[alive] = True
        return out

    def shorten(
        self, tokens_NS: Tensor, own_N: np.ndarray, number_N: np.ndarray, longest: int
    ) -> tuple[np.ndarray, int]:
        """Tokens of the shortest prompt that is known of each sequence, int64 [N], of more than
        `longest`, beginning at own_N, those of its own beginning; and how many hits were rejected,
        since decoding token by token did not write the rest."""
        S, rejected = tokens_NS.shape[1], 0
        bound_N, row_NS, goes_on_N = own_N.copy(), tokens_NS.clone(), np.ones(len(own_N), bool)
        for m in range(S - 1, longest, -1):
            at = np.flatnonzero(goes_on_N & (bound_N == m + 1))
            if not len(at):
                continue
            there = torch.from_numpy(at).to(tokens_NS.device)
            row_BS = row_NS[there]
            row_BS[:, m:] = tokens_NS[there, m:]  # what was the last token is to be written now
            prompt_Bm = self.of_length(row_BS, number_N[at], m, "shorten")
            found_B = prompt_Bm[:, 0] >= 0
            row_BS[:, :m] = prompt_Bm
            hit_B = found_B.clone()
            hit_B[found_B] = self.is_written(row_BS[found_B], m)
            rejected += int(found_B.sum() - hit_B.sum())
            row_NS[there[hit_B]] = row_BS[hit_B]
            was_hit = hit_B.cpu().numpy()
            bound_N[at[was_hit]] = m
            goes_on_N[at[~was_hit]] = False
        return bound_N, rejected

    def found_again(self, tokens_NS: Tensor, number_N: np.ndarray, m: int) -> np.ndarray:
        """Whether the search, from m random tokens, finds a prompt of that length, bool [N]."""
        row_NS = tokens_NS.clone()
        blocks = -(-m // BLOCK)
        for row, i in zip(row_NS, number_N.tolist(), strict=True):
            words = raw_words(self.seed, f"prompts, random start, {m}", i * blocks, m)
            start_m = (words % np.uint64(self.decoder.gpt.vocab_size)).astype(np.int64)
            row[:m] = torch.from_numpy(start_m).to(row.device)
        prompt_Nm = self.of_length(row_NS, number_N, m, "recall")
        hit_N = prompt_Nm[:, 0] >= 0
        row_NS[:, :m] = prompt_Nm
        hit_N[hit_N.clone()] = self.is_written(row_NS[hit_N], m)
        out: np.ndarray = hit_N.cpu().numpy()
        return out


def measure(
    gpt: GPT,
    flat_P: Tensor,
    trained_NS: Tensor,
    config: Config,
    dtype: torch.dtype,
    tried: Mapping[str, Any],
) -> dict:
    """All numbers of this measure for one member of a stack, ready for its record; trained_NS: its
    training set, int [N, S]; tried: what `prompts.measure` says of the same weights."""
    asked = config.measure
    budget = Budget(asked.prompt_search, asked.prompt_swaps, asked.prompt_top_k)
    search = Search(Decoder(gpt, flat_P, dtype, asked.batch_tokens), budget, config.seed)
    S, V, longest = config.data.seq_len, gpt.vocab_size, asked.prompts
    out: dict[str, Any] = {
        "version": MEASURE.version,
        "steps": budget.steps,
        "swaps": budget.swaps,
        "top_k": min(budget.top_k, V),
        "sequences": tried["sequences"],
        "rejected": 0,
    }
    for i, (name, rows) in enumerate(
        zip(("members", "held_out"), prompts.sides(config, trained_NS), strict=True)
    ):
        shortest_N, own_N = (np.array(tried[name][key], np.int64) for key in ("shortest", "own"))
        number_N = np.arange(len(rows)) * 2 + i
        open_K = np.flatnonzero((shortest_N == 0) & (own_N > longest + 1))
        bound_N = np.where(shortest_N > 0, shortest_N, own_N)
        there = torch.from_numpy(open_K).to(rows.device)
        bound_N[open_K], rejected = search.shorten(
            rows[there], own_N[open_K], number_N[open_K], longest
        )
        out["rejected"] += rejected
        out[name] = _side(bound_N, shortest_N, own_N, (S, V, longest))
        if name == "members":
            out["recall"] = _recall(search, rows, bound_N, shortest_N, own_N, number_N)
    return MEASURE.returns(out)


def _recall(
    search: Search,
    rows_NS: Tensor,
    bound_N: np.ndarray,
    shortest_N: np.ndarray,
    own_N: np.ndarray,
    number_N: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """By length, of sequences that have a prompt of it: those whose shortest is known to be so
    long, and at the longest length below S/2 all that have one which this search did not find."""
    border = (rows_NS.shape[1] - 1) // 2
    known_N = np.where(shortest_N > 0, shortest_N, own_N)
    groups = {int(m): np.flatnonzero(shortest_N == m) for m in np.unique(shortest_N) if m}
    if border not in groups and (known_N <= border).any():
        groups[border] = np.flatnonzero(known_N <= border)
    out = {}
    for m, at in sorted(groups.items()):
        there = torch.from_numpy(at).to(rows_NS.device)
        again = search.found_again(rows_NS[there], number_N[at], m)
        share, n = float(again.mean()), len(at)
        chance = search.decoder.gpt.vocab_size ** -float(m)
        tries = search.budget.steps * search.budget.swaps
        out[f"{m}"] = {
            "sequences": n,
            "found": share,
            "interval": list(proportion(share, n)),
            "by_chance": -math.expm1(tries * math.log1p(-chance)) if chance < 1 else 1.0,
        }
    return out


def _side(
    bound_N: np.ndarray, shortest_N: np.ndarray, own_N: np.ndarray, of: tuple[int, int, int]
) -> dict[str, Any]:
    """Of one side; bound_N: tokens of the shortest prompt that is known; of: tokens of a sequence,
    V and M."""
    (S, V, longest), n = of, len(bound_N)
    border = (S - 1) // 2
    known_N = np.where(shortest_N > 0, shortest_N, own_N)
    least_N = np.where(shortest_N > 0, shortest_N, np.minimum(longest + 1, own_N))
    memorized = float((bound_N <= border).mean())
    used_N = np.where(bound_N <= border, bound_N, 0)
    return {
        "searched": int(((shortest_N == 0) & (own_N > longest + 1)).sum()),
        "shortened": int((bound_N < known_N).sum()),
        "added": float(((bound_N <= border) & (known_N > border)).mean()),
        "memorized": memorized,
        "memorized_interval": list(proportion(memorized, n)),
        "unknown": float(((bound_N > border) & (least_N <= border)).mean()),
        "ratio_at_least": float(((S - bound_N) / bound_N).mean()),
        "saved_bits": float(prompts.saved_bits(used_N, S, V, border).sum()),
        "bound": bound_N.tolist(),
    }
