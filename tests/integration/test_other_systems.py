"""What reads results only runs on Windows, and where torch, or an encoding, is missing: in
processes that lack what is blocked here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planted import plant
from waiting import patience

# Libraries are imported first, for those that are made for Windows do without these modules there.
WINDOWS = """
import importlib, os, pathlib, signal, sys
for library in ("numpy", "pandas", "scipy.optimize", "scipy.stats", "matplotlib.pyplot", "hydra",
                "jinja2", "subprocess", "tempfile", "json", "gzip", "zipfile", "getpass",
                "safetensors", "concurrent.futures", "multiprocessing.pool", "pyarrow.parquet"):
    importlib.import_module(library)
gone = {"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "posix", "syslog"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in gone:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in ("getuid", "geteuid", "getgid", "getgroups", "fork", "killpg", "setsid", "getpgid",
             "uname", "sysconf", "sched_getaffinity", "getloadavg", "nice", "O_DIRECTORY", "mkfifo",
             "statvfs", "chown", "wait4", "register_at_fork"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGALRM", "SIGCHLD", "alarm", "pause"):
    delattr(signal, name)

class Msvcrt:
    LK_NBLCK, LK_UNLCK = 2, 0
    taken = set()
    def locking(self, descriptor, mode, count):
        place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in self.taken:
            raise OSError(13, "Permission denied")
        self.taken.add(place)

sys.modules["msvcrt"] = Msvcrt()
from capacity.cli.main import main
"""


def python(code, folder, typed=(), **environment):
    """A process of its own; returns (exit code, bytes of stdout, bytes of stderr)."""
    done = subprocess.run(
        [sys.executable, "-c", code, *typed],
        cwd=folder,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        | environment,
        capture_output=True,
        timeout=patience(),
    )
    return done.returncode, done.stdout, done.stderr


def with_crlf(folder):
    """Every text file below a folder as an editor or git on Windows leaves it."""
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".csv", ".yaml"):
            path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def test_windows_reads_records_and_fits_tables(here):
    """fit, table, report, status and a dry run without the modules and functions that only POSIX
    has, on files with CRLF, with backslashes in the paths of studies."""
    plant(here / "results", "optimizers")
    study = Path("sweeps/deep/mine.yaml")
    study.parent.mkdir(parents=True)
    study.write_text("question: q\npins: [model.d_model=8]\ngrids:\n- {seed: [0, 1]}\n")
    points = "size,bits\n" + "".join(f"{1000 * n},{3000 * n + n % 3}\n" for n in range(1, 9))
    Path("points.csv").write_text(points)
    with_crlf(here)
    commands = [
        "fit capacity_linear points.csv --y bits --x parameters=size --output fit.json",
        "fit --list",
        "table optimizers --output runs.csv",
        "table --columns",
        "report optimizers --bootstraps 100",
        "fit-laws optimizers --bootstraps 100",
        "status optimizers --json",
        "status deep\\mine",
        "sweep sweeps\\deep\\mine.yaml --dry-run cluster.memory_gb=1",
    ]
    code = WINDOWS + f"print([main(command.split(' ')) for command in {commands!r}])"
    rc, out, err = python(code, here)
    assert rc == 0, err.decode()
    codes = out.decode().splitlines()[-1]
    assert codes == "[0, 0, 0, 0, 0, 0, 0, 1, 0]", out.decode() + err.decode()
    assert json.loads(Path("fit.json").read_text())
    assert b"\r" not in Path("runs.csv").read_bytes()
    assert Path("results/studies/optimizers/report.html").stat().st_size > 10_000
    # the same numbers as here, from the same bytes
    from capacity.cli.main import main

    assert main(commands[0].replace("fit.json", "again.json").split(" ")) == 0
    assert Path("fit.json").read_bytes() == Path("again.json").read_bytes()


def test_on_windows_locks_are_those_of_msvcrt(here):
    """A claim is exclusive, is seen by a look, does not move the file's place, and covers no byte
    of the content."""
    code = (
        WINDOWS
        + """
from pathlib import Path
from capacity import records
from capacity.base import files
import msvcrt
with records.claim(Path("results"), "0123456789ab") as first:
    with records.claim(Path("results"), "0123456789ab") as second:
        print(first, second)
    print(records.status(Path("results"), "0123456789ab"))
with open("results/runs/0123456789ab/other", "w+") as file:
    file.write("ab")
    file.seek(1)
    print(files.flock(file), file.read())
print({place for _, place in msvcrt.taken} == {files.LOCKED_BYTE})
from capacity.sweep import submissions
os.environ.pop("USER", None), os.environ.pop("LOGNAME", None)
for name in ("LNAME", "USERNAME"):
    os.environ.pop(name, None)
print(submissions.user())
"""
    )
    rc, out, err = python(code, here)
    assert rc == 0, err.decode()
    assert out.decode().split() == ["True", "False", "running", "True", "b", "True", "somebody"]


def test_a_missing_package_is_one_line_that_says_how_to_get_it(here):
    Path("p.csv").write_text("parameters,bits\n1000,3000\n2000,6000\n3000,9100\n")
    for package, command, pip in (
        ("torch", "train train.steps=300", "pip install torch"),
        ("pandas", "fit capacity_linear p.csv --y bits", "pip install pandas"),
        ("hydra", "train", "pip install hydra-core"),
    ):
        code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from capacity.cli.main import main
sys.exit(main({command.split()!r}))
"""
        rc, out, err = python(code, here)
        assert (rc, out) == (2, b""), err.decode()
        last = err.decode().splitlines()
        assert len(last) == 1 and last[0].startswith(
            f"capacity: error: {package} cannot be imported"
        )
        assert last[0].endswith(pip)
    assert not (here / "results").exists()


def test_an_import_that_is_our_own_mistake_keeps_its_traceback(here, monkeypatch):
    from capacity.cli import table as verb
    from capacity.cli.main import main

    def broken(*args):
        raise ModuleNotFoundError("No module named 'capacity.no_such'", name="capacity.no_such")

    monkeypatch.setattr("capacity.export.table.table", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["table"])
    assert verb


@pytest.mark.parametrize(
    "environment, codes",
    [
        ({"PYTHONIOENCODING": "latin-1"}, [0, 1, 0, 2, 0, 0]),
        ({"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"}, [0, 1, 0, 2, 0, 0]),
        # no name of a column in a file can be typed here
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, [0, 1, 0, 2, 2, 0]),
    ],
    ids=str,
)
def test_what_an_encoding_lacks_is_escaped(here, environment, codes):
    """Names outside Latin-1 in a study, a path and a table: output degrades, nothing breaks."""
    study = "文 é.yaml"
    Path(study).write_text("question: ≈ é\npins: ['wandb.project=\"文\"']\n", encoding="utf-8")
    points = "größe,文\n" + "".join(f"{n},{3 * n}\n" for n in range(1, 9))
    Path("é文.csv").write_text(points, encoding="utf-8")
    commands = [
        ["sweep", study, "--dry-run"],
        ["status", study],
        ["train", "--print-config", 'wandb.project="文"'],
        ["train", 'data.path="文.txt"', "data=text", "data.source=files"],
        ["fit", "capacity_linear", "é文.csv", "--y", "文", "--x", "parameters=größe"],
        ["fit", "--list"],
    ]
    code = """
import sys
from capacity.cli.main import main
words, codes = sys.argv[1:], []
while words:
    end = words.index("NEXT")
    codes.append(main(words[:end]))
    words = words[end + 1 :]
print(codes)
"""
    typed = [word for command in commands for word in (*command, "NEXT")]
    rc, out, err = python(code, here, typed, **environment)
    assert rc == 0 and b"Traceback" not in err, err.decode("latin-1")
    assert out.splitlines()[-1].decode() == str(codes), (out + err).decode("latin-1")
    assert b"\\u6587" in out + err or b"\\udce6" in out + err
