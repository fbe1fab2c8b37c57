"""What the first cell of every notebook does: it adds what is missing, and says what it runs on."""

import importlib
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
JAX = ("jax", "jaxlib", "libtpu")


def set_up(*extras: str, others: Sequence[str] = ()) -> None:
    """Adds what is missing to import the library and the trainer; prints versions and device.

    The jax that is here stays, in its version and with its plugins: a Colab or a cluster has the
    build for its accelerator.

    Args:
      extras: of the library, as pyproject.toml names them.
      others: further requirements, "scikit-learn>=1.3".

    Raises:
      subprocess.CalledProcessError: pip cannot add what is missing to this jax; it says why.
    """
    if missing := missing_of([*requirements(extras), *others]):
        install(missing)
    show_figures()
    tell()


def requirements(extras: Iterable[str]) -> list[str]:
    """Those of the library and of its extras, as pyproject.toml has them."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + [
        each for extra in extras for each in project["optional-dependencies"][extra]
    ]


def missing_of(wanted: Iterable[str]) -> list[str]:
    """The requirements that what is installed does not meet."""
    return [each for each in wanted if not _is_met(Requirement(each))]


def _is_met(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def install(missing: Sequence[str]) -> None:
    """Lets pip add them, with jax and its plugins held at the versions that are here."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as held:
        held.write("\n".join(accelerator_versions()))
        held.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", held.name]
        print("Adding", *missing)
        subprocess.run([*command, *missing], check=True)
    importlib.invalidate_caches()


def accelerator_versions() -> list[str]:
    """jax==0.7.2 and so on: all that pip must not replace."""
    found = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}
    return sorted(
        f"{name}=={version}"
        for name, version in found.items()
        if name in JAX or name.startswith("jax-")  # its plugins: jax-cuda12-pjrt, ...
    )


def show_figures() -> None:
    """Shows a figure with which a cell ends as a picture, for which IPython waits for pyplot."""
    ipython = sys.modules.get("IPython")
    if ipython and (shell := ipython.get_ipython()):
        shell.run_line_magic("matplotlib", "inline")


def tell() -> None:
    """Prints versions and devices, and in capitals if there is only a CPU."""
    import flax
    import jax

    import senet_jax

    print(
        f"Python {platform.python_version()}, jax {jax.__version__}, flax {flax.__version__},"
        f" senet_jax {senet_jax.__version__}"
    )
    devices = jax.devices()
    print(f"{len(devices)} x {devices[0].device_kind}")
    if devices[0].platform == "cpu":
        print(
            "\n*** ONLY A CPU ***  The example takes minutes, images of your own take hours."
            "\nOn Colab: Runtime > Change runtime type > a GPU or TPU, and run this cell again."
        )
