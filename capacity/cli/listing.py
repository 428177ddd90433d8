"""`capacity list`: the studies, runs, settings, forms and measures that there are."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import wrap
from capacity.cli import arguments, columns
from capacity.cli.help import LIST_HELP

if TYPE_CHECKING:
    from capacity.cli import catalogue
    from capacity.config import Config

WHAT = ("studies", "runs", "settings", "forms", "measures")
Row = dict[str, Any]


def add_list(verb: arguments.Verb) -> None:
    """The arguments of `capacity list`."""
    sub = verb("list", _list, "studies, runs, settings, forms, measures", LIST_HELP)
    sub.add_argument("what", metavar="WHAT", help=", ".join(WHAT))
    sub.add_argument(
        "group",
        nargs="?",
        metavar="GROUP",
        help="only these: a part of a name; of runs a study; of settings a section such as model, "
        "or a setting",
    )
    columns.add_formats(sub)
    arguments.results(sub)


def _list(args: argparse.Namespace) -> int:
    if args.what not in WHAT:
        near = nearest(args.what, list(WHAT))
        raise ConfigError(f"list {args.what}: expected one of {', '.join(WHAT)}{near}")
    rows, lines = LISTS[args.what](args)
    text = columns.machine(args, rows)
    print(text if text is not None else "\n".join(lines))
    return 0


def _studies(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Every study and preset with its question and how many runs its grids have; of those that a
    name is given for how many runs there are and are finished, and what the others cost, which
    takes planning them."""
    from capacity.base.files import shared_dir
    from capacity.compose import read_yaml
    from capacity.study import find_study, load_study, points_of, study_names

    rows: list[Row] = []
    names = study_names([Path("sweeps").resolve(), shared_dir("sweeps")])
    for name in names:
        tree = read_yaml(find_study(name))
        presets = tree.get("presets") or {}
        for preset, entries in (("", tree), *presets.items()):
            full = f"{name}@{preset}" if preset else name
            both = tree | entries
            if args.group and args.group not in full:
                continue
            row = {"study": full, "scale": both.get("scale", "published")}
            if args.group:
                row |= _state(load_study(full, []).runs, args.results)
            else:
                row["planned"] = points_of(both)
                row["references"] = len(both.get("references") or [])
            rows.append(row | {"question": str(both.get("question", ""))})
    if not rows:
        raise ConfigError(
            f"list studies {args.group}: none has this in its name{nearest(args.group, names)}"
        )
    lines: list[str] = []
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:  # presets that ask the question of their study stand beside it
        groups.setdefault((row["study"].partition("@")[0], row["question"]), []).append(row)
    for (name, question), some in groups.items():
        lines += wrap(", ".join(_called(row, name, row is some[0]) for row in some), "", "    ")
        lines += wrap(question or "(no question)", "    ")
    if not args.group:
        about = "In brackets the runs of the study's grids; +: and models as references."
        lines += [
            "",
            about,
            "finished runs and cost: capacity list studies NAME",
        ]
    elif any(row["runs"] > row["finished"] for row in rows):
        about = (
            "Hours are of one CPU core or one H100, by guessed speeds; of this machine: capacity"
        )
        lines += ["", *wrap(f"{about} sweep STUDY --dry-run")]
    return rows, lines


def _state(runs: list[Config], results: Path) -> Row:
    """How many runs there are and are finished, and of the others FLOP and guessed hours of a
    device."""
    from capacity import records
    from capacity.cost import guessed_hours

    left = [run for run in runs if records.status(results, run.run_id) != "finished"]
    hours, device = guessed_hours(left)
    return {
        "runs": len(runs),
        "finished": len(runs) - len(left),
        "flop_to_do": sum(run.flops for run in left),
        "hours_to_do": hours,
        "hours_of": device,
    }


def _called(row: Row, study: str, first: bool) -> str:
    """A study or a preset of the one that stands in front, with how many runs it has or how much of
    it is finished and what the rest costs."""
    from capacity.cost import device_time

    name = row["study"] if first else row["study"].removeprefix(study)
    if "runs" in row:
        state = f"{row['finished']} of {row['runs']} finished"
        if row["runs"] > row["finished"]:
            state += f", {device_time(row['hours_to_do'], row['hours_of'])} to do"
        return f"{name} ({state})"
    return f"{name} ({row['planned']}{'+' if row['references'] else ''})"


