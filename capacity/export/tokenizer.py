"""The tokenizer of a run as files that `transformers` loads: token ids are rows of the model's
table.

uniform    WordLevel: the token n is written as the number n, numbers stand between spaces; one row
           more than the data have tokens pads, and is the unknown token
text       the BPE of the pool, or GPT-2's; row 0 is the end of text
others     the words of the lexicon as its BPE, or GPT-2's, divides them; only tokens that texts of
           this data need have a row in the model. A word that cannot be made of them is the
           unknown token

Every text starts with the token `start`, which the tokenizer puts in front. Of text and people the
end of text (row 0) is also the unknown token, as in GPT-2's tokenizer, and the padding, which an
attention mask hides: no id is beyond the model's table. Of uniform tokens the row behind the last
one does this, which is the BOS where that has a row (`huggingface.convert`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from capacity.base.errors import ConfigError
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, text
from capacity.data.vocabulary import Encoder
from capacity.settings.data import Data, TextData, UniformData, worded_data

EOS, BOS, TAG, PAD = lexicon.EOS, "<|bos|>", "<|tag|>", "<|pad|>"
SPECIAL = {"eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
DECODER = {
    "type": "ByteLevel",
    "add_prefix_space": True,
    "trim_offsets": True,
    "use_regex": True,
}
BYTES = decoders.ByteLevel()
LONGEST = 10**6  # characters of a word


def files(data: Data, start: int) -> dict[str, str]:
    """tokenizer.json and tokenizer_config.json as text. data: settings of any kind; start: the
    id that opens every text. ConfigError where what the tokens were made of is not at hand any
    more."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": data.seq_len,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }  # token types would be added to GPT-2's embedding
    if isinstance(data, UniformData):
        tree = _numbers(data.vocab_size, start)
        spare = BOS if start == data.vocab_size else PAD
        config |= {"pad_token": spare, "unk_token": spare}
        config |= {"bos_token": BOS} if spare == BOS else {}
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
        tree["model"]["unk_token"] = EOS  # of a byte that the text does not have
        config |= SPECIAL | {"bos_token": BOS if start == data.vocab_size else EOS}
    else:
        data = worded_data(data)
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
        tree = _words(encoder, row, lexicons.of(data), special, symbols)
        config |= SPECIAL | {"bos_token": EOS}
        # every text of people starts with a space; between bioD's symbols there is none
        config["add_prefix_space"] = not symbols
        _byte_level(tree)["add_prefix_space"] = not symbols
    return {
        "tokenizer.json": json.dumps(tree, ensure_ascii=False) + "\n",
        "tokenizer_config.json": json.dumps(config, indent=1) + "\n",
    }


def _numbers(size: int, start: int) -> dict:
    spare = BOS if start == size else PAD
    tokenizer = Tokenizer(
        models.WordLevel({str(i): i for i in range(size)} | {spare: size}, unk_token=spare)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tree = json.loads(tokenizer.to_str())
    return _opened(
        tree,
        [(spare, size)],
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
    tree["decoder"] = DECODER
    name = next(name for name, id in special if id == start)
    return _opened(tree, special, symbols, name, start)


def _words(
    encoder: Encoder,
    row: dict[int, int],
    words: lexicon.Lexicon,
    special: list[tuple[str, int]],
    symbols: list[tuple[str, int]],
) -> dict:
    """Each word as the longest rows that it begins with, one after the other (WordPiece). BPE gets
    to its tokens over others that have no row; where it divides a word of the lexicon differently,
    the word is cut there beforehand."""
    tree = json.loads(encoder.tokenizer.to_str())
    names = {str(encoder.tokenizer.id_to_token(id)): at for id, at in row.items()}
    cuts = _cuts(encoder, names, words)
    if cuts:
        split = {
            "type": "Split",
            "pattern": {"Regex": "|".join(cuts)},
            "behavior": "Isolated",
            "invert": False,
        }
        tree["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [tree["pre_tokenizer"], split],
        }
    tree["model"] = {
        "type": "WordPiece",
        "unk_token": EOS,
        "continuing_subword_prefix": "",
        "max_input_chars_per_word": LONGEST,
        "vocab": dict(
            sorted((names | dict([*special, *symbols])).items(), key=lambda item: item[1])
        ),
    }
    tree["decoder"] = DECODER
    return _opened(tree, special, symbols, EOS, 0)


def _cuts(encoder: Encoder, names: dict[str, int], words: lexicon.Lexicon) -> list[str]:
    """Patterns of the tokens, each in its place in its word, of the words that the longest rows
    would divide otherwise than the BPE does."""
    cut, tokenizer = [], encoder.tokenizer
    by_row = {at: name for name, at in names.items()}
    candidates = {  # of bytes: a character may have several tokens
        word
        for piece in words.pieces
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(
            BYTES.decode([by_row[at] for at in piece if at in by_row])
        )
    }
    for word in sorted(candidates):
        parts = [token.value for token in tokenizer.model.tokenize(word)]
        if any(part not in names for part in parts) or parts == _longest(word, names):
            continue
        for i, part in enumerate(parts):
            before, after = ("".join(some) for some in (parts[:i], parts[i + 1 :]))
            cut.append(f"(?<=\\A{_plain(before)}){_plain(part)}(?={_plain(after)}\\z)")
    return cut


def _plain(text: str) -> str:
    """A pattern for these very characters."""
    return "".join(f"\\x{{{ord(c):x}}}" for c in text)


def _longest(word: str, names: dict[str, int]) -> list[str]:
    """Longest names first, as WordPiece divides; what has none at its end is no division."""
    parts, at = [], 0
    while at < len(word):
        end = next((e for e in range(len(word), at, -1) if word[at:e] in names), None)
        if end is None:
            return []
        parts.append(word[at:end])
        at = end
    return parts


def _byte_level(tree: dict) -> dict:
    """The part of the pre-tokenizer that divides texts into words."""
    first = tree["pre_tokenizer"]
    return first["pretokenizers"][0] if first["type"] == "Sequence" else first


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
