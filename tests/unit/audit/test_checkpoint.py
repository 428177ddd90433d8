"""Checkpoints: their numbers against the model's own logits, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import checkpoints
from capacity.audit import checkpoint, score
from capacity.base.errors import ConfigError
from checkpoints import CONTEXT, V


def refused(name, results, **more):
    with pytest.raises(ConfigError) as error:
        checkpoint.load(str(name), results, **more).encode(["1 2 3"])
    assert "\n" not in str(error.value)
    return str(error.value)


def documents(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, V, n).astype(np.int32) for n in lengths]


@pytest.mark.parametrize("made", [checkpoints.gpt2, checkpoints.llama])
def test_numbers_are_those_of_the_logits_whatever_the_batch(made, tmp_path):
    module = made(tmp_path / "m")
    model = checkpoint.load(str(tmp_path / "m"), tmp_path)
    assert model.parameters == sum(p.numel() for p in module.parameters())
    assert (model.vocab_size, model.context, model.opens_with) == (V, CONTEXT, None)
    assert model.sliced and model.dtype == "float32" and not model.notes
    assert model.encode(["3 1 4"])[0].tolist() == [3, 1, 4]
    tokens_D = documents([5, 40, 24, 1, 13, 0, 7])
    one = score.Pass(model, tokens_D, window=12, batch_tokens=30)
    assert len({len(batch.windows) for batch in one.batches}) > 1  # batches with padding
    scores = one.run(tmp_path / "work")
    assert scores.starts_D.tolist() == [0, 5, 45, 69, 70, 83, 83, 90]
    for d, ids in enumerate(tokens_D):
        for start in range(0, len(ids), 12):
            window = torch.from_numpy(ids[start : start + 12]).long()
            with torch.no_grad():
                log_p = module(window[None]).logits[0].double().log_softmax(-1)
            at = scores.starts_D[d] + start
            assert np.isnan(scores.log_p_T[at]) and scores.place_T[at] == 0
            mean = (log_p.exp() * log_p).sum(-1)
            sigma = ((log_p.exp() * log_p.square()).sum(-1) - mean.square()).sqrt()
            for t in range(1, len(window)):
                own = float(log_p[t - 1, window[t]])
                assert scores.log_p_T[at + t] == pytest.approx(own, rel=1e-4, abs=1e-5)
                z = (own - float(mean[t - 1])) / float(sigma[t - 1])
                assert scores.z_T[at + t] == pytest.approx(z, rel=1e-3, abs=1e-3)
                assert scores.right_T[at + t] == (int(log_p[t - 1].argmax()) == int(window[t]))


def test_recall_is_the_ratio_behind_a_prefix_of_the_first_long_non_member(tmp_path):
    module = checkpoints.gpt2(tmp_path / "m")
    model = checkpoint.load(str(tmp_path / "m"), tmp_path)
    texts = [" ".join(map(str, ids)) for ids in documents([20, 5, 2, 20, 9])]
    from capacity.audit import given

    made = given.of_texts(texts, [True, True, False, False, False])
    scores = score.score(model, made, tmp_path / "work", window=16)
    assert np.isnan(scores.recall_D).tolist() == [False, False, False, True, False]
    prefix, own = documents([20, 5, 2, 20, 9])[3][:8], documents([20, 5, 2, 20, 9])[1]
    both = torch.from_numpy(np.concatenate([prefix, own])).long()[None]
    with torch.no_grad():
        log_p = module(both).logits[0].log_softmax(-1)
        alone = module(both[:, 8:]).logits[0].log_softmax(-1)
    behind = sum(float(log_p[8 + t - 1, own[t]]) for t in range(1, 5))
    without = sum(float(alone[t - 1, own[t]]) for t in range(1, 5))
    assert scores.recall_D[1] == pytest.approx(behind / without, rel=1e-4)


def test_formats_are_kept_but_for_fp16_on_a_cpu(tmp_path):
    for dtype, kept in ((torch.bfloat16, "bfloat16"), (torch.float16, "float32")):
        checkpoints.gpt2(tmp_path / kept, dtype)
        model = checkpoint.load(str(tmp_path / kept), tmp_path)
        assert model.dtype == kept and bool(model.notes) == (dtype == torch.float16)
        scores = score.Pass(model, documents([9]), window=9).run(tmp_path / "work")
        assert np.isfinite(scores.log_p_T[1:]).all()
    assert checkpoint.load(str(tmp_path / "float32"), tmp_path, dtype="bf16").dtype == "bfloat16"
    assert "dtype=int8: expected one of" in refused(tmp_path / "float32", tmp_path, dtype="int8")


def test_unused_tokens_have_no_part_in_the_softmax(tmp_path):
    module = checkpoints.gpt2(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"unused_token_ids": [7, 59]}))
    model = checkpoint.load(str(tmp_path), tmp_path)
    assert model.vocab_size == V - 2 and model.unused == (7, 59)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        logits = module(ids).logits[0, :-1]
    logits[:, [7, 59]] = -torch.inf
    found = model.numbers(ids)[0, 1:, 0]
    torch.testing.assert_close(found, logits.log_softmax(-1)[[0, 1], [2, 3]], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"token 7, the model has 60 tokens, 2 of them without"):
        model.check([np.array([1, 7])], "the files have")


def test_what_cannot_be_audited_is_one_line(tmp_path):
    assert "no such file or folder, and no name on the hub" in refused("./none", tmp_path)
    assert "not from the hub" in refused("nobody/nothing", tmp_path)
    assert "no run in" in refused("abcdef", tmp_path)
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "empty", tmp_path)
    (tmp_path / "file.txt").write_text("x")
    assert "expected a folder with config.json" in refused(tmp_path / "file.txt", tmp_path)
    checkpoints.gpt2(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    tensors = load_file(weights)
    weights.rename(tmp_path / "kept")
    assert "no weights; expected model.safetensors" in refused(tmp_path / "m", tmp_path)
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"")
    assert "would have to be unpickled" in refused(tmp_path / "m", tmp_path)
    weights.write_bytes(b"no")
    assert "not a safetensors file" in refused(tmp_path / "m", tmp_path)
    part = {k: v for k, v in tensors.items() if "h.1.mlp" not in k}
    save_file(part, weights, metadata={"format": "pt"})
    assert "would be random" in refused(tmp_path / "m", tmp_path)
    codes = {k: v.to(torch.int8) for k, v in tensors.items()}
    save_file(codes, weights, metadata={"format": "pt"})
    assert "stored as I8" in refused(tmp_path / "m", tmp_path)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert "transformers cannot read it" in refused(tmp_path / "bad.gguf", tmp_path)


def test_tokenizers_that_do_not_fit_and_windows_that_are_too_long(tmp_path):
    checkpoints.gpt2(tmp_path / "none", tokens=0)
    assert "no tokenizer that can be read" in refused(tmp_path / "none", tmp_path)
    checkpoints.gpt2(tmp_path / "wide", tokens=V + 5)
    model = checkpoint.load(str(tmp_path / "wide"), tmp_path)
    with pytest.raises(ConfigError, match=r"does not fit: it gives token 62, the model has 60"):
        model.encode(["1 62"])
    with pytest.raises(ConfigError, match=r"window of 25 tokens: .* has a context of 24"):
        score.Pass(model, documents([9]), window=25)


def test_a_model_that_sees_what_comes_is_refused(tmp_path):
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=V,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    assert "no causal language model" in refused(tmp_path, tmp_path)
