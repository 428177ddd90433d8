"""The channel `banks`: an MLP that is extended by inner units which the first tokens of a sequence
or document fetch (hierarchical memories, arXiv 2510.02375).

Every level l of a tree has k^l blocks of r_l units, maps to them and back; a text fetches one block
of each level, and its MLPs have F + sum_l r_l units. The paper finds blocks by clustering
embeddings of documents. A number of ours for a text would be information about it, log2 k^l bits,
so that a key has to be computed from what can be seen: here it is a hash of the first
`model.banks_prefix` tokens of the sequence, or of the document behind its EOS, where a name stands
first. It chooses from the position on at which the last of those tokens is input; before it, and in
a document whose start is not in the window, there is the MLP alone. The block of a level is the
hash modulo k^l, so that those of one block share the blocks of all levels above. All blocks of the
model use the same key. So nothing has to be charged.

Fetched units have no biases. Tables start as the maps of the MLP do, or with `model.table_std`.
Ours or left out: the generic block of the paper, training from a trained anchor, clustering.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.parts import mlp
from capacity.model.short_conv import canon
from capacity.model.table import looked_up
from capacity.model.weights import Weight
from capacity.parts import banks
from capacity.settings.model import Model

KEYS = 2**31 - 1  # the lowest 31 bits, so that products with factors below 2^32 fit 63
# of a polynomial of the tokens, and of the last steps of MurmurHash3, by which all bits of a key
# depend on all of them
FACTOR, MIX = 0x9E3779B1, ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, std = model.d_model, model.table_std or model.init_std
    residual = model.table_std or std / math.sqrt(2 * model.n_layers)
    out = mlp.weights(model, at, rows)
    for level, (blocks, r) in enumerate(banks.levels(model), 1):
        for name, maps, spread in (("inward", banks.inward(model), std), ("down", 1, residual)):
            shape = (blocks, maps * D * r)
            key = f"{at}banks.{level}.{name}.weight"
            out.append(Weight(key, shape, spread, decays=True, kind="table", own=True))
    return out


def hashed(ids_MBT: Tensor, n: int) -> Tensor:
    """A key in [0, 2^31) of the n tokens up to each position, int64 [M, B, T]; of the first n - 1
    positions no token's."""
    mix = torch.zeros_like(ids_MBT)
    for back in range(n - 1, -1, -1):
        before = F.pad(ids_MBT, (back, 0))[:, :, : ids_MBT.shape[2]]
        mix = (mix * FACTOR + before + 1) & KEYS
    for shift, factor in MIX:
        mix = ((mix ^ (mix >> shift)) * factor) & KEYS
    return mix ^ (mix >> 16)


def chosen(c: Context) -> tuple[Tensor, Tensor]:
    """Keys of sequences, int64 [M, B], or of the documents of positions [M, B T]; and from which
    positions on they are known, bool [M, B, T]."""
    ids_MBT, n = c.ids(), c.model.banks_prefix
    place_T = torch.arange(c.T, device=ids_MBT.device)
    mix_MBT = hashed(ids_MBT, n)
    if c.model.banks_of == "sequence":
        last = n - 1 + c.bos
        known_T = place_T >= last
        return mix_MBT[:, :, min(last, c.T - 1)], known_T.expand(ids_MBT.shape)
    start_MBT = torch.where(ids_MBT == 0, place_T, -1).cummax(-1).values
    last_MBT = start_MBT + n
    key_MBT = mix_MBT.gather(-1, last_MBT.clamp(0, c.T - 1))
    return key_MBT.flatten(1), (start_MBT >= 0) & (place_T >= last_MBT)


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    """Letters beside those of `gpt`: g groups of positions with one key, all members' together."""
    model, D = c.model, c.model.d_model
    h_MND = canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c)
    key_MG, known_MBT = chosen(c)
    inward, down = [], []
    for level, (blocks, r) in enumerate(banks.levels(model), 1):
        name, row_MG = f"{at}banks.{level}.", key_MG % blocks
        if c.watch is not None:  # the rows of texts that come to read them
            read = known_MBT[..., -1] if model.banks_of == "sequence" else known_MBT.flatten(1)
            c.reads(at, f"banks {level}", row_MG[read], blocks)
        maps = looked_up(w[name + "inward.weight"], row_MG)
        inward.append(maps.view(-1, D, banks.inward(model), r))
        down.append(looked_up(w[name + "down.weight"], row_MG).view(-1, r, D))
    h_gPD = h_MND.reshape(key_MG.numel(), -1, D)
    sides = c.product(h_gPD, torch.cat(inward, -1).flatten(2)).chunk(banks.inward(model), -1)
    units_gPR = mlp.ACTIVATIONS[model.activation](sides[0])
    if len(sides) > 1:
        units_gPR = units_gPR * sides[1]
    added_MND = c.product(units_gPR, torch.cat(down, 1)).view(x_MND.shape)
    known_MN1 = known_MBT.reshape(*x_MND.shape[:2], 1)
    return mlp.through(w, at, h_MND, c) + added_MND * known_MN1
