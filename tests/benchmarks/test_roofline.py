"""The least time of a step, by hand."""

from types import SimpleNamespace

import jax
import pytest

from benchmarks import roofline
from senet_jax import create_model
from senet_jax.summary import multiply_adds
from tests.benchmarks.test_compiled_text import GPU

MOVED = 2096  # bytes of the text's kernels
H200 = "NVIDIA H200"


@pytest.mark.parametrize(
    ("kind", "operations", "seconds"),
    [
        (H200, 1, MOVED / 4.8e12),
        (H200, 989e12, 1),
        ("NVIDIA H100 80GB HBM3", 1, MOVED / 3.35e12),
        ("TPU v5 lite", 1, None),
    ],
)
def test_the_least_time_is_the_larger_of_two(monkeypatch, kind, operations, seconds):
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind=kind)])
    compiled = SimpleNamespace(as_text=lambda: GPU)
    least = roofline.least_seconds(compiled, SimpleNamespace(operations=operations))
    assert least == (seconds and pytest.approx(seconds))


def test_a_training_step_is_three_times_the_work_of_inference():
    model = create_model("seresnet18", stage_sizes=(1,), num_classes=2)
    once = 2 * 4 * multiply_adds(model, 8)
    assert roofline.Work(model, size=8, batch=4, step="inference").operations == once
    assert roofline.Work(model, size=8, batch=4, step="train").operations == 3 * once
