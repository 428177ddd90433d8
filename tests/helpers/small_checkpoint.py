"""A small GPT-2 made on the spot: its tokenizer, its weights after some training, and the files of
an audit of it. No network."""

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, logging

from capacity.data.grammar import Grammar

logging.disable_progress_bar()
logging.set_verbosity_error()
VOCABULARY, CONTEXT, END = 400, 128, "<|end|>"


def texts(n, seed=1):
    """Documents of the grammar, all different."""
    grammar = Grammar()
    found = dict.fromkeys(grammar.document(seed, i) for i in range(2 * n))
    return list(found)[:n]


def write_rows(path, rows):
    """Rows as jsonl; a text alone is a row of its own."""
    lines = [row if isinstance(row, dict) else {"text": row} for row in rows]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    return str(path)


def tokenizer(of):
    """A byte-level BPE of these texts that opens every text with END."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(of, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, bpe.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END)


def write(folder, trained_on, *, steps, width=48, seed=0):
    """A GPT-2 of two layers in a folder, after so many steps of Adam on batches of 16 documents;
    a document that stands twice in `trained_on` is seen twice as often."""
    words = tokenizer(trained_on)
    end = words.bos_token_id
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(words), n_positions=CONTEXT, n_embd=width, n_layer=2, n_head=4,
        bos_token_id=end, eos_token_id=end, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    rng = np.random.default_rng(seed)
    rows = [
        [end, *words(text, add_special_tokens=False)["input_ids"]][:CONTEXT] for text in trained_on
    ]
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(16 * steps // len(rows) + 1)])
    for step in range(steps):
        batch = [rows[i] for i in order[16 * step : 16 * step + 16]]
        longest = max(map(len, batch))
        ids = torch.tensor([row + [end] * (longest - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in batch])
        adam.zero_grad()
        model(ids, labels=labels).loss.backward()
        adam.step()
    model.eval().save_pretrained(folder, safe_serialization=True)
    words.save_pretrained(folder)
    return str(folder)
