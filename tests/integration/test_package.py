"""The package as it is shipped: the wheel, the pinned versions, the README, and a few rules about
the source."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from capacity.compose import load
from capacity.study import load_study
from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "capacity").rglob("*.py"))


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(tmp_path):
    def pip(*args):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *args],
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        assert done.returncode == 0, done.stderr

    pip("wheel", str(ROOT), "--no-deps", "--wheel-dir", str(tmp_path / "wheels"))
    (wheel,) = (tmp_path / "wheels").iterdir()
    pip("install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    installed = tmp_path / "site" / "capacity"
    for folder in ("conf", "sweeps"):
        want = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*.yaml")}
        assert (
            want
            and {p.relative_to(installed / folder) for p in (installed / folder).rglob("*.yaml")}
            == want
        )
    assert {p.name for p in (installed / "report").iterdir()} >= {
        "page.html",
        "page.css",
        "figures.js",
        "table.js",
    }
    assert (installed / "py.typed").exists() and list(
        (tmp_path / "site").glob("capacity-*.dist-info/licenses/LICENSE")
    )
    assert not list((tmp_path / "site").glob("tests"))

    (tmp_path / "elsewhere").mkdir()

    def python(*args):
        done = subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path / "elsewhere",
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            timeout=patience(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = (
        "import capacity, capacity.compose as c; print(capacity.__file__, c.shared_dir('conf'), "
        "c.shared_dir('sweeps'))"
    )
    where = python("-c", code).split()
    assert [path.startswith(str(installed)) for path in where] == [
        True
    ] * 3  # the wheel answers, not the checkout
    assert "n_sequences: 99" in python(
        "-m", "capacity", "train", "--print-config", "model=rotary", "data.n_sequences=99"
    )
    assert "pocket" in python("-m", "capacity", "sweep", "pocket", "--dry-run")
    assert os.listdir(tmp_path / "elsewhere") == []
    assert (tmp_path / "site" / "bin" / "capacity").exists()


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_direct_dependency_is_pinned_within_its_range():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    extras = project()["optional-dependencies"]
    wanted = [
        Requirement(text)
        for text in project()["dependencies"]
        + [text for extra in extras.values() for text in extra]
    ]
    assert len(wanted) >= 9
    for requirement in wanted:
        assert requirement.specifier, f"{requirement} has no range"
        pinned = pins[re.sub(r"[-_.]+", "-", requirement.name).lower()]
        assert requirement.specifier.contains(Version(pinned)), str(requirement)


def test_everything_imported_is_a_declared_dependency():
    declared = {
        Requirement(text).name.lower().replace("-", "_") for text in project()["dependencies"]
    }
    modules = {"hydra_core": "hydra", "pyyaml": "yaml"}
    declared = {modules.get(name, name) for name in declared}
    optional = dict.fromkeys(("capacity/data/lines.py", "capacity/export/table.py"), {"pyarrow"})
    for path in MODULES:
        roots = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                roots.add(node.module.split(".")[0])
        name = str(path.relative_to(ROOT))
        assert roots - set(sys.stdlib_module_names) - {"capacity"} <= declared | optional.get(
            name, set()
        ), name


def test_the_page_of_modules_is_what_they_say():
    checked = subprocess.run(
        [sys.executable, "scripts/modules.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr or "run: python scripts/modules.py"


def test_nothing_is_ever_unpickled():
    """A record or checkpoint that someone sends must not be able to run code."""
    forbidden_modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    forbidden_calls = {
        ("torch", "load"),
        ("torch", "save"),
        ("np", "load"),
        ("numpy", "load"),
        ("pd", "read_pickle"),
        ("pandas", "read_pickle"),
    }
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            found = set()
            if isinstance(node, ast.Import):
                found = {alias.name.split(".")[0] for alias in node.names} & forbidden_modules
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").split(".")[0]} & forbidden_modules
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found = {(node.value.id, node.attr)} & forbidden_calls
            elif isinstance(node, ast.Name):
                found = {node.id} & {"eval", "exec"}
            assert not found, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {found}"


MOST_LINES = 500  # of a formatted file: `ruff format --check` is part of `make check`
MOST_COLUMNS = 100  # of everything: the rule of ruff excuses what has no blank or ends in a pragma


def all_code():
    """Path below the repository -> text, of all Python here."""
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for folder in ("capacity", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }


def test_no_file_is_too_long_to_read():
    long, wide = [], []
    for path, text in all_code().items():
        lines = text.splitlines()
        long += [path] * (len(lines) > MOST_LINES)
        wide += [f"{path}:{i}" for i, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS]
    assert not long and not wide, (long, wide)


def test_tests_wait_for_conditions_and_never_for_a_time():
    """A fixed time is too short on a busy machine and too long on every other."""
    waits = {("time", "sleep"), ("threading", "Timer")}
    found = [
        f"{path}:{node.lineno}"
        for path, text in all_code().items()
        if path.startswith("tests/") and path != "tests/helpers/waiting.py"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in waits
    ]
    assert not found, found


def test_tests_give_no_process_a_fixed_time():
    """Deadlines come from `waiting`, which a slow machine can stretch."""
    found = [
        f"{path}:{node.value.lineno}"
        for path, text in all_code().items()
        if path.startswith("tests/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "timeout"
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, (int, float))
    ]
    assert not found, found


def test_every_script_finds_what_it_imports():
    """Scripts are in no package, so nothing else imports them before a person runs them."""
    folder = ROOT / "scripts"
    names = [
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in sorted(folder.rglob("*.py"))
        if path.name != "__init__.py"
    ]
    assert "bench" in names and "gpu_run.limits" in names
    done = subprocess.run(
        [sys.executable, "-c", f"import importlib; [importlib.import_module(n) for n in {names}]"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


LIGHT = {
    "config.py",
    "counts.py",
    "cost.py",
    "records.py",
    "study.py",
    "train/stack_key.py",
    "base/progress.py",
    "base/hardware.py",
    "published/values.py",
    "published/expects.py",
    "export/columns.py",
    "export/table.py",
    *(
        str(path.relative_to(ROOT / "capacity"))
        for path in MODULES
        if path.parent.name in ("cli", "settings", "sweep")
        # of `capacity fit`, which numpy serves
        and path.name not in ("fit.py", "points_table.py", "points_file.py", "cell_numbers.py")
    ),
    "data/checks.py",
    "data/lexicons.py",
    "data/resolve.py",
}


def test_imports_at_module_level_stay_light_and_hydra_stays_behind_its_border():
    assert LIGHT <= {str(path.relative_to(ROOT / "capacity")) for path in MODULES}
    for path in MODULES:
        name = str(path.relative_to(ROOT / "capacity"))
        body = ast.parse(path.read_text()).body
        roots = {
            alias.name.split(".")[0]
            for node in body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        roots |= {
            node.module.split(".")[0]
            for node in body
            if isinstance(node, ast.ImportFrom) and node.module
        }
        if name in LIGHT:
            assert not roots & {"torch", "numpy", "pandas", "scipy", "matplotlib"}, name
        if name != "compose.py":
            everywhere = {
                node.module.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom) and node.module
            }
            assert not (roots | everywhere) & {"hydra", "omegaconf"}, name


def test_version_is_the_packages():
    from importlib import metadata

    import capacity

    assert metadata.version("capacity") == capacity.__version__
    assert load([]).run_id  # and the checkout's own conf/ is found


def test_the_citation_and_the_changelog_are_of_this_version():
    import yaml

    import capacity

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (
        citation["version"] == capacity.__version__ and citation["license"] == project()["license"]
    )
    newest = re.search(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest and newest[1] == capacity.__version__


def test_what_contributors_are_told_is_there(tmp_path):
    """The paths and make targets that CONTRIBUTING.md names exist, and its study can be planned."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(
        re.findall(r"`((?:capacity|conf|docs|results|sweeps|tests)/[\w./@-]*)`", text)
    ) | set(re.findall(r"`(\w+\.(?:md|toml))`", text))
    assert len(paths) >= 15 and [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
    study = tmp_path / "depth.yaml"
    study.write_text(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    runs = load_study(str(study), []).runs
    assert {(run.model.n_layers, run.seed) for run in runs} == {
        (layers, seed) for layers in (1, 2) for seed in (0, 1)
    }


SKIPS = """
import pytest

def test_runs():
    pass

@pytest.mark.parametrize("why", {reasons})
def test_skips(why):
    pytest.skip(why)
"""


@pytest.mark.parametrize(
    "more", [[], pytest.param(["-n", "2"], marks=pytest.mark.long)], ids=["alone", "workers"]
)
def test_a_skip_fails_a_run_in_ci_unless_a_gpu_or_shared_is_missing(tmp_path, more):
    """Reasons that are allowed pass, one that is not fails the run and is named; outside of CI
    nothing fails."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())

    def run(reasons, **env):
        (tmp_path / "test_it.py").write_text(SKIPS.format(reasons=reasons))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *more]
        env = {
            name: value
            for name, value in os.environ.items()
            if name != "CI" and not name.startswith("PYTEST_")
        } | {"PYTHONPATH": str(ROOT / "tests" / "helpers"), **env}
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=patience()
        )

    allowed = [
        "needs a CUDA device",
        "needs a GPU of 60 GB",
        "the lists in ../shared/fields are absent",
    ]
    assert run(allowed, CI="1").returncode == 0
    assert run(["SLURM is not installed"]).returncode == 0
    (tmp_path / "test_all.py").write_text(
        "import pytest\npytest.skip('no browser', allow_module_level=True)\n"
    )
    failed = run([*allowed, "SLURM is not installed"], CI="1")
    named = failed.stdout.partition("neither a GPU nor shared/ was missing:")[2]
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert (
        "SLURM is not installed" in named
        and "no browser" in named
        and not any(reason in named for reason in allowed)
    )


TARGETS = ("gpu-check", "gpu-bench")


@pytest.mark.long
def test_the_gpu_check_needs_no_more_than_it_says(tmp_path):
    """`make gpu-check` on a machine with torch, numpy, tokenizers, pandas, scipy and pytest:
    nothing else is imported."""
    (tmp_path / "sitecustomize.py").write_text("""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in (
            "hydra", "omegaconf", "hypothesis", "safetensors",
            "matplotlib", "wandb", "xdist", "transformers",
        ):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
""")
    env = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    makefile = (ROOT / "Makefile").read_text()
    check, bench = (makefile.split(f"{name}: ##")[1].split("\n\n")[0] for name in TARGETS)
    assert "scripts/gpu_check.py" in check and "scripts/bench.py --device cuda" in bench
    tests = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--collect-only",
            "tests/gpu",
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert tests.returncode == 0 and tests.stdout.count("::test_") >= 30, (
        tests.stdout + tests.stderr
    )
    parts = ["machine", "render", "start"]
    bench = subprocess.run(
        [
            sys.executable,
            "scripts/bench.py",
            "--device",
            "cpu",
            "--only",
            *parts,
            "--repeats",
            "1",
            "--results",
            str(tmp_path),
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert bench.returncode == 0 and "hydra is not installed" in bench.stdout, (
        bench.stdout + bench.stderr
    )
    stored = json.loads((tmp_path / "bench" / "cpu.json").read_text())
    assert (
        set(parts) <= set(stored)
        and stored["start"] is None
        and stored["machine"]["fp32_flop_per_s"]["median"] > 1e9
    )
