"""A scan with its colors in one file, which opens again and can be lit anew.

The file is a zip archive that `numpy.load` and any unzip program open, too: ``tomochrome.json``
with the geometry, the settings and what the arrays are, and arrays as ``.npy``. Nothing in it is
executed, and nothing is read before its size was compared with what the file can hold.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final, get_args

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from tomochrome.color.alpha import ALPHA_PRESETS, AlphaCurve
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.color.lighting import Lighting, light
from tomochrome.color.palettes import Palette, palette, palette_names
from tomochrome.color.selection import TissueSelection
from tomochrome.errors import FileError, GeometryError, OutputError, TomochromeError
from tomochrome.formats import COLORED_HEADER, COLORED_KIND
from tomochrome.geometry.measurement import Measurement
from tomochrome.io.archive import display_path
from tomochrome.io.image_file import MAX_VOLUME_BYTES, ImageFile, check_claims, damaged
from tomochrome.io.measurement_file import as_entries, from_entries
from tomochrome.io.stream import fill
from tomochrome.io.walk import open_regular
from tomochrome.notices import Notice
from tomochrome.runtime import check, check_writable, report, write_whole
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, ScannerWindow, Verdict, Volume, require_type
from tomochrome.windowing import Window

_FORMAT: Final = 1
_MAX_HEADER: Final = 4 << 20
_NAME: Final = "Tomochrome file"
_VOXELS: Final = ("voxels", "code", "confidence", "outside", "restored")
_TABLES: Final = ("weights", "shade", "ab")
_REGIONS: Final = tuple(f"regions{k}" for k in range(8))


@dataclass(frozen=True, eq=False)
class ColoredScan:
    """A scan, its colors, and how they were lit.

    Parameters
    ----------
    volume
        The scan.
    chroma
        Its colors, on the same grid.
    settings
        Window, palette and the other settings of the lighting.
    measurements
        What was measured on the scan.
    regions
        Label maps of regions that were painted on it, integers (z, y, x).
    """

    volume: Volume
    chroma: Chroma
    settings: Lighting
    measurements: tuple[Measurement, ...] = ()
    regions: tuple[NDArray[np.integer[Any]], ...] = ()

    @cached_property
    def image(self) -> Volume:
        """The colored volume: RGBA (z, y, x, 4)."""
        return self.lit(self.settings)

    def lit(self, settings: Lighting) -> Volume:
        """Return the colored volume in other light: RGBA (z, y, x, 4)."""
        fields = {name: getattr(settings, name) for name in Lighting.__dataclass_fields__}
        return light(self.volume, self.chroma, **fields)


def save_colored(scan: ColoredScan, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a scan with its colors as one file, which `open_colored` returns bit for bit.

    The file names neither the patient nor the files of the scan.

    Parameters
    ----------
    scan
        Scan, colors and settings.
    path
        Destination, which ends in ``.tomochrome`` by convention.
    force
        Replace an existing file.

    Returns
    -------
    Path
        ``path`` as a `Path`.

    Raises
    ------
    OutputError
        If the file cannot be written, or there are too many measurements or label maps for it to
        be opened again.
    GeometryError
        If colors or label maps are not on the grid of the scan.
    Cancelled
        If the task was cancelled.
    """
    require_type(scan, ColoredScan, "what is saved", "tc.open_colored")
    target = check_writable(path, force=force)
    volume, chroma = scan.volume, scan.chroma.on_grid(scan.volume)
    table = chroma.table
    tables = {"ab": table.ab} if isinstance(table, FreeColors) else {"weights": table.weights}
    if len(scan.regions) > len(_REGIONS):
        count, most = len(scan.regions), len(_REGIONS)
        raise OutputError(f"{count} label maps are too many for one file; save at most {most}")
    if any(labels.shape != volume.shape for labels in scan.regions):
        raise GeometryError("a label map is not on the grid of the scan")
    arrays: dict[str, NDArray[Any] | None] = {
        "voxels": volume.voxels,
        "code": chroma.code,
        "confidence": chroma.confidence,
        "outside": volume.outside,
        "restored": volume.restored,
        "shade": getattr(table, "shade", None),
        **tables,
        **dict(zip(_REGIONS, map(_narrow, scan.regions), strict=False)),
    }
    present = {name: array for name, array in arrays.items() if array is not None}
    text = json.dumps(_header(scan, chroma, list(present)), indent=1, allow_nan=False)
    if len(text) > _MAX_HEADER:
        count = len(scan.measurements)
        raise OutputError(f"{count} measurements are too many for one file; save them as JSON")
    total = sum(len(array) for array in present.values())
    with (
        write_whole(target, force=force) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        archive.writestr(COLORED_HEADER, text, zipfile.ZIP_STORED)
        done = 0
        for name, array in present.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                first = np.asarray(array[:1])
                described = npy.header_data_from_array_1_0(first)
                described = {**described, "fortran_order": False, "shape": tuple(array.shape)}
                npy.write_array_header_1_0(file, described)
                for plane in array:
                    check()
                    file.write(np.ascontiguousarray(plane).tobytes())
                    done += 1
                    report(done, total, "writing")
    return target


def _narrow(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Return labels in the smallest type that holds them."""
    smallest = np.result_type(*map(np.min_scalar_type, (labels.min(), labels.max())))
    return labels.astype(smallest)


def _header(scan: ColoredScan, chroma: Chroma, arrays: list[str]) -> dict[str, Any]:
    settings, volume = scan.settings, scan.volume
    origin, colors = volume.provenance, settings.palette
    return {
        "format": _FORMAT,
        "note": "not for diagnosis",
        "arrays": arrays,
        "affine_zyx_to_lps_mm": volume.affine.tolist(),
        "unit": volume.unit,
        "scan": {
            "modality": origin.modality,
            "title": origin.title,
            "windows": [w._asdict() for w in origin.windows],
            "verdict": origin.verdict,
            "present": origin.present,
            "warnings": [asdict(notice.without_names()) for notice in origin.warnings],
        },
        "colors": {
            "model": chroma.model,
            "contrast": getattr(chroma.table, "contrast", 1.0),
            "warnings": [asdict(notice.without_names()) for notice in chroma.provenance.warnings],
        },
        "settings": {
            "window": asdict(settings.window),
            "saturation": settings.saturation,
            "min_confidence": settings.min_confidence,
            "palette": {
                "name": colors.name,
                "lab": colors.lab.tolist(),
                "sources": list(colors.sources),
                "brain_shade": colors.brain_shade.tolist(),
            },
            "alpha": asdict(settings.alpha),
            "tissues": {
                mode: sorted(map(int, getattr(settings.tissues, mode)))
                for mode in ("hidden", "dimmed", "greyed")
            },
        },
        "measurements": as_entries(scan.measurements),
    }


def open_colored(path: str | os.PathLike[str]) -> ColoredScan:
    """Open a scan with its colors that `save_colored` has written.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ColoredScan
        The same voxels, colors and settings.

    Raises
    ------
    InputError
        If the file is no such file, damaged, truncated, or claims more than it can hold.
    Cancelled
        If the task was cancelled.
    """
    where = display_path(Path(path))
    with _opened(Path(path)) as (archive, header):
        names = [n for n in (*_VOXELS, *_TABLES, *_REGIONS) if n in header["arrays"]]
        shape = _voxel_header(archive, where)[0]
        arrays: dict[str, NDArray[Any]] = {}
        for done, name in enumerate(names):
            report(done, len(names), "reading")
            arrays[name] = _array(archive, name, where, None if name in _TABLES else shape)
        volume = Volume(
            arrays["voxels"],
            _affine(header),
            "HU" if header["unit"] == "HU" else "unknown",
            _provenance(header, where),
            arrays.get("outside"),
            arrays.get("restored"),
        )
        colors = header["colors"]
        if "ab" in arrays:
            table: FreeColors | Mixtures = FreeColors(arrays["ab"])
        else:
            table = Mixtures(arrays["weights"], float(colors["contrast"]), arrays.get("shade"))
        made = Chroma(
            arrays["code"], arrays["confidence"], table, volume.affine, str(colors["model"]),
            Provenance(kind=COLORED_KIND, warnings=_warnings(colors)),
        )  # fmt: skip
        measured = tuple(from_entries(header.get("measurements", ())))
        regions = tuple(arrays[name] for name in _REGIONS if name in arrays)
        if any(labels.dtype.kind not in "iu" for labels in regions):
            raise damaged(where, _NAME)
        return ColoredScan(volume, made, _settings(header["settings"]), measured, regions)


def open_scan_file(path: Path) -> ImageFile:
    """Return the description of a file for `tomochrome.io.image_formats`, which reads the scan."""
    where = display_path(path)
    with _opened(path) as (archive, header):
        shape, dtype = _voxel_header(archive, where)
        return ImageFile(
            path, COLORED_KIND, dtype, shape, _affine(header), lambda *_: iter(()),
            whole=lambda: open_colored(path).volume,
        )  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, Any]]]:
    """Open the archive and its header; everything that can be wrong with it is one error."""
    where = display_path(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            info = archive.getinfo(COLORED_HEADER)
            if info.file_size > _MAX_HEADER:
                raise damaged(where, _NAME)
            header = json.loads(archive.read(info))
            if header["format"] > _FORMAT:
                raise FileError(where, "was written by a newer Tomochrome", "update Tomochrome")
            yield archive, header
    except TomochromeError:
        raise
    except MemoryError as error:
        raise FileError(where, "does not fit into memory") from error
    except OSError as error:
        raise FileError(where, f"cannot be opened: {error.strerror or error}") from error
    except (
        zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, IndexError,
        AttributeError, NotImplementedError, RuntimeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise damaged(where, _NAME) from error


def _voxel_header(
    archive: zipfile.ZipFile, where: str
) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    with archive.open("voxels.npy") as file:
        shape, dtype, _ = _npy_header(file)
    if len(shape) != 3:
        raise damaged(where, _NAME)
    return (shape[0], shape[1], shape[2]), dtype


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("unexpected version of npy")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    return shape, dtype, fortran


def _array(
    archive: zipfile.ZipFile, name: str, where: str, shape: tuple[int, ...] | None
) -> NDArray[Any]:
    """Read an array; with ``shape``, it must have this shape."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as file:
        own, dtype, fortran = _npy_header(file)
        size = int(np.prod(own, dtype=object)) * dtype.itemsize
        if fortran or dtype.hasobject or dtype.kind not in "biuf" or (shape or own) != own:
            raise damaged(where, _NAME)
        if shape is None and size > MAX_VOLUME_BYTES // 8:
            raise damaged(where, _NAME)
        check_claims(
            where,
            (*own, 1, 1)[:3],
            size,
            1,
            min(info.compress_size, archive.start_dir) + 64,
            packed=True,
        )
        array = np.empty(own, dtype)
        fill(array, file)
        if file.read(1):  # also verifies the checksum
            raise damaged(where, _NAME)
    return array


def _affine(header: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array(header["affine_zyx_to_lps_mm"], np.float64)


def _provenance(header: Mapping[str, Any], where: str) -> Provenance:
    scan = header["scan"]
    if scan["verdict"] not in get_args(Verdict):
        raise ValueError(scan["verdict"])
    return Provenance(
        source=where, kind=COLORED_KIND, modality=str(scan["modality"]), title=str(scan["title"]),
        windows=tuple(
            ScannerWindow(str(w["name"]), float(w["center"]), float(w["width"]), str(w["function"]))
            for w in scan["windows"]
        ),
        verdict=scan["verdict"], warnings=_warnings(scan), present=int(scan["present"]),
    )  # fmt: skip


def _warnings(part: Mapping[str, Any]) -> tuple[Notice, ...]:
    return tuple(
        Notice(w["code"], w["severity"], str(w["text"]), str(w["fact"])) for w in part["warnings"]
    )


def _settings(saved: Mapping[str, Any]) -> Lighting:
    """Return the settings; a palette or curve that this version has under its name is that one."""
    colors = saved["palette"]
    own = Palette(
        str(colors["name"]), np.array(colors["lab"], np.float32), tuple(colors["sources"]),
        np.array(colors["brain_shade"], np.float32),
    )  # fmt: skip
    if own.name in palette_names():
        shipped = palette(own.name)
        same = np.array_equal(shipped.lab, own.lab)
        if same and np.array_equal(shipped.brain_shade, own.brain_shade):
            own = shipped
    curve = saved["alpha"]
    alpha = AlphaCurve(
        str(curve["name"]), tuple((float(hu), float(a)) for hu, a in curve["points"]),
        bool(curve["hide_air"]), bool(curve["shaded"]), _tissues(curve["of"]),
        float(curve["others"]), str(curve["about"]),
    )  # fmt: skip
    tissues = {mode: frozenset(_tissues(listed)) for mode, listed in saved["tissues"].items()}
    return Lighting(
        window=Window(**saved["window"]),
        saturation=float(saved["saturation"]),
        min_confidence=float(saved["min_confidence"]),
        palette=own,
        alpha=ALPHA_PRESETS[alpha.name] if ALPHA_PRESETS.get(alpha.name) == alpha else alpha,
        tissues=TissueSelection(**tissues),
    )


def _tissues(values: Iterable[Any]) -> tuple[Tissue, ...]:
    return tuple(Tissue(int(value)) for value in values)
