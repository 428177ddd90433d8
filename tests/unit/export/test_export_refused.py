"""Exports that cannot be: one line, and no folder left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from capacity import records
from capacity.base import files
from capacity.cli.main import main
from capacity.compose import load
from capacity.data import text
from capacity.export import huggingface
from exports import SMALL, TEXT


def refused(capsys, *args):
    assert main(["export", *map(str, args)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_is_one_line_and_leaves_nothing(exported, tmp_path, capsys, monkeypatch):
    config, results, folder = exported("uniform")
    at = ["--results", results]
    capsys.readouterr()
    assert "0123456789ab: no run in" in refused(
        capsys, "0123456789ab", "--output", tmp_path / "a", *at
    )
    assert "name a new or an empty folder" in refused(
        capsys, config.run_id, "--output", folder, *at
    )
    (tmp_path / "file").write_text("x")
    assert "name a new or an empty folder" in refused(
        capsys, config.run_id, "--output", tmp_path / "file", *at
    )
    (tmp_path / "empty").mkdir()
    assert (
        main(
            [
                "export",
                config.run_id,
                "--output",
                str(tmp_path / "empty"),
                "--results",
                str(results),
            ]
        )
        == 0
    )
    monkeypatch.setattr(
        huggingface.card,
        "card",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")),
    )
    assert "No space left" in refused(capsys, config.run_id, "--output", tmp_path / "b", *at)
    monkeypatch.undo()
    weights = records.run_dir(results, config.run_id) / "weights.safetensors"
    weights.rename(tmp_path / "moved")
    try:
        assert "the run has no final weights" in refused(
            capsys, config.run_id, "--output", tmp_path / "b", *at
        )
    finally:
        (tmp_path / "moved").rename(weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_write_that_breaks_leaves_no_folder(exported, tmp_path, monkeypatch):
    config, results, _ = exported("uniform")
    whole, calls = files.write_atomic, []

    def broken(path, data):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        whole(path, data)

    monkeypatch.setattr(files, "write_atomic", broken)
    with pytest.raises(OSError, match="No space"):
        huggingface.export(results, config.run_id, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_gone_or_changed_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tales.txt"
    file.write_text(
        "\n\n".join(
            f"The {n} of {m} told a long and winding story about number {n * m}."
            for n in range(40)
            for m in range(3)
        )
    )
    settings = [
        "data=text",
        "data.source=files",
        "data.path=tales.txt",
        "data.documents=null",
        *TEXT[2:],
        "train.steps=20",
        *SMALL,
    ]
    assert main(["train", *settings]) == 0
    run_id = load(settings).run_id
    out = tmp_path / "out"
    file.write_text(file.read_text().replace("winding", "straight"))
    text._POOLS.clear()
    capsys.readouterr()
    assert "has changed since the run" in refused(capsys, run_id, "--output", out)
    file.unlink()
    assert (
        "data.path=tales.txt: no such file" in refused(capsys, run_id, "--output", out)
        and not out.exists()
    )


def test_the_export_needs_no_transformers():
    code = (
        "import sys; import capacity.export.huggingface; assert not {'transformers', 'hydra', "
        "'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
