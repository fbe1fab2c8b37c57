"""The code in the guides is run."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["guide-flax", "attentions", "pruning"])
def test_the_code_of_a_guide_runs(guide):
    pytest.importorskip("senet_jax.nnx", reason="needs flax 0.10.2", exc_type=ImportError)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{guide}.md").read_text(), re.M | re.S)
    assert blocks
    names: dict = {"__name__": guide}
    for block in blocks:
        exec(compile(block, f"{guide}.md", "exec"), names)
