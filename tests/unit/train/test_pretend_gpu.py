"""Steps and whole runs on a pretend GPU (tests/helpers/pretend_gpu.py), which refuses what CUDA
refuses: tensors of two devices, and waits and copies while a step is captured. In processes of
their own, since they register a device with torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import patience

CASES = Path(__file__).parents[2] / "helpers" / "pretend_gpu_cases.py"
PARTS = 4


def cases(*words):
    """What went through, after asserting that nothing went wrong."""
    done = subprocess.run(
        [sys.executable, str(CASES), *words],
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.stdout, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == {} and done.returncode == 0, done.stderr[-4000:]
    return found


@pytest.mark.slow
def test_what_cuda_would_refuse_is_refused_and_steps_are_not():
    """Faults that were put into the step on purpose, and three models as they are."""
    assert cases("quick")["cases"] == 13 + 3


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_the_step_of_every_model_can_be_captured_in_every_format_with_both_optimizers(part):
    found = cases("steps", "--part", str(part), "--of", str(PARTS))
    assert found["cases"] >= 100 // PARTS
    lines = [*found["seen"].get("wait", {}), *found["seen"].get("device to host", {})]
    # windows of people are rendered, between steps, with sizes that the host asks for
    assert not [line for line in lines if line.startswith(("capacity/model/", "capacity/train/"))]


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_whole_runs_of_every_kind_of_data_stay_on_the_device(part):
    """To the record, measures, questions and rounded weights included."""
    assert cases("runs", "--part", str(part), "--of", "2")["cases"] >= 7
