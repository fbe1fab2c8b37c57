"""The code in the guides is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = ("guide-flax", "attentions", "pruning", "moving-to", "converting")


@pytest.mark.slow
@pytest.mark.parametrize(
    "guide", ["guide-flax", "attentions", "pruning", "moving-to", "converting"]
)
def test_the_code_of_a_guide_runs(guide, tmp_path, monkeypatch):
    pytest.importorskip("senet_jax.nnx", reason="needs flax 0.10.2", exc_type=ImportError)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{guide}.md").read_text(), re.M | re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": guide}
    for block in blocks:
        exec(compile(block, f"{guide}.md", "exec"), names)


@pytest.mark.slow
def test_the_commands_and_the_code_of_the_15_minutes_run(tmp_path, monkeypatch):
    for name in ("senet_jax", "train", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "guide-15-minutes.md").read_text()
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.M | re.S)
    assert [kind for kind, _ in blocks].count("sh") >= 3
    names: dict = {}
    for kind, block in blocks:
        if kind == "python":
            names["__name__"] = "guide"
            exec(compile(block, "guide-15-minutes.md", "exec"), names)
            continue
        names.clear()  # who leaves Python loses them
        if "pip install" not in block:  # no network in tests
            script = 'set -e\npython() { "$PYTHON" "$@"; }\n' + block
            environment = os.environ | {"PYTHON": sys.executable, "XLA_FLAGS": ""}  # as it is usual
            subprocess.run(["bash", "-c", script], env=environment, check=True)
