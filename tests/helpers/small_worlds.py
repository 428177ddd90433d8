"""Small worlds of people, and their texts."""

from pathlib import Path

import torch

from capacity.config import from_dict
from capacity.data import lexicons
from capacity.data.biographies import BiodWorld, BiosWorld

POOLS = Path(__file__).resolve().parents[2] / "capacity" / "data" / "pools"
CPU = torch.device("cpu")


def make(n=500, seed=3, kind="bios", **data):
    """A world of n people; a short window, so that few of them are enough."""
    config = from_dict(
        {
            "data": {"kind": kind, "n_people": max(n, 30), "seq_len": 8} | data,
            "train": {"steps": 1000},
        }
    )
    return (BiosWorld if kind == "bios" else BiodWorld)(
        config.data, lexicons.of(config.data), n, seed, CPU
    )
