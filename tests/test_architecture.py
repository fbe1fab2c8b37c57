"""Who may import whom, read off the sources and off a fresh interpreter."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED_WITH_THE_LIBRARY = {"jax", "flax", "numpy", "senet_jax"}
OPTIONAL = (
    {"optax", "orbax", "tensorstore", "absl", "ml_collections", "tqdm", "tensorboardX"}
    | {"grain", "tensorflow_datasets", "tensorflow", "sklearn", "PIL", "matplotlib"}
    | {"safetensors", "huggingface_hub", "torch", "timm"}
    | {"train", "configs"}
)

# Arrows go one way, from the first floor up. What is not named stands on the floor TOOLS: loading,
# attention and the like, which may use each other.
FLOORS = {"functional": 0, "product": 1, "epilogue": 2, "fused": 3, "layers": 4, "models": 5}
TOOLS = 6
FLOORS |= {"plotting": 7, "attention_report": 8, "cli": 9, "__main__": 10}


def sources(folder: str) -> list[Path]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths, f"{folder} holds no Python file: nothing would be tested"
    return paths


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imported(node: ast.AST) -> list[str]:
    """What an import statement names; `from senet_jax import fused` names senet_jax.fused."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        members = [f"{node.module}.{alias.name}" for alias in node.names]
        return [member if is_module(member) else node.module for member in members]
    return []


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at any depth."""
    return {name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)}


def imports_when_loaded(path: Path) -> set[str]:
    """The modules that are imported with the file: not in a function, not for the type checker."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield from imported(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return set(visit(ast.parse(path.read_text())))


def floor(module: str) -> int:
    return FLOORS.get(module.split(".")[1], TOOLS)


def test_arrows_in_the_library_go_one_way():
    wrong = []
    for path in sources("senet_jax"):
        importer = module_name(path)
        if importer == "senet_jax":
            continue
        for name in imports(path):
            if name == "senet_jax":
                wrong.append(f"{importer} imports from senet_jax itself: name the module")
            elif name.startswith("senet_jax.") and floor(name) > floor(importer):
                wrong.append(f"{importer} imports {name}, which is built on it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        ("senet_jax", {"train", "configs", "benchmarks", "tests"}),
        ("train", {"benchmarks", "tests"}),
    ],
)
def test_nobody_imports_the_rooms_built_on_it(folder, strangers):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if name.split(".")[0] in strangers
    ]
    assert not wrong, "\n".join(wrong)


def test_the_library_loads_jax_flax_and_numpy_alone():
    allowed = LOADED_WITH_THE_LIBRARY | sys.stdlib_module_names
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}: import it in the function that needs it"
        for path in sources("senet_jax")
        for name in imports_when_loaded(path)
        if name.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_extras_that_error_messages_recommend_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for path in [*sources("senet_jax"), *sources("train")]:
        for names in re.findall(r"senet_jax\[([\w,]+)\]", path.read_text()):
            assert set(names.split(",")) <= set(extras), f"{path} recommends senet_jax[{names}]"


def test_configs_are_pages_not_programs():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("configs")
        for name in imports(path)
        if name.split(".")[0] not in ("ml_collections", "configs")
    ]
    assert not wrong, "\n".join(wrong)


def test_model_files_fit_one_sitting_and_never_name_the_deferred_map():
    for path in sources("senet_jax/models"):
        text = path.read_text()
        assert len(text.splitlines()) <= 400, f"{path}: what is its second subject?"
        assert "AffineMap" not in text, f"{path}: blocks use the verbs of senet_jax.fused alone"


def test_a_fresh_interpreter_loads_nothing_optional_with_the_library():
    """Flax may load what it likes (as of 0.12 none of these but absl); we add nothing to it."""
    program = """
import sys, time
import jax, flax.linen, numpy
before, start = set(sys.modules), time.perf_counter()
import senet_jax
seconds = time.perf_counter() - start
print(f"import senet_jax takes {seconds:.2f} s after jax and flax", file=sys.stderr)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    print(run.stderr)
    assert not OPTIONAL & set(run.stdout.split())
