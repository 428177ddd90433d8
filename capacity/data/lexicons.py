"""The lexicon of given settings: compiled once per process, or taken from results/lexicons/, where
a study keeps the vocabulary it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError
from capacity.base.files import write_atomic
from capacity.data.facts import Facts
from capacity.data.lexicon import Lexicon
from capacity.settings.data import CorpusData, WordedData

_COMPILED: dict[Any, Lexicon] = {}  # by digest, and by what it was compiled from


def of(data: WordedData) -> Lexicon:
    """The lexicon of these settings, compiled once per content of its files; the kept one where
    `data.lexicon` names it. ConfigError where lists, templates or tokenizer are wrong, or
    are no longer those that it names."""
    if data.lexicon is not None and data.lexicon in _COMPILED:
        return _COMPILED[data.lexicon]
    from capacity.data import compile_lexicon  # needs tokenizers, which a kept lexicon does not

    key = compile_lexicon.key(data)
    if key not in _COMPILED:
        _COMPILED[key] = Lexicon(compile_lexicon.compile(data))
    lexicon = _COMPILED[key]
    if data.lexicon is not None and lexicon.digest != data.lexicon:
        raise ConfigError(
            f"data.lexicon={data.lexicon}: the lists, templates or tokenizer have changed since, "
            f"they now compile "
            f"to {lexicon.digest}; leave it empty to use them, or keep "
            f"results/lexicons/{data.lexicon}.json"
        )
    return lexicon


def facts(lexicon: Lexicon, data: CorpusData) -> Facts:
    """How often the values of a corpus come. A lexicon that an older version kept does not say it,
    and its file is read again; ConfigError where that is not at hand or says something else."""
    if lexicon.facts is None:
        from capacity.data import compile_lexicon

        why = "" if Path(data.path).exists() else f"; {data.path} is not there"
        again = None if why else Lexicon(compile_lexicon.compile(data))
        if again is None or again.digest != lexicon.digest:
            raise ConfigError(
                f"data.lexicon={lexicon.digest}: an older version compiled it, without the "
                f"frequencies of values, and data.path does not give it again"
                f"{why or ': its values are found elsewhere now'}; train anew"
            )
        lexicon.content = again.content
        del lexicon.facts  # formed anew
        assert lexicon.facts is not None
    return lexicon.facts


def path(results: Path, digest: str) -> Path:
    return results / "lexicons" / f"{digest}.json"


def keep(results: Path, lexicon: Lexicon) -> None:
    """Write the lexicon to the results folder, once."""
    text, file = json.dumps(lexicon.content, sort_keys=True).encode(), path(results, lexicon.digest)
    # one of an older version is shorter: it has no facts
    if not file.exists() or file.stat().st_size < len(text):
        write_atomic(file, text)


def load(results: Path, digest: str | None) -> None:
    """Take a kept lexicon into this process, if there is one of that digest; ConfigError if the
    file is not what it says."""
    if digest is None or digest in _COMPILED or not path(results, digest).exists():
        return
    try:
        lexicon = Lexicon(json.loads(path(results, digest).read_bytes()))
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path(results, digest)}: not a lexicon: {error}") from None
    if lexicon.digest != digest:
        raise ConfigError(
            f"{path(results, digest)}: its content has the digest {lexicon.digest}; remove the file"
        )
    _COMPILED[digest] = lexicon
