"""What measures declare: how a tree of numbers is read by it, that every measure keeps to it, and a
new measure, which records, tables, help, descriptions and the mirror know by its declaration."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from capacity import records, run_table
from capacity.compose import load
from capacity.declare import quantization, record, registry
from capacity.declare.field import (
    FLOAT,
    INT,
    INTERVAL,
    LEVELS,
    LIST,
    SECTION,
    TEXT,
    VERSION,
    Field,
    Measure,
    exactly,
    needed,
    node_of,
    values,
)
from capacity.declare.schema import schema
from capacity.export import columns, table
from capacity.measure import registry as computed
from capacity.measure.describe import describe
from capacity.settings.data import KINDS
from capacity.settings.quantize import Spec
from planted import plant

ROOT = Path(__file__).parents[3]
FIELDS = (
    Field("n", INT, "things", "how many", needed=True),
    Field("part.total", FLOAT, "bits", "all of it", column="part"),
    Field("part.{parameters}", FLOAT, "bits", "part by {parameters}"),
    Field("by.{attack}.auc_interval", INTERVAL, "", "{end} of {attack}", column="{attack}_{end}"),
    Field("by.{attack}.rate_{rate}", FLOAT, "", "at {rate}", missing=True),
    Field("levels", LEVELS, optional=True),
    Field("levels.[repeats].seen", FLOAT, "bits", "seen {repeats} times", column="seen_{repeats}"),
    Field("more", LIST, optional=True),
)
TREE = {
    "n": 3,
    "part": {"total": 1.5, "paper": 2.5},
    "by": {"loss": {"auc_interval": [0.25, 0.5], "rate_0.01": None}},
    "levels": [{"repeats": 4, "seen": 8.0}, {"repeats": 16, "seen": 9.0}],
    "more": [1, {"a": 2}],
}


def test_a_tree_is_read_by_its_fields_in_its_order():
    read = list(values(TREE, node_of(FIELDS)))
    assert [(one.path, one.value) for one in read] == [
        ("n", 3),
        ("part.total", 1.5),
        ("part.paper", 2.5),
        ("by.loss.auc_interval.low", 0.25),
        ("by.loss.auc_interval.high", 0.5),
        ("by.loss.rate_0.01", None),
        ("levels.4.seen", 8.0),
        ("levels.16.seen", 9.0),
    ]
    names = [one.name(one.field.column) for one in read]
    assert names == ["", "part", "", "loss_low", "loss_high", "", "seen_4", "seen_16"]
    assert read[2].name(read[2].field.meaning) == "part by paper"
    strange = list(values(TREE | {"x": {"y": 1}, "part": {"all": 1.0}}, node_of(FIELDS)))
    assert [one.path for one in strange if one.field is None] == ["part.all", "x.y"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"n": 3.0}, "n=3.0: expected int"),
        ({"n": True}, "n=True: expected int"),
        ({"n": None}, "n=None: expected int"),
        ({"part": {"total": math.nan}}, "part.total=nan: expected a finite number"),
        ({"part": {"paper": 1.0}}, "part.total is declared and not there"),
        ({"part": {"total": 1.0, "al": 1.0}}, "part.al=1.0 is not declared"),
        ({"by": {"loss": {"auc_interval": [0.5]}}}, "expected two finite numbers"),
        ({"by": {"loss": {"auc_interval": [0.5, None]}}}, "expected two finite numbers"),
        ({"levels": [{"repeats": 4}]}, r"levels.\[repeats=4\].seen is declared and not there"),
        ({"levels": [{"repeats": 4, "seen": 1}]}, "levels.4.seen=1: expected float"),
        ({"y": 1}, "y=1 is not declared"),
        ({"more": 1.0}, "more=1.0: expected list"),
    ],
)
def test_a_measure_returns_exactly_what_it_declares(change, words):
    assert exactly(TREE, FIELDS, "toy") is TREE
    exactly({key: TREE[key] for key in ("n", "part", "by")}, FIELDS, "toy")
    with pytest.raises(AssertionError, match=f"toy: .*{words}"):
        exactly(TREE | change, FIELDS, "toy")
    with pytest.raises(AssertionError, match="toy: n is declared and not there"):
        exactly({key: TREE[key] for key in ("part", "by")}, FIELDS, "toy")


def test_declarations_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="declared twice"):
        node_of([*FIELDS, Field("n", TEXT)])
    with pytest.raises(ValueError, match="a family of numbers cannot be needed"):
        Field("a.{b}", FLOAT, needed=True)
    with pytest.raises(ValueError, match="allowed: text, int"):
        Field("a", "number")
    with pytest.raises(ValueError, match="record: measures.toy.n is missing"):
        needed({}, FIELDS, "measures.toy.")


def test_every_kind_of_data_has_one_measure_that_is_computed():
    mains = [one for one in registry.MEASURES.values() if one.main]
    for kind in KINDS:
        assert [one.name for one in mains if kind in one.data] == [registry.main_of(kind).name]
    assert computed.COMPUTED.keys() == {one.name for one in mains}
    assert computed.COMPUTED.keys() | computed.BESIDES.keys() == registry.MEASURES.keys()
    assert all(name == one.name for name, one in registry.MEASURES.items())
    with pytest.raises(KeyError, match="data.kind=novel"):
        registry.main_of("novel")


def test_everything_declared_has_a_meaning_and_a_place():
    for one in registry.MEASURES.values():
        for field in (*one.fields, *one.rows):
            assert field.meaning or field.type in (SECTION, LIST, LEVELS), (one.name, field.path)
        node_of(one.fields)
        node_of(one.rows)
    node_of(record.FIELDS)


def test_a_row_of_quantization_declares_the_settings_of_its_variant():
    declared = {field.path for field in quantization.VARIANT}
    assert {field.name for field in dataclasses.fields(Spec)} == declared - {"calibration_tokens"}


# A measure that nobody has heard of

TOY = Measure(
    name="toy",
    version=3,
    data=("uniform",),
    fields=(
        VERSION,
        Field("wonder", FLOAT, "bits", "how much it wonders", column="wonder", needed=True),
        Field("depth.{layer}", INT, "steps", "depth of {layer}", column="depth_{layer}"),
        Field("hidden", FLOAT, "nats", "what only the tidy table shows"),
    ),
)
PART = {"version": 3, "wonder": 12.5, "depth": {"first": 1, "last": 2}, "hidden": 0.5}


@pytest.fixture
def with_toy(here, monkeypatch):
    """A planted study whose records have the toy measure: one line in the registry."""
    monkeypatch.setitem(registry.MEASURES, TOY.name, TOY)
    study = plant(here / "results", "pocket")
    for run in study.runs:
        known = records.read(here / "results", run.run_id)
        known["measures"][TOY.name] = TOY.returns(dict(PART))
        records.write(here / "results", known)
    return here / "results", study.runs


def test_a_new_measure_is_known_everywhere_by_its_declaration(with_toy):
    results, runs = with_toy
    known = records.read(results, runs[0].run_id)

    lacks = json.loads(json.dumps(known))
    del lacks["measures"]["toy"]["wonder"]
    with pytest.raises(ValueError, match="record: measures.toy.wonder is missing"):
        records.validate(lacks)
    lacks["measures"]["toy"]["wonder"] = "much"
    with pytest.raises(ValueError, match="measures.toy.wonder='much': expected float"):
        records.validate(lacks)

    laws = run_table.table(results, runs)
    assert set(laws.wonder) == {12.5} and set(laws.depth_last) == {2} and "hidden" not in laws
    absent = run_table.columns(runs[0], None)
    assert math.isnan(absent["wonder"]) and "depth_first" not in absent

    tidy = table.tidy([table.Group("pocket", runs)], results)
    assert tidy.wonder.tolist() == [12.5] * len(runs) and str(tidy.depth_first.dtype) == "Int64"
    assert set(tidy["measures.toy.hidden"]) == {0.5}
    assert columns.describe("wonder") == (FLOAT, "bits", "how much it wonders")
    assert columns.describe("depth_last") == (INT, "steps", "depth of last")
    assert columns.describe("measures.toy.hidden")[1:] == ("nats", "what only the tidy table shows")

    assert "  wonder = 12.5 bits" in describe(known, results).splitlines()
    shown = registry.summary(known["measures"])
    assert shown["wonder"] == 12.5 and shown["strict_bits"] > 0 and shown["depth_last"] == 2
    assert schema()["properties"]["measures"]["properties"]["toy"]["required"] == ["wonder"]


def test_without_its_line_nothing_is_known_of_it(with_toy, monkeypatch):
    results, runs = with_toy
    monkeypatch.delitem(registry.MEASURES, TOY.name)
    assert "wonder" not in run_table.table(results, runs)
    with pytest.raises(KeyError, match="measures.toy.version: no measure"):
        table.tidy([table.Group("pocket", runs)], results)
    with pytest.raises(KeyError, match="wonder: not a column"):
        columns.describe("wonder")


# The schema of a record


def fits(tree, rule, path="record"):
    """The keywords of JSON Schema that `schema` uses, by their definitions; where it fails."""
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    assert rule.keys() <= {
        *("$schema", "title", "description", "type", "properties", "patternProperties"),
        *("required", "items", "minItems", "maxItems", "enum", "const", "if", "then"),
        *("anyOf", "allOf"),
    }, rule.keys()
    if wanted := rule.get("type"):
        wanted = [wanted] if isinstance(wanted, str) else wanted
        fine = [
            isinstance(tree, kinds[name]) and (name == "boolean" or not isinstance(tree, bool))
            for name in wanted
        ]
        if not any(fine):
            return f"{path}: {tree!r} is no {wanted}"
    if "enum" in rule and tree not in rule["enum"] or "const" in rule and tree != rule["const"]:
        return f"{path}: {tree!r}"
    for one in rule.get("allOf", []):
        if wrong := fits(tree, one, path):
            return wrong
    if "anyOf" in rule and all(fits(tree, one, path) for one in rule["anyOf"]):
        return f"{path}: none of {len(rule['anyOf'])}"
    if (
        "if" in rule
        and not fits(tree, rule["if"], path)
        and (wrong := fits(tree, rule["then"], path))
    ):
        return wrong
    if isinstance(tree, list):
        if not rule.get("minItems", 0) <= len(tree) <= rule.get("maxItems", math.inf):
            return f"{path}: {len(tree)} items"
        parts = [(f"{path}[{i}]", x, rule.get("items", {})) for i, x in enumerate(tree)]
    elif isinstance(tree, dict):
        for key in rule.get("required", []):
            if key not in tree:
                return f"{path}.{key} is missing"
        parts = []
        for key, value in tree.items():
            if key in rule.get("properties", {}):
                parts.append((f"{path}.{key}", value, rule["properties"][key]))
            for pattern, inner in rule.get("patternProperties", {}).items():
                if key not in rule.get("properties", {}) and re.search(pattern, key):
                    parts.append((f"{path}.{key}", value, inner))
    else:
        return None
    return next((wrong for where, x, one in parts if (wrong := fits(x, one, where))), None)


STUDIES = ("pocket", "physics33/10_junk@pocket", "morris/canaries@pocket", "precision/bios@pocket")


@pytest.mark.parametrize("name", STUDIES)
def test_records_of_every_kind_fit_the_schema(here, name):
    study = plant(here / "results", name, failed=(0,))
    rule = schema()
    statuses = set()
    for run in study.runs:
        known = records.read(here / "results", run.run_id)
        if known is None:
            continue
        statuses.add(known["status"])
        assert fits(known, rule) is None
        for field in record.ALWAYS:
            if field.needed:
                lacks = json.loads(json.dumps(known))
                *above, last = field.path.split(".")
                inner = lacks
                for key in above:
                    inner = inner[key]
                del inner[last]
                assert fits(lacks, rule) is not None, field.path
        assert fits(known | {"measures": {}, "status": "finished"}, rule) is not None
    assert statuses == {"finished", "failed"}


def test_the_committed_schema_is_that_of_the_declarations():
    checked = subprocess.run(
        [sys.executable, "scripts/record_schema.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr or "run: python scripts/record_schema.py"


def test_the_declarations_need_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import capacity.declare.schema, capacity.declare.registry\n"
        "roots = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert roots <= set(sys.stdlib_module_names) | {'capacity'}, roots"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_without_a_record_has_the_columns_of_its_measures():
    row = run_table.columns(load(["data=bios_pocket"]), None)
    assert all(math.isnan(row[name]) for name in ("bits", "bits_se", "extraction_accuracy"))
