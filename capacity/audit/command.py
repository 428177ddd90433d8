"""The verb audit: what is asked is checked, planned and told; then the files are looked at without
a model, the models score every token once, and everything is written when all of it is known.

One model is in memory at a time. What a pass has scored is kept beside the output, so that the same
command goes on after an interruption, and an equal one reads it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from capacity.audit import given, numbers, own_law
from capacity.audit.schema import SCHEMA, About
from capacity.audit.scored import Documents, ScoredModel, TokenScores
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.progress import Progress, Quiet
from capacity.base.words import byte_size, clock, count, plural, wrap

if TYPE_CHECKING:
    import pandas as pd

    from capacity.analysis.finding import Finding
    from capacity.audit.logits import Checkpoint
    from capacity.audit.score import Pass

AUDITS, SCORES = "audits", "scores"


@dataclass(frozen=True)
class Asked:
    """What the command was asked. training_tokens, tokens, window: None where they were not
    given; law: a study, or a file, with an own law of capacity; words: of the command, to be
    repeated."""

    model: str
    members: str
    others: str
    results: Path
    reference: str | None = None
    law: str | None = None
    canaries: str | None = None
    columns: given.Columns = field(default_factory=given.Columns)
    training_tokens: int | None = None
    tokens: int | None = None
    window: int | None = None
    quantize: tuple[str, ...] = ()
    output: Path | None = None
    seed: int = 0
    dry_run: bool = False
    quiet: bool = False
    words: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the audit is written."""
        if self.output is not None:
            return self.output
        parts = [Path(name).name for name in (self.model, self.members, self.others)]
        stems = [re.sub(r"[^\w.-]+", "_", part.partition(".")[0] or "all") for part in parts]
        return self.results / AUDITS / "-".join(stems)


@dataclass
class _Models:
    """Checkpoints by name, one in memory at a time."""

    results: Path
    held: tuple[str, Checkpoint] | None = None

    def get(self, name: str) -> Checkpoint:
        """The checkpoint of this name; another one that is in memory goes."""
        if self.held is None or self.held[0] != name:
            from capacity.audit import checkpoint
            from capacity.base.hardware import pick_device

            self.held = None
            self.held = (name, checkpoint.load(name, self.results, pick_device("auto")))
        return self.held[1]

    def fresh(self, name: str) -> Checkpoint:
        """The checkpoint with the weights that its files have."""
        self.held = None
        return self.get(name)


@dataclass(frozen=True)
class _Work:
    """Documents of both files, and canaries where there are some."""

    files: given.Given
    canaries: given.Canaries | None

    @property
    def documents(self) -> Documents:
        return self.files.documents


