"""Files and tables of benchmarks, and what they compare."""

import json

import jax.numpy as jnp
import pytest

from benchmarks import programs
from benchmarks.report import Report, parser, timing_row
from benchmarks.ways import network, traced
from senet_jax import create_model
from senet_jax.bench import Timing
from senet_jax.layers import Conv
from senet_jax.product import Product


def test_the_file_is_whole_after_every_row(tmp_path, capsys):
    made = parser("gpu", "Says nothing.")
    made.add_argument("--batch", type=int, default=4)
    out = tmp_path / "new" / "gpu.json"
    options = made.parse_args(["--out", str(out)])
    report = Report("gpu", options, {"way": "way", "ratio": "ratio"}, {"torch": "2"})
    for way, seconds in (("usual", (2.0, 4.0, 3.0)), ("norm", (1.0, 2.0, 9.0))):
        report.add(way=way, **timing_row(Timing(seconds), 6, Timing((3.0,))))
        content = json.loads(out.read_text())
    assert content["benchmark"] == "gpu"
    assert content["settings"] == {"batch": 4}
    assert content["machine"]["torch"] == "2" and content["machine"]["backend"] == "cpu"
    assert content["rows"] == [
        {
            "way": "usual",
            "images_per_second": 2.0,
            "ratio": 1.0,
            "median_ms": 3000.0,
            "quartiles_ms": [2500.0, 3500.0],
            "seconds": [2.0, 4.0, 3.0],
        },
        {
            "way": "norm",
            "images_per_second": 3.0,
            "ratio": 1.5,
            "median_ms": 2000.0,
            "quartiles_ms": [1500.0, 5500.0],
            "seconds": [1.0, 2.0, 9.0],
        },
    ]
    table = capsys.readouterr().out.splitlines()[3:]
    assert table == ["| way | ratio |", "| --- | --- |", "| usual | 1.00 |", "| norm | 1.50 |"]


@pytest.mark.parametrize(("way", "deferred"), [("norm", False), ("product", True)])
def test_products_are_deferred_in_their_way_alone(way, deferred):
    conv, x = Conv(8, 1, deferred=True), jnp.ones((1, 2, 2, 4))
    with traced(way):
        out, _ = conv.init_with_output(jnp.zeros(2, jnp.uint32), x)
    assert isinstance(out, Product) == deferred
    assert network("seresnet18", way).norm.fused


def test_plain_networks_lack_attention_alone():
    plain = network("seresnet18", "usual", attention=False)
    assert plain == create_model("seresnet18", attention=None, fused=False, dtype="bfloat16")
    with pytest.raises(ValueError, match="no attention to leave out"):
        network("resnet18", "usual", attention=False)


def test_programs_are_checked_before_the_first_is_compiled():
    made = parser("gpu_aot", "Says nothing.")
    programs.add_options(made)
    chosen = list(programs.chosen(made.parse_args(["--models", "seresnet18", "--ways", "usual"])))
    assert [p.row["network"] for p in chosen] == ["seresnet18", "seresnet18 without attention"]
    with pytest.raises(ValueError, match="Unknown model"):
        programs.chosen(made.parse_args(["--models", "seresnet18", "seresnet5O"]))
