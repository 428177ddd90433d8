"""The transformer: one GPT, or a stack of M independent GPTs of one shape that train as one program.

All weights of a member lie in one row of a flat matrix [M, P]; the forward pass splits it into named tensors with a
leading member axis and uses batched matrix products, so a stack of one is the plain model and members never mix. The
optimizer then works on one tensor.

Shape letters: M members, B sequences, T positions, D width, H heads, K head size, F MLP width, V vocabulary,
E = 3D for queries, keys and values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity import counts
from capacity.config import Model
from capacity.data.streams import derived_seed
from capacity.model.attention import causal_attention
from capacity.model.head import mean_nll


@dataclass(frozen=True)
class Weight:
    """One named tensor of a member: its shape, its initial values (a standard deviation, or a constant where std is
    None), and whether weight decay acts on it."""

    name: str
    shape: tuple[int, ...]
    std: float | None
    constant: float = 0.0
    decays: bool = False


class GPT:
    """Layout, initial weights and forward pass for one shape."""

    def __init__(self, model: Model, vocab_size: int, seq_len: int):
        self.model, self.vocab_size, self.seq_len = model, vocab_size, seq_len
        self.head_size = model.d_model // model.n_heads
        self.layout = _layout(model, vocab_size, seq_len)
        self.sizes = [math.prod(w.shape) for w in self.layout]
        planned = counts.parameters(model, vocab_size, seq_len)["total"]
        assert sum(self.sizes) == planned, f"built {sum(self.sizes)} parameters, planned {planned}"

    def init(self, seeds: list[int]) -> Tensor:
        """Initial weights fp32 [M, P] on the CPU; row m depends on seeds[m] only.

        GPT-2's scheme (Radford et al. 2019; the released code): normal(0, init_std), maps that write into the residual
        stream scaled by 1/sqrt(2L), biases 0, LayerNorm gains 1.
        """
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(derived_seed(seed, "init", 63))
            parts = [torch.full((size,), w.constant) if w.std is None else torch.randn(size, generator=generator) * w.std
                     for w, size in zip(self.layout, self.sizes)]
            rows.append(torch.cat(parts))
        return torch.stack(rows)

    def decay_mask(self) -> Tensor:
        """fp32 [P]: 1 where weight decay acts (matrices and token and position tables), else 0."""
        return torch.cat([torch.full((size,), float(w.decays)) for w, size in zip(self.layout, self.sizes)])

    def named(self, flat_MP: Tensor) -> dict[str, Tensor]:
        """The weights by name, each [M, *shape], as views of the flat matrix."""
        m = flat_MP.shape[0]
        parts = flat_MP.split(self.sizes, dim=1)  # one split: its backward is one concatenation, not P-sized sums
        return {w.name: part.view(m, *w.shape) for w, part in zip(self.layout, parts)}

    def hidden(self, w: dict[str, Tensor], tokens_MBT: Tensor) -> Tensor:
        """Last hidden states [M, B T, D]; position t sees BOS and the tokens before t only."""
        M, B, T = tokens_MBT.shape
        x_MND = self._embed(w, tokens_MBT)
        for layer in range(self.model.n_layers):
            x_MND = x_MND + self._attention(w, f"blocks.{layer}.", x_MND, B, T)
            x_MND = x_MND + self._mlp(w, f"blocks.{layer}.", x_MND)
        return _layer_norm(x_MND, w["norm.weight"], w["norm.bias"])

    def logits(self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Next-token logits fp32 [M, B, T, V]; tokens: int64 in [0, V), T <= S.

        Matrix products run in `dtype` (explicit casts, no autocast), LayerNorm and everything after the head in fp32.
        """
        w = self.named(flat_MP.to(dtype))
        logits = torch.bmm(self.hidden(w, tokens_MBT), self._table(w).transpose(1, 2))
        return logits.float().view(*tokens_MBT.shape, self.vocab_size)

    def nll(self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Negative log-likelihood in nats of every token given BOS and the tokens before it, fp32 [M, B, T]."""
        logits = self.logits(flat_MP, tokens_MBT, dtype)
        nll = F.cross_entropy(logits.view(-1, self.vocab_size), tokens_MBT.reshape(-1), reduction="none")
        return nll.view(tokens_MBT.shape)

    def loss(self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Mean of `nll` over the batch of each member, fp32 [M], by the fused head: what training differentiates."""
        w = self.named(flat_MP.to(dtype))
        return mean_nll(self.hidden(w, tokens_MBT), self._table(w), tokens_MBT.flatten(1))

    def _table(self, w: dict[str, Tensor]) -> Tensor:
        return w["token.weight" if self.model.tied else "head.weight"]

    def _embed(self, w: dict[str, Tensor], tokens_MBT: Tensor) -> Tensor:
        M, B, T = tokens_MBT.shape
        D = self.model.d_model
        first_row_M = torch.arange(M, device=tokens_MBT.device).view(M, 1, 1) * self.vocab_size
        seen = tokens_MBT[:, :, :-1] + first_row_M
        x = F.embedding(seen, w["token.weight"].reshape(M * self.vocab_size, D))
        x = torch.cat([w["bos"].view(M, 1, 1, D).expand(M, B, 1, D), x], dim=2)
        if self.model.position == "learned":
            x = x + w["position.weight"][:, None, :T]
        return x.view(M, B * T, D)

    def _attention(self, w: dict[str, Tensor], at: str, x_MND: Tensor, B: int, T: int) -> Tensor:
        M, N, D = x_MND.shape
        h = _layer_norm(x_MND, w[at + "norm1.weight"], w[at + "norm1.bias"])
        qkv_MNE = _linear(h, w, at + "qkv")
        q, k, v = qkv_MNE.view(M * B, T, 3, self.model.n_heads, self.head_size).permute(2, 0, 3, 1, 4)
        if self.model.position == "rotary":
            q, k = _rotate(q), _rotate(k)
        return _linear(causal_attention(q, k, v).reshape(M, N, D), w, at + "out")

    def _mlp(self, w: dict[str, Tensor], at: str, x_MND: Tensor) -> Tensor:
        h = _layer_norm(x_MND, w[at + "norm2.weight"], w[at + "norm2.bias"])
        return _linear(F.gelu(_linear(h, w, at + "up")), w, at + "down")


def _layout(model: Model, vocab_size: int, seq_len: int) -> list[Weight]:
    L, D, Fw, std = model.n_layers, model.d_model, round(model.mlp_ratio * model.d_model), model.init_std
    residual = std / math.sqrt(2 * L)
    out = [Weight("token.weight", (vocab_size, D), std, decays=True), Weight("bos", (D,), std)]
    if model.position == "learned":
        out.append(Weight("position.weight", (seq_len, D), std, decays=True))
    for layer in range(L):
        at = f"blocks.{layer}."
        out += [Weight(at + "norm1.weight", (D,), None, 1.0), Weight(at + "norm1.bias", (D,), None)]
        out += _map(at + "qkv", D, 3 * D, std, model.bias) + _map(at + "out", D, D, residual, model.bias)
        out += [Weight(at + "norm2.weight", (D,), None, 1.0), Weight(at + "norm2.bias", (D,), None)]
        out += _map(at + "up", D, Fw, std, model.bias) + _map(at + "down", Fw, D, residual, model.bias)
    out += [Weight("norm.weight", (D,), None, 1.0), Weight("norm.bias", (D,), None)]
    return out if model.tied else out + [Weight("head.weight", (vocab_size, D), std, decays=True)]


def _map(name: str, fan_in: int, fan_out: int, std: float, bias: bool) -> list[Weight]:
    """A linear map x W + b with W stored [in, out]."""
    return [Weight(name + ".weight", (fan_in, fan_out), std, decays=True)] + [Weight(name + ".bias", (fan_out,), None)] * bias


def _linear(x_MNI: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    bias = w.get(name + ".bias")
    if bias is None:
        return torch.bmm(x_MNI, w[name + ".weight"])
    return torch.baddbmm(bias.unsqueeze(1), x_MNI, w[name + ".weight"])


def _layer_norm(x_MND: Tensor, gain_MD: Tensor, bias_MD: Tensor) -> Tensor:
    """LayerNorm in fp32 with a gain and bias per member; eps 1e-5 as in GPT-2."""
    h = F.layer_norm(x_MND.float(), x_MND.shape[-1:])
    return torch.addcmul(bias_MD.float().unsqueeze(1), h, gain_MD.float().unsqueeze(1)).to(x_MND.dtype)


def _rotate(x: Tensor) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864, base 10000) on the pairs (i, i + K/2) of [..., T, K], in fp32."""
    T, K = x.shape[-2:]
    frequency = 10000.0 ** (-torch.arange(0, K, 2, device=x.device, dtype=torch.float32) / K)
    angle = torch.arange(T, device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