def audit(asked: Asked) -> int:
    """`capacity audit`. Returns 0; ConfigError, in one line, for what cannot be audited."""
    began = time.monotonic()
    _check(asked)
    work = _read(asked)
    models = _Models(asked.results)
    checkpoint = models.get(asked.model)
    _threads(checkpoint)
    if asked.tokens is not None:
        work = _within(asked, work, checkpoint)
    numbers.check(work.documents)
    about = _about(asked, work, checkpoint)
    _plan(asked, work, models)
    if asked.dry_run:
        return 0
    seconds = {"plan": time.monotonic() - began}
    looked = _timed(seconds, "blind", lambda: _look(asked, work))
    reference = None
    if asked.reference is not None:
        reference = _timed(seconds, "reference", lambda: _reference(asked, work, models))
    scored = _timed(seconds, "model", lambda: _scored(asked, work, models))
    found = _timed(
        seconds, "numbers", lambda: _numbers(asked, work, scored, about, (reference, looked))
    )
    found.numbers["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    _write(asked, work, found)
    return 0


def _timed(seconds: dict[str, float], name: str, work: Any) -> Any:
    began = time.monotonic()
    out = work()
    seconds[name] = time.monotonic() - began
    return out


# --- what is asked
# --------------------------------------------------------------------------------------------------


def _check(asked: Asked) -> None:
    """ConfigError for what can be told without reading anything."""
    for option, value, least in (
        ("--training-tokens", asked.training_tokens, 1),
        ("--tokens", asked.tokens, 1),
        ("--window", asked.window, 2),
        ("--seed", asked.seed, 0),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{option} {value}: expected a whole number >= {least}")
    if asked.law is not None:
        if asked.reference is None:
            raise ConfigError(
                f"--law {asked.law}: memorized bits, of which it says the share, need --reference"
            )
        own_law.read(asked.law, asked.results)
    writable(asked.folder)


def writable(folder: Path) -> None:
    """ConfigError where a folder cannot be made or written, told before hours of work; makes
    nothing."""
    import os

    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder}: not a folder")
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ConfigError(f"--output {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--output {folder}: {there} cannot be written")


def _read(asked: Asked) -> _Work:
    both = given.read(asked.members, asked.others, asked.columns)
    canaries = given.canaries(asked.canaries, asked.columns) if asked.canaries else None
    return _Work(both, canaries)


def _within(asked: Asked, work: _Work, checkpoint: Checkpoint) -> _Work:
    assert asked.tokens is not None
    kept = given.within(work.files, checkpoint.encode, asked.tokens, asked.seed)
    return _Work(kept, work.canaries)


def _threads(checkpoint: Checkpoint) -> None:
    import torch

    from capacity.audit.score import BATCH_TOKENS
    from capacity.base.hardware import pick_threads

    torch.set_num_threads(pick_threads(checkpoint.flops_per_token * BATCH_TOKENS))


def _about(asked: Asked, work: _Work, checkpoint: Checkpoint) -> About:
    from capacity.audit.score import default_window

    n = asked.training_tokens
    return {
        "model": asked.model,
        "model_sha256": checkpoint.sha256,
        "model_type": checkpoint.model_type,
        "parameters": checkpoint.parameters,
        "vocab_size": checkpoint.vocab_size,
        "context": checkpoint.context,
        "window": default_window(checkpoint) if asked.window is None else asked.window,
        "opens_with": checkpoint.opens_with,
        "dtype": checkpoint.dtype,
        "reference": asked.reference,
        "members": asked.members,
        "others": asked.others,
        "members_sha256": work.files.sha256["members"],
        "others_sha256": work.files.sha256["others"],
        "group": asked.columns.group,
        "training_tokens": n,
        "tokens_per_parameter": None if n is None else n / checkpoint.parameters,
        "seed": asked.seed,
    }


# --- passes
# --------------------------------------------------------------------------------------------------


def _passes(asked: Asked, work: _Work, checkpoint: Checkpoint) -> dict[str, tuple[Pass, Documents]]:
    """Passes of the model that is audited, by what they score."""
    from capacity.audit import score

    documents = work.documents
    out = {"documents": (score.passed(checkpoint, documents, window=asked.window), documents)}
    if work.canaries is not None:
        rows = work.canaries.documents
        one = score.passed(checkpoint, rows, window=asked.window, recall=False)
        out["canaries"] = (one, rows)
    return out


def _pass_of_reference(asked: Asked, work: _Work, models: _Models) -> Pass:
    """The reference over the same texts: by token ids where it has the rows of the model."""
    from capacity.audit import score

    assert asked.reference is not None
    reference, documents = models.get(asked.reference), work.documents
    own = documents.tokens is not None and _same_tokens(documents, reference)
    window = None if asked.window is None else min(asked.window, reference.context)
    return score.passed(reference, documents, window=window, recall=False, texts=not own)


def _same_tokens(documents: Documents, reference: Checkpoint) -> bool:
    """Whether the token ids of the files are the reference's: it gives the same to the first
    texts, or has no tokenizer of its own to say otherwise."""
    assert documents.tokens is not None
    try:
        encoded = reference.encode(documents.texts[:8])
    except ConfigError:
        return True
    return all(a.tolist() == b.tolist() for a, b in zip(encoded, documents.tokens, strict=False))


def _plan(asked: Asked, work: _Work, models: _Models) -> None:
    """Tell what will be done and what it takes."""
    checkpoint, folder = models.get(asked.model), asked.folder / SCORES
    passes = _passes(asked, work, checkpoint)
    plans = {name: one.plan(folder) for name, (one, _) in passes.items()}
    lines = [_about_documents(asked, work)]
    lines += [
        f"{asked.model}: {checkpoint.model_type}, {count(checkpoint.parameters)} parameters in "
        f"{checkpoint.dtype}, windows of {plans['documents'].window:,} of {checkpoint.context:,} "
        "tokens",
        *checkpoint.notes,
    ]
    seconds, memory = 0.0, 0
    variants = 1 + len(asked.quantize)
    for name, plan in plans.items():
        of = f" for each of {variants} models" if variants > 1 else ""
        known = f", {count(plan.known_tokens)} of them known" if plan.known_tokens else ""
        lines.append(
            f"{name}: {count(plan.tokens)} tokens in {plural(plan.windows, 'window')}{known}{of}"
        )
        again = plan.tokens / plan.tokens_per_second if plan.seconds else plan.seconds
        seconds += plan.seconds + (variants - 1) * again
        memory = max(memory, plan.memory)
    if asked.reference is not None:
        plan = _pass_of_reference(asked, work, models).plan(folder)
        seconds, memory = seconds + plan.seconds, max(memory, plan.memory)
        lines.append(f"reference {asked.reference}: {count(plan.tokens)} tokens")
    lines.append(f"about {clock(seconds)} on this machine, {byte_size(memory)} of memory")
    if not asked.quiet or asked.dry_run:
        stream = sys.stdout if asked.dry_run else sys.stderr
        print("\n".join(part for line in lines for part in wrap(line, "", "  ")), file=stream)


def _about_documents(asked: Asked, work: _Work) -> str:
    documents = work.documents
    parts = []
    for side, name in (("members", asked.members), ("others", asked.others)):
        of = documents.member_D == (side == "members")
        n, rows, left = int(of.sum()), work.files.rows[side], work.files.left_out[side]
        copies = f" of {rows:,} rows" if rows != n else ""
        beyond = f", {left:,} left out by --tokens" if left else ""
        parts.append(f"{side} {name}: {plural(n, 'document')}{copies}{beyond}")
    return "; ".join(parts)


def _look(asked: Asked, work: _Work) -> Any:
    looked = numbers.look(work.documents, asked.seed)
    if not asked.quiet:
        from capacity.audit.sections import DIFFERS

        word = looked["words"]
        low, high = word["interval"] or (float("nan"), float("nan"))
        said = f"without a model: AUC of words {word['value']:.3f} [{low:.3f}, {high:.3f}]"
        said += f"; {DIFFERS}, so that there will be no verdict" if looked["differs"] else ""
        print("\n".join(wrap(said, "", "  ")), file=sys.stderr, flush=True)
    return looked


def _run(asked: Asked, one: Pass, documents: Documents, what: str) -> TokenScores:
    """A pass with its progress on stderr."""
    from capacity.audit import score

    bar = Quiet() if asked.quiet else Progress(1.0)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done, f"{what}: {count(done)} of {count(total)} tokens")

    try:
        return score.scores_of(one, documents, asked.folder / SCORES, progress)
    except KeyboardInterrupt:
        bar.say("capacity: the same command goes on where this one stopped")
        raise
    finally:
        bar.close()


