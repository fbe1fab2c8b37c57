"""A disk that is full or read-only: a small one of memory, which only root can make."""

import os
import subprocess

import pytest

from senet_jax import loading
from tests.train.processes import ends, steps_in_order, train, wait_until
from tests.train.small import assert_same_bits
from tests.train.test_checkpoints import DESCRIPTION, LIKE, born, make_state, save, scores
from train.checkpoints import Checkpoints, restore
from train.command import SAVE_FAILED
from train.errors import SaveFailed


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        done = mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", path)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk, left):
    """Leaves so many bytes, or a page less."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - left))


def make_read_only(disk):
    assert mount("-o", "remount,ro", disk).returncode == 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda disk: fill(disk, 0), "No space left on device"),
        (lambda disk: fill(disk, 40_000), "No space left on device"),  # for some of its files
        (make_read_only, "Read-only file system"),
    ],
    ids=["full", "nearly full", "read-only"],
)
def test_what_was_saved_before_is_left_and_named(disk, spoil, reason):
    workdir = disk / "run"
    save(workdir, {1: scores(0.5)})
    message = rf"checkpoint of step 2 was not saved: {reason}\. Step 1 is the last that was saved"
    with (
        pytest.raises(SaveFailed, match=message),
        Checkpoints(workdir, DESCRIPTION) as checkpoints,
    ):
        spoil(disk)
        checkpoints.save(2, born(2), scores(0.6))
        checkpoints.save(3, born(3), scores(0.7))
    assert loading.saved_steps(loading.checkpoint_directory(workdir)) == [1]
    assert_same_bits(restore(workdir, LIKE), make_state(1))


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_a_sentence_and_goes_on_when_there_is_room(disk, data_dir):
    workdir = disk / "run"
    run = train(workdir, data_dir)
    directory = loading.checkpoint_directory(workdir)
    wait_until(lambda: 20 in loading.saved_steps(directory), run)
    fill(disk, 0)
    codes, said = ends(run)
    assert codes == [SAVE_FAILED], said
    saved = loading.saved_steps(directory)[-1]
    # A line of its own: TensorBoard's writer and Orbax tell of their threads, too.
    (line,) = [line for line in said[0].splitlines() if line.startswith("error: ")]
    told = f"No space left on device. Step {saved} is the last that was saved in {workdir}: make"
    assert saved < 60 and told in line
    (disk / "filler").unlink()
    codes, said = ends(train(workdir, data_dir))
    assert codes == [0], said
    assert steps_in_order(workdir) == list(range(1, 61))


@pytest.mark.slow
def test_a_run_on_a_read_only_disk_ends_with_a_sentence(disk, data_dir):
    workdir = disk / "run"
    run = train(workdir, data_dir)
    directory = loading.checkpoint_directory(workdir)
    wait_until(lambda: 20 in loading.saved_steps(directory), run)
    run[0].kill()
    ends(run)
    make_read_only(disk)
    codes, said = ends(train(workdir, data_dir))
    assert codes == [SAVE_FAILED], said
    (line,) = [line for line in said[0].splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {workdir} cannot be written: Read-only file system. Step ")
