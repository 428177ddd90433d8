"""The settings of a model (standard library only)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from capacity.settings.field import setting

# mixers whose state does not grow with the sequence
RECURRENT = ("linear", "based", "gla", "ssd", "delta", "titans")


@dataclass(frozen=True)
class Model:
    """A GPT: pre-norm blocks of a mixer (causal attention) and a channel (an MLP), and of a memory
    where one is chosen. The defaults are GPT-2's form; the fields with a neutral value are the
    variants of Physics of Language Models 3.3 (arXiv 2404.05405, sections 7 and 9 and appendix B)
    and, from `mixer` on, parts of other papers, which `capacity.model.parts` names."""

    n_layers: int = setting(1, "L, transformer blocks", low=1, high=1000)
    d_model: int = setting(32, "d, width", low=1, high=65536)
    n_heads: int = setting(2, "attention heads; must divide d_model", low=1, high=65536)
    mlp_ratio: float = setting(
        4.0, "hidden width of the MLP / d_model; 0: no MLP", low=0.0, high=1024.0
    )
    position: str = setting(
        "learned",
        "position information; none: what a causal mixer knows of order by itself",
        choices=("learned", "rotary", "none"),
    )
    tied: bool = setting(True, "the output head is the token embedding")
    bias: bool = setting(True, "biases in the linear maps (of norms: see model.norm)")
    init_std: float = setting(0.02, "standard deviation of the initial weights", above=0.0)
    n_kv_heads: int | None = setting(
        None,
        "heads of keys and values (grouped-query attention); must divide n_heads; empty: n_heads",
        low=1,
        high=65536,
        neutral=None,
    )
    norm: str = setting(
        "layernorm",
        "layernorm has gain and bias, the others a gain; eps is 1e-5",
        choices=("layernorm", "layernorm_no_bias", "rmsnorm"),
        neutral="layernorm",
    )
    mlp: str = setting(
        "standard",
        "down(act(up x)), or gated: down(act(gate x) * up x)",
        choices=("standard", "gated"),
        neutral="standard",
    )
    mlp_multiple_of: int = setting(
        1,
        "the hidden width of the MLP is rounded up to a multiple of this",
        low=1,
        high=65536,
        neutral=1,
    )
    activation: str = setting(
        "gelu",
        "act; gelu_tanh: GPT-2's approximation, relu2: the square of relu",
        choices=("gelu", "gelu_tanh", "silu", "relu", "relu2"),
        neutral="gelu",
    )
    rotary_base: float = setting(
        10000.0,
        "base of the rotary frequencies, with model.position=rotary",
        above=1.0,
        high=1e12,
        neutral=10000.0,
    )
    document_mask: bool = setting(
        False, "attention within a document only, which EOS starts", neutral=False
    )
    n_experts: int = setting(
        0,
        "MLPs per block, of which a token visits top_k; 0: one that all tokens visit",
        low=0,
        high=65536,
        neutral=0,
    )
    top_k: int = setting(1, "experts per token", low=1, high=65536, neutral=1)
    capacity_factor: float = setting(
        2.0,
        "places per expert in training / its even share of tokens; a token beyond "
        "them skips the expert",
        above=0.0,
        high=65536.0,
        neutral=2.0,
    )
    eval_capacity_factor: float = setting(
        8.0,
        "the same in evaluation; from n_experts / top_k on, no token is skipped",
        above=0.0,
        high=65536.0,
        neutral=8.0,
    )
    balance_weight: float = setting(
        0.01,
        "weight of the load-balance loss in training; 3.3 states none",
        low=0.0,
        high=1000.0,
        neutral=0.01,
    )

    n_shared: int = setting(
        0,
        "shared experts: so many MLPs more, side by side, that every token visits",
        low=0,
        high=65536,
        neutral=0,
    )
    expert_rounds: int = setting(
        1,
        "Chain-of-Experts: rounds of top_k experts each, the next of what the ones before gave, "
        "each with a router of its own",
        low=1,
        high=64,
        neutral=1,
    )
    router_score: str = setting(
        "softmax",
        "what a router makes of its numbers; sigmoid: of each by itself",
        choices=("softmax", "sigmoid"),
        neutral="softmax",
    )
    router_shift: float = setting(
        0.0,
        "loss-free balance: experts are chosen by score plus a shift, which every step moves so "
        "far toward an even load; 0: none",
        low=0.0,
        high=1.0,
        neutral=0.0,
    )
    router_z: float = setting(
        0.0,
        "weight of the z-loss, the mean square of logsumexp of a router's numbers",
        low=0.0,
        high=1000.0,
        neutral=0.0,
    )

    mixer: str = setting(
        "attention",
        "how positions see those before them; the others have a state that does not grow with the "
        "sequence: linear attention, based (its features are the first terms of an exponential), "
        "gla (a decay of every number of a key), ssd (Mamba-2), delta (the delta rule), titans (a "
        "delta rule with momentum), lstm",
        choices=("attention", *RECURRENT, "lstm"),
        neutral="attention",
    )
    mixer_key: int | None = setting(
        None,
        "numbers of a key and a query of a head; empty: d_model / n_heads",
        low=1,
        high=65536,
        neutral=None,
        of=("mixer", RECURRENT),
    )
    mixer_conv: bool = setting(
        False,
        "short causal convolutions over queries, keys and values, with a silu",
        neutral=False,
        of=("mixer", RECURRENT),
    )
    mixer_gate: bool = setting(
        False,
        "what comes out is normalized, times the silu of a map",
        neutral=False,
        of=("mixer", RECURRENT),
    )
    mixer_decay: bool = setting(
        False,
        "gated delta rule: the state of a head also decays",
        neutral=False,
        of=("mixer", ("delta",)),
    )
    mixer_init: str = setting(
        "default",
        "default: as other maps and as released; mimetic: maps to queries start as those to keys, "
        "states hardly decay, convolutions are the identity",
        choices=("default", "mimetic"),
        neutral="default",
        of=("mixer", RECURRENT),
    )
    channel: str = setting(
        "mlp",
        "what a position goes through by itself; mlp: the MLP or experts of the other settings; "
        "stem: a gated MLP whose map up is a table with a row per input token; keys: a table of "
        "values found by product keys; banks: an MLP with further units that the first tokens "
        "fetch",
        choices=("mlp", "stem", "keys", "banks"),
        neutral="mlp",
    )
    channel_layers: tuple[int, ...] = setting(
        (),
        "blocks, from 0 on, that have model.channel, the others an MLP; empty: all",
        low=0,
        high=999,
        neutral=(),
        of=("channel", ("stem", "keys", "banks")),
    )
    banks_branching: int = setting(
        4,
        "k: level l has k^l blocks of units, of which a text fetches one",
        low=1,
        high=65536,
        neutral=4,
        of=("channel", ("banks",)),
    )
    banks_units: tuple[int, ...] = setting(
        (8, 4),
        "inner units of a block, of each level from the first on",
        low=1,
        high=65536,
        neutral=(8, 4),
        of=("channel", ("banks",)),
    )
    banks_prefix: int = setting(
        2,
        "tokens whose hash chooses the blocks, from the next prediction on",
        low=1,
        high=64,
        neutral=2,
        of=("channel", ("banks",)),
    )
    banks_of: str = setting(
        "sequence",
        "whose first tokens: of the sequence, or of the document behind its EOS",
        choices=("sequence", "document"),
        neutral="sequence",
        of=("channel", ("banks",)),
    )
    keys_side: int = setting(
        16,
        "n, keys of each half of a query; there are n^2 values",
        low=2,
        high=32768,
        neutral=16,
        of=("channel", ("keys",)),
    )
    keys_choices: int = setting(
        4,
        "values that a head takes, and keys of each half that it considers",
        low=1,
        high=32768,
        neutral=4,
        of=("channel", ("keys",)),
    )
    keys_heads: int = setting(
        2, "queries per token", low=1, high=256, neutral=2, of=("channel", ("keys",))
    )
    keys_width: int = setting(
        8,
        "numbers of a query, both halves together; even",
        low=2,
        high=65536,
        neutral=8,
        of=("channel", ("keys",)),
    )
    keys_gate: bool = setting(
        True,
        "Memory+: what was found times the activation of a map, and a map behind it",
        neutral=True,
        of=("channel", ("keys",)),
    )
    keys_expert: bool = setting(
        False,
        "PEER: a value is an expert of one hidden unit, a row with what it looks for and adds",
        neutral=False,
        of=("channel", ("keys",)),
    )
    keys_shared: bool = setting(
        False,
        "Memory+: one table of values for all blocks that have one",
        neutral=False,
        of=("channel", ("keys",)),
    )
    memory: str = setting(
        "none",
        "what is read in front of a block; engram: rows of tables by the hash of the last tokens",
        choices=("none", "engram"),
        neutral="none",
    )
    memory_layers: tuple[int, ...] = setting(
        (),
        "blocks, from 0 on, that have model.memory; empty: all",
        low=0,
        high=999,
        neutral=(),
        of=("memory", ("engram",)),
    )
    engram_rows: int = setting(
        256,
        "rows of each head's table: the next prime from here on that no other head has",
        low=2,
        high=2**31,
        neutral=256,
        of=("memory", ("engram",)),
    )
    engram_longest: int = setting(
        3,
        "tokens of the longest n-gram; there are tables for each length from 2 on",
        low=2,
        high=16,
        neutral=3,
        of=("memory", ("engram",)),
    )
    engram_heads: int = setting(
        2, "tables per length", low=1, high=256, neutral=2, of=("memory", ("engram",))
    )
    engram_width: int = setting(
        8, "numbers of a row", low=1, high=65536, neutral=8, of=("memory", ("engram",))
    )
    engram_conv: bool = setting(
        True,
        "a short causal convolution over what was read",
        neutral=True,
        of=("memory", ("engram",)),
    )
    table_std: float | None = setting(
        None,
        "standard deviation of the initial rows of tables; empty: as released, sqrt(2 / (rows + "
        "hidden width)) of stem, 1/sqrt(d_model) of keys, 1 of engram",
        above=0.0,
        neutral=None,
    )
    canon: str = setting(
        "",
        "Canon layers, short causal convolutions, at these places: A in front of queries, keys and "
        "values, B behind them, C in front of the MLP, D in front of its activation; empty: none",
        form=("A?B?C?D?", "letters of ABCD in this order, such as ABCD, or nothing"),
        neutral="",
    )

    map_rank: int | None = setting(
        None,
        "rank of the maps of attention (queries, keys, values, out) and of the MLP, each a product "
        "of two factors that are trained; empty: maps as they are",
        low=1,
        high=65536,
        neutral=None,
    )
    loops: int = setting(
        1,
        "how often a token goes through all blocks, the same weights each time",
        low=1,
        high=1000,
        neutral=1,
    )

    def __post_init__(self) -> None:
        if self.n_kv_heads == self.n_heads:  # two spellings of one model have one identity
            object.__setattr__(self, "n_kv_heads", None)
        if self.mixer_key is not None and self.mixer_key * self.n_heads == self.d_model:
            object.__setattr__(self, "mixer_key", None)
        for name in ("channel_layers", "memory_layers"):
            layers = tuple(sorted(getattr(self, name)))
            every = layers == tuple(range(self.n_layers))
            object.__setattr__(self, name, () if every else layers)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def mlp_width(self) -> int:
        """F, hidden width of an MLP: mlp_ratio d_model, rounded up to a multiple of
        mlp_multiple_of; 0: no MLP."""
        exact = self.mlp_ratio * self.d_model / self.mlp_multiple_of
        return self.mlp_multiple_of * math.ceil(
            exact * (1 - 1e-9)
        )  # 8/3 x 192 is 512, however 8/3 is rounded
