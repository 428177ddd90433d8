"""The transformer: one GPT, or a stack of M independent GPTs of one shape that train as one
program.

A block adds to the residual stream what its parts say, one after the other: a memory where it has
one, the mixer, the channel (`parts`, one module per kind). With loops a token goes through all
blocks several times (Ouro, arXiv 2510.25741); they start as those of the model without loops.

All weights of a member lie in one row of a flat matrix [M, P]; the forward pass splits it into
named tensors with a leading member axis and uses batched matrix products, so a stack of one is the
plain model and members never mix. The optimizer then works on one tensor.

With `bos` a learned vector stands in front of each sequence and every token is predicted; without
it a row of T + 1 tokens has T inputs and, one to the right, T targets. Which of the two is a
property of the data.

Shape letters: M members, B sequences, T positions (predictions), N = B T, D width, H heads, G heads
of keys and values, K head size, E = D + 2 G K for queries, keys and values, F MLP width, X experts,
V vocabulary.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity import counts
from capacity.base.rng import derived_seed
from capacity.model import low_rank
from capacity.model.attention import document_mask, documents
from capacity.model.context import Context, Named, Watch
from capacity.model.head import mean_nll
from capacity.model.kernels import dispatch
from capacity.model.numerics import tf32_operand, tf32_product
from capacity.model.parts.registry import parts_of
from capacity.model.qat import Aware
from capacity.model.weights import Weight, norm_weights
from capacity.settings.model import Model

TABLES = ("token.weight", "position.weight", "head.weight")
EXACT = ("router.weight", "router.shift")  # names of what is fp32 in every format
NORM_EPS = 1e-5  # GPT-2's, used for all norms
FEWEST_ROWS = (
    64  # tokens for which logits are formed at once: fewer would read the head's table too often
)


class GPT:
    """Layout, initial weights and forward pass for one shape."""

    def __init__(  # noqa: PLR0913  the shape, and what products and weights are rounded to
        self,
        model: Model,
        vocab_size: int,
        seq_len: int,
        bos: bool = True,
        tf32: bool = False,
        qat: str = "none",
        qat_embeddings: bool = False,
        qat_only: str = "all",
    ) -> None:
        """tf32: what stands for fp32 products, see `numerics`; qat: what weights are rounded to
        before use, see `qat`."""
        assert not (bos and model.document_mask), (
            "a document mask needs EOS tokens in the data, not a BOS vector"
        )
        self.model, self.vocab_size, self.seq_len, self.bos = model, vocab_size, seq_len, bos
        self.blocks = [parts_of(model, layer) for layer in range(model.n_layers)]
        self.layout = _layout(model, vocab_size, seq_len, bos)
        self.sizes = [math.prod(w.shape) for w in self.layout]
        self.tf32, self.qat = tf32, None
        # of a row, the predictions that the loss counts, where they are not all: tokens of others
        # come to it as ~token
        self.asked: int | None = None
        self.kernels = False  # of training steps: see `kernels.dispatch`
        if qat != "none":
            self.qat = Aware(
                qat,
                [w.name for w in self.layout if w.is_map and (qat_only == "all" or _routed(w))],
                [w.name for w in self.layout if w.name in TABLES or w.kind == "table"]
                if qat_embeddings
                else [],
            )
        planned = counts.parameters(model, vocab_size, seq_len, bos)["total"]
        assert sum(self.sizes) == planned, f"built {sum(self.sizes)} parameters, planned {planned}"

    def init(self, seeds: list[int]) -> Tensor:
        """Initial weights fp32 [M, P] on the CPU; row m depends on seeds[m] only.

        GPT-2's scheme (Radford et al. 2019; the released code): normal(0, init_std), maps that
        write into the residual stream scaled by 1/sqrt(2L), biases 0, norm gains 1. The same for
        every variant: an expert is an MLP, a router a map like any other, and the scale stays
        1/sqrt(2L) without MLPs. Parts say themselves where they differ (`weights.Weight`).
        """
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(derived_seed(seed, "init", 63))
            rows.append(torch.cat([w.drawn(seed, generator) for w in self.layout]))
        return torch.stack(rows)

    def decay_mask(self) -> Tensor:
        """fp32 [P]: 1 where weight decay acts (matrices, experts' too, and tables, of parts where
        they say so), else 0."""
        return self._marked(lambda w: w.decays)

    def table_mask(self) -> Tensor:
        """fp32 [P]: 1 where a weight is of a table of a part, which has a learning rate and a
        gradient norm of its own, else 0. Token and position tables are none."""
        return self._marked(lambda w: w.kind == "table")

    def shifts(self) -> list[slice]:
        """Columns of a member's row that no gradient moves but the load of experts."""
        return [
            slice(end - size, end)
            for w, size, end in zip(
                self.layout, self.sizes, itertools.accumulate(self.sizes), strict=True
            )
            if w.kind == "shift"
        ]

    def _marked(self, is_marked: Callable[[Weight], bool]) -> Tensor:
        return torch.cat(
            [
                torch.full((size,), float(is_marked(w)))
                for w, size in zip(self.layout, self.sizes, strict=True)
            ]
        )

    def matrices(self) -> list[tuple[int, tuple[int, ...], list[int]]]:
        """The maps inside blocks but routers, as (first entry in a member's row, shape [..., in,
        out], widths of the maps that lie side by side in it: queries, keys and values)."""
        out, first = [], 0
        for w, size in zip(self.layout, self.sizes, strict=True):
            if w.is_map:
                out.append((first, w.shape, list(w.widths)))
            first += size
        return out

    def named(self, flat_MP: Tensor) -> Named:
        """The weights by name, each [M, *shape], as views of the flat matrix."""
        m = flat_MP.shape[0]
        parts = flat_MP.split(
            self.sizes, dim=1
        )  # one split: its backward is one concatenation, not P-sized sums
        return {w.name: part.view(m, *w.shape) for w, part in zip(self.layout, parts, strict=True)}

    def hidden(
        self, w: Named, tokens_MBT: Tensor, training: bool = False, watch: Watch | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Last hidden states [M, B T, D], each from what stands before its target only; and with
        experts the balance loss of each member, mean over layers, fp32 [M], else None.

        Where an expert has too few places, what a token gets also depends on the sequences before
        its own in the batch.
        """
        c = self.context(tokens_MBT, training)
        c.watch = watch
        return self._behind(w, tokens_MBT, c), _mean(c.balance)

    def _behind(
        self, w: Named, tokens_MBT: Tensor, c: Context, x_MND: Tensor | None = None
    ) -> Tensor:
        """x_MND: what stands for the embedding of the tokens, where it is given."""
        x_MND = self._embed(w, tokens_MBT) if x_MND is None else x_MND
        for layer in list(range(self.model.n_layers)) * self.model.loops:
            x_MND = self.block(w, layer, x_MND, c)
        return self._norm(w, "norm", x_MND)

    def states(
        self, flat_P: Tensor, tokens_BT: Tensor, place_B: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Hidden states of one member behind every block, the last one behind the final norm, fp32
        [layers, B, D]: those that the target at place_B of each row (an index into `targets`) is
        predicted from. tokens: int64, as of `logits`."""
        w, tokens_1BT = self._weights(flat_P[None], dtype), tokens_BT[None]
        c, (B, T) = self.context(tokens_1BT), self.targets(tokens_BT).shape
        x_1ND, out = self._embed(w, tokens_1BT), []
        at = torch.arange(B, device=tokens_BT.device) * T + place_B
        for layer in list(range(self.model.n_layers)) * self.model.loops:
            x_1ND = self.block(w, layer, x_1ND, c)
            out.append(x_1ND[0, at].float())
        out[-1] = self._norm(w, "norm", x_1ND)[0, at].float()
        return torch.stack(out)

    def block(self, w: Named, layer: int, x_MND: Tensor, c: Context) -> Tensor:
        """The hidden states behind a block."""
        for part in self.blocks[layer]:
            x_MND = x_MND + part.forward(w, f"blocks.{layer}.", x_MND, c)
        return x_MND

    def context(self, tokens_MBT: Tensor, training: bool = False) -> Context:
        """What the parts of a block have to know about a batch."""
        M, B, T = self.targets(tokens_MBT).shape
        assert T <= self.seq_len, f"{T} positions, built for {self.seq_len}"
        c = Context(
            self.model,
            B,
            T,
            tokens_MBT,
            self.vocab_size,
            self.bos,
            linear=self._linear,
            product=self._product,
            norm=self._norm,
            training=training,
            kernels=self.kernels and training,
            tf32=self.tf32,
        )
        if self.model.document_mask:
            seen_NT = tokens_MBT[:, :, :-1].reshape(M * B, T)
            c.mask = document_mask(seen_NT)
            m = self.model
            if m.canon or m.mixer_conv or m.mixer == "lstm" or m.memory != "none":
                c.document_NT = documents(seen_NT)
        return c

    def targets(self, tokens_MBT: Tensor) -> Tensor:
        """The predicted tokens, [..., T]: all of them with BOS, all but the first of each row
        without."""
        return tokens_MBT if self.bos else tokens_MBT[..., 1:]

    def logits(
        self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Next-token logits fp32 [M, B, T, V]; tokens: int64 in [0, V), [M, B, T] with BOS, else
        [M, B, T + 1]; T <= S.

        Matrix products run in `dtype` (explicit casts, no autocast), norms, routers and all after
        the head in fp32.
        """
        w = self._weights(flat_MP, dtype)
        logits = self._product(self.hidden(w, tokens_MBT)[0], self._table(w).transpose(1, 2))
        return logits.float().view(*self.targets(tokens_MBT).shape, self.vocab_size)

    def nll(
        self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Negative log-likelihood in nats of every target given what stands before it, fp32 [M, B,
        T]."""
        return self._nll(self.logits(flat_MP, tokens_MBT, dtype), tokens_MBT)

    def score(
        self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """`nll`, and whether the target is the most likely token, which greedy decoding would
        write: bool [M, B, T]."""
        logits = self.logits(flat_MP, tokens_MBT, dtype)
        return self._nll(logits, tokens_MBT), logits.argmax(-1) == self.targets(tokens_MBT)

    def watched(
        self, flat_MP: Tensor, tokens_MBT: Tensor, watch: Watch, dtype: torch.dtype = torch.float32
    ) -> None:
        """A forward pass without a head, for what `watch` is told of the rows that parts read."""
        self.hidden(self._weights(flat_MP, dtype), tokens_MBT, watch=watch)

    def by_token(
        self,
        flat_P: Tensor,
        tokens_BT: Tensor,
        numbers: Callable[[Tensor, Tensor], Tensor],
        dtype: torch.dtype = torch.float32,
        first: int = 0,
    ) -> Tensor:
        """What `numbers(logits fp32 [n, V], targets [n]) -> [n, ...]` says of one member's
        predictions from place `first` on, [B, T - first, ...]. Logits are formed for so many tokens
        at once as a core's cache holds, so that `numbers` may go over them several times; it may
        also overwrite them."""
        w = self._weights(flat_P[None], dtype)
        x_MND, target_BT = self.hidden(w, tokens_BT[None])[0], self.targets(tokens_BT)[:, first:]
        x_ND = x_MND.view(len(tokens_BT), -1, self.model.d_model)[:, first:].flatten(0, 1)
        table_DV = self._table(w)[0].T
        if self.tf32:
            x_ND, table_DV = tf32_operand(x_ND), tf32_operand(table_DV)
        rows = max(
            FEWEST_ROWS, counts.HEAD_CHUNK["cuda" if x_ND.is_cuda else "cpu"] // self.vocab_size
        )
        parts = [
            numbers((x @ table_DV).float(), target)
            for x, target in zip(x_ND.split(rows), target_BT.reshape(-1).split(rows), strict=True)
        ]
        values = torch.cat(parts)
        return values.view(*target_BT.shape, *values.shape[1:])

    def prompt_gradients(
        self, flat_P: Tensor, tokens_BT: Tensor, m: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """How the summed nll of the tokens from place m on would go with each token before it, to
        first order: its gradient by their one-hot vectors, fp32 [B, m, V] (Ebrahimi et al., arXiv
        1712.06751, section 3), for one member of a model with BOS; 1 <= m < T. It goes through the
        embedding alone: what parts look up by tokens (a table of n-grams) is held fixed."""
        assert self.bos, "rows without BOS predict no first token"
        w, tokens_1BT = self._weights(flat_P.detach()[None], dtype), tokens_BT[None]
        x_MND = self._embed(w, tokens_1BT).detach().requires_grad_()
        behind_MND = self._behind(w, tokens_1BT, self.context(tokens_1BT), x_MND)
        B, T = tokens_BT.shape
        x_ND = behind_MND.view(B, T, -1)[:, m:].flatten(0, 1)
        logits_NV = self._product(x_ND[None], self._table(w).transpose(1, 2))[0].float()
        loss = F.cross_entropy(logits_NV, tokens_BT[:, m:].flatten(), reduction="sum")
        (by_MND,) = torch.autograd.grad(loss, x_MND)
        by_BmD = by_MND.view(B, T, -1)[:, 1 : m + 1].float()  # BOS stands in front
        return by_BmD @ w["token.weight"][0].float().T

    def loss(
        self, flat_MP: Tensor, tokens_MBT: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """What training differentiates, fp32 [M]: the mean of `nll` over the batch of each member,
        by the fused head. Experts have their places of training here, and balance_weight times the
        load-balance loss is added, and what else parts add in training. With `asked` the mean is
        over those predictions of each row whose token is not marked as ~token."""
        w = self._weights(flat_MP, dtype)
        marked_MBT = tokens_MBT
        if self.asked is not None:
            tokens_MBT = torch.where(marked_MBT < 0, ~marked_MBT, marked_MBT)
        c = self.context(tokens_MBT, training=True)
        x_MND, target_MN = self._behind(w, tokens_MBT, c), self.targets(tokens_MBT).flatten(1)
        if self.asked is not None:
            x_MND, target_MN = asked_for(x_MND, self.targets(marked_MBT), self.asked)
        balance_M = _mean(c.balance)
        fused = dispatch.mean_nll if self.kernels else mean_nll
        nll_M = fused(x_MND, self._table(w), target_MN, self.tf32)
        nll_M = nll_M if balance_M is None else nll_M + self.model.balance_weight * balance_M
        for term_M in c.terms:
            nll_M = nll_M + term_M
        return nll_M

    def _nll(self, logits_MBTV: Tensor, tokens_MBT: Tensor) -> Tensor:
        target_MBT = self.targets(tokens_MBT)
        nll = F.cross_entropy(
            logits_MBTV.view(-1, self.vocab_size), target_MBT.reshape(-1), reduction="none"
        )
        return nll.view(target_MBT.shape)

    def _weights(self, flat_MP: Tensor, dtype: torch.dtype) -> Named:
        """Named weights in the type of the matrix products, quantized first where that is asked
        for; routers stay as they are."""
        if self.qat is not None:
            exact = self.qat(self.named(flat_MP))
            return {name: t if name.endswith(EXACT) else t.to(dtype) for name, t in exact.items()}
        w = self.named(flat_MP.to(dtype))
        if self.model.n_experts and flat_MP.dtype != dtype:
            w |= {
                name: weight for name, weight in self.named(flat_MP).items() if name.endswith(EXACT)
            }
        return w

    @property
    def takes_a_copy(self) -> bool:
        """Whether all weights may come in the type of the products: no router among them, none
        quantized."""
        return self.qat is None and not self.model.n_experts

    def in_fp32(self) -> GPT:
        """The same model, quantized weights and all, whose fp32 products are not those of TF32."""
        exact = copy.copy(self)
        exact.tf32 = False
        return exact

    def of_length(self, seq_len: int) -> GPT:
        """The same model for sequences of another length, which a table of positions does not
        allow."""
        assert self.model.position != "learned", "learned positions are of one length"
        other = copy.copy(self)
        other.seq_len = seq_len
        return other

    def used(self, flat_P: Tensor) -> Tensor:
        """The weights [P] of a member as its forward pass uses them: rounded where they are trained
        quantized."""
        if self.qat is None:
            return flat_P
        return torch.cat([t.reshape(-1) for t in self.qat(self.named(flat_P[None])).values()])

    def _table(self, w: Named) -> Tensor:
        return w["token.weight" if self.model.tied else "head.weight"]

    def _embed(self, w: Named, tokens_MBT: Tensor) -> Tensor:
        M, B, T = self.targets(tokens_MBT).shape
        D = self.model.d_model
        first_row_M = torch.arange(M, device=tokens_MBT.device).view(M, 1, 1) * self.vocab_size
        seen = tokens_MBT[:, :, :-1] + first_row_M
        x = F.embedding(seen, w["token.weight"].reshape(M * self.vocab_size, D))
        if self.bos:
            x = torch.cat([w["bos"].view(M, 1, 1, D).expand(M, B, 1, D), x], dim=2)
        if self.model.position == "learned":
            x = x + w["position.weight"][:, None, :T]
        return x.view(M, B * T, D)

    def _linear(self, x_MNI: Tensor, w: Named, name: str) -> Tensor:
        """x W + b of each member, W stored [in, out]; every linear map inside the blocks but the
        router. One with factors is their product."""
        if name + ".low.weight" in w:
            return low_rank.through(self._linear, x_MNI, w, name)
        bias = w.get(name + ".bias")
        if bias is None or self.tf32:  # a bias is no part of a product
            y = self._product(x_MNI, w[name + ".weight"])
            return y if bias is None else y + bias.unsqueeze(1)
        return torch.baddbmm(bias.unsqueeze(1), x_MNI, w[name + ".weight"])

    def _product(self, x_MNI: Tensor, w_MIO: Tensor) -> Tensor:
        if self.tf32:
            return tf32_product(torch.bmm(tf32_operand(x_MNI), tf32_operand(w_MIO)))
        return torch.bmm(x_MNI, w_MIO)

    def _norm(self, w: Named, name: str, x_MND: Tensor) -> Tensor:
        """LayerNorm, also without its bias, or RMSNorm (Zhang and Sennrich, arXiv 1910.07467,
        section 3), in fp32, with gain and bias per member."""
        gain_M1D, size = w[name + ".weight"].float().unsqueeze(1), x_MND.shape[-1:]
        if self.model.norm == "rmsnorm":
            h = F.rms_norm(x_MND.float(), size, eps=NORM_EPS) * gain_M1D
        elif self.model.norm == "layernorm_no_bias":
            h = F.layer_norm(x_MND.float(), size, eps=NORM_EPS) * gain_M1D
        else:
            bias_M1D = w[name + ".bias"].float().unsqueeze(1)
            h = torch.addcmul(bias_M1D, F.layer_norm(x_MND.float(), size, eps=NORM_EPS), gain_M1D)
        return h.to(x_MND.dtype)


def asked_for(x_MND: Tensor, target_MBT: Tensor, asked: int) -> tuple[Tensor, Tensor]:
    """Of each row the `asked` predictions whose target is 0 or more, in their order: hidden states
    [M, B asked, D], and targets [M, B asked]. Each state is taken at most once, so that its
    gradient is no sum; a row of other marks gives its first places."""
    M, B, T = target_MBT.shape
    place_MBQ = (target_MBT < 0).to(torch.int8).argsort(dim=-1, stable=True)[..., :asked]
    first_MB1 = torch.arange(M * B, device=x_MND.device).view(M, B, 1) * T
    x_MBQD = F.embedding(first_MB1 + place_MBQ, x_MND.reshape(M * B * T, -1))
    target_MBQ = target_MBT.gather(-1, place_MBQ)
    return x_MBQD.flatten(1, 2), target_MBQ.flatten(1)


def _mean(losses: list[Tensor]) -> Tensor | None:
    return torch.stack(losses).mean(0) if losses else None


def _routed(w: Weight) -> bool:
    """Whether it is of an expert that a router chooses."""
    return ".experts." in w.name


def _layout(model: Model, vocab_size: int, seq_len: int, bos: bool) -> list[Weight]:
    """All weights of a member, in the order of their places in a row of the flat matrix and of
    their random numbers."""
    D, std = model.d_model, model.init_std
    out = [Weight("token.weight", (vocab_size, D), std, decays=True)] + [
        Weight("bos", (D,), std)
    ] * bos
    if model.position == "learned":
        out.append(Weight("position.weight", (seq_len, D), std, decays=True))
    for layer in range(model.n_layers):
        for part in parts_of(model, layer):
            out += part.weights(model, f"blocks.{layer}.", vocab_size + bos)
    out += norm_weights("norm", model)
    return out if model.tied else out + [Weight("head.weight", (vocab_size, D), std, decays=True)]
