"""What a dry run says, and that it trains nothing."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from tests.train import small
from train.dry_run import largest_batch, picture_of
from train.optimizer import make_schedule

CHECKOUT = Path(__file__).parents[2]


SIZES = range(8, 100_001, 8)


@pytest.mark.parametrize("memory", [1_000, 5_000, 123_456, 99_999_999])
@pytest.mark.parametrize("start", [8, 256, 260])
def test_the_largest_batch_is_found_by_the_compilers_figures(memory, start):
    """With bytes that grow unevenly: a constant, a slope, and rounding up to pages."""
    compiled = []

    def measure(size):
        compiled.append(size)
        return 300 + -(-size * 37 // 128) * 128

    found = largest_batch(measure, memory, SIZES, start)
    truth = max(n for n in SIZES if measure(n) <= memory)
    assert found in SIZES and truth - 16 <= found <= truth
    assert found in compiled[: -len(SIZES)]  # it was compiled itself
    assert len(compiled) - len(SIZES) <= 7


def test_nothing_fits_or_all():
    assert largest_batch(lambda size: 10**9, 10**6, SIZES, 64) is None
    assert largest_batch(lambda size: 10, 10**6, SIZES, 64) == SIZES[-1]
    assert largest_batch(lambda size: 10, 10**6, range(8, 9, 8), 8) == 8


def test_the_picture_of_a_schedule_rises_and_falls():
    config = small.config(**{"schedule.epochs": 10, "schedule.warmup_epochs": 2.0})
    picture = picture_of(make_schedule(config, 30), 300)
    bars = re.match(r"\|(.+)\|  most 0\.1, at the end 1e-05|\|(.+)\|", picture)
    line = bars[1] or bars[2]
    assert len(line) == 60
    top = line.index("█")
    assert 9 <= top <= 12  # two of ten epochs
    assert list(line[top:]) == sorted(line[top:], reverse=True)
    assert len(picture_of(lambda step: jnp.float32(1.0), 7).split("|")[1]) == 7


@pytest.mark.slow
def test_the_command_tells_and_leaves_nothing_behind(tmp_path, data_dir):
    workdir = tmp_path / "run"
    command = [sys.executable, "-m", "train", *small.RUN, f"--workdir={workdir}", "--dry-run"]
    done = subprocess.run(
        [*command, f"--config.data.dir={data_dir}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "seresnet20 on images of 8x8x1, 10 classes" in done.stdout
    assert re.search(r"A step of 64 images, compiled for 1 x cpu \(jit\):\n[\d.]+ MiB", done.stdout)
    assert re.search(r"The largest batch that fits: --config.data.batch_size=\d+", done.stdout)
    assert not workdir.exists()
