"""What to know about a machine before answering questions: `python -m senet_jax doctor`.

Versions, devices, how exactly they multiply, memory, and the two speeds that most questions are
about: decoding images and computing convolutions.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from senet_jax import bench

OPTIONAL = ("optax", "orbax-checkpoint", "grain", "pillow", "opencv-python-headless", "matplotlib")
SECONDS = 0.5  # a measurement is repeated for so long
IMAGE = (375, 500, 3)  # ImageNet's typical size
CHANNELS, POSITIONS, BATCH = 256, 28, 16  # of the convolution, 3x3


def report() -> Iterator[str]:
    """Lines of Markdown, as they are found out; takes a few seconds."""
    about = bench.machine()
    yield f"**senet_jax {_version('senet_jax')}** on {about['system']}, Python {about['python']}"
    yield ""
    yield bench.table_line(("what", "found"))
    yield bench.table_line(("---", "---"))
    yield bench.table_line(("jax, jaxlib", f"{about['jax']}, {_version('jaxlib')}"))
    yield bench.table_line(("flax, numpy", f"{about['flax']}, {np.__version__}"))
    yield bench.table_line(("optional", ", ".join(f"{n} {_version(n)}" for n in OPTIONAL)))
    yield bench.table_line(
        ("devices", f"{about['devices']} x {about['device']} ({about['backend']})")
    )
    yield bench.table_line(("processes", jax.process_count()))
    config: Any = jax.config
    precision = config.jax_default_matmul_precision or "default"
    yield bench.table_line(("products of float32", f"precision {precision}: {_product_error()}"))
    yield bench.table_line(("float64", "on" if config.jax_enable_x64 else "off"))
    yield bench.table_line(("memory of the machine", _machine_memory()))
    yield bench.table_line(("memory of a device", _device_memory()))
    yield bench.table_line(("cores", f"{_cores()} of {about['cores']} for this process"))
    yield bench.table_line(("JPEG decoded, 500 x 375, one core", _decoding()))
    for dtype in ("float32", "bfloat16"):
        yield bench.table_line((f"3x3 convolution, {dtype}", f"{_convolution(dtype):,.0f} GFLOP/s"))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def _product_error() -> str:
    """How far a product is off: 1e-3 tells of TF32 or bfloat16, 1e-7 of float32."""
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256))
    found = jnp.matmul(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    exact = a @ b
    return f"relative error {np.abs(np.asarray(found) - exact).max() / np.abs(exact).max():.0e}"


def _machine_memory() -> str:
    if not hasattr(os, "sysconf"):
        return "unknown"
    return _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _device_memory() -> str:
    stats = jax.local_devices()[0].memory_stats() or {}
    return _gib(stats["bytes_limit"]) if "bytes_limit" in stats else "that of the machine"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _decoding() -> str:
    try:
        from PIL import Image
    except ImportError:
        return "Pillow is not installed"
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    file = io.BytesIO()
    small.resize(IMAGE[1::-1], Image.Resampling.BICUBIC).save(file, "jpeg", quality=90)
    data = file.getvalue()
    seconds = _seconds(lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    return f"{1 / seconds:,.0f} images/s with Pillow"


def _convolution(dtype: str) -> float:
    """Billions of operations a second, a multiplication and an addition counting as two."""
    x = jnp.ones((BATCH, POSITIONS, POSITIONS, CHANNELS), dtype)
    kernel = jnp.ones((3, 3, CHANNELS, CHANNELS), dtype)
    convolve = jax.jit(
        lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    seconds = _seconds(lambda: convolve(x, kernel).block_until_ready())
    return 2 * 9 * CHANNELS**2 * POSITIONS**2 * BATCH / seconds / 1e9


def _seconds(work: Callable[[], object]) -> float:
    """Of one call, the mean over half a second; compiled before."""
    work()
    start, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < SECONDS or not calls:
        work()
        calls += 1
    return passed / calls
