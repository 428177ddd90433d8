"""YAML as people mean it: 010 and 1:30 are no numbers, and a name is there once.

YAML 1.1, which PyYAML reads, takes 010 for 8 (octal) and 1:30 for 90 (base 60), so that a list of
seeds, an account or a time limit silently becomes another. Here such words stay what was written,
as YAML 1.2 has them, and a setting that expects a number refuses them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from capacity.base.errors import ConfigError, one_line

NUMBERS = {
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*|0x[0-9a-fA-F]+)$"),
    # 1e-3 without a dot is a number, too, as in JSON
    "float": re.compile(
        r"(?:[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)"
        r"|[-+]?(?:[0-9]+(?:_[0-9]+)*\.[0-9_]*|\.[0-9]+)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
}
TAG = "tag:yaml.org,2002:"


class _Once(yaml.constructor.SafeConstructor):
    """Refuses a name that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = set()
        for key, _ in node.value:
            if key.tag == f"{TAG}str" and key.value in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found duplicate key {key.value}", key.start_mark
                )
            names.add(key.value if key.tag == f"{TAG}str" else None)
        return super().construct_mapping(node, deep=deep)


class _Loader(_Once, yaml.SafeLoader):
    """Written in Python: the words of its errors are the ones that are told."""


_Loader.yaml_implicit_resolvers = {
    sign: [
        (tag, form) for tag, form in forms if tag.removeprefix(TAG) not in (*NUMBERS, "timestamp")
    ]
    for sign, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _form in NUMBERS.items():
    _Loader.add_implicit_resolver(f"{TAG}{_name}", _form, list("-+0123456789."))

_FAST: Any = _Loader
if yaml.__with_libyaml__:

    class _FastLoader(_Once, yaml.CSafeLoader):
        """The same values, and libyaml splits the text, which takes a tenth of the time."""

        yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    _FAST = _FastLoader


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_FAST)
    except yaml.YAMLError:
        return yaml.load(text, Loader=_Loader)


def read(path: Path) -> dict[str, Any]:
    """The named entries of a file, none of an empty one. ConfigError with the file, and the line
    where there is one, for what cannot be read or names nothing."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        tree = _load(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: not UTF-8 text: 0x{content[error.start]:02x} at byte {error.start}; "
            f"if it is Latin-1, iconv -f latin1 -t utf-8 makes it UTF-8"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        words = ", ".join(words for words in (error.context, error.problem) if words)
        raise ConfigError(f"{path}{line}: not valid YAML: {one_line(words)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {one_line(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected named entries")
    return tree


def copied(tree: Any) -> Any:
    """Named entries and lists as new ones; `copy` takes ten times as long."""
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return list(tree) if isinstance(tree, list) else tree
