"""capacity.bits of a model of transformers: an exported run has the bits of its record."""

import pytest

import capacity
from exports import loaded


@pytest.mark.parametrize("kind", ["uniform", "rotary"])
def test_an_exported_run_has_the_bits_of_its_record(kind, exported):
    config, results, folder = exported(kind)
    run, model = capacity.load(config.run_id, results=results), loaded(folder)
    start = model.config.bos_token_id
    added = list(range(config.rows, model.config.vocab_size))  # rows of no token of the data
    assert model.config.unused_token_ids == added != []
    for convention in ("strict", "paper"):
        found = capacity.bits(model, run.tokens, convention=convention, start=start)
        measured = run.record["measures"]["memorization"][convention]
        assert found.total == pytest.approx(measured["bits"], rel=1e-4) and found.total > 50
        assert found.ceiling == measured["ceiling_bits"] and found.vocab_size == config.rows
    with pytest.raises(capacity.ConfigError, match=rf"its bos_token_id is {start}\)"):
        capacity.bits(model, run.tokens)


@pytest.mark.parametrize("kind", ["text", "bios"])
def test_tokens_of_text_and_people_are_what_the_run_was_trained_on(kind, exported):
    config, results, _ = exported(kind)
    model, tokens = capacity.load(config.run_id, results=results)
    whole = kind == "text"
    assert tokens.shape == (
        config.trained_items if whole else 256,
        config.data.seq_len + (not whole),
    )
    found = capacity.bits(model, tokens[:20], convention="strict" if whole else "given_first")
    assert 0 < found.bits_per_token < 8
    if not whole:
        with pytest.raises(capacity.ConfigError, match="nothing stands before the first token"):
            capacity.bits(model, tokens[:20])
