"""Data sets of the hub: a folder of that form, and the hub's cache without a network."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import constants

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import sources, text
from text_files import DOCUMENTS, hub_folder
from waiting import patience

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = ["data=text_pocket", "data.documents=null", "data.source=hub", "data.field=body"]


def in_cache(home):
    """The hub's cache as `hf download` leaves it: one data set at one commit of main."""
    repository = home / "hub" / "datasets--owner--sentences"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    hub_folder(repository / "snapshots" / COMMIT)
    return home


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """As HF_HUB_OFFLINE and HF_HOME would have it, which are read when the library is loaded."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(in_cache(tmp_path) / "hub"))
    monkeypatch.chdir(tmp_path)
    text.source_digest.cache_clear()
    return tmp_path


def read(*more):
    return list(sources.documents(load([*HUB, *more]).data))


def test_a_folder_is_read_by_split_group_and_number(tmp_path):
    path = f"data.path={hub_folder(tmp_path / 'sentences')}"
    assert read(path) == [(document, None) for document in DOCUMENTS[:40]]
    found = read(path, "data.split=test", "data.group=source", "data.documents=5")
    assert found == [(document, f"book {i % 4}") for i, document in enumerate(DOCUMENTS[40:45])]


def test_a_run_follows_the_content_of_a_folder_not_its_name(tmp_path):
    folders = [hub_folder(tmp_path / name) for name in ("a", "b")]
    ids = [load([*HUB, f"data.path={folder}"]).run_id for folder in folders]
    assert ids[0] == ids[1]
    with open(folders[1] / "data" / "train.jsonl", "ab") as file:
        file.write(b'{"body": "One more.", "source": "book 0"}\n')
    text.source_digest.cache_clear()
    assert load([*HUB, f"data.path={folders[1]}"]).run_id != ids[0]


def test_the_cache_serves_a_name_its_splits_and_its_commit(offline):
    assert [t for t, _ in read("data.path=owner/sentences")] == DOCUMENTS[:40]
    assert [t for t, _ in read("data.path=owner/sentences", "data.split=test")] == DOCUMENTS[40:]
    pinned = read("data.path=owner/sentences", f"data.revision={COMMIT}", "data.documents=3")
    assert [t for t, _ in pinned] == DOCUMENTS[:3]


@pytest.mark.parametrize(
    "more, words",
    [
        (["data.path=owner/other"], "hf download owner/other --repo-type dataset"),
        (
            ["data.path=owner/sentences", f"data.revision={'f' * 40}"],
            f"hf download owner/sentences --repo-type dataset --revision {'f' * 40}",
        ),
        (["data.path=no/such/name"], "data.path=no/such/name: neither a folder nor in the hub's"),
        (["data.path=owner/sentences", "data.split=dev"], "data.split=dev: cannot be read: "),
        (
            ["data.path=owner/sentences", "data.field=text"],
            "data.split=train, row 1: no data.field=text; it has body, source",
        ),
    ],
)
def test_what_is_not_there_is_one_line(offline, more, words):
    with pytest.raises(ConfigError) as error:
        read(*more)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.long
def test_the_command_trains_on_the_cache_without_a_network_or_a_home(tmp_path):
    tiny = "model.d_model=8 model.n_heads=2 model.n_layers=1 train.steps=4 train.warmup_steps=1"
    more = "data.vocab_size=64 data.seq_len=16 data.n_held_out=10 data.n_sequences=20"
    home = {"HOME": "/proc/no", "HF_HOME": str(in_cache(tmp_path))}
    results = {"CAPACITY_RESULTS": str(tmp_path / "results"), "HF_HUB_OFFLINE": "1"}
    run = [sys.executable, "-m", "capacity", "train", *HUB, *tiny.split(), *more.split()]
    env = {**os.environ, **home, **results}
    done = subprocess.run(
        [*run, "data.path=owner/sentences"],
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "results" / "runs").glob("*/record.json")
    assert json.loads(record.read_text("utf-8"))["status"] == "finished"
    refused = subprocess.run(
        [*run, "data.path=owner/other"],
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert refused.returncode == 2, refused.stderr
    assert "hf download owner/other" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
@pytest.mark.long
def test_a_home_that_cannot_be_written_does_not_matter(tmp_path):
    """Figures are drawn, nothing is said of caches, and these are below the results."""
    kept = pathlib.Path(__file__).parents[2] / "results" / "studies" / "pocket"
    shutil.copytree(kept, tmp_path / "results" / "studies" / "pocket")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-m", "capacity", "fit-laws", "pocket"],
        env={**env, "HOME": "/proc/no", "CAPACITY_RESULTS": str(tmp_path / "results")},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stderr
    assert "cache" not in done.stderr and "atplotlib" not in done.stderr
    assert (tmp_path / "results" / "cache" / "matplotlib").is_dir()
