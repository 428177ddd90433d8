"""Bits per character and Information Capacity of one checkpoint, by hand and against its logits."""

import json
import math

import numpy as np
import pytest
import torch

import checkpoints
from capacity import counts
from capacity.analysis.compression.formulas import information_capacity
from capacity.audit import checkpoint, compression, score
from capacity.cli.main import main
from checkpoints import CONTEXT, V

LAYERS, WIDTH = 2, 16
TEXTS = ["12 34 56 7", "5 5 11 8 59", "20 21 22 23 24 25 9"]


def lines(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def measured(folder, text, tmp_path, *more):
    """What the verb writes."""
    args = ["compression", str(folder), "--text", text, "--output", str(tmp_path / "out"), *more]
    assert main([*args, "--results", str(tmp_path / "results")]) == 0
    (file,) = (tmp_path / "out").glob("*.json")
    return json.loads(file.read_text())


def gpt2_flops(length):
    return 2 * (LAYERS * 12 * WIDTH**2 + V * WIDTH) + 4 * LAYERS * WIDTH * (length - 1) / 2


def test_a_model_that_knows_nothing_by_hand(tmp_path, capsys):
    module = checkpoints.gpt2(tmp_path / "m")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    module.save_pretrained(tmp_path / "m")
    found = measured(tmp_path / "m", lines(tmp_path / "t.jsonl", TEXTS[:1]), tmp_path)
    # nothing opens a text, so that 34 56 7 are predicted: three tokens, seven characters
    assert (found["predicted_tokens"], found["predicted_characters"]) == (3, 7)
    assert found["bits_per_token"]["value"] == pytest.approx(math.log2(V))
    assert found["bits_per_character"]["value"] == pytest.approx(3 * math.log2(V) / 7)
    assert found["flops_decoded"] == gpt2_flops(CONTEXT)
    gain, below = 8 * 7 / 3 - math.log2(V), math.log2(gpt2_flops(CONTEXT))
    assert found["information_capacity"]["value"] == pytest.approx(gain / below)
    assert found["with_bias"]["value"] == pytest.approx((gain - 27) / below)
    assert found["bits_per_token"]["interval"] is None  # one document has no spread
    printed = capsys.readouterr().out
    assert "cannot tell: one document" in printed
    assert all(len(line) <= 80 for line in printed.splitlines()[:-1])


def test_bits_are_those_of_the_logits_and_rows_those_of_the_first_window(tmp_path):
    module = checkpoints.llama(tmp_path / "m")
    found = measured(
        tmp_path / "m", lines(tmp_path / "t.jsonl", TEXTS), tmp_path, "--window", "4", "--bias", "0"
    )
    bits, tokens, characters, first_bits, first_bytes, first_tokens = 0.0, 0, 0, 0.0, 0, 0
    for text in TEXTS:
        ids = [int(word) for word in text.split()]
        for start in range(0, len(ids), 4):
            window = ids[start : start + 4]
            with torch.no_grad():
                log_p = module(torch.tensor([window])).logits[0].double().log_softmax(-1)
            own = -sum(float(log_p[t - 1, window[t]]) for t in range(1, len(window))) / math.log(2)
            size = len(" ".join(map(str, window[1:])))
            bits, tokens, characters = bits + own, tokens + len(window) - 1, characters + size
            if not start:
                first_bits, first_bytes = first_bits + own, first_bytes + size
                first_tokens += len(window) - 1
    assert found["predicted_tokens"] == tokens and found["predicted_characters"] == characters
    assert found["bits_per_character"]["value"] == pytest.approx(bits / characters, rel=1e-5)
    low, high = found["bits_per_character"]["interval"]
    assert low < bits / characters < high
    # by the published script, whose MLP is gated
    flops = LAYERS * (2 * 4 * WIDTH**2 + 6 * WIDTH * 40 + 4 * WIDTH * 3 / 2) + 2 * WIDTH * V
    assert found["flops_decoded"] == flops
    text_bits = 8 * first_bytes / first_tokens
    ic = information_capacity(text_bits, first_bits / first_tokens, flops)
    assert found["information_capacity"]["value"] == pytest.approx(ic, rel=1e-5)
    assert found["with_bias"] == found["information_capacity"]


def test_experts_have_no_flops_and_so_no_information_capacity(tmp_path):
    checkpoints.llama(tmp_path / "m")
    model = checkpoint.load(str(tmp_path / "m"), tmp_path)
    assert model.decoded_flops(8) is not None
    model.model.config.num_local_experts = 4
    assert model.decoded_flops(8) is None
    tokens = model.encode(TEXTS)
    scores = score.Pass(model, tokens, window=8).run(tmp_path / "work")
    found = compression.numbers(model, tokens, scores, -27.0)
    assert found["information_capacity"] is None and found["bits_per_token"]["interval"]
    told = " ".join(" ".join(compression.described("m", found)).split())
    assert "Information Capacity, bias 0: cannot tell: FLOPs of a token are not known" in told


def test_an_own_run_predicts_its_first_token(tmp_path, capsys):
    settings = ["data.vocab_size=64", "data.seq_len=8", "data.n_sequences=16", "model.d_model=8"]
    settings += ["model.n_heads=2", "train.steps=4", "train.exposures=null", "train.batch_size=4"]
    settings += ["train.warmup_steps=0", "cluster.device=cpu", "cluster.threads=1"]
    assert main(["train", *settings, "--results", str(tmp_path / "results")]) == 0
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    capsys.readouterr()
    texts = ["1 2 3 63", "5 6 7 8 9 10 11 12"]
    found = measured(folder.name, lines(tmp_path / "t.jsonl", texts), tmp_path)
    assert found["predicted_tokens"] == 12 and found["predicted_characters"] == sum(map(len, texts))
    own = checkpoint.load(folder.name, tmp_path / "results")
    flops = counts.decoded_flops_per_token(own.run_config.model, 64, 8)
    assert found["flops_decoded"] == flops
    rows = np.array([[5, 6, 7, 8, 9, 10, 11, 12]])
    log_p = own.numbers(torch.from_numpy(rows))[0, :, 0].double().numpy()
    again = lines(tmp_path / "u.jsonl", texts[1:])
    more = ["--output", str(tmp_path / "alone"), "--results", str(tmp_path / "results")]
    assert main(["compression", folder.name, "--text", again, *more]) == 0
    (file,) = (tmp_path / "alone").glob("*.json")
    alone = json.loads(file.read_text())
    assert alone["predicted_bits"] == pytest.approx(-log_p.sum() / math.log(2), rel=1e-6)
    ic = information_capacity(
        8 * len("6 7 8 9 10 11 12") / 7, -log_p[1:].mean() / math.log(2), flops
    )
    assert alone["information_capacity"]["value"] == pytest.approx(ic, rel=1e-6)


@pytest.mark.parametrize(
    ("tokens", "texts", "more", "said"),
    [
        (0, TEXTS, [], "no tokenizer that can be read"),
        (V, ["", " "], [], "no text in it"),
        (V, ["7"], [], "no token of the text is predicted"),
        (V, TEXTS, ["--window", "99"], "window of 99 tokens"),
        (V, TEXTS, ["--field", "body"], "--field=body"),
    ],
)
def test_bad_input_is_one_line(tokens, texts, more, said, tmp_path, capsys):
    checkpoints.gpt2(tmp_path / "m", tokens=tokens)
    text = lines(tmp_path / "t.jsonl", texts)
    args = ["compression", str(tmp_path / "m"), "--text", text, "--output", str(tmp_path / "out")]
    assert main([*args, *more]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1 and said in errors[0]
    assert not list(tmp_path.glob("out/*.json"))
