"""The settings of what is measured: no part of a run's identity (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass

from capacity.settings.field import setting


@dataclass(frozen=True)
class Measure:
    """What is measured and when; out of the run's identity, because it never changes the
    weights."""

    evaluations: int = setting(
        10, "full passes over the training set during training", low=1, high=1000
    )
    batch_tokens: int = setting(
        65536, "tokens per forward pass of an evaluation", low=1, high=2**31 - 1
    )
    people: int | None = setting(None, "people who are asked, drawn evenly; empty: all", low=2)
    held_out_people: int = setting(
        0,
        "bios, biod: further people of the same lists, never trained on, who are asked the same, "
        "to see how well the trained ones are told from them",
        low=0,
        high=2**31 - 1,
    )
    wording: bool = setting(
        False,
        "bios: the code of whole texts, and what is held of their wording (orders and templates), "
        "whose entropy is known",
    )
    fact_cells: bool = setting(
        False,
        "bios: what is known of facts by attribute, tier of exposures and rank of the value among "
        "those of its list, as counts and sums in the record",
    )
    contexts: int = setting(
        4, "templates or texts in which each value of a person is asked", low=1, high=1000
    )
    context: str = setting(
        "auto",
        "first: the sentence comes first, behind the name; text: the person's own text; auto: by "
        "the data (see measure/knowledge.py)",
        choices=("auto", "first", "text"),
    )
    snapshots: int = setting(
        0,
        "steps, even in their logarithm, at which every sequence is scored, members, held-out ones "
        "and canaries, or every person, into snapshots.safetensors; the last one is the last step; "
        "0: none",
        low=0,
        high=1000,
    )
    snapshot_items: str = setting(
        "all",
        "what is scored at these steps: all; canaries: text: these alone, so that many steps cost "
        "little",
        choices=("all", "canaries"),
    )
    sequences: int = setting(
        512, "copy, mqar: held-out sequences that are scored, of each length", low=2, high=2**31 - 1
    )
    lengths: tuple[int, ...] = setting(
        (),
        "copy, mqar: lengths that are scored, in those of training; empty: 1, 2 and 4, or with "
        "learned positions 1",
        low=1,
        high=1024,
    )
    prompts: int = setting(
        0,
        "uniform, text: all prompts of up to so many tokens are tried, to find the shortest one "
        "behind which greedy decoding writes a sequence (adversarial compression); 0: none",
        low=0,
        high=8,
    )
    prompt_targets: int = setting(
        64,
        "members, drawn evenly, for which prompts are tried, and as many held-out sequences",
        low=2,
        high=2**20,
    )
    prompt_search: int = setting(
        0,
        "steps of greedy coordinate gradient, of each length, in which prompts between those that "
        "are all tried (measure.prompts) and the own beginning of a sequence are searched for; "
        "0: none",
        low=0,
        high=2**20,
    )
    prompt_swaps: int = setting(
        64, "exchanges of one token that a step of the search tries", low=1, high=2**16
    )
    prompt_top_k: int = setting(
        128,
        "tokens of a place that these are drawn from, the best by gradient; of the whole "
        "vocabulary or more: random search",
        low=1,
        high=2**20,
    )
    inside: int = setting(
        0,
        "bios with questions: so many people, whom no fine-tuning asks, and as many never trained "
        "on, are asked in their text, by questions and by a linear probe, all values of a list "
        "scored, for what is stored and not said (Inside-Out); 0: none",
        low=0,
        high=2**20,
    )


@dataclass(frozen=True)
class Extraction:
    """Whether stored facts can be asked for (Physics of Language Models 3.1, arXiv 2309.14316,
    sections 3 to 5): fine-tune on questions about one half of the people, ask about the other half.
    A measure: out of the run's identity."""

    mode: str = setting(
        "none",
        "full: all weights; lora: low-rank updates of the embedding and of queries and values",
        choices=("none", "full", "lora"),
    )
    steps: int = setting(2000, "optimizer steps of the fine-tuning", low=1)
    batch_size: int = setting(48, "questions per step", low=1)
    lr: float = setting(3e-4, "peak learning rate; cosine to a tenth, no warm-up", above=0.0)
    weight_decay: float = setting(0.01, "decoupled weight decay", low=0.0)
    rank_embedding: int = setting(128, "rank of the update of the embedding (lora)", low=1)
    rank_attention: int = setting(16, "rank of the updates of queries and values (lora)", low=1)
