"""With what a run was made: versions of the libraries, and the commit of this checkout."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("senet_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
CHECKOUT = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """{"python": "3.11.7", "jax": ..., "commit": ...}; what cannot be found out is left out.

    A commit with changes that were not committed ends in "+".
    """
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # used from a checkout that was not installed
            continue
    if commit := _git("rev-parse", "HEAD"):
        found["commit"] = commit + ("+" if _git("status", "--porcelain") else "")
    return found


def _git(*arguments: str) -> str:
    """What git says; "" where there is no git or no repository."""
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
