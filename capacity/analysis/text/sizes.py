"""What models of text are counted by: parameters of rows in use, or all of them where records do
not say which rows are."""

from __future__ import annotations

import math

from capacity.analysis.text.schema import Frame, TokenBits

UNKNOWN = (
    "some records do not say which rows of the table the text uses, so that ratios are of all "
    "parameters; `capacity measure --study STUDY` adds it"
)
SAME = "reference_same_bits"
FEW = 0.9  # of the rows in use: below, the report names the run
MEANS = (
    "under 90% of the rows of the token table are in use, so that ratios of P total are too small"
)


def counted(table: Frame) -> Frame:
    """The table with tokens per parameter in use where every finished run of text says which rows
    are; else without what some of them say."""
    if "parameters_used" not in table:
        return table
    if table.parameters_used[table.status == "finished"].isna().any():
        return table.drop(columns=["parameters_used", "tokens_per_parameter_used"])
    t = table.tokens_per_parameter_used.fillna(table.tokens_per_parameter)
    return table.assign(tokens_per_parameter=t)


def mixed(table: Frame) -> bool:
    """Whether some finished runs say it and others do not."""
    if "parameters_used" not in table:
        return False
    known = table.parameters_used[table.status == "finished"].notna()
    return bool(known.any() and not known.all())


def parameters(runs: Frame) -> Frame:
    """By which laws go, a column: parameters of rows in use, or all."""
    if "parameters_used" not in runs:
        return runs.parameters_total
    return runs.parameters_used.fillna(runs.parameters_total)


def token_bits(targets: Frame) -> TokenBits | None:
    """What a token of the data costs, in bits, by model: the members under the reference model of
    its size where there is one, else the smallest loss on held-out text of its runs, which is more.
    None without runs. Such codes know the text as well as models of these sizes do."""
    if targets.empty:
        return None
    code, bits = "reference model of each size", []
    for _, part in targets.groupby("model"):
        with_one = part.dropna(subset=["reference_same_bits"]) if SAME in part else part[:0]
        if len(with_one):
            tokens = with_one.n_sequences.astype(float) * with_one.seq_len.astype(float)
            bits.append(float((with_one.reference_same_bits.astype(float) / tokens).mean()))
        else:
            code = "smallest loss on held-out text"
            bits.append(float(part.held_out_loss_bits_per_token.astype(float).min()))
    return {
        "low": min(bits),
        "high": max(bits),
        "uniform": math.log2(float(targets.vocab_size.max())),
        "code": code,
    }
