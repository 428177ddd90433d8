"""A small study for a queue, and a submission of it as if a queue had taken it."""

import pytest

from capacity.study import load_study
from capacity.sweep import submissions
from capacity.sweep.packs import Job, Pack

STUDY = """
pins: [data.vocab_size=16, data.seq_len=4, data.n_sequences=20, train.batch_size=8,
       train.warmup_steps=10, train.steps=500]
grids: [{model.d_model: [8, 16], seed: [0, 1, 2, 3]}]
"""
QUEUE = ["cluster=slurm", "cluster.gpus=0"]


@pytest.fixture
def found(here):
    (here / "s.yaml").write_text(STUDY)
    return lambda *overrides: load_study("s.yaml", [*QUEUE, *overrides])


def submitted(study, results, job="7", growth=None, **changes):
    """A submission of all runs as one element, as if it had been handed over."""
    cluster = study.runs[0].cluster
    packs = [Pack(study.name, results, "cpu", 1, 1, [study.runs])]
    order = submissions.Order(
        study=study.name, name="s.yaml", overrides=[], launcher=cluster.launcher
    )
    growth = growth or {"time": 1, "memory": 1}
    s = submissions.new(results, order, Job(packs, [1.0], 60, "1G", growth, ""))
    s.save(job=job, **changes)
    return s
