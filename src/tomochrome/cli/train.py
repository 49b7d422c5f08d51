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
        "config", metavar="CONFIG", help="a shipped configuration, such as 'tissue', or a JSON file"
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=options.some_path,
        help="folder with labelled CT; without it only phantom patients are learned from",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=options.some_path,
        help="folder of the run (default: runs/NAME)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    parser.add_argument("--minutes", metavar="N", type=float, help="instead of the configuration's")
    options.add_device(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Train, calibrate, and write bundles that ``colorize --model`` takes."""
    from tomochrome.runtime.device import choose_device
    from tomochrome.training import finish, load_config, train

    started = time.perf_counter()
    config = load_config(args.config)
    if args.data is not None and not args.data.is_dir():
        raise InputError(f"there is no data folder '{args.data}'")
    out = args.out or Path("runs") / config.name
    choose_device(args.device)
    checkpoint = train(
        config,
        args.data,
        out,
        resume=args.resume,
        minutes=args.minutes,
        device=args.device,
        progress=session.progress,
        cancel=session.cancel,
    )
    bundles = [str(path) for path in finish(out, out / "weights", config=config, data=args.data)]
    seconds = round(time.perf_counter() - started, 1)
    data = {"config": config.name, "checkpoint": str(checkpoint), "bundles": bundles}
    lines = [*bundles, f"trained in {seconds:.0f} s; try them with colorize --model"]
    return Outcome({**data, "seconds": seconds, "warnings": session.warnings}, "\n".join(lines))
