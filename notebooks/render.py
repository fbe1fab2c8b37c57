"""Runs the notebooks and writes them with what came out as pages of the docs: `make notebooks`.

python -m notebooks.render                # all of them, on whatever jax runs on
python -m notebooks.render se_block
"""

import base64
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

CHECKOUT = Path(__file__).parents[1]
PAGES = CHECKOUT / "docs" / "notebooks"
SECONDS = 1200  # that a cell may take
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours of the terminal


def names() -> list[str]:
    """Of all notebooks, without ending."""
    return sorted(path.stem for path in (CHECKOUT / "notebooks").glob("*.ipynb"))


def read(name: str) -> NotebookNode:
    """A notebook as it is in the checkout, without output."""
    return nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)


def execute(name: str, directory: Path) -> NotebookNode:
    """A notebook with what came out. What it writes goes to the directory, which also gets a link
    to the project, as a Colab has a clone of it beside the notebook.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell raised.
    """
    (directory / "senet_jax").symlink_to(CHECKOUT)
    notebook = read(name)
    place = {"metadata": {"path": str(directory)}}
    client = NotebookClient(notebook, timeout=SECONDS, resources=place, coalesce_streams=True)
    client.execute()
    return notebook


def write_page(name: str, pages: Path = PAGES) -> None:
    """Executes a notebook and writes `<name>.md` and its pictures, `<name>-<cell>.png`."""
    with tempfile.TemporaryDirectory() as directory:
        notebook = execute(name, Path(directory))
        pages.mkdir(exist_ok=True)
        for old in pages.glob(f"{name}-*.png"):
            old.unlink()
        parts = sources(name, notebook)
        for i, cell in enumerate(notebook.cells):
            for output in cell.get("outputs", []):
                parts[i] += _output(output, pages / f"{name}-{i + 1}.png").replace(directory, ".")
    (pages / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def sources(name: str, notebook: NotebookNode) -> list[str]:
    """What a page has of each cell, but for outputs."""
    return [_source(cell, name) for cell in notebook.cells]


def _source(cell: NotebookNode, name: str) -> str:
    if cell.cell_type == "markdown":
        title, _, rest = cell.source.partition("\n")
        if not title.startswith("# "):
            return cell.source
        place = f"notebooks/{name}.ipynb"
        return f"{title}\n\n*[{place}](../../{place}), as it has run.*\n{rest}"
    code = f"```python\n{cell.source}\n```"
    if cell.metadata.get("cellView") == "form":  # Colab folds it in, too
        return f"<details><summary>Set-up</summary>\n\n{code}\n\n</details>"
    return code


def _output(output: NotebookNode, picture: Path) -> str:
    """One output as Markdown; a progress bar and warnings are for the person at the notebook."""
    if output.output_type == "stream":
        return _text(output.text) if output.name == "stdout" else ""
    data = output.data
    if "image/png" in data:
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return f"\n\n![{picture.stem}]({picture.name})"
    return _text(data["text/plain"])


def _text(text: str) -> str:
    lines = [line.rpartition("\r")[2].rstrip() for line in ESCAPES.sub("", text).splitlines()]
    return "\n\n```text\n" + "\n".join(lines).strip("\n") + "\n```"


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        write_page(each)
        print(PAGES / f"{each}.md")
