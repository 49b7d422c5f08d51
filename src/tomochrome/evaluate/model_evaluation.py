"""Evaluation of models on scans whose tissues or colors are known: from files, or phantoms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.color.chroma import Chroma
from tomochrome.colorization import Reference, colorize
from tomochrome.colorization.predictor import needs_reference
from tomochrome.errors import (
    Cancelled,
    GeometryError,
    InputError,
    OptionError,
    TomochromeError,
)
from tomochrome.evaluate.color_scores import score_color
from tomochrome.evaluate.color_truth import ColorTruth
from tomochrome.evaluate.coloring_figures import ColorFigures, Tally, color_figures
from tomochrome.geometry import same_grid
from tomochrome.io import read
from tomochrome.io.picture_files import is_photograph, read_label_picture, read_photograph
from tomochrome.phantom import make_patient
from tomochrome.runtime import check
from tomochrome.tissue import N_TISSUES, NO_TISSUE
from tomochrome.volume import Volume

PHANTOMS = (
    ("abdomen", "portal"), ("thorax", "arterial"), ("head", "native"), ("pelvis", "portal"),
    ("abdomen", "arterial"),
)  # fmt: skip
"""Region and phase of the phantom patients of a `ScanSet`, repeated."""
_FIRST_SEED = 2_000_000  # not used for training
_FIRST_REFERENCE = 2_001_000  # seed of the patients that are photographed as references
_SPACING = (5.0, 1.5, 1.5)


@dataclass(frozen=True)
class Coloring:
    """How all models of an evaluation color: palette, device and threads, and a photograph."""

    palette: str = "natural"
    device: str = "auto"
    threads: int | None = None
    reference: Reference | None = None  #: for the models that need a photograph

    def of(
        self, volume: Volume, card: ModelCard, reference: Reference | None = None
    ) -> tuple[Chroma, float]:
        """Color a CT by one model, and take the time.

        Parameters
        ----------
        volume
            The CT.
        card
            The model.
        reference
            Photograph for a model that needs one, if there is none for all scans.

        Returns
        -------
        tuple
            The coloring, and seconds per slice after a warm-up with one slice.
        """
        middle = volume.shape[0] // 2
        one = slice(middle, middle + 1)
        outside = None if volume.outside is None else volume.outside[one]
        first = replace(volume, voxels=volume.voxels[one], outside=outside, restored=None)
        used = (self.reference or reference) if needs_reference(card) else None
        color = partial(
            colorize, model=card.path, device=self.device, threads=self.threads, reference=used
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
    def read(cls, files: TruthFiles, volume: Volume, coloring: Coloring | None = None) -> Truth:
        """Read the reference of a CT.

        Parameters
        ----------
        files
            The files.
        volume
            The CT.
        coloring
            Palette of the reference colors; device and threads for finding the body, where a
            photograph has no mask.

        Raises
        ------
        InputError, GeometryError
            If a file is not a reference, or not one of this CT.
        OptionError
            If a mask or a slice is given with a tissue map.
        """
        coloring = coloring or Coloring()
        path, mask_path, at = files
        if not is_photograph(path):
            if mask_path is not None or at is not None:
                option = "--mask" if mask_path is not None else "--slice"
                raise OptionError(f"{option} belongs to a photograph, not to a tissue map")
            tissues = _read_tissues(path, volume)
            truth = ColorTruth.of_tissues(tissues, coloring.palette)
            return cls(coloring.palette, truth, tissues)
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
            body = colorize(
                volume, "transfer-function", device=coloring.device, threads=coloring.threads
            )
            mask = body.code[at] > 0
        return cls(coloring.palette, ColorTruth.of_photograph(photograph, mask, at, slices))

    def score(self, volume: Volume, chroma: Chroma, seconds: float) -> dict[str, Any]:
        """Measure one coloring.

        Parameters
        ----------
        volume
            The CT.
        chroma
            The coloring.
        seconds
            Seconds per slice that it took.

        Returns
        -------
        dict
            All metrics, as ``tomochrome evaluate color --json`` prints them for a model.
        """
        score: dict[str, Any] = {"model": chroma.model}
        if self.tissues is not None:
            score = score_color(chroma, self.tissues, self.palette).to_json()
        hu = np.asarray(volume.voxels)
        figures = color_figures(chroma, hu, self.truth, self.palette).to_json()
        return {**score, "figures": {**figures, "seconds_per_slice": round(seconds, 4)}}


def _read_tissues(path: Path, volume: Volume) -> NDArray[np.uint8]:
    truth = read(path)
    if truth.is_rgba or not same_grid(truth, volume):
        raise GeometryError(f"the tissue map '{path}' is not on the voxel grid of the CT")
    values = np.unique(truth.voxels)
    if not np.isin(values, [*range(N_TISSUES), NO_TISSUE]).all():
        raise InputError(
            f"'{path}' is not a tissue map: it contains values other than tissue indices, such as "
            f"{values[~np.isin(values, range(N_TISSUES))][0]:g}"
        )
    return np.asarray(truth.voxels).astype(np.uint8)


@dataclass(frozen=True)
class ScanFiles:
    """The files of a scan; ``reference`` is a photograph, its label image and its mask, or None."""

    ct: Path
    truth: TruthFiles
    reference: tuple[Path, Path | None, Path | None] | None

    @classmethod
    def of_entry(cls, scan: Mapping[str, Any], folder: Path) -> ScanFiles:
        """Return the files that an entry of a file of sets names, relative to its folder.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the entry is invalid.
        """
        at = scan.get("slice")
        if at is not None and (not isinstance(at, int) or at < 0):
            raise ValueError("the slice is not an index")
        keys = ("mask", "reference", "reference_labels", "reference_mask")
        names = (scan.get(key) for key in keys)
        mask, photograph, *others = (None if name is None else folder / name for name in names)
        if photograph is None and any(others):
            raise ValueError("labels or a mask without a photograph")
        return cls(
            folder / scan["ct"],
            TruthFiles(folder / scan["truth"], mask, at),
            None if photograph is None else (photograph, *others),
        )


@dataclass(frozen=True)
class ScanSet:
    """A test set: name, description, and its scans, or a number of phantom patients."""

    name: str
    about: str
    scans: Sequence[ScanFiles] = field(default_factory=list)
    phantoms: int = 0

    @classmethod
    def of_phantoms(cls, count: int) -> ScanSet:
        """Return a set of phantom patients."""
        about = f"{count} patients that no model was trained on"
        return cls("Phantoms", about, phantoms=count)

    def suitable(self, cards: Sequence[ModelCard], coloring: Coloring) -> list[ModelCard]:
        """Choose the models for which all scans have the reference that they may need.

        Parameters
        ----------
        cards
            The models.
        coloring
            Has a reference for all scans, or none.

        Returns
        -------
        list
            Some of the models, in their order.
        """
        given = coloring.reference is not None
        if given or all(scan.reference is not None for scan in self.scans):
            return list(cards)
        return [card for card in cards if not needs_reference(card)]

    def read(
        self, coloring: Coloring, *, with_photographs: bool
    ) -> Iterator[tuple[Volume, ColorTruth, Reference | None]]:
        """Read the scans one after the other.

        Parameters
        ----------
        coloring
            Palette of the true colors; device and threads.
        with_photographs
            Whether references are needed.

        Yields
        ------
        tuple
            CT, truth, and reference photograph or None.
        """
        for scan in self.scans:
            volume, photograph = read(scan.ct), None
            if with_photographs and scan.reference is not None:
                photograph = Reference.read(*scan.reference)
            yield volume, Truth.read(scan.truth, volume, coloring).truth, photograph
        for k in range(self.phantoms):
            check()
            region, phase = PHANTOMS[k % len(PHANTOMS)]
            patient = make_patient(_FIRST_SEED + k, region, _SPACING, phase=phase)
            tissues = np.asarray(patient.tissue.voxels).astype(np.uint8)
            photograph = None
            if with_photographs:
                other = make_patient(_FIRST_REFERENCE + k, region, _SPACING, phase=phase)
                middle = other.ct.shape[0] // 2
                mask = np.asarray(other.tissue.voxels)[middle] > 0
                photograph = Reference(other.cryosection()[middle], mask=mask)
            yield patient.ct, ColorTruth.of_tissues(tissues, coloring.palette), photograph


def read_scan_sets(path: Path) -> list[ScanSet]:
    """Return the test sets that a JSON file names.

    Parameters
    ----------
    path
        A list of ``{"name", "about", "scans": [{"ct", "truth", "mask", "slice", "reference",
        "reference_labels", "reference_mask"}]}``, with paths relative to the file.

    Raises
    ------
    InputError
        If the file is not a list of test sets.
    """
    sets = []
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            scans = [ScanFiles.of_entry(scan, path.parent) for scan in entry["scans"]]
            if not scans:
                raise ValueError("the set has no scans")
            sets.append(ScanSet(str(entry["name"]), str(entry.get("about", "")), scans))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"'{path}' is not a list of test sets; write "
            '[{"name": "...", "scans": [{"ct": "...", "truth": "..."}]}]'
        ) from error
    return sets


def evaluate_models(
    scans: ScanSet,
    cards: Sequence[ModelCard],
    coloring: Coloring | None = None,
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[ColorFigures, float]]:
    """Color all scans of a set with each model, and measure the results.

    Parameters
    ----------
    scans
        The test set.
    cards
        The models; those that need a photograph are left out if a scan has none.
    coloring
        Palette, device, threads, and a photograph for the models that need one.
    warn
        Called with a sentence for each model that fails on a scan; it is left out.

    Returns
    -------
    dict
        Figures and seconds per slice of each model, by its name.

    Raises
    ------
    OptionError
        If all models need a photograph and there is none, or no model could color the set.
    Cancelled
        If the user cancelled.
    """
    coloring = coloring or Coloring()
    suitable = scans.suitable(cards, coloring)
    if not suitable:
        raise OptionError(
            f"all models chosen need a photograph, and '{scans.name}' has none; give --reference"
        )
    tallies = {card.name: Tally(coloring.palette) for card in suitable}
    seconds = dict.fromkeys(tallies, 0.0)
    slices = 0
    with_photographs = any(map(needs_reference, suitable))
    for volume, truth, photograph in scans.read(coloring, with_photographs=with_photographs):
        slices += volume.shape[0]
        for card in suitable:
            if card.name not in tallies:
                continue
            try:
                chroma, pace = coloring.of(volume, card, photograph)
                tallies[card.name].add(chroma, volume.voxels, truth)
                seconds[card.name] += pace * volume.shape[0]
            except Cancelled:
                raise
            except TomochromeError as error:
                del tallies[card.name]
                warn(f"{scans.name}: the model '{card.name}' was skipped: {error}")
    if not tallies:
        raise OptionError(f"no model could color the test set '{scans.name}'")
    return {name: (tally.figures(), seconds[name] / slices) for name, tally in tallies.items()}
