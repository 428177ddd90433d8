"""The engine of an audit against a run's own numbers: as a run, as an exported folder."""

import os

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

os.environ["HF_HUB_OFFLINE"] = "1"  # before `transformers` is imported

from capacity import records
from capacity.audit import canaries as planted
from capacity.audit import checkpoint, given, score, variants
from capacity.cli.main import main
from capacity.compose import load
from capacity.measure import sequence_scores
from small_text import SMALL

REL = 1e-4  # sums of 16 tokens' fp32 log-probabilities, by another order of operations


@pytest.fixture(scope="module", params=["gpt", "llama"])
def audited(request, tmp_path_factory):
    """A run of text with canaries, its own scores, the exported folder and its data."""
    results = tmp_path_factory.mktemp("audit")
    settings = [
        *SMALL,
        f"model={request.param}",
        "model.n_layers=2",
        "data.canaries=4",
        "data.repeats=[1,8]",
    ]
    assert main(["train", *settings, "--results", str(results)]) == 0
    config = load(settings)
    folder, data = results / "model", results / "data"
    args = ["export", config.run_id, "--output", str(folder), "--data", str(data)]
    assert main([*args, "--results", str(results)]) == 0
    own = load_file(records.run_dir(results, config.run_id) / "scores.safetensors")
    return config, results, folder, data, own


def numbers(scores, n):
    """[n documents, S, 3] of documents of one window."""
    return torch.stack(
        [
            torch.from_numpy(x.reshape(n, -1).astype(np.float32))
            for x in (scores.log_p_T, scores.z_T, scores.right_T)
        ],
        -1,
    )


def test_a_folder_and_a_run_give_the_runs_own_numbers(audited, tmp_path):
    config, results, folder, data, own = audited
    read = given.read(str(data / "members.jsonl"), str(data / "others.jsonl"))
    documents = read.documents
    n = len(documents.ids)
    assert n == len(own["row"]) and read.rows["others"] == 100
    place = {str(row): i for i, row in enumerate(own["row"].tolist())}
    order = [place[name] for name in documents.ids]
    assert (own["seen"][order] == documents.member_D).all()
    assert (own["zlib"][order] == documents.zlib_D).all()
    found = {}
    for name in (config.run_id[:6], str(folder)):
        model = checkpoint.load(name, results)
        assert model.context == config.data.seq_len and model.vocab_size == config.rows
        scores = score.score(model, documents, tmp_path)
        columns = sequence_scores.columns(numbers(scores, n))
        for column, values in zip(sequence_scores.COLUMNS, columns, strict=True):
            np.testing.assert_allclose(
                values.numpy(),
                own[column][order],
                rtol=REL,
                atol=1e-3 * (column in ("min_k", "min_k_plus")),
                err_msg=column,
            )
        dropped = np.isnan(scores.recall_D)
        assert dropped.sum() >= 1 and not dropped[documents.member_D].any()
        np.testing.assert_allclose(
            scores.recall_D[~dropped], own["recall"][order][~dropped], rtol=REL
        )
        found[name] = model, scores
    (run, mine), (exported, theirs) = found.values()
    assert run.opens_with == exported.opens_with == model.opens_with
    np.testing.assert_allclose(mine.nats_D(), theirs.nats_D(), rtol=REL)
    text = documents.texts[0]
    assert (run.encode([text])[0] == exported.encode([text])[0]).all()


def test_canaries_have_the_exposures_of_the_run(audited, tmp_path):
    from capacity.measure.text import exposure

    config, results, folder, data, _ = audited
    canaries = given.canaries(str(data / "canaries.jsonl"))
    own = records.read(results, config.run_id)["measures"]["text"]["canaries"]
    model = checkpoint.load(str(folder), results)
    tokens = score.score(model, canaries.documents, tmp_path, recall=False)
    scores = planted.scored(tokens, canaries.repeats_C, canaries.bits_C)
    assert len(scores.candidates_R) == 4096
    found = exposure(scores.nats_C, scores.candidates_R)
    assert canaries.bits_C[0] == pytest.approx(config.data.seq_len * np.log2(config.rows - 1))
    for level in own:
        at = scores.repeats_C == level["repeats"]
        assert scores.written_C[at].tolist() == [bool(x) for x in level["extracted"]]
        np.testing.assert_allclose(found[at], level["exposures"], atol=0.2)  # ranks of near equals


def test_an_audit_that_is_killed_goes_on_and_an_equal_one_is_read(audited, tmp_path):
    _, results, folder, data, _ = audited
    documents = given.read(str(data / "members.jsonl"), str(data / "others.jsonl")).documents
    model = checkpoint.load(str(folder), results)

    def made(place, *, kill=None, batch_tokens=160):
        tokens_D = score.tokenized(model, documents)
        one = score.Pass(
            model,
            tokens_D,
            prefix=score.recall_prefix(documents, tokens_D, 16),
            batch_tokens=batch_tokens,
        )
        calls = []

        def progress(done, total):
            calls.append(done)
            if len(calls) == kill:
                raise KeyboardInterrupt

        plan = one.plan(place)
        scores = one.run(place, progress, every=0.0)
        assert calls[-1] == plan.tokens
        return one, plan, scores, calls

    _, whole, scores, _ = made(tmp_path / "whole")
    assert (
        whole.known_tokens == 0
        and whole.tokens_per_second > 0
        and whole.memory > model.weight_bytes
    )
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "killed", kill=5)
    _, plan, again, calls = made(tmp_path / "killed")
    assert 0 < plan.known_tokens == calls[0] < plan.tokens
    for name in ("log_p_T", "z_T", "right_T", "recall_D"):
        assert getattr(again, name).tobytes() == getattr(scores, name).tobytes()
    files = [
        sorted(p.relative_to(tmp_path / k) for p in (tmp_path / k).rglob("*.safetensors"))
        for k in ("whole", "killed")
    ]
    assert files[0] == files[1] and len(files[0]) == 1
    contents = [(tmp_path / k / files[0][0]).read_bytes() for k in ("whole", "killed")]
    assert contents[0] == contents[1]
    _, plan, third, calls = made(tmp_path / "killed")
    assert plan.known_tokens == plan.tokens and calls == [plan.tokens] and plan.seconds == 0
    assert third.log_p_T.tobytes() == scores.log_p_T.tobytes()
    _, plan, other, _ = made(tmp_path / "killed", batch_tokens=320)  # another pass, not mixed up
    assert plan.known_tokens == 0
    np.testing.assert_allclose(other.log_p_T, scores.log_p_T, rtol=1e-4, atol=1e-5)


def test_a_run_keeps_its_scores_at_eight_bits_and_loses_them_at_two(audited, tmp_path):
    config, results, _, data, _ = audited
    documents = given.read(str(data / "members.jsonl"), str(data / "others.jsonl")).documents

    def scored(name):
        model, stored = checkpoint.load(config.run_id, results), None
        if name:
            tokens_D = score.tokenized(model, documents)
            rows = variants.windows(tokens_D, 16) if variants.calibrated(name) else None
            made = variants.quantized(model, name, rows)
            model, stored = made.checkpoint, made.stored_bits
        return score.score(model, documents, tmp_path, recall=False).log_p_T, stored

    whole, _ = scored("")
    error, size = {}, {}
    for name in ("int8", "int4", "int4-gptq", "int2"):
        log_p_T, size[name] = scored(name)
        error[name] = float(np.abs(log_p_T - whole).mean())
    assert 0 < error["int8"] < 0.1 * error["int2"] and error["int4-gptq"] < error["int2"]
    assert size["int8"] > size["int4"] == size["int4-gptq"] > size["int2"] > 0
