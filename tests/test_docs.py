"""What the site makes of docstrings; that it builds without a warning is for `make docs` to say."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import senet_jax

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
from docstrings import as_restructured_text  # noqa: E402

sys.path.remove(str(DOCS))


def mended(text: str) -> str:
    return "\n".join(as_restructured_text(text.strip("\n").split("\n")))


def test_single_backticks_are_code_over_lines_and_before_an_s():
    assert mended("`[N, C]` of `SEBlock`s") == "``[N, C]`` of ``SEBlock``\\ s"
    assert mended("with `a\n  b`.") == "with ``a b``."


def test_signs_that_mean_nothing_in_our_text_are_text():
    assert mended("|scale| of a*x, 4_ and *.py") == "\\|scale\\| of a\\*x, 4\\_ and \\*.py"


def test_a_single_letter_is_no_list():
    assert mended("Args:\n  channels: C.") == "Args:\n  channels: C\\."


def test_attributes_are_arguments():
    assert mended("Attributes:\n  a, b: both.") == "Args:\n  a, b: both."


def test_names_of_rest_arguments_are_left_to_napoleon():
    assert mended("Args:\n  **options: of `f`") == "Args:\n  **options: of ``f``"


def test_examples_and_indented_blocks_stay_as_they_are():
    example = "Example:\n  >>> f(`x` * 2)\n  {'a': '`'}"
    assert mended(example) == example
    assert mended("As in:\n\n    load('a_')  # `b`\n\nand so on") == (
        "As in:\n\n.. code-block:: none\n\n    load('a_')  # `b`\n\nand so on"
    )


def test_lists_get_empty_lines_around_them():
    text = "source: one of\n  - a file;\n    or two\n  - a tag.\nname: its"
    assert mended(text) == ("source: one of\n\n  - a file;\n    or two\n  - a tag.\n\nname: its")


def test_the_reference_has_all_that_the_library_offers():
    pytest.importorskip("senet_jax.nnx", reason="needs flax 0.10.2", exc_type=ImportError)
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    there = set(re.findall(r"auto(?:function|class):: senet_jax\.(?:\w+\.)?(\w+)", pages))
    for module in re.findall(r"automodule:: (\S+)", pages):
        contents = importlib.import_module(module)
        there |= set(getattr(contents, "__all__", vars(contents)))
    assert set(senet_jax.__all__) <= there
