"""``tomochrome evaluate color``: the errors of models on a CT with known tissues or colors."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, check_report, read_chosen, read_reference
from tomochrome.cli.session import Outcome, Session
from tomochrome.color import Lighting
from tomochrome.color.palettes import palette
from tomochrome.colorization.side_by_side import models_to_compare
from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.evaluate.color_page import ColorPage
from tomochrome.evaluate.model_evaluation import Coloring, Truth, TruthFiles
from tomochrome.formats import PAGE, check_package
from tomochrome.runtime import write_whole


def add_parser(kinds: Any) -> None:
    """Add the subcommand and its arguments."""
    color = kinds.add_parser(
        "color",
        help="color error of models on a CT with known tissues or a photograph",
        description="Color a CT with known tissues using each model, and measure the mean error "
        "in (a*, b*) over voxels and over tissues (also that of the grey image), CIEDE2000, "
        "PSNR, SSIM, colorfulness, flicker and calibration, with 95 % bootstrap intervals over "
        "slices. One slice of a CT can also be compared with a photograph of it.",
        allow_abbrev=False,
    )
    color.add_argument("path", metavar="CT", type=options.some_path, help="a CT series or volume")
    color.add_argument(
        "truth",
        metavar="TISSUES",
        nargs="?",
        type=options.some_path,
        help="tissue map on the same grid: indices as in 'tomochrome palette', 255 is unknown; or "
        "a photograph of a slice (PNG, JPEG, TIFF) with the same rows and columns; may be omitted "
        "with --page, which then only compares the models",
    )
    options.add_values(
        color,
        (
            "--mask",
            "FILE",
            options.some_path,
            "8-bit mask, nonzero where a photograph is evaluated (default: the body found by "
            "transfer-function)",
        ),
        (
            "--slice",
            "N",
            options.integer,
            "slice shown in the photograph, from 0 (default: the only one)",
        ),
    )
    color.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="an installed model or a bundle folder; may be repeated (default: all; models that "
        "need a photograph only with --reference)",
    )
    options.add_reference(color)
    color.add_argument(
        "--palette",
        metavar="NAME",
        default="natural",
        help="palette of the reference colors (default: natural)",
    )
    options.add_values(
        color,
        (
            "--page",
            "FILE.html",
            options.some_path,
            "also write a web page: all slices in grey, the truth and each model, all metrics and "
            "reliability diagrams",
        ),
    )
    options.add_force(color)
    options.add_computing(color)
    options.add_json(color, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color with each model and evaluate it."""
    _check(args)
    palette(args.palette)
    reference = read_reference(args)
    cards = models_to_compare(args.model or (), with_reference=reference is not None)
    volume = read_chosen(args.path)
    coloring = Coloring(args.palette, args.device, args.threads, reference)
    truth = page = None
    if args.truth is not None:
        truth = Truth.read(TruthFiles(args.truth, args.mask, args.slice), volume, coloring)
    if args.page is not None:
        settings = Lighting.of(volume, palette=args.palette)
        page = ColorPage(volume, None if truth is None else truth.truth, settings)
    scores = []
    done = 0
    failures: list[tuple[str, TomochromeError]] = []
    for card in cards:
        try:
            chroma, seconds = coloring.of(volume, card)
            if truth is not None:
                scores.append(truth.score(volume, chroma, seconds))
            if page is not None:
                page.add(chroma)
            done += 1
        except Cancelled:
            raise
        except TomochromeError as error:
            failures.append((card.name, error))
    if not done:
        raise failures[0][1]
    for name, failure in failures:
        session.warn(f"the model '{name}' was skipped: {failure}")
    if page is not None:
        with write_whole(args.page, force=args.force) as place:
            page.write(place, [score["figures"] for score in scores])
    data = {
        "input": str(args.path),
        "truth": None if args.truth is None else str(args.truth),
        "palette": args.palette,
        "scores": scores,
        "page": None if args.page is None else str(args.page),
        "warnings": session.warnings,
    }
    return Outcome(data, _summary(scores) or f"{args.page}\n  not for diagnosis")


def _check(args: argparse.Namespace) -> None:
    """Check inputs and output before the work begins."""
    inputs = [args.path, args.truth, args.mask]
    check_inputs(inputs)
    if args.page is not None:
        check_package(PAGE)
        check_report(args.page, inputs, PAGE.endings, force=args.force)
    elif args.truth is None:
        raise OptionError(
            "give the tissue map or the photograph to compare with, or --page FILE.html for a "
            "page that compares the models only"
        )


def _summary(scores: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for score in scores:
        if "organs" in score:
            right = score["right"]
            named = "names no tissues" if right is None else f"{100 * right:.0f} % correct"
            lines += [
                f"{score['model']}: chroma error {score['organ_error']:.1f} over tissues "
                f"(grey {score['grey_organ_error']:.1f}), {score['voxel_error']:.1f} over voxels "
                f"(grey {score['grey_voxel_error']:.1f}), {named}"
            ]
        else:
            figures = score["figures"]
            lines += [
                f"{score['model']}: chroma error {figures['chroma_error']:.1f} "
                f"(grey {figures['grey_chroma_error']:.1f})"
            ]
        lines += [f"  {line}" for line in _format_figures(score["figures"])]
        for name, organ in score.get("organs", {}).items():
            line = (
                f"  {name:<14} error {organ['error']:5.1f}  grey {organ['grey_error']:5.1f}  "
                f"CIEDE2000 {score['figures']['tissues'][name]['ciede2000']:5.1f}"
            )
            if score["right"] is not None:
                right = 100 * organ["right"]
                line += f"  correct {right:3.0f} %  confused with {organ['mistaken_for']}"
            lines.append(line)
    return "\n".join(lines)


def _format_figures(figures: Mapping[str, Any]) -> list[str]:
    """Return the metrics of one model as text, means with their intervals in brackets."""

    def estimate(name: str, digits: int) -> str:
        value, ends = figures[name], figures["intervals"].get(name)
        text = "infinite" if value is None else f"{value:.{digits}f}"
        if ends is None or value is None or None in ends:
            return text
        return f"{text} [{ends[0]:.{digits}f} to {ends[1]:.{digits}f}]"

    lines = [
        f"CIEDE2000 {estimate('ciede2000', 1)}, median {figures['ciede2000_median']:.1f}, "
        f"95th percentile {figures['ciede2000_p95']:.1f}",
        f"PSNR {estimate('psnr', 1)} dB, SSIM {estimate('ssim', 3)}, colorfulness "
        f"{estimate('colorfulness', 1)} (reference {figures['truth_colorfulness']:.1f})",
    ]
    last = [f"{figures['seconds_per_slice']:.3g} s per slice"]
    if figures["flicker"] is not None:
        last.insert(0, f"flicker {figures['flicker']:.2f}")
    if (calibration := figures["calibration"]) is not None:
        text = f"calibration error {calibration['error']:.3f}"
        if calibration["sure_right"] is not None:
            text += f", {100 * calibration['sure_right']:.0f} % correct above a confidence of 0.9"
        last.insert(0, text)
    return [*lines, ", ".join(last)]
