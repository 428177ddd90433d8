"""Variants of a checkpoint: codes on a grid, bits that they take, and GPTQ's smaller error."""

import pytest
import torch

import checkpoints
from capacity.audit import checkpoint, variants
from capacity.base.errors import ConfigError
from checkpoints import CONTEXT, V


def outputs(model, rows):
    with torch.no_grad():
        return model.model(rows).logits.double()


@pytest.mark.parametrize("made", [checkpoints.gpt2, checkpoints.llama])
def test_maps_are_rounded_in_groups_and_the_rest_stays(made, tmp_path):
    module = made(tmp_path / "m")
    model = checkpoint.load(str(tmp_path / "m"), tmp_path)
    key = model.key
    found = variants.quantized(model, "int4")
    assert found.checkpoint.key != key
    before, after = dict(module.named_parameters()), dict(model.model.named_parameters())
    coded, bits = 0, 0
    for name, weight in before.items():
        is_map = weight.dim() == 2 and not any(
            x in name for x in ("wte", "wpe", "embed", "lm_head")
        )
        if not is_map:
            assert torch.equal(weight, after[name]), name
            bits += 32 * weight.numel()
            continue
        transposed = made is checkpoints.gpt2
        w, q = (x.T if transposed else x for x in (weight.data, after[name].data))
        group = 16 if w.shape[1] == 16 else w.shape[1]  # 40 and 64 inputs share one scale
        rows, kept = w.reshape(-1, group), q.reshape(-1, group)
        step = (rows.amax(1).clamp(min=0) - rows.amin(1).clamp(max=0)) / 15
        assert ((rows - kept).abs() <= 0.51 * step[:, None] + 1e-6).all()
        assert all(len(row.unique()) <= 16 for row in kept)
        coded += w.numel()
        bits += 4 * w.numel() + len(rows) * (16 + 4)
    assert found.stored_bits == bits
    assert found.coded == pytest.approx(coded / model.parameters)


@pytest.mark.parametrize("made", [checkpoints.gpt2, checkpoints.llama])
def test_gptq_errs_less_on_its_calibration_data(made, tmp_path):
    made(tmp_path / "m")
    rows = torch.randint(0, V, (48, CONTEXT), generator=torch.Generator().manual_seed(1))
    plain = outputs(checkpoint.load(str(tmp_path / "m"), tmp_path), rows)
    errors = {}
    for name in ("int8", "int3", "int3-gptq"):
        model = checkpoint.load(str(tmp_path / "m"), tmp_path)
        made_of = variants.quantized(model, name, rows if variants.calibrated(name) else None)
        assert made_of.name == name
        errors[name] = float((outputs(model, rows) - plain).square().mean())
    assert errors["int8"] < errors["int3"] / 50
    assert errors["int3-gptq"] < errors["int3"]


def test_names_and_calibration_data():
    assert variants.parse("int8, int4,int4-gptq,int8") == ["int8", "int4", "int4-gptq"]
    for bad in ("int9", "nf4", ""):
        with pytest.raises(ConfigError, match="--quantize"):
            variants.parse(bad)
    rows = variants.windows([torch.arange(5).numpy(), torch.arange(9).numpy()], 4)
    assert rows.shape == (3, 4) and rows[1].tolist() == [4, 0, 1, 2]
    with pytest.raises(ConfigError, match="no document is left"):
        variants.windows([], 4)
