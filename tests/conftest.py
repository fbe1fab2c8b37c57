"""What holds for every test: CPU, strict ranks, property tests that repeat themselves in CI."""

import os

from tests.compiler import quickest_flags

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax is imported; a GPU's float sums differ
if "XLA_FLAGS" not in os.environ:  # workers have it from the one who starts them
    os.environ["XLA_FLAGS"] = quickest_flags()
# Each of several workers keeps to a core: else all compile with as many threads as there are cores,
# and wait for each other.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_numpy_rank_promotion", "raise")  # catches [N, C] meeting [N]
jax.config.update("jax_threefry_partitionable", True)  # the same random data before jax 0.5

# The first example of a property compiles, so times say nothing about the code.
settings.register_profile(
    "local", max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True, scope="module")
def fresh_caches():
    """What a module has compiled is of no use to the next, and thousands of programs are slow."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Float64, for gradients against finite differences."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
