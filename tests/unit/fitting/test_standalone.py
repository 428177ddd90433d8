"""The engine could be published alone: it needs numpy, scipy and the lowest layer, and no words of
this project."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import capacity.fitting

ENGINE = Path(capacity.fitting.__file__).parent
PACKAGE = ENGINE.parent
MODULES = sorted(path.stem for path in ENGINE.glob("*.py") if path.stem != "__init__")
ALLOWED = {"capacity", "numpy", "scipy", "pandas"} | set(sys.stdlib_module_names)
BELOW = {"capacity.base.errors", "capacity.base.files", "capacity.base.words"}
USE = """
import sys
import numpy as np
from capacity.fitting import {modules}
assert not {{"pandas", "torch", "matplotlib"}} & set(sys.modules), "light imports"
from capacity.fitting.fit import fit
from capacity.fitting.points import Points
p = np.geomspace(1e4, 1e6, 8)
points = Points({{"parameters": p}}, 100 + 3.6 * p, cluster=list("aabbccdd"))
fitted = fit("capacity_affine", points)
assert abs(fitted.values["alpha"] - 3.6) < 1e-6, fitted.values
selection.record(fitted, "parameters", at={{"parameters": [2e6]}}, resamples=20)
"""


def test_the_engine_runs_in_a_package_of_its_own(tmp_path):
    alone = tmp_path / "capacity"
    for part in ("fitting", "base"):
        shutil.copytree(PACKAGE / part, alone / part, ignore=shutil.ignore_patterns("__pycache__"))
    (alone / "__init__.py").write_text('__version__ = "0"\n')
    done = subprocess.run(
        [sys.executable, "-c", USE.format(modules=", ".join(MODULES))],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_the_engine_imports_the_lowest_layer_only(name):
    for node in ast.walk(ast.parse((ENGINE / f"{name}.py").read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for module in names:
            assert module.split(".")[0] in ALLOWED, f"{name} imports {module}"
            inside = module == "capacity" or module.startswith("capacity.fitting")
            assert inside or not module.startswith("capacity.") or module in BELOW, module


@pytest.mark.parametrize("name", MODULES)
def test_the_engine_has_no_word_about_records_and_folders_of_runs(name):
    """A run may be an example of a point; a record, a run id or a study file is none of its."""
    text = (ENGINE / f"{name}.py").read_text()
    assert not re.search(r"run_id|run_folder|records\.|\bsweeps?\b|\.yaml\b|fit\.json", text)
