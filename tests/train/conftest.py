"""What tests of the trainer share: compiled programs, prepared data, a run on 8 devices."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile

import jax
import pytest

# A run is compiled in 10 s and read back in less than 1 s, and its tests start a dozen.
CACHE = tempfile.mkdtemp(prefix="senet_jax_compiled_")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
jax.config.update("jax_compilation_cache_dir", CACHE)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where runs find the digits, prepared by the first that asks."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def eight_devices(tmp_path_factory, data_dir):
    """What `tests.train.eight_devices` left."""
    out = tmp_path_factory.mktemp("eight_devices")
    command = [sys.executable, "-m", "tests.train.eight_devices", str(out), str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out
