"""Seconds until a network runs, each in a fresh interpreter: python -m benchmarks.start.

Imports, making the network, compiling inference and a training step, and their first run; beside
timm's imports, network and first runs where timm is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys

from benchmarks.report import Report, count, parser
from senet_jax.bench import Timing

OURS = """
import json, sys, time
marks = [("", time.perf_counter())]
mark = lambda name: marks.append((name, time.perf_counter()))
name, batch, size = sys.argv[1], *map(int, sys.argv[2:4])
import jax, flax.linen
mark("import jax, flax")
from senet_jax import bench, create_model
mark("import senet_jax")
model = create_model(name)
images, labels = bench.example_batch(model, batch, size)
variables = jax.block_until_ready(bench.new_variables(model, images))
mark("make the network")
compiled = bench.compiled_inference(model, variables, images)
mark("compile inference")
bench.inference(compiled, variables, images)(1)
mark("first inference")
state = bench.new_state(variables)
compiled = bench.compiled_training(model, state, images, labels)
mark("compile a training step")
bench.training(compiled, state, images, labels)(1)
mark("first training step")
print(json.dumps({b[0]: b[1] - a[1] for a, b in zip(marks, marks[1:])}))
"""
TIMMS = """
import json, sys, time
marks = [("", time.perf_counter())]
mark = lambda name: marks.append((name, time.perf_counter()))
name, batch, size = sys.argv[1], *map(int, sys.argv[2:4])
from tests.parity import torchvision_stand_in
torchvision_stand_in.install()
import torch, timm
mark("import torch, timm")
model = timm.create_model(name).to(memory_format=torch.channels_last)
images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
mark("make the network")
with torch.inference_mode():
    model.eval()(images)
mark("first inference")
model.train()(images).logsumexp(1).sum().backward()
mark("first training step")
print(json.dumps({b[0]: b[1] - a[1] for a, b in zip(marks, marks[1:])}))
"""
COLUMNS = {"by": "by", "what": "what", "median": "seconds", "quartiles": "quartiles"}


def main() -> None:
    made = parser("start", "Measures what passes before a network runs.")
    made.add_argument("--model", default="seresnet50", metavar="NAME")
    made.add_argument("--batch", type=count, default=8, help="images")
    made.add_argument("--size", type=count, default=224, help="pixels")
    made.add_argument("--repeats", type=count, default=3)
    options = made.parse_args()
    programs = {"ours": OURS}
    if importlib.util.find_spec("timm"):
        programs["timm"] = TIMMS
    report = Report("start", options, COLUMNS)
    arguments = [options.model, str(options.batch), str(options.size)]
    found: dict[str, list[dict[str, float]]] = {by: [] for by in programs}
    for _ in range(options.repeats):
        for by, program in programs.items():
            found[by].append(_run(program, arguments))
    for by, runs in found.items():
        for what in runs[0]:
            timing = Timing(tuple(run[what] for run in runs))
            report.add(
                by=by,
                what=what,
                median=timing.median,
                quartiles=timing.quartiles,
                seconds=timing.seconds,
            )


def _run(program: str, arguments: list[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    if done.returncode:
        raise RuntimeError(f"The measured program failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