def _runs(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Runs of the results folder with their state, or those of a study, also without a folder."""
    from capacity import records

    if args.group:
        from capacity.study import load_study

        study = load_study(args.group, [])
        trees = {run.run_id: run.as_dict() for run in study.runs}
    else:
        study, trees = None, {}
        for path in sorted(records.runs_dir(args.results).glob("*/config.json")):
            try:
                trees[path.parent.name] = json.loads(path.read_bytes())
            except (OSError, ValueError):  # half written, or not ours
                continue
    rows = []
    for run_id, tree in trees.items():
        row = {
            "run_id": run_id,
            "status": records.status(args.results, run_id),
            "data": tree["data"]["kind"],
            "model": f"{tree['model']['n_layers']}x{tree['model']['d_model']}",
            "seed": tree["seed"],
        }
        record = records.read(args.results, run_id)
        row["bits"], row["bits_per_parameter"] = _held(record)
        if study:
            row["variant"] = study.variants[run_id]
        rows.append(row)
    if not rows:
        return [], [f"no run in {records.runs_dir(args.results)}"]
    heads = ["run", "state", "data", "model", "seed", "bits", "bits/parameter"]
    cells = [
        [
            *(str(row[name]) for name in ("run_id", "status", "data", "model", "seed")),
            "" if row["bits"] is None else f"{row['bits']:,.0f}",
            "" if row["bits"] is None else f"{row['bits_per_parameter']:.3f}",
            *([row["variant"]] if study else []),
        ]
        for row in rows
    ]
    if study:
        heads.append("variant")
    lines = columns.aligned(heads, cells, "<<<<>>>")
    if any(row["bits"] is not None for row in rows):
        lines += ["bits held; per parameter in total, strict convention for random data"]
    return rows, lines


def _held(record: Row | None) -> tuple[float | None, float | None]:
    """The bits that are the headline of a run, and per parameter in total; None where its record
    has none."""
    from capacity.declare import registry

    if record is None or record["status"] != "finished":
        return None, None
    measure = registry.main_of(record["config"]["data"]["kind"])
    if not measure.bounded:  # of text they are no amount that a model stores
        return None, None
    node: Any = record["measures"].get(measure.name)
    for key in measure.held.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    if not isinstance(node, (int, float)):
        return None, None
    return float(node), node / record["parameters"]["total"]


def _settings(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Every setting with its default, what is allowed, and its meaning."""
    from capacity.cli import catalogue

    settings = list(catalogue.settings())
    if args.group:
        names = [one.key for one in settings] + list(catalogue.sections())
        wanted = args.group
        settings = [one for one in settings if wanted in (one.key, one.group, one.kind)]
        if not settings:
            from capacity.settings.aliases import meant

            near = meant(wanted, [one.key for one in catalogue.settings()])
            hint = nearest(wanted, names) or (f" (did you mean {near}?)" if near else "")
            raise ConfigError(
                f"list settings {wanted}: no such group or setting{hint}; groups: "
                f"{', '.join(catalogue.sections())}"
            )
    settings = _as_trained(settings)
    rows = [dataclasses.asdict(one) | {"choices": list(one.choices)} for one in settings]
    lines: list[str] = []
    for group, kind in dict.fromkeys((one.group, one.kind) for one in settings):
        title = f"data.kind={kind}" if kind else group or "seed"
        presets = [] if kind else catalogue.presets(group) if group else []
        lines += ["", *wrap(title + (f"; presets: {', '.join(presets)}" if presets else ""))]
        for one in settings:
            if (one.group, one.kind) == (group, kind):
                lines.append(f"  {one.key}={one.default}")
                lines += wrap(f"{one.help} ({one.allowed})", "      ")
    if any(one.group == "data" for one in settings):
        lines = [*wrap(f"presets of data: {', '.join(catalogue.presets('data'))}"), *lines]
        return rows, lines
    return rows, lines[1:]


def _as_trained(settings: list[catalogue.Setting]) -> list[catalogue.Setting]:
    """With the defaults of `capacity train`, which its presets set; those of data with
    data=KIND."""
    from capacity.cli.catalogue import written
    from capacity.compose import defaults

    kinds = {one.kind for one in settings}
    trees = {kind: defaults(kind or "uniform") for kind in kinds}
    out = []
    for one in settings:
        group, _, name = one.key.partition(".")
        tree = trees[one.kind]
        default = tree[group].get(name, one.default) if name else tree[group]
        out.append(dataclasses.replace(one, default=written(default)))
    return out


def _forms(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Forms of laws that `fit` knows."""
    from capacity.fitting.forms import FORMS

    forms = [form for name, form in FORMS.items() if not args.group or args.group in name]
    if not forms:
        near = nearest(args.group, list(FORMS))
        raise ConfigError(f"list forms {args.group}: no form has this in its name{near}")
    rows: list[Row] = [
        {
            "form": form.name,
            "target": form.target.name,
            "formula": form.formula,
            "variables": [v.name for v in form.variables],
            "parameters": list(form.names),
            "source": form.source,
        }
        for form in forms
    ]
    cells = [[row["form"], row["target"], row["formula"]] for row in rows]
    lines = columns.aligned(["form", "predicts", "formula"], cells)
    return rows, [*lines, "", "units, limits and sources: capacity fit --list FORM"]


def _measures(args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measures with the kinds of data that they are about, and their columns."""
    from capacity.declare.registry import MEASURES

    measures = [one for name, one in MEASURES.items() if not args.group or args.group in name]
    if not measures:
        near = nearest(args.group, list(MEASURES))
        raise ConfigError(f"list measures {args.group}: no measure has this in its name{near}")
    rows: list[Row] = [
        {
            "measure": one.name,
            "version": one.version,
            "data": list(one.data),
            "column": field.column,
            "unit": field.unit,
            "meaning": field.meaning,
        }
        for one in measures
        for field in one.fields
        if field.column
    ]
    lines: list[str] = []
    for one in measures:
        about = f"data.kind={' or '.join(one.data)}" if one.data else "any data"
        lines += ["", *wrap(f"{one.name}, version {one.version}, of {about}")]
        mine = [row for row in rows if row["measure"] == one.name]
        if args.group:
            for row in mine:
                unit = f" ({row['unit']})" if row["unit"] else ""
                lines += [f"  {row['column']}", *wrap(f"{row['meaning']}{unit}", "      ")]
        else:
            names = ", ".join(row["column"] for row in mine)
            lines += wrap(names or "rows of their own: capacity table --quantized", "    ")
    if not args.group:
        lines += ["", "what each column means: capacity list measures NAME"]
    return rows, lines[1:]


LISTS: dict[str, Callable[[argparse.Namespace], tuple[list[Row], list[str]]]] = {
    "studies": _studies,
    "runs": _runs,
    "settings": _settings,
    "forms": _forms,
    "measures": _measures,
}
