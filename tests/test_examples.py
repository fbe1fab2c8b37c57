"""What a reader copies runs: the README's code and the docstrings' examples."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import senet_jax

README = Path(__file__).parents[1] / "README.md"


def modules_with_examples():
    for module in pkgutil.walk_packages(senet_jax.__path__, "senet_jax."):
        path = Path(module.module_finder.path) / f"{module.name.rpartition('.')[2]}.py"
        if path.exists() and ">>>" in path.read_text():
            yield module.name


def test_the_readmes_code_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_docstring_examples_print_what_they_say(name):
    results = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert results.attempted > 0
    assert results.failed == 0
