"""Small runs and their export to the layout of `transformers`, without a network."""

import torch
from transformers import AutoModelForCausalLM, logging

from capacity import records
from capacity.model.gpt import GPT
from capacity.train import checkpoint

logging.disable_progress_bar()
logging.set_verbosity_error()


def loaded(folder, dtype=torch.float32):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info  # no tensor is missing, left over or of a wrong shape
    return model.eval().to(dtype)


def theirs(model, config, start, tokens_BT):
    """Logits over the rows of the run for the same targets as `GPT.logits`."""
    seen = (
        torch.cat([torch.full((len(tokens_BT), 1), start), tokens_BT[:, :-1]], 1)
        if config.data.bos
        else tokens_BT[:, :-1]
    )
    with torch.no_grad():
        return model(seen).logits[..., : config.rows]


def greedy(gpt, flat_MP, prompt, length):
    """What the run writes after a prompt: the most likely tokens, one by one."""
    tokens = list(prompt)
    while len(tokens) < length:
        row = torch.tensor([[[*tokens, 0]]])  # the last one is only predicted
        tokens.append(int(gpt.logits(flat_MP, row)[0, 0, -1].argmax()))
    return tokens


TEXT = [
    "data=text_pocket",
    "data.documents=150",
    "data.vocab_size=200",
    "data.seq_len=16",
    "data.tokens_per_parameter=null",
    "data.n_sequences=30",
    "data.n_held_out=20",
]
RUNS = {
    "uniform": ["data.vocab_size=16", "data.seq_len=8", "data.n_sequences=20", "train.steps=150"],
    "rotary": [
        "data.vocab_size=16",
        "data.seq_len=8",
        "data.n_sequences=20",
        "train.steps=60",
        "model=rotary",
    ],
    "text": [*TEXT, "train.steps=60"],
    "bios": [
        "data=bios_pocket",
        "data.n_people=60",
        "data.seq_len=48",
        "data.tag=main",
        "data.other_people=60",
        "data.other_parts=1",
        "model=gpt2_rotary",
        "train=pocket_bios",
        "train.exposures=3",
    ],
    "biod": [
        "data=biod_pocket",
        "data.n_people=40",
        "data.seq_len=32",
        "model=llama",
        "train=pocket_bios",
        "train.exposures=3",
    ],
}
SMALL = [
    "model.n_layers=2",
    "model.d_model=16",
    "model.n_heads=2",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
    "measure.contexts=1",
]


def weights(config, results):
    gpt = GPT(config.model, config.rows, config.data.seq_len, config.data.bos)
    return gpt, checkpoint.load_weights(
        records.run_dir(results, config.run_id) / "weights.safetensors", gpt, config.run_id
    )[None]
