"""What is kept, what is restored, and what damage does; on small trees, without a model."""

import errno
import os
import shutil
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from senet_jax import loading
from tests.train import small
from train.checkpoints import Checkpoints, best, restore
from train.errors import SaveFailed, WrongInput
from train.parallel import Devices
from train.state import State

DESCRIPTION = {"model": {"name": "seresnet20", "options": {"num_classes": 10}}}
DEVICES = Devices()


def make_state(step: int = 0, ema: bool = True) -> State:
    # Noise: what can be compressed has checksums of its own on the disk.
    noise = jnp.arange(4096, dtype=jnp.uint32) * jnp.uint32(2654435761) >> 8
    weights = {"w": noise.astype(jnp.float32).reshape(64, 64) + step, "b": jnp.arange(3.0) + step}
    statistics = {"mean": jnp.full(5, 2.0 * step)}
    averages = {"params": jax.tree.map(lambda w: w + 0.5, weights), "batch_stats": statistics}
    ema_or_none = averages if ema else {}
    return State(jnp.int32(step), jnp.uint32(7), weights, statistics, (weights, ()), ema_or_none)


def born(step: int = 0, ema: bool = True) -> State:
    return DEVICES.born(partial(make_state, step, ema))


LIKE = DEVICES.abstract(make_state)


def scores(accuracy: float, loss: float = 1.0) -> dict[str, float]:
    return {"accuracy": 0.0, "loss": 9.0, "ema_accuracy": accuracy, "ema_loss": loss}


@pytest.fixture
def workdir(tmp_path):
    """A run with steps 10, 20 (the best) and 30."""
    save(tmp_path, {10: scores(0.1), 20: scores(0.9), 30: scores(0.2)})
    return tmp_path


def save(workdir, what):
    with Checkpoints(workdir, DESCRIPTION) as checkpoints:
        for step, its_scores in what.items():
            checkpoints.save(step, born(step), its_scores)


def steps_in(workdir):
    return loading.saved_steps(loading.checkpoint_directory(workdir))


def truncate_state(workdir, step):
    for file in (loading.checkpoint_directory(workdir) / str(step) / "state").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:100])


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert restore(tmp_path, LIKE) is None


def test_a_state_comes_back_to_the_bit_and_where_it_was(workdir):
    state = restore(workdir, LIKE)
    small.assert_same_bits(state, make_state(30))
    assert state.params["w"].sharding == LIKE.params["w"].sharding


def test_a_run_without_averages_comes_back(tmp_path):
    with Checkpoints(tmp_path, DESCRIPTION) as checkpoints:
        checkpoints.save(1, born(1, ema=False), {"accuracy": 0.5, "loss": 1.0})
    like = DEVICES.abstract(partial(make_state, 0, False))
    small.assert_same_bits(restore(tmp_path, like), make_state(1, ema=False))
    assert best(tmp_path)[2]["params"]["b"][0] == 1.0


def test_the_last_two_and_the_best_are_kept(tmp_path):
    what = {s: scores({20: 0.9}.get(s, 0.1)) for s in range(10, 80, 10)}
    save(tmp_path, what | {75: None})
    assert steps_in(tmp_path) == [20, 70, 75]
    chosen, its_scores, variables = best(tmp_path)
    assert (chosen, its_scores) == (20, scores(0.9))
    small.assert_same_bits(variables, make_state(20).ema)


def test_keeping_the_best_survives_a_restart(tmp_path):
    save(tmp_path, {10: scores(0.9), 20: scores(0.1)})
    save(tmp_path, {30: scores(0.1), 40: scores(0.1)})
    assert steps_in(tmp_path) == [10, 30, 40]


@pytest.mark.parametrize(
    "worse",
    [scores(0.9, loss=0.5), scores(0.9, loss=float("nan")), scores(0.8, loss=0.1)],
    ids=["loss", "no loss", "accuracy"],
)
def test_ties_in_accuracy_are_broken_by_the_lower_loss(tmp_path, worse):
    save(tmp_path, {1: scores(0.1), 2: scores(0.9, loss=0.4), 3: worse, 4: scores(0), 5: scores(0)})
    assert steps_in(tmp_path) == [2, 4, 5]
    assert best(tmp_path)[0] == 2


def test_a_saved_state_may_be_donated_at_once(tmp_path):
    """The copy for the background is made before `save` returns."""
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 - 1, s), donate_argnums=0)
    state = born(7)
    with Checkpoints(tmp_path, DESCRIPTION) as checkpoints:
        checkpoints.save(7, state)
        for _ in range(5):
            state = overwrite(state)
    small.assert_same_bits(restore(tmp_path, LIKE), make_state(7))