def _reference(asked: Asked, work: _Work, models: _Models) -> TokenScores:
    one = _pass_of_reference(asked, work, models)
    return _run(asked, one, work.documents, f"reference {asked.reference}")


def _scored(asked: Asked, work: _Work, models: _Models) -> list[ScoredModel]:
    """The checkpoint, then its variants."""
    from capacity.audit import score, variants

    out = [_scored_one(asked, work, models.get(asked.model), "checkpoint", None)]
    for name in asked.quantize:
        checkpoint, rows = models.fresh(asked.model), None
        if variants.calibrated(name):  # by what was not trained on, as the others are said to be
            documents = work.files.spare or work.documents  # best what no score knows
            tokens_D = score.tokenized(checkpoint, documents)
            unseen = [ids for ids, m in zip(tokens_D, documents.member_D, strict=True) if not m]
            rows = variants.windows(unseen, asked.window or score.default_window(checkpoint))
        made = variants.quantized(checkpoint, name, rows)
        notes = list(made.notes)
        if rows is not None and work.files.spare is None:
            notes.append(
                "calibrated on others that are scored, too; --tokens leaves some of them for it"
            )
        for note in notes if not asked.quiet else ():
            print("\n".join(wrap(f"{name}: {note}", "", "  ")), file=sys.stderr)
        out.append(_scored_one(asked, work, made.checkpoint, name, made.stored_bits))
        models.held = None  # its weights are rounded
    return out


