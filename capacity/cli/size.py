"""The verb size: how large a model do these facts need?"""

from __future__ import annotations

import argparse
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import SIZE_HELP

if TYPE_CHECKING:
    from capacity.design.needs import Facts, Need

EXPOSURES = (100.0, 1000.0)
OWN = ("physics33/04_peak_100", "physics33/01_peak_1000")  # studies that are read without asking


def add_size(verb: arguments.Verb) -> None:
    """The arguments of `capacity size`."""
    size = verb("size", _size, "how large a model facts need", SIZE_HELP)
    size.add_argument(
        "facts", nargs="?", metavar="FACTS", help="a file of people, as data=corpus reads it"
    )
    arguments.overrides(size, "settings of the data, such as data.n_names=1000000")
    size.add_argument(
        "--bits", type=float, metavar="B", help="bits of knowledge, in place of a file"
    )
    size.add_argument(
        "--tokens", type=float, metavar="T", help="with --bits: tokens to show all of it once"
    )
    size.add_argument(
        "--exposures",
        action="append",
        type=float,
        metavar="E",
        help="how often all of it is shown (default 100 and 1000)",
    )
    size.add_argument(
        "--quantize",
        action="append",
        metavar="FORMAT",
        help="none, int8 or int4 (default: each of them)",
    )
    size.add_argument(
        "--junk",
        action="append",
        metavar="SHARE",
        help="tokens that tell of others, of all: 0 or 7/8 (default: both)",
    )
    size.add_argument(
        "--parameters",
        type=float,
        metavar="P",
        help="the inverse: how many such people a model of this size holds",
    )
    size.add_argument(
        "--law",
        action="append",
        type=Path,
        metavar="FIT.JSON",
        help="fit.json of a study of facts (default: those of physics33/04_peak_100 and "
        "01_peak_1000 here)",
    )
    size.add_argument("--json", action="store_true", help="all digits, for scripts")
    arguments.results(size)


def _size(args: argparse.Namespace) -> int:
    from capacity.design import needs, needs_text

    name, facts = _facts(args)
    exposures = args.exposures or list(EXPOSURES)
    for value, option in [(e, "--exposures") for e in exposures] + [
        (args.parameters, "--parameters")
    ]:
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{option} {value:g}: expected a number above 0")
    shares = [_share(text) for text in args.junk or ("0", "7/8")]
    formats = args.quantize or list(needs.FORMATS)
    published = [needs.need(facts, r) for r in needs.rates(exposures, formats, shares)]
    own, unread = _own(args, facts, exposures)
    if args.json:
        told = needs_text.as_json(name, facts, published, own, args.parameters)
        print(json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False))
    else:
        print(needs_text.report(name, facts, published, own, args.parameters, unread))
    return 0


def _facts(args: argparse.Namespace) -> tuple[str, Facts]:
    from capacity.design import facts_file
    from capacity.design.needs import Facts

    given = [args.facts, *args.overrides] if args.facts else []
    if args.bits is not None:
        if given:
            raise ConfigError(f"--bits beside {given[0]}: give bits or facts")
        for value, option in ((args.bits, "--bits"), (args.tokens, "--tokens")):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{option} {value:g}: expected a number above 0")
        return "bits as given", Facts(args.bits, tokens=args.tokens)
    if args.tokens is not None:
        raise ConfigError("--tokens without --bits: a file says how many tokens it has")
    if not given:
        raise ConfigError("expected a file of facts, or --bits B")
    if "=" in given[0] and not Path(given[0]).exists():
        return " ".join(given), facts_file.of_data(given)
    return given[0], facts_file.of_file(Path(given[0]), given[1:])


def _share(text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"--junk {text}: expected a share, 0 or 7/8") from None
    if not 0 <= share < 1:
        raise ConfigError(f"--junk {text}: expected a share, 0 or 7/8")
    return share


def _own(
    args: argparse.Namespace, facts: Facts, exposures: list[float]
) -> tuple[list[Need], list[str]]:
    """What fits of one's own say, and in words those that say nothing of these budgets."""
    from capacity.design import needs

    paths = args.law
    if paths is None:
        folder = args.results / "studies"
        paths = [
            path
            for name in OWN
            for path in (folder / name / "fit.json", folder / f"{name}@pocket" / "fit.json")
            if path.is_file()
        ]
    found, unread = [], []
    for path in paths:
        fit = _read(path)
        rates = needs.own_rates(fit, exposures, str(path))
        found += [needs.need(facts, rate) for rate in rates]
        if not rates:
            unread.append(f"{path}: no peak above 0 at these exposures or fewer")
    return found, unread


def _read(path: Path) -> dict[str, Any]:
    try:
        fit = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--law {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"--law {path}: not JSON") from None
    if not isinstance(fit, dict):
        raise ConfigError(f"--law {path}: expected the fit.json of a study of facts")
    return fit
