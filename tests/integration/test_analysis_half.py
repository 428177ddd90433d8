"""The unit tests of the half that reads results pass where torch cannot be imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
UNIT = [  # a part of them, to be quick; whole commands are in test_without_torch.py
    "tests/unit/base",
    "tests/unit/fitting/test_forms.py",
    "tests/unit/published/test_published.py",
    "tests/unit/published/test_planted_formulas.py",
    "tests/unit/test_records.py",
    "tests/unit/analysis/test_kinds.py",
    "tests/unit/analysis/test_table_checks.py",
]


def pytest_without_torch(*args):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no_torch", "-p", "no:cacheprovider"]
        + ["-m", "not slow and not long", *args],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])}
        | {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""},
        capture_output=True,
        text=True,
        timeout=4 * patience(),
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_analysis_half_passes_its_unit_tests_without_torch():
    code, said = pytest_without_torch(*UNIT, "-v")
    assert code == 0, said
    assert int(re.findall(r"(\d+) passed", said)[-1]) > 100


def test_the_plugin_does_block_torch(tmp_path):
    (tmp_path / "test_it.py").write_text("import torch\n\ndef test_it():\n    pass\n")
    code, said = pytest_without_torch(str(tmp_path / "test_it.py"))
    assert code == 2 and "No module named 'torch'" in said