def test_a_step_saved_on_interruption_gets_its_scores_later(tmp_path):
    save(tmp_path, {10: None})
    with Checkpoints(tmp_path, DESCRIPTION) as checkpoints:
        assert not checkpoints.has_scores(10)
        checkpoints.save(10, born(10))  # stays as it is
        checkpoints.save(10, born(10), scores(0.5))
        assert checkpoints.has_scores(10)
    with Checkpoints(tmp_path, DESCRIPTION) as checkpoints:
        assert checkpoints.has_scores(10)
    assert best(tmp_path)[1] == scores(0.5)


def test_a_failed_save_is_an_error_at_the_next_one(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = Checkpoints(tmp_path, DESCRIPTION)
    for rename in ("rename", "replace"):  # by which what was written takes its name
        monkeypatch.setattr(os, rename, full)
    checkpoints.save(1, born(1), scores(0.5))
    message = "step 1 was not saved: No space left on device. There is no earlier one:"
    with pytest.raises(SaveFailed, match=message):
        checkpoints.save(2, born(2), scores(0.5))
    monkeypatch.undo()
    checkpoints.save(3, born(3), scores(0.5))
    checkpoints.wait()
    assert steps_in(tmp_path) == [3]


def test_what_a_kill_while_saving_leaves_is_passed_over(workdir):
    directory = loading.checkpoint_directory(workdir)
    shutil.copytree(directory / "30", directory / "40.orbax-checkpoint-tmp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert restore(workdir, LIKE).step == 30
    save(workdir, {40: scores(0.1)})
    assert steps_in(workdir) == [20, 30, 40]


def flip_a_byte(workdir, step):
    """In the middle of the largest data file, that is, among the numbers of an array."""
    files = (loading.checkpoint_directory(workdir) / str(step) / "state").glob("**/d/*")
    largest = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0x10
    largest.write_bytes(content)


def test_orbax_alone_does_not_notice_a_flipped_byte(tmp_path):
    """Else there would be no need for checksums of our own."""
    with Checkpoints(tmp_path, DESCRIPTION) as checkpoints:
        checkpoints.save(1, born(1))
    flip_a_byte(tmp_path, 1)
    directory = loading.checkpoint_directory(tmp_path)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(directory / "1" / "state", LIKE)
    with pytest.raises(ValueError, match=r"the checksum of .*w is not the one that was saved"):
        loading.verify_arrays(directory, 1, state)


def truncate_description(workdir, step):
    file = loading.checkpoint_directory(workdir) / str(step) / "config" / "metadata"
    file.write_text(file.read_text()[:20])


def truncate_scores(workdir, step):
    (loading.checkpoint_directory(workdir) / str(step) / "metrics" / "metrics").write_text('{"acc')


def lose_state(workdir, step):
    shutil.rmtree(loading.checkpoint_directory(workdir) / str(step) / "state")


@pytest.mark.parametrize(
    "damage", [flip_a_byte, truncate_state, truncate_description, truncate_scores, lose_state]
)
def test_a_damaged_newest_falls_back_loudly_and_can_be_saved_again(workdir, damage):
    damage(workdir, 30)
    with pytest.warns(UserWarning) as caught:
        state = restore(workdir, LIKE)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert f"{workdir}/checkpoints/30 cannot be read" in text
    assert "Going on from step 20: 10 steps are done again." in text
    small.assert_same_bits(state, make_state(20))
    assert (workdir / "damaged" / "30").is_dir()
    save(workdir, {30: scores(0.95)})
    assert best(workdir)[0] == 30


def test_damaged_scores_of_an_older_one_do_not_stop_the_run(workdir):
    truncate_scores(workdir, 20)
    with pytest.warns(UserWarning, match="checkpoints/20 cannot be read"):
        assert restore(workdir, LIKE).step == 30
    save(workdir, {40: scores(0.3)})
    assert best(workdir)[0] == 40


def test_a_damaged_best_gives_way_to_the_next_best(workdir):
    truncate_state(workdir, 20)
    with pytest.warns(UserWarning, match=r"checkpoints/20 cannot be read.* next best is step 30"):
        assert best(workdir)[0] == 30


def test_if_nothing_can_be_read_nothing_is_begun_anew(workdir):
    for step in (20, 30):
        truncate_state(workdir, step)
    with pytest.raises(WrongInput, match=r"30 cannot be read.*20 cannot.*No checkpoint is left"):
        restore(workdir, LIKE)
    assert steps_in(workdir) == [20, 30]
