"""How tests compile, which is most of what they do."""

import os
import subprocess
import sys

QUICK = "--xla_backend_optimization_level=0"  # half the time
# and half of that: loops written in the older way, and a program in one piece
QUICKEST = f"{QUICK} --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def quickest_flags() -> str:
    """For XLA_FLAGS: the quickest that this version of XLA knows."""
    return QUICKEST if _are_known(QUICKEST) else QUICK


def _are_known(flags: str) -> bool:
    """XLA ends a process that gives it a flag which its version does not have."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return not done.returncode
