"""A CPU is told from others that a virtual machine calls by the same name."""

import dataclasses
import json

import pytest

from capacity import cost
from capacity.base import hardware
from capacity.cli.main import main
from capacity.compose import load

MILAN = """processor\t: 0
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 avx avx2 fma

processor\t: 1
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 avx avx2 fma
"""
GENOA = MILAN.replace("model\t\t: 1\n", "model\t\t: 17\n").replace(
    "fma\n", "fma avx512f avx512_bf16\n"
)


@pytest.mark.parametrize(
    "text, name",
    [
        (MILAN, "AMD EPYC (family 25, model 1, AVX2)"),
        (GENOA, "AMD EPYC (family 25, model 17, AVX-512 bf16)"),
        ("processor : 0\nmodel name : A chip\nFeatures : fp asimd\n", "A chip (NEON)"),
        ("model name : Plain\n", "Plain"),
    ],
)
def test_family_model_and_vectors_stand_behind_the_name(text, name, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "Path", lambda _: tmp_path / "cpuinfo")
    assert hardware.cpu_name() == name


def test_without_a_name_the_platform_says_what_there_is(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 50\n")
    monkeypatch.setattr(hardware.platform, "processor", lambda: "")
    monkeypatch.setattr(hardware.platform, "machine", lambda: "riscv64")
    for path in (tmp_path / "cpuinfo", tmp_path / "absent"):
        monkeypatch.setattr(hardware, "Path", lambda _, path=path: path)
        assert hardware.cpu_name() == "riscv64"


def test_a_benchmark_of_another_generation_of_one_name_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(MILAN)
    monkeypatch.setattr(hardware, "Path", lambda _: tmp_path / "cpuinfo")
    here, measured = hardware.cpu_name(), {"step_s": 1.0, "flop_per_s": 1.0, "value_s": 1.0}
    (tmp_path / "bench").mkdir()
    for name, source in ((GENOA, "a guess"), (MILAN, "by ")):
        (tmp_path / "cpuinfo").write_text(name)
        bench = {"environment": {"hardware": hardware.cpu_name()}, "speed": measured}
        (tmp_path / "bench" / "cpu.json").write_text(json.dumps(bench))
        assert cost.speed_of("cpu", tmp_path, here).source.startswith(source)


@pytest.mark.parametrize(
    "text, emulated",
    [
        (MILAN, {"bf16", "fp16"}),
        (GENOA, {"fp16"}),
        (GENOA.replace("avx512_bf16", "amx_bf16 amx_fp16"), set()),
        ("Features : fp asimd asimdhp bf16\n", set()),
        ("processor : 0\n", set()),  # says nothing
    ],
)
def test_a_cpu_that_emulates_a_format_is_told(text, emulated, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "Path", lambda _: tmp_path / "cpuinfo")
    formats = ("fp32", "tf32", "bf16", "fp16")
    assert {name for name in formats if hardware.emulates(name)} == emulated

    runs = [load([f"train.precision={name}"]) for name in formats]
    told = cost.emulated(runs, cost.GUESSES["cpu"])
    assert ("train.precision=" in told) == bool(emulated)
    assert all((name in told.partition(":")[0]) == (name in emulated) for name in formats)
    measured = dataclasses.replace(cost.GUESSES["cpu"], precisions={"bf16": 4.0, "fp16": 5.0})
    assert (" 5.0 times" in cost.emulated(runs, measured)) == bool(emulated)
    assert not cost.emulated(runs, cost.GUESSES["cuda"])


def test_a_sweep_in_a_format_that_is_emulated_warns_before_it_trains(tmp_path, monkeypatch, capsys):
    (tmp_path / "cpuinfo").write_text(MILAN)
    real = hardware.Path
    monkeypatch.setattr(
        hardware, "Path", lambda p: tmp_path / "cpuinfo" if p == "/proc/cpuinfo" else real(p)
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(
        "question: q?\npins: [train.steps=1000]\ngrids: [{seed: [0]}]\n"
    )
    for precision, warned in (("bf16", True), ("fp32", False)):
        main(["sweep", "two.yaml", f"train.precision={precision}", "--dry-run"])
        assert ("no products of that" in capsys.readouterr().out) == warned
