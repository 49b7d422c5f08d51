"""``tomochrome train``: train a shipped model again, or one of your own."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="a shipped configuration, such as 'tissue', 'scim' or 'symnet', or a JSON file",
    )
    data = "folder with real CT; without it only what can be made is learned from"
    options.add_values(
        parser,
        ("--data", "DIR", options.some_path, data),
        ("--out", "DIR", options.some_path, "folder of the run (default: runs/NAME)"),
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", metavar="N", type=_minutes, help="instead of the configuration's"
    )
    budget.add_argument(
        "--steps", metavar="N", type=_steps, help="train for so many steps, whatever their time"
    )
    parser.add_argument(
        "--optimizer",
        choices=("adamw", "adam", "rmsprop", "sgd"),
        help="instead of the configuration's",
    )
    options.add_device(parser)


def _minutes(text: str) -> float:
    """Parse a time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):  # also refuses nan
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, not '{text}'")
    return value


def _steps(text: str) -> int:
    """Parse a number of steps."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of steps above 0, not '{text}'")
    return int(text)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Train, measure, and write bundles that ``--model`` takes."""
    from tomochrome.runtime.device import choose_device
    from tomochrome.training import finish, load_config, train
    from tomochrome.training.export import read_license
    from tomochrome.training.folder import make_folder, open_run
    from tomochrome.training.parallel import rank
    from tomochrome.training.task import find_task

    started = time.perf_counter()
    config = load_config(args.config)
    if args.optimizer is not None:
        config = config.model_copy(update={"optimizer": args.optimizer})
    if args.data is not None and not args.data.is_dir():
        raise InputError(f"there is no data folder '{args.data}'")
    choose_device(args.device)
    read_license()  # without it no bundle can be written: said before hours of work
    out, _ = open_run(args.out or Path("runs") / config.name, resume=args.resume)
    weights = make_folder(out / "weights")
    checkpoint = train(
        config, args.data, out, resume=args.resume, minutes=args.minutes, steps=args.steps,
        device=args.device,
    )  # fmt: skip
    if rank():  # of those that torchrun started, rank 0 measures and writes
        return Outcome({}, "", silent=True)
    bundles = [str(path) for path in finish(out, weights, config=config, data=args.data)]
    seconds = round(time.perf_counter() - started, 1)
    command = find_task(config.task).command
    lines = [*bundles, f"trained in {seconds:.0f} s; try them with {command} --model"]
    data = {
        "config": config.name,
        "checkpoint": str(checkpoint),
        "bundles": bundles,
        "seconds": seconds,
        "warnings": session.warnings,
    }
    return Outcome(data, "\n".join(lines))
