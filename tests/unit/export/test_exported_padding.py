"""Exported tokenizers of every kind of data pad and have no id beyond the model, and batches of
several lengths give what each text gives alone."""

import pytest
import torch
from transformers import AutoTokenizer

from capacity.data import lexicons, text
from exports import RUNS, loaded

STRANGE = ["\u2603 snow", "Xqzz 1234567 -3.5", "0 1 999999", "", "<|endoftext|> a"]


def texts_of(config):
    """Texts of the run's own data, the longest last."""
    if config.data.kind == "uniform":
        return ["3", "3 15 0", "1 2 3 4 5"]
    if config.data.kind == "text":
        document = next(text.documents(config.data)).split()
        return [" ".join(document[:n]) for n in (1, 2, 4)]
    lexicon = lexicons.of(config.data)
    first = [lexicon.text(lexicon.pieces[p]) for p in lexicon.content["first"][:6]]
    return ["".join(first[:n]) for n in (1, 3, 6)]


@pytest.mark.parametrize("kind", RUNS)
def test_no_id_is_beyond_the_model_and_there_is_a_token_that_pads(kind, exported):
    _, _, folder = exported(kind)
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder)
    size = model.config.vocab_size
    assert len(coder) <= size == model.get_input_embeddings().num_embeddings
    assert 0 <= coder.pad_token_id < size and 0 <= coder.unk_token_id < size
    assert model.config.pad_token_id == model.generation_config.pad_token_id == coder.pad_token_id
    for words in STRANGE:
        assert max(coder(words)["input_ids"], default=0) < size


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", RUNS)
def test_a_padded_batch_gives_what_each_text_gives_alone(kind, side, exported):
    """Logits at the tokens of each text, to rounding: sums of a few hundred products in another
    order; measured at most 4e-6 of the largest."""
    config, _, folder = exported(kind)
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder, padding_side=side)
    texts = texts_of(config)
    batch = coder(texts, padding=True, return_tensors="pt")
    lengths = batch["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3 and int((batch["input_ids"] >= len(coder)).sum()) == 0
    where = {}
    if side == "left":  # as generate does it
        where["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        together = model(**batch, **where).logits
        for row, mask, words in zip(together, batch["attention_mask"].bool(), texts, strict=True):
            alone = model(**coder(words, return_tensors="pt")).logits[0]
            # the row that pads has a very low logit, with the rounding of such a number
            some, alone = row[mask][:, : config.rows], alone[:, : config.rows]
            assert torch.allclose(some, alone, rtol=0, atol=2e-5 * float(alone.abs().max()))
    told = model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert int(told[:, -2:].max()) < config.rows  # never the token that pads
    if side == "left":
        for row, words in zip(told, texts, strict=True):
            single = coder(words, return_tensors="pt")
            alone = model.generate(**single, max_new_tokens=2, do_sample=False)[0]
            assert row[-2:].tolist() == alone[-2:].tolist()


def test_a_softmax_over_all_rows_is_that_of_the_run(exported):
    """The row that pads has no part in it, so that a loss that nobody corrects is right."""
    config, _, folder = exported("uniform")
    model = loaded(folder)
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        logits = model(tokens).logits[0].double()
    assert logits.shape[-1] == config.rows + 1
    own = logits[:, : config.rows].log_softmax(-1)
    assert torch.equal(logits.float().log_softmax(-1)[:, : config.rows], own.float()) or (
        torch.allclose(logits.log_softmax(-1)[:, : config.rows], own, atol=1e-12)
    )
