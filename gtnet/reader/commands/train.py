"""gtnet train."""

from __future__ import annotations

import argparse
import shlex

from gtnet.reader import runs
from gtnet.reader.commands.common import program, set_threads
from gtnet.reader.team import joined, restarts

_SETTINGS = (
    "data",
    "root",
    "grammar",
    "front_end",
    "valid",
    "corrected",
    "more_digits",
    "alphabet",
    "lexicon",
    "start",
    "test_fold",
    "size",
    "isolated_epochs",
    "epochs",
    "loss",
    "pretrain",
    "unlabelled",
    "teacher",
    "sure",
    "micro_batches",
    "workers",
    "parts",
    "clip",
    "precision",
    "compile",
    "seed",
)
"""The options a run is started with; --resume reads them from the folder of the run."""


def run(options: argparse.Namespace) -> int:
    """Train a reader; returns the exit code."""
    set_threads(options)
    with joined() as team:
        # The first process decides: only it needs to see the folder.
        asked = team.together(lambda: _run_of(options) if team.leads else None)
        asked = team.of_lead(asked)
        assert asked is not None
        run, resume = asked
        if options.check:
            print(run.check())
            return 0
        try:
            comparison = run.train(resume=resume, overwrite=options.overwrite)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_continue(run)) from None
    if comparison is None:
        return 0
    print(comparison.table())
    print(f"\nthe reader and its report are in {run.out}: open {run.out / runs.REPORT}")
    samples = run.out / runs.SAMPLES
    images = f"{shlex.quote(str(samples))}/*.png" if samples.is_dir() else "IMAGE"
    print(f"next: {program()} read {images} --model {shlex.quote(str(run.out))}")
    return 0


def _run_of(options: argparse.Namespace) -> tuple[runs.Run, bool]:
    """The run that is asked for, and whether it goes on from where it was."""
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings = {name: value for name, value in settings.items() if value is not None}
    for name in ("more_digits", "unlabelled"):
        if name in settings:
            settings[name] = tuple(settings[name])
    if options.resume:
        if settings or options.demo or options.overwrite:
            raise ValueError(
                "--resume keeps the settings of the interrupted run: give nothing but --out"
            )
        return runs.Run.load(options.out or "runs/demo"), True
    run = runs.Run.start(options.out, demo=options.demo, **settings)
    if restarts() and (run.out / runs.DATA).is_file():
        return runs.Run.load(run.out), True  # the processes before these began it
    return run, False


def _how_to_continue(run: runs.Run) -> str:
    if not (run.out / runs.DATA).is_file():
        return "nothing was learnt yet: give the same command again"
    return f"continue with {program()} train --resume --out {shlex.quote(str(run.out))}"
