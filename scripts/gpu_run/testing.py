"""The tests of GPUs within a time limit: each test's outcome is written as it comes, so that what
is known is there whatever ends the run."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import installed
from gpu_run.processes import ROOT, child_environment

ALONE = "memory_is_predicted or never_holds"  # they ask for the peak of the whole device
XML, LOG, LINES = "3_gpu_tests.xml", "3_gpu_tests.log", "3_gpu_tests.jsonl"


def run_tests(out: Path, seconds: float, workers: str, say: Callable[..., None]) -> dict:
    """tests/gpu by several processes, where pytest-xdist is installed, then its memory tests alone.
    say: given label, value, unit, predicted value and a note. Returns the names of tests that
    failed, the lines about memory and exit codes."""
    end = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    for name in (XML, LOG, LINES):
        (out / name).unlink(missing_ok=True)
    common = ["-p", "no:cacheprovider", "--tb=short", "tests/gpu"]
    several = ["-n", workers] if installed("xdist") else []
    parts = [
        ("all but memory", ["-v", *several, "--durations=20", "-k", f"not ({ALONE})"], 0.85, 120),
        ("memory alone", ["-v", "-s", "-k", ALONE], 1.0, 20),
    ]
    trees, codes = [], []
    for name, options, share, predicted in parts:
        part, began = out / "tests.tmp", time.monotonic()
        part.unlink(missing_ok=True)
        limit = max(5.0, share * (end - time.monotonic()))
        code = pytest_run([*options, f"--junitxml={part}", *common], out, limit)
        codes.append(code)
        took = time.monotonic() - began
        say(f"tests, {name}", took, "s", predicted, f"exit code {code}")
        with contextlib.suppress(OSError, ElementTree.ParseError):
            trees.append(ElementTree.parse(part).getroot())
            counted = [
                len(trees[-1].findall(f".//testcase{child}"))
                for child in ("", "/failure", "/error", "/skipped")
            ]
            told = "failed {}, errors {}, skipped {}".format(*counted[1:])
            say(f"  of {name}: tests", counted[0], "", None, told)
        part.unlink(missing_ok=True)
    whole = ElementTree.Element("testsuites")
    for tree in trees:
        whole.extend(tree.findall("testsuite"))
    ElementTree.ElementTree(whole).write(out / XML)
    failed = [
        (case.get("name"), (problem.get("message") or "").splitlines()[:1])
        for case in whole.iter("testcase")
        for problem in (*case.findall("failure"), *case.findall("error"))
    ]
    for name, message in failed[:12]:
        say(f"  {name}", "failed", "", None, " ".join(message)[:90])
    text = (out / LOG).read_text(errors="replace")
    taken = re.findall(r"^(?:.*?)(\d+ members of .*? planned)$", text, re.M)
    for line in taken:
        label, _, rest = line.partition(": ")
        say(f"  {label}", rest.partition(" taken")[0], "", None, rest.partition(", ")[2])
    return {"failed": [name for name, _ in failed], "memory": taken, "codes": codes}


def pytest_run(options: list[str], out: Path, seconds: float) -> int | str:
    """pytest with its output behind that of earlier calls and a line of JSON for each test that has
    ended; interrupted at its limit, so that it still writes what it knows."""
    with open(out / LOG, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options],
            cwd=ROOT,
            env=child_environment(CAPACITY_TEST_LINES=str(out / LINES)),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return f"{process.wait(timeout=5)} at the limit of {seconds:.0f} s"
        except subprocess.TimeoutExpired:
            process.kill()
            return f"killed at the limit of {seconds:.0f} s"
