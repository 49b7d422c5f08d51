"""``tomochrome photograph``: color grey photographs of sections, and measure the result."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomochrome.cli import options
from tomochrome.cli.files import check_folder, check_inputs, write_together
from tomochrome.cli.session import Outcome, Session
from tomochrome.colorization.photograph_coloring import (
    DEFAULT_MODEL,
    clean_photograph,
    colorize_photograph,
)
from tomochrome.errors import OptionError
from tomochrome.evaluate.photograph_figures import PhotographFigures, photograph_figures
from tomochrome.io.picture_files import is_restored, read_label_picture, read_photograph, save_png
from tomochrome.runtime import check, check_writable, report, write_whole
from tomochrome.volume import RESTORED

_MEANS: Final = ("ciede2000", "grey_ciede2000", "curve_ciede2000")
_FIGURES: Final = tuple(figure.name for figure in fields(PhotographFigures))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        type=options.some_path,
        help="photographs of sections (PNG, JPEG, TIFF), grey or color; only their lightness is "
        "used",
    )
    options.add_output(
        parser, "a .png for one photograph, or a folder ending in / for a PNG of each"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=None,
        help="a model that was trained on photographs (default: unet)",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="take each photograph's own colors as the truth, and measure CIEDE2000, PSNR, SSIM "
        "and colorfulness, beside those of grey and of a curve from lightness to mean color",
    )
    options.add_values(
        parser,
        (
            "--mask",
            "FILE",
            options.some_path,
            "8-bit mask, nonzero where the body is (default: the tissue in a photograph of a "
            "section in blue gel; in others what is neither black nor white)",
        ),
    )
    options.add_device(parser)
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color photographs, and write them together."""
    check_inputs((*args.images, args.mask), args.output)
    names = _outputs(args)
    model = args.model or DEFAULT_MODEL
    rows: list[dict[str, Any]] = []
    colored = []
    for done, path in enumerate(args.images):
        check()
        report(done, len(args.images), "coloring photographs")
        photograph, mask = _with_mask(read_photograph(path), args.mask)
        image = colorize_photograph(photograph, model, mask=mask, device=args.device)
        figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
        if args.evaluate:
            if not _is_colored(photograph, mask):
                session.warn(f"'{path}' is a grey photograph: it has no colors to compare with")
            else:
                figures |= photograph_figures(image, photograph, mask).rounded()
        restored = f"partly {RESTORED}; " if is_restored(path) else ""
        note = f"{restored}color by model {Path(model).name}; not for diagnosis"
        colored.append((image, note))
        rows.append({"path": str(path), "output": str(names[done]), **figures})
    folder, place = names[0].parent, [name.name for name in names]
    single = not args.output.endswith("/")
    with (
        write_whole(names[0], force=args.force)
        if single
        else write_together(folder, place, force=args.force)
    ) as temporary:
        for name, (image, note) in zip(place, colored, strict=True):
            file = temporary if single else temporary / name
            save_png(Image.fromarray(image), file, {"Comment": note})
    data = {
        "model": str(model),
        "images": rows,
        "mean": {name: _mean([row[name] for row in rows]) for name in _MEANS},
        "warnings": list(session.warnings),
    }
    return Outcome(data, _text(data))


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Return the path of each output after checking that it can be written."""
    if not args.output.endswith("/"):
        if len(args.images) > 1:
            raise OptionError(
                f"'{args.output}' is one file for {len(args.images)} photographs; give a folder "
                "that ends in /"
            )
        if Path(args.output).suffix.lower() != ".png":
            raise OptionError(f"'{args.output}' must end in .png, or in / for a folder")
        return [check_writable(args.output, force=args.force)]
    names = [f"{path.stem}.png" for path in args.images]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"two photographs would be written to '{twice}'; rename one of them")
    check_folder(Path(args.output), names, force=args.force)
    return [Path(args.output) / name for name in names]


def _with_mask(
    photograph: NDArray[np.uint8], mask_path: Path | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a photograph, white-balanced by its grey scale if it has one, and its mask."""
    balanced, body = clean_photograph(photograph)
    return balanced, body if mask_path is None else read_label_picture(mask_path) > 0


def _is_colored(photograph: NDArray[np.uint8], mask: NDArray[np.bool_]) -> bool:
    """Whether a photograph has colors within the mask."""
    inside = photograph[mask] if mask.shape == photograph.shape[:2] else photograph
    return bool(inside.size) and int(inside.max(-1).astype(int).sum() - inside.min(-1).sum()) > 0


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return round(sum(measured) / len(measured), 4) if measured else None


def _three(row: dict[str, Any], name: str, form: str) -> str:
    """Return a figure of the coloring, of grey and of the curve; an infinite one is None."""
    values = (row[key] for key in (name, f"grey_{name}", f"curve_{name}"))
    one, grey, curve = ("infinite" if value is None else f"{value:{form}}" for value in values)
    return f"{one}, grey {grey}, curve {curve}"


def _text(data: dict[str, Any]) -> str:
    lines = []
    for row in data["images"]:
        lines.append(row["output"])
        if row["ciede2000"] is not None:
            lines.append(
                f"  CIEDE2000 {row['ciede2000']:.2f} (median {row['ciede2000_median']:.2f}, 95th "
                f"percentile {row['ciede2000_p95']:.2f}); grey {row['grey_ciede2000']:.2f}, curve "
                f"{row['curve_ciede2000']:.2f}"
            )
            lines.append(
                f"  PSNR {_three(row, 'psnr', '.1f')} dB; SSIM {_three(row, 'ssim', '.3f')}; "
                f"colorfulness {_three(row, 'colorfulness', '.1f')}, photograph "
                f"{row['true_colorfulness']:.1f}"
            )
    lines.append(f"  model: {data['model']}; not for diagnosis")
    return "\n".join(lines)
