"""``tomochrome train``: train a shipped model again, or one of your own."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session
from tomochrome.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="a shipped configuration ('tissue' colorizes, 'symnet' registers), or a JSON file",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=options.some_path,
        help="folder with real CT; without it only what can be made is learned from",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=options.some_path,
        help="folder of the run (default: runs/NAME)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run stopped")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", metavar="N", type=_minutes, help="instead of the configuration's"
    )
    budget.add_argument(
        "--steps", metavar="N", type=_steps, help="train for so many steps, whatever their time"
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
    from tomochrome.training.config import read_json

    started = time.perf_counter()
    settings = read_json(args.config)
    if args.data is not None and not args.data.is_dir():
        raise InputError(f"there is no data folder '{args.data}'")
    choose_device(args.device)
    registers = _registers(settings)
    work = _registration if registers else _colorization
    name, checkpoint, bundles = work(args, session)
    seconds = round(time.perf_counter() - started, 1)
    data = {"config": name, "checkpoint": str(checkpoint), "bundles": bundles}
    command = "register" if registers else "colorize"
    lines = [*bundles, f"trained in {seconds:.0f} s; try them with {command} --model"]
    return Outcome({**data, "seconds": seconds, "warnings": session.warnings}, "\n".join(lines))


def _registers(settings: Mapping[str, Any]) -> bool:
    """Whether a configuration is of a network that registers."""
    network = settings.get("network")
    return isinstance(network, Mapping) and network.get("name") == "SymNet"


def _colorization(args: argparse.Namespace, session: Session) -> tuple[str, Path, list[str]]:
    from tomochrome.training import finish, load_config, train

    config = load_config(args.config)
    out, weights = _folders(args, config.name)
    checkpoint = train(config, args.data, out, **_options(args, session))
    bundles = finish(
        out,
        weights,
        config=config,
        data=args.data,
        progress=session.progress,
        cancel=session.cancel,
    )
    return config.name, checkpoint, [str(path) for path in bundles]


def _registration(args: argparse.Namespace, session: Session) -> tuple[str, Path, list[str]]:
    from tomochrome.training import finish_symnet, load_symnet_config, train_symnet

    config = load_symnet_config(args.config)
    out, weights = _folders(args, config.name)
    checkpoint = train_symnet(config, args.data, out, **_options(args, session))
    bundle = finish_symnet(
        out,
        weights,
        config=config,
        data=args.data,
        progress=session.progress,
        cancel=session.cancel,
    )
    return config.name, checkpoint, [str(bundle)]


def _folders(args: argparse.Namespace, name: str) -> tuple[Path, Path]:
    """Return the folder of the run and that of its bundles, made now, before hours of work."""
    from tomochrome.training.folder import make_folder, open_run
    from tomochrome.training.tissue_finish import read_license

    read_license()  # without it no bundle can be written
    out, _ = open_run(args.out or Path("runs") / name, resume=args.resume)
    return out, make_folder(out / "weights")


def _options(args: argparse.Namespace, session: Session) -> dict[str, Any]:
    """The options that both trainings take."""
    return {
        "resume": args.resume,
        "minutes": args.minutes,
        "steps": args.steps,
        "device": args.device,
        "progress": session.progress,
        "cancel": session.cancel,
    }
