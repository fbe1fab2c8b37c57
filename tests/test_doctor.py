"""The page of `python -m senet_jax doctor`: what is on it, and what it makes of odd machines."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from senet_jax import doctor

TITLES = ["Versions", "Devices", "Memory", "Speed", "Odd"]


def sections(lines):
    """Lines by title."""
    found = {}
    for line in lines:
        if line.startswith("### "):
            found[line.removeprefix("### ")] = here = []
        else:
            assert line.startswith("- ")
            here.append(line.removeprefix("- "))
    return found


@pytest.fixture
def versions(monkeypatch):
    """Versions of packages, to be set; what is not there is not installed."""
    known = {"jax": "0.10.2", "jaxlib": "0.10.2"}
    monkeypatch.setattr(doctor, "_version", known.get)
    return known


@pytest.fixture
def drivers(monkeypatch, tmp_path):
    """A folder for what drivers leave in /dev; nothing is on the PATH."""
    moved = {str(tmp_path) + place: hint for place, hint in doctor.DRIVERS.items()}
    monkeypatch.setattr(doctor, "DRIVERS", moved)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    (tmp_path / "dev").mkdir()
    return tmp_path / "dev"


def test_the_page_of_a_real_process():
    run = subprocess.run(
        [sys.executable, "-m", "senet_jax", "doctor"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "Traceback" not in run.stderr
    found = sections(run.stdout.splitlines())
    assert list(found) == TITLES
    assert f"jax {jax.__version__}, " in found["Versions"][1]
    assert f"numpy {np.__version__}" in found["Versions"][1]
    assert "backend cpu: " in found["Devices"][1]
    assert "JAX_PLATFORMS=cpu" in found["Devices"]
    assert found["Devices"][-1].endswith("as with float32")  # a CPU's
    assert re.fullmatch(r"convolution: [\d,]+ GFLOP/s, float32, .*", found["Speed"][1])
    assert "not found out" not in run.stdout


def test_a_device_that_is_not_there_is_a_line_and_not_the_end():
    run = subprocess.run(
        [sys.executable, "-m", "senet_jax", "doctor"],
        env={**os.environ, "JAX_PLATFORMS": "tpu"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and "Traceback" not in run.stderr
    found = sections(run.stdout.splitlines())
    assert list(found) == TITLES
    assert found["Devices"][1].startswith("devices: not found out, ")
    assert found["Memory"][0].startswith("host: ")


def test_a_part_that_fails_says_what_and_why_on_one_line(monkeypatch):
    def _broken():
        yield "before"
        raise OSError("no such\n  thing")

    assert list(doctor._guarded(_broken)) == [
        "before",
        "broken: not found out, OSError: no such thing",
    ]


def test_packages_are_listed_by_whether_they_are_there(versions):
    versions |= {"pillow": "11.0", "torch": "2.9"}
    lines = list(doctor._versions())
    assert lines[1].startswith(
        "senet_jax from a checkout, jax 0.10.2, jaxlib 0.10.2, flax not installed"
    )
    assert lines[2] == "with pillow 11.0, torch 2.9"
    assert lines[3].startswith("without optax, ") and "pillow" not in lines[3]


def test_a_machine_with_nothing_installed_reads_no_images(versions):
    assert list(doctor._decoding()) == [
        "decoding: no Pillow, so no image files: pip install 'senet_jax[images]'"
    ]


def test_precision_and_settings_are_told(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=dumps")
    with jax.default_matmul_precision("highest"):
        first, *others = doctor._settings()
    assert first == "matmul precision highest, float64 off"
    assert "XLA_FLAGS=--xla_dump_to=dumps" in others
    assert "TF32" in next(iter(doctor._settings()))


def test_a_gpu_or_tpu_that_is_not_used_is_odd(drivers):
    assert list(doctor._unused_devices()) == []
    (drivers / "nvidia0").touch()
    (drivers / "nvidiactl").touch()
    (drivers / "accel0").touch()
    gpu, tpu = doctor._unused_devices()
    assert "though" in gpu and "nvidia0 tells of an NVIDIA GPU" in gpu
    assert gpu.endswith("pip install 'senet_jax[cuda]'")
    assert "accel0 tells of a TPU" in tpu and tpu.endswith("pip install 'senet_jax[tpu]'")


def test_a_gpu_without_a_device_file_is_known_by_its_tool(drivers):
    tool = drivers.parent / "nvidia-smi"
    tool.touch(mode=0o755)
    (line,) = doctor._unused_devices()
    assert f"{tool} tells of an NVIDIA GPU" in line


def test_a_gpu_that_was_switched_off_is_explained(drivers, monkeypatch):
    (drivers / "nvidia0").touch()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    (line,) = doctor._unused_devices()
    assert line.endswith("JAX_PLATFORMS=cpu says so")


def test_packages_of_jax_in_several_versions_are_odd(versions):
    assert list(doctor._mismatches()) == []
    versions |= {"jaxlib": "0.10.1", "jax-cuda12-plugin": "0.9.0", "jax-cuda12-pjrt": "0.10.1"}
    assert list(doctor._mismatches()) == [
        "jax 0.10.2 beside jaxlib 0.10.1: install them in one version",
        "jax-cuda12-plugin 0.9.0 beside jaxlib 0.10.1: install them in one version",
    ]


@pytest.mark.parametrize(
    "precision,said",
    [("float32", "float32"), ("bfloat16", "TF32 or bfloat16")],
)
def test_how_exact_products_are_is_measured(precision, said, monkeypatch):
    exact = jnp.matmul

    def rounded(a, b):
        return exact(a.astype(precision), b.astype(precision)).astype("float32")

    monkeypatch.setattr(doctor.jnp, "matmul", rounded)
    (line,) = doctor._products()
    assert line.endswith(f"as with {said}")


def test_switches_that_slow_everything_down_are_odd(x64):
    (line,) = doctor._switches()
    assert line.startswith("float64 is on")
    with jax.disable_jit():
        assert next(iter(doctor._switches())).startswith("jit is switched off")


@pytest.mark.slow  # starts a process with the flag, as the next does
def test_a_flag_that_makes_convolutions_faster_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "convolution_speed", lambda batch, dtype: 1e-6)
    monkeypatch.setattr(doctor, "CPU_FLAG", "--xla_cpu_enable_fast_math=false")  # all know it
    (line,) = doctor._cpu_flag()
    assert re.fullmatch(
        r"convolutions are [\d.]+ times as fast with XLA_FLAGS=--xla_cpu_enable_fast_math=false",
        line,
    )


@pytest.mark.slow
def test_a_flag_that_is_no_use_unknown_or_set_already_is_not_told(monkeypatch):
    monkeypatch.setattr(doctor, "convolution_speed", lambda batch, dtype: 1e12)
    assert list(doctor._cpu_flag()) == []
    monkeypatch.setattr(doctor, "convolution_speed", lambda batch, dtype: 1e-6)
    monkeypatch.setattr(doctor, "CPU_FLAG", "--xla_cpu_there_is_no_such_flag=1")
    assert list(doctor._cpu_flag()) == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_there_is_no_such_flag=0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing to try"))
    assert list(doctor._cpu_flag()) == []
