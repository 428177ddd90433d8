"""What reads records only works where torch cannot be imported, and but for figures where
matplotlib cannot: every kind of study, from planted records, in a process of its own."""

import os
import subprocess
import sys

import pytest

from planted import plant
from waiting import patience

BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Absent())
from capacity.cli.main import main
for command in {commands!r}:
    code = main(command)
    assert code in {codes!r}, (command, code)
assert not {blocked!r} & {{name.split(".")[0] for name in sys.modules}}
"""
STUDIES = {  # one of each kind of study
    "random": "pocket",
    "ablation": "morris/vocabulary@pocket",
    "facts": "physics33/10_junk@pocket",
    "precision": "precision/bios@pocket",
    "text": "morris/membership@pocket",
    "frequency": "items/long_tail@pocket",
}
POINTS = "size,bits\n" + "".join(f"{1000 * n},{3000 * n + n % 3}\n" for n in range(1, 9))


def without(blocked, commands, folder, codes=(0,)):
    """Run commands of `capacity` in one process that cannot import these packages."""
    code = BLOCK.format(blocked=set(blocked), commands=commands, codes=codes)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_blocked_cannot_be_imported(here):
    """The block itself works: training fails behind it."""
    with pytest.raises(AssertionError, match="torch is blocked"):
        without({"torch"}, [["train", "train.steps=300"]], here)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.long
def test_laws_pages_and_tables_need_no_torch(here, kind):
    name = STUDIES[kind]
    plant(here / "results", name)
    commands = [
        ["fit-laws", name, "--bootstraps", "100"],
        ["report", name, "--bootstraps", "100"],
        ["table", name, "--output", "runs.csv"],
        ["table", name, "--columns"],
        ["status", name],
    ]
    if kind == "random":
        commands.append(["fit-laws", name, "--bootstraps", "100", "--freeze"])
    without({"torch"}, commands, here)
    folder = here / "results" / "studies" / name
    assert (folder / "report.html").stat().st_size > 10_000
    assert (here / "runs.csv").read_text().count("\n") > 2


def test_plans_and_fits_of_any_table_need_neither_torch_nor_matplotlib(here):
    (here / "points.csv").write_text(POINTS)
    plan = "plan design --form capacity_linear --parameter alpha --width 0.3 --budget-hours 0.02"
    commands = [
        ["fit", "capacity_linear", "points.csv", "--y", "bits", "--x", "parameters=size"],
        ["fit", "--list"],
        ["sweep", "pocket", "--dry-run"],
        [*plan.split(), "--device", "cpu", "--simulations", "20"],
    ]
    without({"torch", "matplotlib"}, commands, here, codes=(0, 1))  # 1: the budget is too small


@pytest.mark.parametrize(
    "verb", ["plan", "fit", "compare", "compression", "table", "fit-laws", "report", "status"]
)
def test_help_needs_neither(here, verb):
    code = BLOCK.partition("from capacity")[0].format(blocked={"torch", "matplotlib"})
    code += f"from capacity.cli.main import main; main([{verb!r}, '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, timeout=patience()
    )
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


def test_tables_and_comparisons_need_neither(here):
    plant(here / "results", "optimizers")
    pair = ["--a", "train.optimizer=muon", "--b", "train.optimizer=adamw"]
    commands = [
        ["table", "optimizers", "--columns"],
        ["table", "optimizers"],
        ["status", "optimizers"],
    ]
    without({"torch", "matplotlib"}, commands, here)
    drawn = [["compare", "optimizers", *pair], ["compression", "optimizers"]]
    without({"torch"}, drawn, here)  # they draw figures
