"""Every variant of a page with several seeds, as one table.

    python -m train.sweep --config=configs/ablation.py --workdir=runs/ablation --seeds=3 --jobs=2

Each run is an ordinary one in <workdir>/<variant>/<seed>; the same command goes on where it was
stopped. At the end <workdir> has table.md, table.csv and table.png.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from train.command import exit_code
from train.config import load_page, read_config
from train.errors import WrongInput, refusals
from train.sweep.jobs import Environment, Job, last_words, places_for, run_jobs
from train.sweep.picture import write_png
from train.sweep.table import as_csv, as_markdown, read_row, step_times

FAILED = 1
COMPILED = "compiled"  # programs, shared by runs that differ in their seed alone
TIMES = "times.json"


@dataclass(frozen=True)
class Sweep:
    """What the command line asks for.

    Attributes:
      file: of the page.
      page: its module: `VARIANTS`, the first of which the others are compared with; and, where the
        paper has them, `PAPER`, accuracies in per cent by variant, and `PAPER_DATA`, on what.
      overrides: "--config.field=value", for every run.
    """

    file: Path
    page: ModuleType
    workdir: Path
    overrides: tuple[str, ...]
    seeds: int

    def name(self, variant: str) -> str:
        """What a variant is called, the nameless one as its page."""
        return variant or self.file.stem

    def config_of(self, variant: str) -> str:
        """As --config takes it."""
        return f"{self.file}:{variant}".rstrip(":")

    def job(self, variant: str, seed: int) -> Job:
        workdir = self.workdir / self.name(variant) / str(seed)
        arguments = (
            f"--config={self.config_of(variant)}",
            *self.overrides,
            f"--config.seed={seed}",
            f"--workdir={workdir}",
        )
        return Job(f"{self.name(variant)}, seed {seed}", workdir, arguments)


def main(arguments: list[str]) -> int:
    """Runs a sweep; returns the exit code, 1 if a run or the timing has failed."""
    options, overrides = _parser().parse_known_args(arguments)
    environment = dict(os.environ)
    os.environ["JAX_PLATFORMS"] = "cpu"  # this process looks at shapes alone and takes no device

    def work() -> int:
        if options.seeds < 1 or options.jobs < 1:
            raise WrongInput("--seeds and --jobs are expected to be 1 or more.")
        file, workdir = Path(options.config), Path(options.workdir).absolute()
        sweep = Sweep(file, _page(file), workdir, tuple(overrides), options.seeds)
        places = places_for(options.jobs, environment)
        return 0 if run_sweep(sweep, places, environment, timed=options.time) else FAILED

    return exit_code(work)


def run_sweep(
    sweep: Sweep, places: Sequence[Environment], environment: Environment, *, timed: bool
) -> bool:
    """Runs what has not ended yet, then writes the table; returns whether nothing has failed."""
    jobs = checked_jobs(sweep)
    environment = environment | {"JAX_COMPILATION_CACHE_DIR": str(sweep.workdir / COMPILED)}
    # A seed of every variant before the next: stopped at any time, there is something to compare.
    by_seed = [job for of_one_seed in zip(*jobs.values(), strict=True) for job in of_one_seed]
    waiting = [job for job in by_seed if not _has_ended(job)]
    ended, well = len(by_seed) - len(waiting), True
    print(f"{len(by_seed)} runs of {len(jobs)} variants; {ended} have ended before.", flush=True)

    def done(job: Job, code: int, seconds: float) -> None:
        nonlocal ended, well
        ended += 1
        well = well and not code
        said = f"failed, exit code {code}: " if code else ""
        place = f"[{ended}/{len(by_seed)}] {job.name}"
        print(f"{place}: {said}{last_words(job)} ({seconds:.0f} s)", flush=True)

    run_jobs(waiting, places, environment, done)
    _write(sweep, jobs)
    pages = _untimed(sweep, jobs) if timed else []
    if pages and not _measure_steps(sweep, pages, environment):
        print("The steps could not be timed, so the table has no new times.", file=sys.stderr)
        return False
    if pages:
        _write(sweep, jobs)
    return well


def checked_jobs(sweep: Sweep) -> dict[str, list[Job]]:
    """The runs by variant.

    Raises:
      WrongInput: all that is wrong with any of them.
    """
    from train.check import check  # slow: JAX and all that
    from train.workdir import check_directory, check_workdir

    check_directory(sweep.workdir)
    jobs: dict[str, list[Job]] = {}
    problems: list[str] = []
    for variant in sweep.page.VARIANTS:
        try:
            config = read_config(sweep.config_of(variant), sweep.overrides)
            first = config.seed
            jobs[variant] = [sweep.job(variant, first + i) for i in range(sweep.seeds)]
            for i, job in enumerate(jobs[variant]):
                config.seed = first + i
                check(config)
                check_workdir(job.workdir, config)
            _check_network(config)
        except WrongInput as error:
            problems += [f"{sweep.name(variant)}: {problem}" for problem in error.problems]
    if problems:
        raise WrongInput(problems)
    return jobs


def _check_network(config: ConfigDict) -> None:
    """Raises `WrongInput` for gates that are penalised and not there, and for missing weights."""
    from senet_jax import create_model
    from senet_jax.models.spec import any_images
    from senet_jax.sources import find_source
    from train.penalty import check_penalty, make_penalty

    model = create_model(config.model.name, **config.model.options.to_dict())
    with refusals():
        check_penalty(make_penalty(config, steps_per_epoch=1), model, any_images().shape[1:])
        if config.model.init_from:
            find_source(config.model.init_from, config.model.name)


def _page(file: Path) -> ModuleType:
    page = load_page(file)
    if not getattr(page, "VARIANTS", ()):
        raise WrongInput(
            f"{file} names no variants: expected VARIANTS, a tuple of what its get_config takes."
        )
    return page


def _untimed(sweep: Sweep, jobs: Mapping[str, Sequence[Job]]) -> list[str]:
    """The variants that have trained, to be timed together; none if all have been."""
    trained = [v for v, runs in jobs.items() if any(_has_ended(job) for job in runs)]
    pages = [sweep.config_of(variant) for variant in trained]
    return [] if set(pages) <= set(step_times(sweep.workdir / TIMES)) else pages


def _measure_steps(sweep: Sweep, pages: Sequence[str], environment: Environment) -> bool:
    """In a process of its own, which may take the device; returns whether that went well."""
    command = [sys.executable, "-m", "train.sweep.timing", str(sweep.workdir / TIMES), *pages]
    return not subprocess.run([*command, *sweep.overrides], env=environment).returncode


def _has_ended(job: Job) -> bool:
    return (job.workdir / "result.json").exists()


def _write(sweep: Sweep, jobs: Mapping[str, Sequence[Job]]) -> None:
    published = getattr(sweep.page, "PAPER", {})
    paper = getattr(sweep.page, "PAPER_DATA", None)
    seconds = step_times(sweep.workdir / TIMES)
    rows = [
        read_row(
            sweep.name(variant),
            [job.workdir for job in runs],
            seconds.get(sweep.config_of(variant)),
            published.get(variant),
        )
        for variant, runs in jobs.items()
    ]
    if not any(row.accuracies for row in rows):
        return
    data = read_config(sweep.config_of(sweep.page.VARIANTS[0]), sweep.overrides).data.name
    table = as_markdown(rows, data, paper)
    (sweep.workdir / "table.md").write_text(table)
    (sweep.workdir / "table.csv").write_text(as_csv(rows))
    print(f"\n{table}")
    try:
        write_png(sweep.workdir / "table.png", rows, data, paper)
    except ImportError:
        print("No picture: matplotlib is not installed.")
    print(f"{sweep.workdir}: table.md, table.csv, table.png", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.sweep",
        description="Trains every variant of a page with several seeds, and compares them. The same"
        " command goes on with a sweep that was interrupted.",
        epilog="--config.<field>=<value> changes a field for every run.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="e.g. configs/ablation.py")
    parser.add_argument("--workdir", required=True, help="where the runs live, and the table")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--time", action="store_true", help="measure training steps as well")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
