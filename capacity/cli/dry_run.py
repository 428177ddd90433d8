"""What `capacity train --dry-run` prints: what a run holds and costs, before anything is spent."""

from __future__ import annotations

from pathlib import Path

from capacity import cost, records
from capacity.base.hardware import cores, cpu_name, gpus_of, pick_threads, refused_threads, room
from capacity.base.words import byte_size, clock, count, digits, flop_count, percent, plural, wrap
from capacity.config import Config
from capacity.counts import state_numbers, values_read
from capacity.data import snapshots, tiers
from capacity.settings.fresh import FreshData, fresh_data, sequence_bits

TITLE = 12  # columns of a line's title


def describe(config: Config, results: Path) -> list[str]:
    """Lines of at most 80 columns: parameters by convention, bits of data, steps, predicted seconds
    and memory, and whether the run is already there. Nothing is trained or written."""
    device, _ = gpus_of(config.cluster.device)
    cpu = device == "cpu"
    speed = cost.speed_of(device, results, cpu_name() if cpu else None)
    threads = pick_threads(config.flops / config.steps, config.cluster.threads) if cpu else 1
    limit = config.cluster.memory_gb * 1e9 if config.cluster.memory_gb else room(device, 1)
    parts = cost.micro_batches(config, 1, device, limit)
    total = config.parameters["total"]
    by = {name: n for name, n in config.parameters.items() if name != "total" and n != total}
    also = f" ({', '.join(f'{name} {n:,}' for name, n in by.items())})" if by else ""
    lines = _line("run", f"{config.run_id}, {records.status(results, config.run_id)}")
    lines += _line("model", f"{config.shape}, {total:,} parameters in total{also}")
    if config.idle_parameters:
        read = values_read(config.model, config.rows, config.data.bos)
        rows = f", of which {read:,} are rows of tables that it reads" if read else ""
        lines += _line(
            "a token",
            f"uses {config.parameters['active']:,} of the parameters{rows}; "
            f"{config.idle_parameters:,} are idle",
        )
    lines += _line(
        "data",
        f"{config.items:,} {config.data.unit} of data.kind={config.data.kind}, windows of "
        f"{config.data.seq_len} tokens, {config.rows:,} rows of the token table",
    )
    lines += _line("bits", _bits(config))
    for note in config.resolved.notes(config.items):
        lines += _line("note", note)
    if (classes := config.tiers) is not None:
        for number, words in enumerate(tiers.lines(classes, config.exposures, config.data.unit)):
            lines += _line("" if number else "tiers", words)
    lines += _line(
        "training",
        f"{config.steps:,} steps of {config.train.batch_size} windows, {_seen(config)}, "
        f"{count(config.tokens)} tokens, {flop_count(config.flops)}",
    )
    if number := config.measure.snapshots:
        what, tokens = snapshots.scored(config)
        part = number * tokens / (3 * config.tokens)  # forward passes only
        most = "at most about" if what == "person" else "about"
        lines += _line(
            "snapshots",
            f"{plural(number, 'step')} at which every {what} is scored, {most} {percent(part, 1)} "
            "of the training's arithmetic",
        )
    on = f"{plural(threads, 'thread')} of {plural(cores(), 'core')}" if cpu else "one GPU"
    refused = refused_threads(config.cluster.threads)
    lines += _line(
        "time",
        f"about {clock(speed.seconds([config], threads))} on {device}, {on}"
        f"{f' ({refused})' if refused else ''}, without measures ({speed.source})",
    )
    needed = cost.stack_bytes(config, 1, device, parts)
    divided = f"; batches in {parts} parts" if parts > 1 else ""
    tight = "; more than there is" if needed > limit else ""
    lines += _line(
        "memory",
        f"about {byte_size(needed)} beside torch, of {byte_size(limit)} that may "
        f"be used{divided}{tight}",
    )
    return lines


def _bits(config: Config) -> str:
    """What there is to hold."""
    if isinstance(config.data, FreshData):
        return in_context(config) + ": what can be held, not what will be"
    total = config.parameters["total"]
    return (
        f"{count(config.entropy_bits)}bit of data, {config.entropy_bits / total:.2f} bits per "
        "parameter (total): what can be held, not what will be"
    )


def in_context(config: Config) -> str:
    """Of sequences that are new: what one asks for, and what may keep it."""
    data = fresh_data(config.data)
    numbers = state_numbers(config.model, data.said + 1)
    bits = sequence_bits(data)
    return (
        f"{digits(bits, 4)} bits asked for by each sequence, held by {plural(numbers, 'number')} "
        f"of state ({digits(bits / numbers)} bits per number)"
    )


def _seen(config: Config) -> str:
    if isinstance(config.data, FreshData):
        return "no sequence seen twice"
    return f"{config.exposures:,.3g} exposures"


def _line(title: str, text: str) -> list[str]:
    return wrap(text, f"{title:{TITLE}s}", " " * TITLE)
