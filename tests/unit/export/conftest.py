"""Trained runs that the tests of exports share."""

import os

import pytest

from capacity.cli.main import main
from capacity.compose import load

os.environ["HF_HUB_OFFLINE"] = "1"  # before `transformers` is imported


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Trains and exports runs of these kinds once: kind -> (config, results, folder)."""
    from exports import RUNS, SMALL  # with `transformers`, which not every test here needs

    results = tmp_path_factory.mktemp("results")
    done = {}

    def of(kind):
        if kind not in done:
            settings = [*RUNS[kind], *SMALL]
            assert main(["train", *settings, "--results", str(results)]) == 0
            config = load(settings)
            folder = results / "exports" / kind
            assert (
                main(["export", config.run_id, "--output", str(folder), "--results", str(results)])
                == 0
            )
            done[kind] = config, results, folder
        return done[kind]

    return of
