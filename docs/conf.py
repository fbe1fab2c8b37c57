"""The documentation as a site: `make docs`.

The pages are plain Markdown, to be read in the repository as well: what differs between the two is
settled here and in docstrings.py.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import as_restructured_text

from senet_jax import __version__

project = "senet_jax"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"senet_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

smartquotes = False  # options begin with two hyphens
myst_heading_anchors = 3  # links to sections, as the repository's own pages have them
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

CONFIG = re.compile(r"\]\((?:\.\./)+configs/(\w+)\.py\)")
MODULE = re.compile(r"\(\s*# attributes")  # what Flax shows of a module that is a default
SIGNATURES = [
    (r"(, |(?<=\())parent: .*, name: .*?(?=[,)])", ""),  # fields of every Flax module
    (r"<(?:function|class) '?([\w.]+)'?(?: at \w+)?>", r"\1"),
    (r"str \| type\[[^]]*\] \| \S*dtype \| \S*SupportsDType", "DTypeLike"),
]


def lead_to_configs(app, docname, source):
    """Links to ../configs/digits.py, code in the repository, lead to where the site shows it."""
    up = "../" * docname.count("/")
    source[0] = CONFIG.sub(rf"]({up}reference/configs.md#\1-py)", source[0])


def mend_docstring(app, what, name, obj, options, lines):
    lines[:] = as_restructured_text(lines)


def mend_signature(app, what, name, obj, options, signature, returns):
    if not signature:
        return None
    while found := MODULE.search(signature):
        end = found.start() + 1
        while signature[found.start() : end].count("(") > signature[found.start() : end].count(")"):
            end += 1
        signature = f"{signature[: found.start()]}(...){signature[end:]}"
    for pattern, shown in SIGNATURES:
        signature = re.sub(pattern, shown, signature)
    return signature, returns


def leave_out_defaults(app, what, name, obj, skip, options):
    """Not the defaults of fields, which are functions and types of JAX, nor fields of tuples."""
    package = str(getattr(obj, "__module__", None)).split(".")[0]
    return True if package in ("jax", "flax") or type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    app.connect("source-read", lead_to_configs)
    app.connect("autodoc-process-docstring", mend_docstring, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-signature", mend_signature)
    app.connect("autodoc-skip-member", leave_out_defaults)