def _scored_one(
    asked: Asked, work: _Work, checkpoint: Checkpoint, name: str, stored_bits: int | None
) -> ScoredModel:
    from capacity.audit import canaries

    found = {
        what: _run(asked, one, documents, f"{name}, {what}")
        for what, (one, documents) in _passes(asked, work, checkpoint).items()
    }
    planted = None
    if work.canaries is not None:
        planted = canaries.scored(found["canaries"], work.canaries.repeats_C, work.canaries.bits_C)
    return ScoredModel(name, found["documents"], planted, stored_bits)


def _numbers(
    asked: Asked,
    work: _Work,
    scored: Sequence[ScoredModel],
    about: About,
    known: tuple[TokenScores | None, Any],
) -> numbers.Audited:
    """known: scores of the reference, and what the look without a model found."""
    reference, looked = known
    capacity = None
    if asked.law is not None:
        capacity = own_law.read(asked.law, asked.results).capacity(about["parameters"])
    counts = {
        side: {"rows": work.files.rows[side], "left_out": work.files.left_out[side]}
        for side in given.SIDES
    }
    return numbers.audit(
        work.documents,
        scored,
        about,
        reference=reference,
        capacity=capacity,
        counts=counts,
        looked=looked,
    )


# --- what is written
# --------------------------------------------------------------------------------------------------


def _write(asked: Asked, work: _Work, found: numbers.Audited) -> None:
    """Text to the terminal, all files into the folder, their paths to the terminal."""
    from capacity.analysis import finding
    from capacity.audit import page, plots, wording
    from capacity.report import markdown, parts, text

    result = _finding(work, found)
    frame = result.tables["documents.csv"]
    document = wording.document(found.numbers, frame, result.tables.get("groups.csv"))
    if not asked.quiet:  # first, for a folder may be another's, or full
        print(f"{text.render(document)}\n", flush=True)
    figures = plots.draw(found.numbers, frame)
    content = page.build(result, document, figures, asked.words)
    more = {"documents.parquet": _parquet(frame), "report.html": content}
    written = finding.write(result, figures, markdown.render(document, [*figures]), asked.folder)
    for name, data in more.items():
        files.write_atomic(asked.folder / name, data)
        written.append(asked.folder / name)
    print("\n".join(map(str, written)))
    if len(content) > parts.LARGEST:
        print(f"{written[-1]}: {len(content):,} bytes, too large to be mailed", file=sys.stderr)


def _finding(work: _Work, found: numbers.Audited) -> Finding:
    """Numbers with their head, and the tables: those of variants have their name."""
    from capacity.analysis.finding import Finding, head

    about = found.numbers["about"]
    inputs = [about["model_sha256"], *(work.files.sha256[side] for side in given.SIDES)]
    digest = hashlib.sha256("".join(inputs).encode()).hexdigest()
    tables: dict[str, pd.DataFrame] = {}
    for kind, by_model in (("documents", found.documents), ("groups", found.groups)):
        for i, (name, frame) in enumerate(by_model.items()):
            end = "" if i == 0 else "_" + re.sub(r"\W+", "_", name)
            tables[f"{kind}{end}.csv"] = frame
    tree = head("audit", SCHEMA, about["model"], digest) | cast(dict, found.numbers)
    return Finding("audit", "audit.json", files.plain(tree), tables)


def _parquet(frame: pd.DataFrame) -> bytes:
    import io

    with io.BytesIO() as buffer:
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
