"""What this machine is and how fast: `python -m senet_jax doctor`, a page to paste into an issue.

The page is Markdown. Every part is looked at by itself, so that one that fails is a line of the
page, not its end.
"""

import glob
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from io import BytesIO
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from senet_jax.preprocessing import Preprocess

CORE = ("jax", "jaxlib", "flax", "numpy")
OPTIONAL = (
    *("optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "ml_collections"),
    *("scikit-learn", "pillow", "matplotlib", "safetensors", "huggingface_hub", "torch", "timm"),
)
PLUGINS = tuple(
    f"jax-{kind}-{part}" for kind in ("cuda12", "cuda13") for part in ("plugin", "pjrt")
)
NVIDIA = ("an NVIDIA GPU", "pip install 'senet_jax[cuda]'")
DRIVERS = {  # what a driver leaves: the device, and how JAX gets to use it
    "/dev/nvidia[0-9]*": NVIDIA,
    "/dev/kfd": ("an AMD GPU", "install JAX for ROCm"),
    "/dev/accel[0-9]*": ("a TPU", "pip install 'senet_jax[tpu]'"),
    "/dev/vfio/[0-9]*": ("perhaps a TPU", "pip install 'senet_jax[tpu]'"),
}
SETTINGS = ("XLA_FLAGS", "JAX_PLATFORMS", "XLA_PYTHON_CLIENT_MEM_FRACTION", "CUDA_VISIBLE_DEVICES")
# Keeps convolutions from YNNPACK, to which the XLA of jax 0.10.2 hands them on a CPU.
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=reduce"
WORTH_TELLING = 1.2  # times as fast: less is noise
PHOTOGRAPH = (500, 375)  # pixels, as most of ImageNet's
REPEATS = 8

CONFIG: Any = jax.config  # its options are not known to type checkers
Look = Callable[[], Iterator[str]]  # lines for a section of the page, each found out as asked


def report() -> Iterator[str]:
    """Lines of the page: versions, devices, memory, speed and what is odd, in a few seconds.

    Nothing is raised: what can't be found out is a line that says why.
    """
    sections: dict[str, tuple[Look, ...]] = {
        "Versions": (_versions,),
        "Devices": (_cores, _devices, _settings, _products),
        "Memory": (_host_memory, _device_memory),
        "Speed": (_decoding, _convolutions),
        "Odd": (_unused_devices, _mismatches, _switches, _cpu_flag),
    }
    for title, looks in sections.items():
        yield f"### {title}"
        empty = True
        for line in chain.from_iterable(map(_guarded, looks)):
            yield f"- {line}"
            empty = False
        if empty:
            yield "- nothing"


def convolution_speed(batch: int, dtype: str) -> float:
    """GFLOP/s of one convolution on the first device, at best: 3x3, 64 to 64 channels, 56 x 56, as
    in a ResNet-50's first stage.
    """
    images = jnp.ones((batch, 56, 56, 64), dtype)
    kernel = jnp.ones((3, 3, 64, 64), dtype)
    convolve = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    compiled = jax.jit(convolve).lower(images, kernel).compile()
    seconds = _best_seconds(lambda: jax.block_until_ready(compiled(images, kernel)))
    return 2 * images.size * 3 * 3 * 64 / seconds / 1e9


def _guarded(look: Look) -> Iterator[str]:
    try:
        yield from look()
    except Exception as error:
        what = look.__name__.strip("_").replace("_", " ")
        yield f"{what}: not found out, {type(error).__name__}: {' '.join(str(error).split())}"


def _versions() -> Iterator[str]:
    yield f"python {platform.python_version()}, {platform.platform()}"
    ours = f"senet_jax {_version('senet_jax') or 'from a checkout'}"
    yield ", ".join([ours, *(f"{name} {_version(name) or 'not installed'}" for name in CORE)])
    found = {name: _version(name) for name in (*OPTIONAL, *PLUGINS)}
    yield "with " + (", ".join(f"{name} {v}" for name, v in found.items() if v) or "nothing else")
    if missing := [name for name in OPTIONAL if not found[name]]:
        yield f"without {', '.join(missing)}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> Iterator[str]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"{usable} of {os.cpu_count()} CPU cores, {platform.machine()}"


def _devices() -> Iterator[str]:
    kinds = [device.device_kind for device in jax.devices()]
    counted = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in sorted(set(kinds)))
    yield f"backend {jax.default_backend()}: {counted}; processes: {jax.process_count()}"


def _settings() -> Iterator[str]:
    precision = CONFIG.jax_default_matmul_precision
    yield (
        f"matmul precision {precision or 'default (TF32 on NVIDIA GPUs, bfloat16 on TPUs)'},"
        f" float64 {'on' if CONFIG.jax_enable_x64 else 'off'}"
    )
    for name in SETTINGS:
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


