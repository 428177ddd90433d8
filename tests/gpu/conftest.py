"""A line of JSON for each test as it ends, in the file that CAPACITY_TEST_LINES names: what a
device has shown is kept, whatever ends the run."""

import json
import os


def pytest_runtest_logreport(report):
    path = os.environ.get("CAPACITY_TEST_LINES")
    if path is None or "PYTEST_XDIST_WORKER" in os.environ:  # whose reports the first process gets
        return
    if report.when == "call" or report.outcome != "passed":
        message = report.longreprtext.strip().splitlines()[-1:] if report.failed else []
        line = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
            "message": " ".join(message)[:300],
        }
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
