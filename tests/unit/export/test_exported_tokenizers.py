"""Exported tokenizers give the tokens that the run was trained on."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from capacity.cli.main import main
from capacity.compose import load
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicons, text
from capacity.data.vocabulary import gpt2
from capacity.export import tokenizer
from capacity.train.loop import Stack
from exports import SMALL, loaded


def test_text_has_the_tokens_that_the_run_was_trained_on(exported):
    config, _, folder = exported("text")
    coder, encoder = AutoTokenizer.from_pretrained(folder), text.tokenizer(config.data)
    assert (coder.bos_token_id, coder.eos_token_id) == (0, 0) and len(coder) == 200
    stream = []
    for document in islice(text.documents(config.data), 20):
        ids = coder(document)["input_ids"]
        assert ids == [
            0,
            *(i + 1 for i in encoder.tokenizer.encode(document, add_special_tokens=False).ids),
        ]
        assert coder.decode(ids, skip_special_tokens=True) == document
        stream += ids
    assert stream[:16] == text.of(config.data).tokens_NS[0].tolist()  # how the pool was cut


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_biographies_have_the_tokens_that_the_run_was_trained_on(kind, exported):
    config, _, folder = exported(kind)
    coder, words = (
        AutoTokenizer.from_pretrained(folder),
        [*lexicons.of(config.data).content["tokens"], tokenizer.TAG],
    )
    seen = set()
    for row in Stack([config], torch.device("cpu")).feed.first_rows(0, 40).tolist():
        if 0 in row:
            row = row[row.index(0) :]
            shown = "".join(words[i] for i in row)
            ids = coder(shown, add_special_tokens=False)["input_ids"]
            whole = len(row) - 2  # the last word may be cut
            assert (
                ids[:whole] == row[:whole]
                and coder.decode(row) == shown
                and coder(shown[len(tokenizer.EOS) :])["input_ids"][:whole] == row[:whole]
            )
            seen |= set(row)
    assert len(seen) > config.rows // 3 and (
        config.rows - 1 in seen if kind == "bios" else True
    )  # the tag, and most of the rows
    assert len(coder) == config.rows  # no id is beyond the table
    assert coder("Xqz")["input_ids"] == [0, 0] and coder.unk_token_id == 0


CASES = Path(__file__).parents[2] / "data" / "cases"


def pieces_of(data):
    """Texts of a lexicon piece by piece, and their rows."""
    _, encoder, row = compiling.compiled(data)
    name = {at: encoder.tokenizer.id_to_token(i) for i, at in row.items()}
    for piece in lexicons.of(data).pieces:
        if all(at in name for at in piece):
            yield tokenizer.BYTES.decode([name[at] for at in piece]), piece


@pytest.mark.parametrize(
    "settings",
    [
        ["data=bios_pocket", "data.vocab_size=600"],  # words of several tokens
        ["data=bios_pocket", "data.tokenizer=gpt2"],
        ["data=corpus", "data.seq_len=48", "data.path={}/people_plain.jsonl"],
        ["data=corpus", "data.seq_len=64", "data.path={}/people_plain.jsonl", "data.vocab_size=90"],
        ["data=corpus", "data.seq_len=16", "data.path={}/people_cjk.jsonl"],
        ["data=corpus", "data.seq_len=64", "data.path={}/people_emoji_rtl.jsonl"]
        + ["data.vocab_size=150"],  # tokens of a part of a character
    ],
)
def test_words_have_the_tokens_of_the_lexicon_and_no_others(settings):
    data = load([s.format(CASES) for s in [*settings, "train.steps=300"]]).data
    coder, compared = fast(tokenizer.files(data, 0)), 0
    assert max(coder.get_vocab().values()) == lexicons.of(data).rows - 1
    for words, piece in pieces_of(data):
        if words.startswith(" "):  # as texts do
            assert coder.encode(words).ids == coder.encode(words[1:]).ids == [0, *piece]
            assert coder.decode(piece) == words
            compared += 1
    assert compared > 10
    for strange in ("Xqzz", "\u03a9\u2603", "\u201cM\u00e4r\u201d 7"):
        assert max(coder.encode(strange).ids) < lexicons.of(data).rows
        assert 0 in coder.encode(strange).ids[1:]


def test_people_model_pads_and_takes_any_text(tmp_path):
    """The fault: 232 token ids for 55 rows, and no padding."""
    settings = ["data=corpus", "data.seq_len=48", f"data.path={CASES}/people_plain.jsonl", *SMALL]
    settings += ["train.steps=120", "train.lr=0.01"]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    config, folder = load(settings), tmp_path / "out"
    assert main(["export", config.run_id, "--output", str(folder), "--results", str(tmp_path)]) == 0
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder)
    assert len(coder) == config.rows == model.config.vocab_size == 55
    texts = ["Mara Quill was born in Paris.", "Mara Quill was b", "A stranger, 1.75 m tall: \u2603"]
    batch = coder(texts, padding=True, return_tensors="pt")
    assert int(batch["input_ids"].max()) < 55
    with torch.no_grad():
        together = model(**batch).logits
        for i, words in enumerate(texts):
            alone = model(**coder(words, return_tensors="pt")).logits[0]
            # sums of 16 products in another order
            assert torch.allclose(together[i, : len(alone)], alone, atol=1e-5)
    prompt = coder("Mara Quill was", return_tensors="pt")
    told = model.generate(**prompt, max_new_tokens=10, do_sample=False)[0]
    again = coder(coder.decode(told), add_special_tokens=False)["input_ids"]
    assert again == told.tolist()  # what it writes is read back as the same tokens
    assert model.generation_config.pad_token_id == coder.pad_token_id == 0


def test_bytes_that_a_text_lacks_are_the_unknown_token(exported):
    coder = AutoTokenizer.from_pretrained(exported("text")[2])
    known = coder("the end")["input_ids"]
    strange = coder("the\u2603 end")["input_ids"]  # was left out without a word
    assert strange.count(0) == 1 + 3 and [i for i in strange if i] != [] and known[0] == 0
    assert coder.pad_token_id == coder.unk_token_id == 0


def test_gpt2_tokens_keep_their_rows():
    data = load(
        ["data=bios_pocket", "data.tokenizer=gpt2", "data.n_people=60", "train.steps=300"]
    ).data
    coder = fast(tokenizer.files(data, 0))
    row, words = (
        lexicons.of(data).pieces[lexicons.of(data).content["first"][3]],
        lexicons.of(data).content["tokens"],
    )
    shown = "".join(words[i] for i in row)
    assert (
        coder.encode(shown).ids == [0, *row]
        and coder.decode(row) == shown
        and coder.get_vocab_size() == lexicons.of(data).rows
    )
    data = load(
        [
            "data=text_pocket",
            "data.tokenizer=gpt2",
            "data.vocab_size=50258",
            "data.documents=60",
            "data.n_held_out=5",
            "train.steps=300",
            "data.tokens_per_parameter=null",
            "data.n_sequences=5",
        ]
    ).data
    coder, document = fast(tokenizer.files(data, 0)), next(text.documents(data))
    assert coder.encode(document).ids == [
        0,
        *(i + 1 for i in gpt2().tokenizer.encode(document).ids),
    ]
    assert coder.token_to_id(tokenizer.EOS) == 0


def fast(files):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(files["tokenizer.json"])


def test_numbers_are_tokens_and_other_words_the_spare_row(exported):
    coder = AutoTokenizer.from_pretrained(exported("uniform")[2])
    assert coder("3 15  0")["input_ids"] == [0, 3, 15, 0] and coder.decode([3, 15, 0]) == "3 15 0"
    assert coder("3", add_special_tokens=False)["input_ids"] == [3] and coder.bos_token is None
    assert coder("16 3")["input_ids"] == [0, 16, 3] and len(coder) == 17
    assert coder.pad_token_id == coder.unk_token_id == 16
    assert coder.decode([3, 16, 0], skip_special_tokens=True) == "3 0"
    extra = AutoTokenizer.from_pretrained(exported("rotary")[2])
    assert (
        extra("3 15")["input_ids"] == [16, 3, 15]
        and extra.bos_token_id == 16
        and extra.decode([16, 3, 15], skip_special_tokens=True) == "3 15"
    )
