"""Joined and rendered studies of text."""

import numpy as np

from capacity import records
from capacity.analysis.text import attacks
from capacity.base.scores import write_scores


def joined(table, results, shadows=None):
    return attacks.joined(table, attacks.scores_of(table, results), shadows)


def target(
    run_id,
    t,
    dice,
    results,
    gap,
    trained_on="members",
    model="2x8",
    n=200,
    rows=None,
    seen=None,
    seed=0,
):
    """A finished run's row, and its scores: members' losses are lower by `gap` nats."""
    rows = np.arange(2 * n) if rows is None else rows
    seen = np.arange(len(rows)) >= n if seen is None else seen
    hard = np.random.default_rng(7).normal(60, 8, 10000)[rows]
    loss = (hard + dice.normal(0, 1, len(rows)) - gap * seen).astype(np.float32)
    columns = {
        "loss": loss,
        "min_k": -loss,
        "min_k_plus": -loss,
        "suffix_loss": loss,
        "correct": loss,
        "tail": loss,
        "recall": -loss,
        "zlib": np.full(len(rows), 30, np.int32),
    }
    records.run_dir(results, run_id).mkdir(parents=True)
    write_scores(
        records.run_dir(results, run_id),
        {"row": rows.astype(np.int64), "seen": seen.astype(np.uint8), **columns},
        run_id,
    )
    from capacity.fitting import separation

    stats = (
        separation.statistics(-loss[seen], -loss[~seen])
        if seen.any() and not seen.all()
        else {"auc": 0.5, "f1_median": 0.5}
    )
    return {
        "run_id": run_id,
        "model": model,
        "seed": seed,
        "status": "finished",
        "trained_on": trained_on,
        "tokens_per_parameter": t,
        "parameters_total": 4000,
        "pool": "p",
        "data.split_seed": 0,
        "data.n_held_out": n,
        "seq_len": 32,
        "vocab_size": 256,
        "n_sequences": n,
        "train.lr": 0.01,
        "train.batch_size": 8,
        "steps": 100,
        "bag_of_words_auc": 0.5,
        "bag_of_words_sd": 0.02,
        "gain_last_tenth": 0.0,
        "n_members": int(seen.sum()),
        "n_others": int((~seen).sum()),
        "members_loss_bits_per_token": float(loss[seen].mean()),
        "held_out_loss_bits_per_token": float(loss[~seen].mean()),
        "loss_auc": stats["auc"],
        "loss_f1_median": stats["f1_median"],
        "loss_auc_low": 0.4,
        "loss_auc_high": 0.9,
        "loss_advantage": 0.1,
    }
