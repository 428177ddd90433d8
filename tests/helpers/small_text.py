"""Small runs of text and their files."""

import torch

from capacity.run.job import Job
from capacity.run.run import execute

SMALL = [
    "data=text_pocket",
    "data.documents=400",
    "data.seq_len=16",
    "data.n_held_out=100",
    "data.tokens_per_parameter=null",
    "data.n_sequences=60",
    "model.d_model=8",
    "model.n_heads=2",
    "train.steps=40",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
]


def run(config, folder):
    return execute([config], Job(folder, torch.device("cpu")))[config.run_id]
