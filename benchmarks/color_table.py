"""The table of all models on phantoms, two contrast-enhanced scans and photographs of a head.

Usage::

    python benchmarks/color_table.py --data ../shared/data [--json FILE] [--page docs/models.md]

Creates test sets from the real scans, on which no model was trained, and runs ``tomochrome evaluate
models``; ``--page`` replaces the table between its two comments in that file. The model
``exemplar`` gets the photograph of another body: for the chest the thorax section, for the head the
section of a man (the pair is a woman), both white-balanced as in `tomochrome.color.palettes`.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from color_accuracy import SLICE_MM, SLICES_AROUND, labelled_angiography
from contrast_abdomen import SERIES, labelled_abdomen

from tomochrome.cli import main as tomochrome

BEGIN, END = "<!-- model table -->", "<!-- end of model table -->"
GAINS = (1.186, 0.938, 1.231)
"""White balance of the sections' linear red, green and blue (`tomochrome.color.palettes`)."""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real scans")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--page", type=Path, help="Markdown file with the table's two comments")
    parser.add_argument("--phantoms", default="5", help="number of phantom patients")
    parser.add_argument("--keep", type=Path, help="folder in which the test sets are kept")
    parser.add_argument("--model", action="append", default=[], help="instead of all models")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep or Path(made)
        folder.mkdir(exist_ok=True)
        if not (folder / "sets.json").exists():
            sets = [make(options.data, folder) for make in (abdomen, angiography, photographs)]
            (folder / "sets.json").write_text(json.dumps(sets), encoding="utf-8")
        table = Path(made) / "table.md"
        command = ["evaluate", "models", str(folder / "sets.json"), "--phantoms", options.phantoms]
        command += ["--markdown", str(table)]
        command += [word for name in options.model for word in ("--model", name)]
        told = io.StringIO()
        with redirect_stdout(told):
            status = tomochrome([*command, "--json"])
        if status:
            raise SystemExit(status)
        if options.json is not None:
            options.json.write_text(told.getvalue(), encoding="utf-8")
        text = table.read_text(encoding="utf-8")
    print(text)
    if options.page is not None:
        page = options.page.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        options.page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def abdomen(data: Path, folder: Path) -> dict[str, object]:
    """Return the contrast-enhanced abdomen with the tissues drawn on five slices as a test set."""
    import tomochrome as tc

    scan, truth = labelled_abdomen(data)
    tc.write(scan.with_voxels(truth, unit="tissue"), folder / "abdomen.nii.gz")
    return {
        "name": "Contrast abdomen",
        "about": "tissues drawn by hand on five slices of a real scan, not trained on",
        "scans": [
            {"ct": str((data / SERIES).resolve()), "truth": "abdomen.nii.gz"}
            | reference(data, folder, "thorax_female")
        ],
    }


def angiography(data: Path, folder: Path) -> dict[str, object]:
    """Return the chest CT angiography with its heart and pulmonary artery as a test set."""
    import tomochrome as tc

    scan, truth = labelled_angiography(data)
    tc.write(scan.with_voxels(truth, unit="tissue"), folder / "chest.nii.gz")
    ct = (data / "ct" / "thorax_cta_1p5mm.nii.gz").resolve()
    return {
        "name": "Chest angiography",
        "about": "heart and pulmonary artery of a real CT angiography, not trained on",
        "scans": [
            {"ct": str(ct), "truth": "chest.nii.gz"} | reference(data, folder, "thorax_female")
        ],
    }


def photographs(data: Path, folder: Path) -> dict[str, object]:
    """Return planes of the head with the photographs of its left-out sections as a test set.

    Each plane lies within a volume, as in practice. Sections without CT around them are left out.
    """
    from PIL import Image

    import tomochrome as tc
    from tomochrome.geometry.orient import closest_axial
    from tomochrome.geometry.resample import resample
    from tomochrome.training.color_data import HEAD_END, SECTIONS, SECTIONS_CT
    from tomochrome.training.sections import place_sections, read_clean_sections, split_sections

    sections = read_clean_sections(data / SECTIONS)
    parts = split_sections(sections)
    head = [(section, part) for section, part in zip(sections, parts, strict=True)
            if section.depth_mm < HEAD_END]  # fmt: skip
    ct = closest_axial(tc.read(data / SECTIONS_CT))
    places = place_sections([section for section, _ in head], ct)
    male, scans = reference(data, folder, "head_male"), []
    for (section, part), place in zip(head, places, strict=True):
        if part != "test":
            continue
        down, right = section.pixel_mm * place.axes.T
        up = np.cross(down, right)
        up *= np.sign(up[0]) * SLICE_MM / np.linalg.norm(up)
        axes = np.eye(4)
        axes[:3] = np.stack([up, down, right, place.origin - SLICES_AROUND * up], axis=1)
        axes[:3] /= np.array(ct.spacing)[:, None]
        grid = np.zeros((2 * SLICES_AROUND + 1, *section.tissue.shape), np.int16)
        name = f"head-{section.depth_mm:.0f}"
        tc.write(resample(ct, tc.Volume(grid, ct.affine @ axes, "HU")), folder / f"{name}.nii.gz")
        Image.fromarray(section.rgb).save(folder / f"{name}.png")
        Image.fromarray(section.tissue.astype(np.uint8) * 255).save(folder / f"{name}-mask.png")
        scans.append({
            "ct": f"{name}.nii.gz", "truth": f"{name}.png", "mask": f"{name}-mask.png",
            "slice": SLICES_AROUND, **male,
        })  # fmt: skip
    return {
        "name": "Head photographs",
        "about": f"the CT of a frozen head in the planes of {len(scans)} photographs of sections, "
        "which were left out of the trainings; other sections of this body were learned from",
        "scans": scans,
    }


def reference(data: Path, folder: Path, name: str) -> dict[str, object]:
    """Write a section, white-balanced, and the mask of its tissue; return them for a scan."""
    from PIL import Image

    from tomochrome.io.section_photograph import clean_section

    image = np.asarray(Image.open(data / "cryosection" / f"{name}.png").convert("RGB"))
    _, tissue = clean_section(image)
    linear = np.where(image < 11, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear * GAINS, 0, 1)
    coded = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    Image.fromarray(np.rint(255 * coded).astype(np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(tissue.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")
    return {"reference": f"{name}.png", "reference_mask": f"{name}_mask.png"}


if __name__ == "__main__":
    main()
