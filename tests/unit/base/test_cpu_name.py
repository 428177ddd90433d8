"""A CPU is told from others that a virtual machine calls by the same name."""

import json

import pytest

from capacity import cost
from capacity.base import hardware

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
