"""Figures of committed studies, drawn from what is committed of them, without a fit: every study
once for all tests."""

import json
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd

from capacity import archive, run_table
from capacity.analysis import convert, kinds
from capacity.analysis.facts import reading
from capacity.analysis.finding import Finding
from capacity.analysis.text.analysis import Drawn
from capacity.study import load_study

STUDIES = Path(__file__).resolve().parents[2] / "results" / "studies"
FILES = {"fit.json": "", "precision.json": "precision", "memory.json": "text"}
# every type of figure, and of each type the studies with the longest names and the most arms
NAMES = (
    "pocket",
    "morris/uniform_bf16@pocket",
    "morris/length@pocket",
    "morris/canaries@pocket",
    "morris/forgetting@pocket",
    "morris/gpt2@pocket",
    "morris/membership@pocket",
    "morris/membership_sources@pocket",
    "morris/text_grid@pocket",
    "optimizers",
    "physics33/01_peak_1000@pocket",
    "physics33/03_biod@pocket",
    "physics33/07_gated_mlp@pocket",
    "physics33/12_tagged@pocket",
    "precision/bios@pocket",
    "precision/uniform@pocket",
)


@cache
def finding(name):
    """A finding with all that its figures need."""
    folder = STUDIES / name
    path = next(folder / file for file in FILES if (folder / file).exists())
    numbers = convert.read(path)
    tables = {p.name: pd.read_csv(p, low_memory=False).copy() for p in folder.glob("*.csv")}
    kind, data = numbers["kind"], None
    if kind == "facts":
        study, results = load_study(name, []), Path(tempfile.mkdtemp())
        (results / "studies").symlink_to(STUDIES)
        with archive.reading(results, [name]):
            data = reading.prepare(run_table.table(results, study.runs), study.best_over)
    if kind == "text":
        data = Drawn(_placed(tables["roc.csv"], tables["runs.csv"]))
    return Finding(kind, path.name, json.loads(json.dumps(numbers)), tables, data)


def _placed(roc, runs):
    """Curves at the sizes of their runs, of which the table has six digits."""
    sizes = {float(f"{x:.6g}"): x for x in runs.tokens_per_parameter.dropna().unique()}
    return roc.assign(tokens_per_parameter=roc.tokens_per_parameter.map(sizes))


@cache
def figures(name):
    """Figures by name, in the built-in look."""
    return kinds.figures(finding(name))
