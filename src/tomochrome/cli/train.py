"""``tomochrome train``: train a model from a shipped or custom configuration."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path

from tomochrome import training
from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import InputError, TomochromeError
from tomochrome.runtime.device import choose_device
from tomochrome.training.folder import make_folder, open_run
from tomochrome.training.task_interface import find_task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="a shipped configuration, such as 'tissue', 'scim' or 'symnet', or a JSON file",
    )
    data = "folder with real CT (default: train on synthetic data only)"
    options.add_values(
        parser,
        ("--data", "DIR", options.some_path, data),
        ("--out", "DIR", options.some_path, "folder of the run (default: runs/NAME)"),
    )
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes",
        metavar="N",
        type=options.minutes,
        help="training time in minutes (default: from the configuration)",
    )
    budget.add_argument(
        "--steps", metavar="N", type=options.count, help="number of steps instead of a time"
    )
    parser.add_argument(
        "--optimizer",
        choices=("adamw", "adam", "adamax", "rmsprop", "sgd", "sgd-auto"),
        help="optimizer (default: from the configuration)",
    )
    options.add_device(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Train and evaluate a model, and write bundles for ``--model``."""
    # these import torch
    from tomochrome.training.export import read_license
    from tomochrome.training.parallel import rank

    started = time.perf_counter()
    config = training.load_config(args.config)
    if args.optimizer is not None:
        config = config.model_copy(update={"optimizer": args.optimizer})
    if args.data is not None and not args.data.is_dir():
        raise InputError(f"there is no data folder '{args.data}'")
    choose_device(args.device)
    read_license()  # needed to write the bundle: fail now, not after hours of training
    out = args.out or Path("runs") / config.name
    new = [folder for folder in (out / "weights", out) if not folder.exists()]
    out, _ = open_run(out, resume=args.resume)
    weights = make_folder(out / "weights")
    try:
        checkpoint = training.train(
            config, args.data, out, resume=args.resume, minutes=args.minutes, steps=args.steps,
            device=args.device,
        )  # fmt: skip
    except TomochromeError:
        with suppress(OSError):  # unless something is in them
            for folder in new:
                folder.rmdir()
        raise
    if rank():  # under torchrun, only rank 0 evaluates and writes
        return Outcome({}, "", silent=True)
    bundles = [str(path) for path in training.finish(out, weights, config=config, data=args.data)]
    seconds = round(time.perf_counter() - started, 1)
    command = find_task(config.task).command
    lines = [*bundles, f"trained in {seconds:.0f} s; use them with {command}"]
    data = {
        "config": config.name,
        "checkpoint": str(checkpoint),
        "bundles": bundles,
        "seconds": seconds,
        "warnings": session.warnings,
    }
    return Outcome(data, "\n".join(lines))
