"""The steps of the first run on a GPU, one module for each thing that is measured; see
`gpu_first_run.py`. No module imports torch before a step runs."""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# benchmarks, models and stacks of the tests, capacity
for _folder in ("scripts", "tests/helpers", "."):
    sys.path.insert(0, str((_ROOT / _folder).resolve()))
