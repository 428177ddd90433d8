"""The verb schema: the JSON Schema of study files."""

from __future__ import annotations

import argparse
import json

from capacity.cli import arguments
from capacity.cli.help import SCHEMA_HELP


def add_schema(verb: arguments.Verb) -> None:
    """The arguments of `capacity schema`."""
    verb("schema", _schema, "the JSON Schema of study files", SCHEMA_HELP)


def _schema(args: argparse.Namespace) -> int:
    from capacity.cli.study_schema import schema

    print(json.dumps(schema(), indent=1, ensure_ascii=False))
    return 0
