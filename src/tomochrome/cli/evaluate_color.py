"""``tomochrome evaluate color``: the errors of models on a CT with known tissues or colors."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs
from tomochrome.cli.session import Outcome, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tomochrome.bundles import ModelCard
    from tomochrome.color.chroma import Chroma
    from tomochrome.colorization import Reference
    from tomochrome.evaluate import ColorTruth
    from tomochrome.volume import Volume


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
        type=options.some_path,
        help="tissue map on the same grid: indices as in 'tomochrome palette', 255 is unknown; or "
        "a photograph of a slice (PNG, JPEG, TIFF) with the same rows and columns",
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
            "also write a page with images of some slices, all metrics and reliability diagrams",
        ),
    )
    options.add_force(color)
    options.add_computing(color)
    options.add_json(color, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color with each model and evaluate it."""
    from tomochrome.color.palette import palette
    from tomochrome.colorization.side_by_side import models_to_compare
    from tomochrome.errors import Cancelled, TomochromeError
    from tomochrome.io import read
    from tomochrome.runtime import check_writable, write_whole

    check_inputs([args.path, args.truth, args.mask], args.page)
    if args.page is not None:
        check_writable(args.page, force=args.force)
    palette(args.palette)
    reference = options.reference_of(args)
    cards = models_to_compare(args.model or (), with_reference=reference is not None)
    volume = read(args.path)
    truth = Truth.read(TruthFiles(args.truth, args.mask, args.slice), volume, args)
    scores = []
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, TomochromeError]] = []
    for card in cards:
        try:
            chroma, seconds = colored(volume, card, args, reference)
            scores.append(truth.score(volume, chroma, seconds))
            if args.page is not None:
                rows = rows or truth.pictures(volume)
                truth.add_pictures(rows, volume, chroma)
        except Cancelled:
            raise
        except TomochromeError as error:
            failures.append((card.name, error))
    if not scores:
        raise failures[0][1]
    for name, failure in failures:
        session.warn(f"the model '{name}' was skipped: {failure}")
    if args.page is not None:
        from tomochrome.evaluate.color_page import color_page

        page = color_page(rows, [score["figures"] for score in scores])
        with write_whole(args.page, force=args.force) as place:
            place.write_text(page, encoding="utf-8")
    data = {
        "input": str(args.path),
        "truth": str(args.truth),
        "palette": args.palette,
        "scores": scores,
        "page": None if args.page is None else str(args.page),
        "warnings": session.warnings,
    }
    return Outcome(data, _summary(scores))


def colored(
    volume: Volume,
    card: ModelCard,
    args: argparse.Namespace,
    reference: Reference | None = None,
) -> tuple[Chroma, float]:
    """Return the coloring by one model, and its time in seconds per slice after a warm-up.

    ``args`` has ``device`` and ``threads``; ``reference`` is for models that need a photograph.
    """
    from tomochrome.colorization import colorize
    from tomochrome.colorization.predictor import needs_reference

    middle = volume.shape[0] // 2
    one = slice(middle, middle + 1)
    outside = None if volume.outside is None else volume.outside[one]
    first = replace(volume, voxels=volume.voxels[one], outside=outside)
    used = reference if needs_reference(card) else None
    color = partial(
        colorize, model=card.path, device=args.device, threads=args.threads, reference=used
    )
    color(first)
    start = perf_counter()
    chroma = color(volume)
    return chroma, (perf_counter() - start) / volume.shape[0]


class TruthFiles(NamedTuple):
    """A tissue map, or a photograph with its mask and the slice that it shows."""

    truth: Path
    mask: Path | None = None
    slice: int | None = None


@dataclass(frozen=True)
class Truth:
    """The reference colors of an evaluation, from a tissue map or a photograph."""

    palette: str
    truth: ColorTruth
    tissues: NDArray[np.uint8] | None = None

    @classmethod
    def read(cls, files: TruthFiles, volume: Volume, args: argparse.Namespace) -> Truth:
        """Read the reference of a CT, with the palette, device and threads of ``args``."""
        import numpy as np

        from tomochrome.colorization import colorize
        from tomochrome.errors import GeometryError, OptionError
        from tomochrome.evaluate import ColorTruth
        from tomochrome.io import read
        from tomochrome.io.picture_files import is_photograph, read_label_picture, read_photograph

        path, mask_path, at = files
        if not is_photograph(path):
            if mask_path is not None or at is not None:
                option = "--mask" if mask_path is not None else "--slice"
                raise OptionError(f"{option} belongs to a photograph, not to a tissue map")
            truth = read(path)
            _check_truth(truth, volume, path)
            tissues = np.asarray(truth.voxels).astype(np.uint8)
            return cls(args.palette, ColorTruth.of_tissues(tissues, args.palette), tissues)
        photograph = read_photograph(path)
        mask = None if mask_path is None else read_label_picture(mask_path) != 0
        slices, rows, columns = volume.shape
        if not (slices == 1 if at is None else at < slices):
            raise GeometryError(
                f"the CT has {slices} slices; give with --slice the one, 0 to {slices - 1}, that "
                f"'{path}' shows"
            )
        for name, shape in (
            (path, photograph.shape[:2]),
            (mask_path, None if mask is None else mask.shape),
        ):
            if shape is not None and shape != (rows, columns):
                raise GeometryError(
                    f"'{name}' has {shape[1]} x {shape[0]} pixels, but the slices of the CT have "
                    f"{columns} x {rows}; they must have the same size"
                )
        at = at or 0
        if mask is None:  # the same mask for all models
            body = colorize(volume, "transfer-function", device=args.device, threads=args.threads)
            mask = body.code[at] > 0
        return cls(args.palette, ColorTruth.of_photograph(photograph, mask, at, slices))

    def score(self, volume: Volume, chroma: Chroma, seconds: float) -> dict[str, Any]:
        """Return all metrics of one coloring as plain data."""
        import numpy as np

        from tomochrome.evaluate import color_figures, score_color

        score: dict[str, Any] = {"model": chroma.model}
        if self.tissues is not None:
            score = score_color(chroma, self.tissues, self.palette).to_json()
        hu = np.asarray(volume.voxels)
        figures = color_figures(chroma, hu, self.truth, self.palette).to_json()
        return {**score, "figures": {**figures, "seconds_per_slice": round(seconds, 4)}}

    def pictures(self, volume: Volume) -> list[dict[str, Any]]:
        """Return the grey and the reference images of some slices."""
        import numpy as np

        from tomochrome.evaluate.color_page import grey_and_truth

        return grey_and_truth(np.asarray(volume.voxels), self.truth)

    def add_pictures(self, rows: list[dict[str, Any]], volume: Volume, chroma: Chroma) -> None:
        """Add the images of a coloring to the rows."""
        if rows:
            import numpy as np

            from tomochrome.evaluate.color_page import add_model

            add_model(rows, chroma, np.asarray(volume.voxels), self.truth, self.palette)


def _check_truth(truth: Volume, volume: Volume, path: Path) -> None:
    import numpy as np

    from tomochrome.errors import GeometryError, InputError
    from tomochrome.geometry import same_grid
    from tomochrome.tissue import N_TISSUES, NO_TISSUE

    if truth.is_rgba or not same_grid(truth, volume):
        raise GeometryError(f"the tissue map '{path}' is not on the voxel grid of the CT")
    known = np.unique(truth.voxels)
    if not np.isin(known, [*range(N_TISSUES), NO_TISSUE]).all():
        raise InputError(
            f"'{path}' is not a tissue map: it contains values other than tissue indices, such as "
            f"{known[~np.isin(known, range(N_TISSUES))][0]:g}"
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
