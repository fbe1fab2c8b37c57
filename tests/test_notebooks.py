"""The notebooks: as they are committed, and run as on a fresh machine."""

import ast
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from notebooks import setting_up

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def cells_of(name: str, kind: str = "code") -> list[dict]:
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_notebooks():
    assert NAMES == ["se_block", "train_your_images", "what_the_channels_learnt"]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_committed_without_outputs(name):
    for cell in cells_of(name):
        assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("name", NAMES)
def test_all_begin_with_the_same_set_up_and_all_cells_are_python(name):
    first, *others = map(source, cells_of(name))
    assert (
        first.rpartition("\n\nset_up(")[0]
        == source(cells_of(NAMES[0])[0]).rpartition("\n\nset_up(")[0]
    )
    for text in (first, *others):
        ast.parse(text)  # no magics: they do not raise when they fail


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_notebook_has_its_text(name):
    """Outputs may be older: `make notebooks` writes them anew."""
    page = (ROOT / "docs" / "notebooks" / f"{name}.md").read_text()
    for cell in cells_of(name):
        assert f"```python\n{source(cell)}\n```" in page, "run `make notebooks` for the docs"
    for cell in cells_of(name, "markdown"):
        assert source(cell).partition("\n")[2] in page, "run `make notebooks` for the docs"


def test_the_set_up_holds_jax_and_adds_only_what_is_missing(monkeypatch):
    commands, held = [], []

    def record(command, check):
        assert check
        commands.append(command)
        held.append(Path(command[command.index("--constraint") + 1]).read_text().split())

    monkeypatch.setattr(subprocess, "run", record)
    setting_up.set_up(others=["numpy>=1.0", "jax>=0.4", "nowhere-to-be-found>=2"])
    (command,), (versions,) = commands, held
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-1] == "nowhere-to-be-found>=2" and "jax>=0.4" not in command
    assert {f"{name}=={metadata.version(name)}" for name in ("jax", "jaxlib")} <= set(versions)
    assert "numpy" not in " ".join(versions)


def test_where_nothing_is_missing_pip_is_not_called(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", None)
    setting_up.set_up()
    said = capsys.readouterr().out
    assert f"jax {metadata.version('jax')}" in said
    assert "ONLY A CPU" in said


def test_an_older_version_than_needed_counts_as_missing():
    assert setting_up.missing_of(["jax>=0.4", "jax>=99"]) == ["jax>=99"]


@pytest.mark.parametrize("extras", [(), ("plot",), ("train", "plot")])
def test_requirements_are_those_of_the_project(extras):
    wanted = setting_up.requirements(extras)
    assert any(each.startswith("flax") for each in wanted)
    assert any(each.startswith("orbax") for each in wanted) == ("train" in extras)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_a_cpu(name, tmp_path, monkeypatch):
    pytest.importorskip("nbclient", reason="needs the extra docs")
    from notebooks.render import execute

    monkeypatch.setenv("XLA_FLAGS", "")  # programs are to be quick, not their compilation
    notebook = execute(name, tmp_path)  # raises where a cell does
    first, *others = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert "ONLY A CPU" in first.outputs[0].text
    outputs = [output for cell in others for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_the_stop_button_saves_and_the_same_cell_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("nbclient", reason="needs the extra docs")
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("XLA_FLAGS", "")
    (tmp_path / "senet_jax").symlink_to(ROOT)
    manager, client = start_new_kernel(cwd=str(tmp_path))
    said: list[str] = []

    def run(code, stop_at=None):
        def listen(message):
            said.append(message["content"].get("text", ""))
            if stop_at and stop_at in said[-1]:
                manager.interrupt_kernel()  # what the button does

        reply = client.execute_interactive(code, output_hook=listen, timeout=600)
        assert reply["content"]["status"] == "ok"

    try:
        cells = list(map(source, cells_of("train_your_images")))
        training = next(i for i, cell in enumerate(cells) if "loop import run" in cell)
        for cell in cells[:training]:
            run(cell)
        run(cells[training], stop_at="epoch 5,")
        assert "Run this cell again to go on." in "".join(said)
        assert "test accuracy" not in "".join(said)
        run(cells[training])
        assert "Going on from step" in "".join(said) and "test accuracy" in "".join(said)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
