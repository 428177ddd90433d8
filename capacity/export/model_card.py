"""The README of an exported model: what it is, what was measured of it and by which convention, how
to load it, how to cite it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.config import Config
from capacity.data import lexicons, text
from capacity.measure.describe import describe
from capacity.settings.data import TextData, UniformData, worded_data

if TYPE_CHECKING:
    from capacity.export.huggingface import Export
    from capacity.settings.data import Data

PROTOCOLS = {  # by kind of data
    "uniform": "Morris et al., How much do language models memorize?, arXiv 2505.24832, section 3",
    "text": "Morris et al., How much do language models memorize?, arXiv 2505.24832, section 4",
}
PEOPLE = (
    "Allen-Zhu and Li, Physics of Language Models: Part 3.3, Knowledge Capacity Scaling Laws, "
    "arXiv 2404.05405"
)
WORDS = {
    "uniform": "Bits are memorized bits of the training set. strict: every token is predicted, the "
    "first one from the learned BOS, and a "
    "perfect memorizer still pays log2 N bits per sequence. paper: the mean over positions 2..S "
    "times S, as published "
    "tables have it. "
    "Parameters, total: every trained number, a tied embedding once, BOS included; paper: without "
    "BOS.",
    "text": "bits per token are code lengths -log2 p of whole sequences. AUC and F1 say how well "
    "members of the training set are separated from others; F1 flags half of all sequences, so "
    "that chance is 0.5. Parameters, total: every trained number, a tied "
    "embedding once, BOS included.",
}
CORPUS_WORDS = (
    " Learned bits are those beyond the frequencies of the values: a value that c of n people have "
    "counts log2(n / c) bits. Values that no text states add none."
)
PEOPLE_WORDS = (
    "R is learned bits per parameter and R^max what the data hold per parameter (Definitions 4.1 "
    "and 4.3 of the paper). used "
    "rows: all parameters but the rows of tokens that no text uses; total: every trained number, a "
    "tied embedding once."
)


def card(record: dict, config: Config, exported: Export) -> str:
    """Markdown with the front matter that model hubs read. exported: of `convert`."""
    kind, run_id, env = config.data.kind, record["run_id"], record["environment"]
    numbers = sum(tensor.numel() for tensor in exported.tensors.values())
    measured = "\n".join(
        line.removeprefix("  ") for line in describe(record, Path("results")).splitlines()[1:-1]
    )
    notes = "\n".join(
        f"- {note}"
        for note in [
            *exported.notes,
            f"Stored here: {numbers:,} numbers (fp32). The run has {config.parameters['total']:,} "
            f"parameters (total), "
            f"{config.parameters['paper']:,} (paper).",
        ]
    )
    train = config.train
    arithmetic = (
        ""
        if train.precision == "fp32"
        else f" The run trained and was measured in {train.precision} arithmetic."
    )
    arithmetic += (
        ""
        if train.qat == "none"
        else f" Weights have the values that the forward pass rounds them to ({train.qat}), stored "
        f"as fp32."
    )
    version = f"capacity {env['capacity']}" + (f", commit {env['git']}" if env.get("git") else "")
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [capacity, knowledge-capacity, {kind}]
---

# {run_id}: {config.shape} on {kind} data, {config.parameters["total"]:,} parameters

A small language model that `capacity` trained to measure how many bits it stores. It knows its
training data ({config.items:,} {config.data.unit}, {config.exposures:,.0f} exposures) and nothing
else: it is evidence, not a tool.

## Load it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
start = tokenizer({prompt(config.data)!r}, return_tensors="pt")
print(tokenizer.decode(model.generate(**start)[0]))
```

Sequences have at most {config.data.seq_len} tokens and start with token {exported.start}, which the
tokenizer puts in front.
{OF_TOKENS.get(kind, OF_TOKENS["people"])}

## What was measured

```
{measured}
```

{WORDS.get(kind, PEOPLE_WORDS)}{CORPUS_WORDS if kind == "corpus" else ""}
A number is a lower bound of what this form can hold: longer or better training can raise it.

## What was exported

The same function of the same numbers: logits in fp32 equal those of the run to
rounding.{arithmetic}

{notes}

## Settings

All that the run depends on; the run id is a hash of it.

```json
{json.dumps(record["identity"], indent=1)}
```

## Cite

Name the run ({run_id}), the program ({version}) and the convention of the number that you quote.
The protocol is that of {PROTOCOLS.get(kind, PEOPLE)}.
"""


def prompt(data: Data) -> str:
    """A beginning that the vocabulary of these settings has."""
    if isinstance(data, UniformData):
        return "0 1"
    if isinstance(data, TextData):
        pool = text.of(data)
        return next(
            (
                word
                for word in (pool.words[i] for i in pool.tokens_NS[0].tolist())
                if word.strip().isalpha()
            ),
            "",
        )
    data = worded_data(data)
    content, lexicon = lexicons.of(data).content, lexicons.of(data)
    piece = (
        lexicon.pieces[content["texts"][0][0]][:1]
        if data.kind == "corpus"
        else lexicon.pieces[content["first"][0]]
    )
    return lexicon.text(piece)


OF_TOKENS = {
    "uniform": "Tokens are written as numbers between spaces. The last row pads; any other word "
    "becomes this token.",
    "text": "Row 0 is the end of a text. It is also the unknown token, which a byte that the text "
    "does not have becomes, and the padding.",
    "people": "Texts are biographies behind the end-of-text token (row 0), and each starts with a "
    "space. The vocabulary holds the pieces of "
    "these texts only: any other word becomes the unknown token, which is row 0 too, as is the "
    "padding. Look for it in `input_ids[1:]` before you trust a number about a text of your own.",
}
