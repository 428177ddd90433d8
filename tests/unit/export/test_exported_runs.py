"""Exported runs: their bits, their generation, the card, and runs of reduced precision."""

import json
import re

import pytest
import torch
from transformers import AutoTokenizer

from capacity import records
from capacity.cli.main import main
from capacity.compose import load
from capacity.data import uniform
from capacity.measure import memorization as bits
from capacity.model.gpt import GPT
from capacity.train.loop import Stack
from exports import RUNS, SMALL, greedy, loaded, theirs, weights


def test_the_bits_of_a_run_come_out_of_the_exported_model(exported):
    config, results, folder = exported("uniform")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    tokens = torch.from_numpy(uniform.tokens(config.seed, config.items, 8, 16)).long()
    logits = theirs(loaded(folder), config, 0, tokens)
    assert logits.shape == (20, 8, 16)  # no column that the run does not have
    nll = torch.nn.functional.cross_entropy(
        logits.double().flatten(0, 1), tokens.flatten(), reduction="none"
    ).view(20, 8) / torch.log(torch.tensor(2.0))
    held = bits.memorized(torch.stack([nll[:, 0], nll[:, 1:].sum(1)], 1).numpy(), 8, 16)
    measured = records.read(results, config.run_id)["measures"]["memorization"]
    for convention in ("strict", "paper"):
        assert (
            held[convention] == pytest.approx(measured[convention]["bits"], rel=1e-5)
            and held[convention] > 100
        )


@pytest.mark.parametrize("kind", RUNS)
def test_a_trained_run_generates_as_it_does_here(kind, exported):
    config, results, folder = exported(kind)
    gpt, flat_MP = weights(config, results)
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder)
    model.generation_config.eos_token_id = None  # go on behind the end of a text
    start, S = model.config.bos_token_id, config.data.seq_len
    assert coder.model_max_length == S and model.generation_config.bos_token_id == start
    rows = Stack([config], torch.device("cpu")).feed.first_rows(0, 6).tolist()
    for row in rows:
        row = row if config.data.bos else row[row.index(0) + 1 if 0 in row[:8] else 0 :]
        prompt = row[:4]
        words = coder.decode(prompt) if config.data.kind == "uniform" else None
        given = coder(words)["input_ids"] if words else [start, *prompt]
        assert given == [start, *prompt]
        told = model.generate(
            torch.tensor([given]), attention_mask=torch.ones(1, len(given), dtype=torch.int64)
        )[0].tolist()
        ours = (
            greedy(gpt, flat_MP, prompt, S - 1)
            if config.data.bos
            else greedy(gpt, flat_MP, given, S)[1:]
        )
        assert told == [start, *ours]
    if model.generation_config.suppress_tokens:
        assert kind in ("uniform", "rotary") and model.config.vocab_size == config.rows + 1
        assert start == (config.rows if kind == "rotary" else 0)
        assert (torch.tensor(told[1:]) < config.rows).all()


def test_the_card_says_what_a_reader_must_know(exported):
    for kind, words in (
        (
            "uniform",
            [
                "strict: every token is predicted",
                "arXiv 2505.24832",
                "part of position 0",
                "numbers between spaces",
            ],
        ),
        ("rotary", ["leave it out before a softmax"]),
        ("bios", ["R^max", "arXiv 2404.05405", "each starts with a space"]),
        ("text", ["AUC", "Row 0 is the end of a text"]),
    ):
        config, results, folder = exported(kind)
        card = (folder / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: transformers\n") and str(results) not in card
        for word in (
            config.run_id,
            f"{config.parameters['total']:,} parameters",
            "AutoModelForCausalLM",
            "## Cite",
            *words,
        ):
            assert word in card, (kind, word)
        settings = json.loads(re.search(r"```json\n(.*?)```", card, re.S)[1])
        assert settings == json.loads(json.dumps(config.identity))


@pytest.mark.parametrize("kind", RUNS)
def test_the_lines_of_the_card_run(kind, exported, capsys):
    config, _, folder = exported(kind)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    capsys.readouterr()
    exec(code.replace('"FOLDER"', repr(str(folder))), {})
    shown = capsys.readouterr().out
    start = (
        "0 0 1 " if kind == "uniform" else "<|bos|> 0 1 " if kind == "rotary" else "<|endoftext|>"
    )
    assert shown.startswith(start) and len(shown) > len(start) + 2


def test_a_bf16_run_says_that_its_master_weights_are_exported(tmp_path, capsys):
    settings = [*RUNS["uniform"], *SMALL, "train.precision=bf16", "train.steps=20"]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    run_id = load(settings).run_id
    assert (
        main(["export", run_id, "--output", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    )
    assert (
        "trained and was measured in bf16 arithmetic"
        in (tmp_path / "out" / "README.md").read_text()
    )
    assert capsys.readouterr().out.rstrip().endswith("so that a softmax does not see it.")


def test_a_run_with_quantized_weights_is_exported_as_it_is_used(tmp_path):
    settings = [
        *RUNS["uniform"],
        *SMALL,
        "train.qat=int4",
        "train.qat_embeddings=true",
        "train.steps=40",
    ]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    config = load(settings)
    assert (
        main(
            ["export", config.run_id, "--output", str(tmp_path / "out"), "--results", str(tmp_path)]
        )
        == 0
    )
    gpt, flat_MP = weights(config, tmp_path)
    gpt = GPT(config.model, 16, 8, True, qat="int4", qat_embeddings=True)
    tokens = torch.randint(0, 16, (8, 8), generator=torch.Generator().manual_seed(1))
    ours, there = (
        gpt.logits(flat_MP, tokens[None])[0],
        theirs(loaded(tmp_path / "out"), config, 0, tokens),
    )
    assert (ours - there).abs().max() < 2e-5 * ours.abs().max()
    plain = GPT(config.model, 16, 8, True).logits(flat_MP, tokens[None])[0]
    assert (ours - plain).abs().max() > 1e-2  # the weights file alone is another model
    assert "rounds them to (int4)" in (tmp_path / "out" / "README.md").read_text()
