"""The tokenizer of a run as files that `transformers` loads: token ids are rows of the model's
table.

uniform    WordLevel: the token n is written as the number n, numbers stand between spaces
text       the BPE of the pool, or GPT-2's; row 0 is the end of text
others     the BPE of the lexicon, or GPT-2's; its tokens that no text of this data needs have no
           row in the model. They get numbers behind the last row, so that a text outside of the
           vocabulary is an error of the model and not another text

Every text starts with the token `start`, which the tokenizer puts in front.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter

from tokenizers import Tokenizer, models, pre_tokenizers

from capacity.base.errors import ConfigError
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, resolve, text
from capacity.data.vocabulary import Encoder
from capacity.settings.data import Data, TextData, UniformData

EOS, BOS, TAG = lexicon.EOS, "<|bos|>", "<|tag|>"


def files(data: Data, start: int) -> dict[str, str]:
    """tokenizer.json and tokenizer_config.json as text. data: settings of any kind; start: the
    id that opens every text. ConfigError where what the tokens were made of is not at hand any
    more."""
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": data.seq_len,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }  # token types would be added to GPT-2's embedding
    if isinstance(data, UniformData):
        tree = _numbers(data.vocab_size, start)
        told |= {"bos_token": BOS} if start == data.vocab_size else {}
    elif isinstance(data, TextData):
        encoder = text.tokenizer(data)
        row = {i: i + 1 for i in range(encoder.tokenizer.get_vocab_size())}
        tree = _bpe(
            encoder,
            row,
            data.vocab_size,
            [(EOS, text.EOS_ROW)] + [(BOS, start)] * (start == data.vocab_size),
            start,
        )
        told |= {"bos_token": BOS if start == data.vocab_size else EOS, "eos_token": EOS}
    else:
        content, encoder, row = compiling.compiled(data)
        if (now := lexicon.Lexicon(content).digest) != lexicons.of(data).digest:
            raise ConfigError(
                f"data.lexicon={lexicons.of(data).digest}: the lists, templates or tokenizer have "
                f"changed since the run, "
                f"they now compile to {now}; its tokens cannot be recovered"
            )
        special = [(EOS, 0)] + [(TAG, len(content["tokens"]))] * (
            getattr(data, "tag", "none") != "none"
        )
        by_merging = {0, *row.values()}
        symbols = [
            (word, i) for i, word in enumerate(content["tokens"]) if i not in by_merging
        ]  # of bioD
        tree = _bpe(encoder, row, resolve.of(data).rows, special, start, symbols)
        told |= {"bos_token": EOS, "eos_token": EOS}
    return {
        "tokenizer.json": json.dumps(tree, ensure_ascii=False) + "\n",
        "tokenizer_config.json": json.dumps(told, indent=1) + "\n",
    }


def _numbers(size: int, start: int) -> dict:
    tokenizer = Tokenizer(
        models.WordLevel({str(i): i for i in range(size)} | ({BOS: start} if start == size else {}))
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tree = json.loads(tokenizer.to_str())
    return _opened(
        tree,
        [(BOS, start)] if start == size else [],
        [],
        BOS if start == size else str(start),
        start,
    )


def _bpe(
    encoder: Encoder,
    row: dict[int, int],
    rows: int,
    special: list[tuple[str, int]],
    start: int,
    symbols: Sequence[tuple[str, int]] = (),
) -> dict:
    """The encoder with rows for ids. special and symbols: (text, row) of tokens that are not found
    by merging; special ones are no text."""
    tree = json.loads(encoder.tokenizer.to_str())
    vocabulary: dict[str, int] = tree["model"]["vocab"]
    names = {name for name, _ in special}
    others = [
        id
        for name, id in sorted(vocabulary.items(), key=itemgetter(1))
        if id not in row and name not in names
    ]
    behind = {id: rows + n for n, id in enumerate(others)}
    ids = {
        name: row[id] if id in row else behind[id]
        for name, id in vocabulary.items()
        if name not in names
    }
    ids |= dict([*special, *symbols])
    tree["model"]["vocab"] = dict(sorted(ids.items(), key=itemgetter(1)))
    tree["decoder"] = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    }
    name = next(name for name, id in special if id == start)
    return _opened(tree, special, symbols, name, start)


def _opened(
    tree: dict,
    special: list[tuple[str, int]],
    symbols: Sequence[tuple[str, int]],
    name: str,
    start: int,
) -> dict:
    """The tokenizer with its added tokens, and with `start`, called `name`, in front of every
    text."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tree["added_tokens"] = [
        {"id": id, "content": token, **plain, "special": id in dict(special).values()}
        for token, id in sorted([*special, *symbols], key=itemgetter(1))
    ]
    front, body = (
        {"SpecialToken": {"id": name, "type_id": 0}},
        [{"Sequence": {"id": letter, "type_id": 0}} for letter in "AB"],
    )
    tree["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [front, body[0]],
        "pair": [front, *body],
        "special_tokens": {name: {"id": name, "ids": [start], "tokens": [name]}},
    }
    return tree