def _products() -> Iterator[str]:
    """How exact a product is, in truth: TF32 and bfloat16 are off by 1e-3, float32 by 1e-7."""
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    exact = a.astype(np.float64) @ b
    found = np.asarray(jnp.matmul(jnp.asarray(a), jnp.asarray(b)), np.float64)
    error = np.abs(found - exact).max() / np.abs(exact).max()
    like = "float32" if error < 1e-5 else "TF32 or bfloat16"
    yield f"products of float32 are off by {error:.0e}, as with {like}"


def _host_memory() -> Iterator[str]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = ""
    if os.path.exists("/proc/meminfo"):  # Linux alone
        with open("/proc/meminfo") as file:
            sizes = dict(line.split(":") for line in file)
        free = f", {int(sizes['MemAvailable'].split()[0]) / 2**20:.1f} of them available"
    yield f"host: {total / 2**30:.1f} GiB{free}"


def _device_memory() -> Iterator[str]:
    for device in jax.local_devices():
        if stats := device.memory_stats():
            limit, used = (stats.get(key, 0) / 2**30 for key in ("bytes_limit", "bytes_in_use"))
            yield f"{device}: {limit:.1f} GiB for JAX, {used:.1f} of them in use"


def _decoding() -> Iterator[str]:
    if not _version("pillow"):
        yield "decoding: no Pillow, so no image files: pip install 'senet_jax[images]'"
        return
    from PIL import Image

    width, height = PHOTOGRAPH
    small = np.random.default_rng(0).integers(0, 256, (height // 25, width // 25, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(small).resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(file, "JPEG")
    prepare = Preprocess(
        size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.875, interpolation="bicubic"
    )

    def decode() -> None:
        with Image.open(BytesIO(file.getvalue())) as image:
            prepare(image)

    speed = 1 / _best_seconds(decode)
    yield f"decoding: {speed:.0f} images/s a core, JPEG, {width} x {height} pixels, to 224 x 224"


def _convolutions() -> Iterator[str]:
    on_cpu = jax.default_backend() == "cpu"
    for dtype in ("float32",) if on_cpu else ("float32", "bfloat16"):
        batch = 8 if on_cpu else 256  # fills an accelerator
        speed = convolution_speed(batch, dtype)
        yield f"convolution: {speed:,.0f} GFLOP/s, {dtype}, 3x3, 64 channels, {batch} x 56 x 56"


def _best_seconds(run: Callable[[], object]) -> float:
    """Of `REPEATS`, after one that compiles and warms up; others disturb, nobody speeds up."""
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _unused_devices() -> Iterator[str]:
    if jax.default_backend() != "cpu":
        return
    seen = {found[0]: hint for place, hint in DRIVERS.items() if (found := glob.glob(place))}
    if not seen and (tool := shutil.which("nvidia-smi")):  # Windows' Linux has no device file
        seen[tool] = NVIDIA
    for place, (what, remedy) in seen.items():
        platforms = os.environ.get("JAX_PLATFORMS")
        remedy = f"JAX_PLATFORMS={platforms} says so" if platforms else remedy
        yield f"JAX computes on the CPU alone, though {place} tells of {what}: {remedy}"


def _mismatches() -> Iterator[str]:
    versions = {name: _version(name) for name in ("jax", *PLUGINS)}
    jaxlib = _version("jaxlib")
    for name, version in versions.items():
        if version and version != jaxlib:
            yield f"{name} {version} beside jaxlib {jaxlib}: install them in one version"


def _switches() -> Iterator[str]:
    if CONFIG.jax_disable_jit:
        yield "jit is switched off (JAX_DISABLE_JIT): everything is slow"
    if CONFIG.jax_debug_nans:
        yield "each result is searched for nan (JAX_DEBUG_NANS): everything is slow"
    if CONFIG.jax_enable_x64:
        yield "float64 is on (JAX_ENABLE_X64): arrays can be twice as large and slow"


def _cpu_flag() -> Iterator[str]:
    """Whether XLA's other convolutions are faster here; a process each, as XLA reads its flags once
    and ends a process that gives one it doesn't know.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() != "cpu" or CPU_FLAG.split("=")[0] in flags:
        return
    without = convolution_speed(8, "float32")
    program = "from senet_jax.doctor import convolution_speed as f; print(f(8, 'float32'))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XLA_FLAGS": f"{flags} {CPU_FLAG}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if run.returncode:  # this XLA doesn't know the flag
        return
    faster = float(run.stdout.split()[-1]) / without
    if faster > WORTH_TELLING:
        yield f"convolutions are {faster:.1f} times as fast with XLA_FLAGS={CPU_FLAG}"
