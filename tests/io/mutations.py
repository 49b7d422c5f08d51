"""Damaged inputs by the thousand, each made again from its kind, seed and number.

`SEEDS` makes one small healthy input of each kind; `mutate` damages it. DICOM is taken apart
element by element, so that damage reaches values, lengths, value representations and nesting
that flipped bytes hardly ever do; NIfTI has its header fields changed, text headers their lines,
and what is compressed is damaged inside as well as outside. `check` runs one input and says
what came of it.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import SimpleITK
import torture as T
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage

from tomochrome.errors import TomochromeError
from tomochrome.io import find, read
from tomochrome.volume import Volume

Rng = np.random.Generator
SECONDS = 2.0
"""Longer than this, an input hangs."""
MEGABYTES = 300
"""More than this for a picture of 16x16 is a blow-up."""
NAME = "Musterfrau^Erika"

# --- healthy inputs ----------------------------------------------------------------------------


def _small(depth: int = 1, side: int = 16) -> Volume:
    part = T.scan().voxels[8 : 8 + depth, 8 : 8 + side, 8 : 8 + side]
    return Volume(part.copy(), T.scan().affine, "HU")


def _dicom(kind: str) -> bytes:
    volume = _small(1, 32 if kind == "jpeg-2000" else 16)
    d = T.slices(volume, PatientName=NAME, AcquisitionNumber=1, SeriesDescription="Head")[0]
    d.PixelPaddingValue = -1024
    d["PixelPaddingValue"].VR = "SS"
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "1", "Head"
    d.ProcedureCodeSequence = Items([code])
    with TemporaryDirectory() as folder:
        syntax = T.SYNTAXES.get(kind, T.ExplicitVRLittleEndian)
        return T.save_one(d, Path(folder) / "a", syntax).read_bytes()


def enhanced_dataset(volume: Volume) -> Dataset:
    """Return an Enhanced CT image that holds a volume, geometry in the functional groups."""
    parts = T.slices(volume)
    d = Dataset()
    for keyword in (
        "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "Rows",
        "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
        "HighBit", "PixelRepresentation",
    ):  # fmt: skip
        setattr(d, keyword, parts[0][keyword].value)
    d.SOPClassUID, d.SOPInstanceUID = EnhancedCTImageStorage, T.new_uid()
    d.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    d.PatientName, d.NumberOfFrames = NAME, len(parts)
    shared, measures, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = parts[0].PixelSpacing, "5"
    plane.ImageOrientationPatient = parts[0].ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "-1024", "HU"
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([plane])
    shared.PixelValueTransformationSequence = Items([values])
    d.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for i, part in enumerate(parts):
        frame, where, content = Dataset(), Dataset(), Dataset()
        where.ImagePositionPatient = part.ImagePositionPatient
        content.StackID, content.InStackPositionNumber = "1", i + 1
        content.DimensionIndexValues = [1, i + 1]
        frame.PlanePositionSequence = Items([where])
        frame.FrameContentSequence = Items([content])
        frames.append(frame)
    d.PerFrameFunctionalGroupsSequence = Items(frames)
    d.PixelData = b"".join(part.PixelData for part in parts)
    d["PixelData"].VR = "OW"
    return d


def _enhanced() -> bytes:
    with TemporaryDirectory() as folder:
        return T.save_one(enhanced_dataset(_small(3)), Path(folder) / "a").read_bytes()


def _packed(pack: Callable[[Path], Path]) -> bytes:
    with TemporaryDirectory() as folder:
        return pack(Path(folder)).read_bytes()


def _nifti(folder: Path, name: str) -> Path:
    image = nib.Nifti1Image(_small(4).voxels.T, np.diag([4.0, 4.0, 5.0, 1.0]))
    nib.save(image, folder / name)
    return folder / name


def _itk(folder: Path, name: str) -> Path:
    image = SimpleITK.GetImageFromArray(_small(4).voxels)
    SimpleITK.WriteImage(image, str(folder / name))
    return folder / name


def _zip(folder: Path) -> Path:
    T.save(T.slices(_small(3), PatientName=NAME), folder / "s")
    return T.zipped(folder / "s", folder / "a.zip")


def _zip_of_six(folder: Path) -> Path:
    T.save(T.slices(_small(6), PatientName=NAME, AcquisitionNumber=1), folder / "s")
    return T.zipped(folder / "s", folder / "a.zip", top="")


def _dicomdir(folder: Path) -> Path:
    return T.dicomdir(T.slices(_small(2), PatientName=NAME), folder / "cd")


SEEDS: dict[str, Callable[[], bytes]] = {
    "classic": lambda: _dicom("classic"),
    **{kind: (lambda k=kind: _dicom(k)) for kind in T.SYNTAXES},  # type: ignore[misc]
    "enhanced": _enhanced,
    "dicomdir": lambda: _packed(_dicomdir),
    "nifti": lambda: _packed(lambda f: _nifti(f, "a.nii")),
    "nifti-gz": lambda: gzip.compress(healthy("nifti"), 1, mtime=0),
    "nrrd": lambda: _packed(lambda f: _itk(f, "a.nrrd")),
    "metaimage": lambda: _packed(lambda f: _itk(f, "a.mha")),
    "zip": lambda: _packed(_zip),
    "series": lambda: _packed(_zip_of_six),  # unpacked before it is read
}
SUFFIX = {"nifti": ".nii", "nifti-gz": ".nii.gz", "nrrd": ".nrrd", "metaimage": ".mha",
          "zip": ".zip"}  # fmt: skip
_EXPLICIT = {"classic", "rle", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "enhanced", "dicomdir"}


@cache
def healthy(kind: str) -> bytes:
    """Return the undamaged input of a kind, the same in every process."""
    with T.numbered_from(1_000_000 * (1 + sorted(SEEDS).index(kind))):
        return SEEDS[kind]()


# --- damage ------------------------------------------------------------------------------------


def damaged(kind: str, seed: int, number: int) -> bytes:
    """Return input ``number`` of a run: the same bytes for the same kind, seed and number."""
    rng = np.random.default_rng([seed, sorted(SEEDS).index(kind), number])
    return mutate(healthy(kind), kind, rng)


def mutate(data: bytes, kind: str, rng: Rng) -> bytes:
    """Damage an input of a kind."""
    if kind == "nifti-gz" and rng.random() < 0.7:
        return gzip.compress(mutate(gzip.decompress(data), "nifti", rng), 1, mtime=0)
    if kind == "zip" and rng.random() < 0.7:
        return _rezip(data, rng)
    if kind == "series":
        return _retold(data, rng)
    choices: list[Callable[[bytes, Rng], bytes]] = [_flip, _cut, _splice, _extreme]
    if kind in _EXPLICIT:
        choices += [_elements] * 6
    elif kind == "nifti":
        choices += [_nifti_field] * 3
    elif kind in ("nrrd", "metaimage"):
        choices += [_text_header] * 4
    for _ in range(int(rng.integers(1, 4))):
        data = choices[int(rng.integers(len(choices)))](data, rng)
    return data


def _flip(data: bytes, rng: Rng) -> bytes:
    broken = bytearray(data)
    for where in rng.integers(0, max(len(broken), 1), rng.integers(1, 9)):
        if where < len(broken):
            broken[where] = int(rng.integers(256))
    return bytes(broken)


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def _splice(data: bytes, rng: Rng) -> bytes:
    """Take a run out, put one in, or repeat one."""
    a, b = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    b = min(b, a + 300)
    part = (b"", rng.bytes(b - a), data[a:b] * 2, bytes(b - a))[int(rng.integers(4))]
    return data[:a] + part + data[b:]


_INTS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 60000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _extreme(data: bytes, rng: Rng) -> bytes:
    """Write an extreme number of 2, 4 or 8 bytes somewhere."""
    value = int(rng.choice(_INTS))
    size = int(rng.choice((2, 4, 8)))
    order = "little" if rng.random() < 0.7 else "big"
    raw = (value & (256**size - 1)).to_bytes(size, order)
    at = int(rng.integers(0, max(1, len(data) - size)))
    return data[:at] + raw + data[at + size :]


# DICOM, element by element ---------------------------------------------------------------------


@dataclass
class _Element:
    tag: tuple[int, int]
    vr: bytes
    value: bytes
    length: int | None = None  #: a length to claim instead of the true one
    items: list[list[_Element]] | None = None

    def pack(self) -> bytes:
        value = self.value
        if self.items is not None:
            value = b"".join(
                b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
                for body in (b"".join(e.pack() for e in item) for item in self.items)
            )
        n = len(value) if self.length is None else self.length
        head = struct.pack("<HH", *self.tag) + self.vr
        if self.vr in _LONG:
            return head + b"\0\0" + struct.pack("<I", n & 0xFFFFFFFF) + value
        return head + struct.pack("<H", n & 0xFFFF) + value


_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"}
_VRS = [b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB",
        b"OW", b"OF", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"TM", b"UI", b"UL", b"UN", b"US",
        b"UT", b"UC", b"SV", b"??"]  # fmt: skip
_TEXTS = (b"", b" ", b"0", b"-1", b"1e308", b"-1e308", b"1e-320", b"nan", b"inf", b"99999999999999",
          b"\\", b"\\\\\\\\\\\\", b"1\\2", b"1\\0\\0\\0\\1\\0", b"0\\0\\0\\0\\0\\0", b"0\\0\\0",
          b"1e300\\1e300\\1e300", b"ABC", b"\xff\xfe\xfd\xfc", b"1.2.840.10008.1.2.4.91",
          b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1.99",
          b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.57", b"1.2.3", b"HTJ2K", b"CT", b"MR",
          b"LOCALIZER", b"../../../../etc/passwd", b"ISO_IR 13", b"\\ISO 2022 IR 87", b"65535",
          b"\0\0", b"1" * 80, b"x" * 5000)  # fmt: skip


def parse(data: bytes, depth: int = 4) -> list[_Element]:
    """Take explicit little endian elements apart; stop where it makes no sense any more."""
    elements, at = [], 0
    while at + 8 <= len(data):
        group, number = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6]
        if vr in _LONG:
            if at + 12 > len(data):
                break
            (length,) = struct.unpack_from("<I", data, at + 8)
            at += 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            at += 8
        if length == 0xFFFFFFFF:  # encapsulated pixels or an open sequence: to the end
            elements.append(_Element((group, number), vr, data[at:], 0xFFFFFFFF))
            break
        value = data[at : at + length]
        items = _items(value, depth) if vr == b"SQ" and depth else None
        elements.append(_Element((group, number), vr, value, None, items))
        at += length
    return elements


def _items(data: bytes, depth: int) -> list[list[_Element]] | None:
    items, at = [], 0
    while at + 8 <= len(data) and data[at : at + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack_from("<I", data, at + 4)
        if length == 0xFFFFFFFF:
            return None
        items.append(parse(data[at + 8 : at + 8 + length], depth - 1))
        at += 8 + length
    return items


def _elements(data: bytes, rng: Rng) -> bytes:
    """Damage DICOM elements, at any depth."""
    if data[128:132] != b"DICM":
        return _flip(data, rng)
    elements = parse(data[132:])
    for _ in range(int(rng.integers(1, 4))):
        level = elements
        while True:
            inner = [e for e in level if e.items]
            if not inner or rng.random() < 0.4:
                break
            element = inner[int(rng.integers(len(inner)))]
            assert element.items is not None
            level = element.items[int(rng.integers(len(element.items)))]
        if level:
            _harm(level, int(rng.integers(len(level))), rng)
    head = data[:132] if rng.random() < 0.9 else b""
    return head + b"".join(e.pack() for e in elements)


def _harm(level: list[_Element], i: int, rng: Rng) -> None:
    element = level[i]
    what = int(rng.integers(9))
    if what == 0:
        del level[i]
    elif what == 1:
        element.vr = _VRS[int(rng.integers(len(_VRS)))]
    elif what == 2:
        element.length = int(rng.choice(_INTS))
    elif what == 3:
        level.insert(int(rng.integers(len(level) + 1)), deepcopy(element))
    elif what == 4:
        level[i] = _Element(
            element.tag, b"SQ", b"", None, [deepcopy(level[: int(rng.integers(4))])]
        )
    elif what == 5:
        level[i] = nested(int(rng.integers(2, 200)), element.tag)
    elif what == 6 and len(element.value) in (2, 4, 8):
        n = len(element.value)
        element.value = (int(rng.choice(_INTS)) & (256**n - 1)).to_bytes(n, "little")
    else:
        element.value = _TEXTS[int(rng.integers(len(_TEXTS)))]
        element.items = None


def nested(depth: int, tag: tuple[int, int] = (0x0008, 0x1140)) -> _Element:
    """Return a sequence in a sequence in a sequence ..."""
    element = _Element(tag, b"SQ", b"", None, [[]])
    for _ in range(depth - 1):
        element = _Element(tag, b"SQ", element.pack())
        element.value = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(element.value)) + element.value
    return element


# Other formats ---------------------------------------------------------------------------------

_FIELDS = ["sizeof_hdr", "dim", "datatype", "bitpix", "pixdim", "vox_offset", "scl_slope",
           "scl_inter", "xyzt_units", "qform_code", "sform_code", "quatern_b", "qoffset_x",
           "srow_x", "srow_y", "srow_z", "magic", "intent_code", "slice_end"]  # fmt: skip


def _nifti_field(data: bytes, rng: Rng) -> bytes:
    dtype = nib.Nifti1Header.template_dtype
    offset = dtype.fields[_FIELDS[int(rng.integers(len(_FIELDS)))]]
    at, size = offset[1], offset[0].itemsize
    if rng.random() < 0.5 and offset[0].base.kind == "f":
        value = float(rng.choice([0, -1, 1e38, -1e38, np.nan, np.inf, 1e-38, 0.5]))
        raw = struct.pack("<f", value)
    else:
        raw = int(rng.choice(_INTS)).to_bytes(8, "little")[: max(offset[0].base.itemsize, 1)]
    at += int(rng.integers(max(1, size // len(raw)))) * len(raw)
    return data[:at] + raw + data[at + len(raw) :]


def _text_header(data: bytes, rng: Rng) -> bytes:
    """Drop, repeat, swap or rewrite a line of the header."""
    lines = data.split(b"\n", 14)
    if len(lines) < 4:
        return _flip(data, rng)
    i, j = (int(v) for v in rng.integers(0, len(lines) - 1, 2))
    what = int(rng.integers(5))
    if what == 0:
        del lines[i]
    elif what == 1:
        lines.insert(i, lines[j])
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        words = lines[i].replace(b"(", b" ").replace(b",", b" ").split(b" ")
        text = (b"0", b"-1", b"nan", b"1e300", b"60000", b"4294967296", b"x", b"", b"none", b"LIST",
                b"/etc/passwd", b"../x", b"double", b"MET_UCHAR", b"bzip2", b"raw", b"hex",
                b"true")[int(rng.integers(18))]  # fmt: skip
        words[int(rng.integers(len(words)))] = text
        lines[i] = b" ".join(words)
    return b"\n".join(lines)


_TOLD = {
    (0x0020, 0x0032): (b"0\\0\\0", b"1e300\\0\\0", b"1e5\\-1e5\\1e5", b"-96\\-102\\575.3",
                       b"0\\0\\1e-9"),
    (0x0020, 0x0037): (b"1\\0\\0\\0\\0\\-1", b"1\\0\\0\\1\\0\\0", b"0\\0\\0\\0\\0\\0",
                       b"1\\0\\0\\0\\0.999\\0.04", b"1\\0\\0\\0\\0.7071\\-0.7071"),
    (0x0028, 0x0030): (b"1e-300\\1", b"1e300\\1e300", b"-1\\-1", b"0\\0", b"4.001\\4", b"2\\2"),
    (0x0028, 0x1053): (b"0", b"-1", b"1e300", b"1e-300", b"0.5", b"3"),
    (0x0028, 0x1052): (b"1e300", b"-1e9", b"0.25", b"40000"),
    (0x0018, 0x0050): (b"0", b"-5", b"1e300"),
    (0x0020, 0x000E): (b"", b"1.2.3"),
    (0x0020, 0x000D): (b"", b"1.2.3"),
    (0x0020, 0x0052): (b"", b"1.2.3"),
    (0x0020, 0x0012): (b"2", b"3", b"99999999999"),
    (0x0008, 0x0008): (b"ORIGINAL\\PRIMARY\\LOCALIZER", b"DERIVED\\SECONDARY\\MIP", b""),
    (0x0008, 0x0060): (b"MR", b"", b"SEG", b"PT"),
    (0x0028, 0x0010): (b"\x08\0", b"\0\0", b"\xff\xff"),
    (0x0028, 0x0120): (b"\0\x80", b"\xff\x7f", b"\x20\0"),
    (0x0028, 0x0101): (b"\x0c\0", b"\0\0", b"\x20\0"),
    (0x0028, 0x0103): (b"\0\0", b"\x07\0"),
}  # fmt: skip


def _retold(data: bytes, rng: Rng) -> bytes:
    """Let some slices of a series say something else about their place, values or kind."""
    out = io.BytesIO()
    told = [list(_TOLD)[int(i)] for i in rng.integers(len(_TOLD), size=int(rng.integers(1, 4)))]
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            if rng.random() < 0.1:
                continue
            if rng.random() < 0.6:
                elements = parse(body[132:])
                for tag in told:
                    for element in [e for e in elements if e.tag == tag]:
                        values = _TOLD[tag]
                        if rng.random() < 0.15:
                            elements.remove(element)
                            continue
                        value = values[int(rng.integers(len(values)))]
                        pad = b"\0" if element.vr == b"UI" else b" "
                        element.value = value + pad * (len(value) % 2)
                body = body[:132] + b"".join(e.pack() for e in elements)
            new.writestr(zipfile.ZipInfo(name), body)
    return out.getvalue()


def _rezip(data: bytes, rng: Rng) -> bytes:
    """Damage a member of an archive, or its name."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        victim = int(rng.integers(len(old.namelist())))
        for i, name in enumerate(old.namelist()):
            body = old.read(name)
            if i == victim and rng.random() < 0.3:
                bad = ["../x", "/tmp/x", "a/../../x", "x" * 300, "", "CON", "a\\b", "..", "ä\u202e"]
                name = bad[int(rng.integers(len(bad)))]
            elif i == victim:
                body = mutate(body, "classic", rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of doubled names
                new.writestr(zipfile.ZipInfo(name or "x"), body)
    whole = out.getvalue()
    return _flip(whole, rng) if rng.random() < 0.2 else whole


# --- running -----------------------------------------------------------------------------------


class Hang(BaseException):
    """The input took longer than `SECONDS`."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `Hang` when the body takes the processor for longer, or ten times that on the clock.

    Other programs may have the processor meanwhile; what waits for ever does not use it.
    """

    def ring(signum: int, frame: object) -> None:
        raise Hang

    timers = [
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, 10 * seconds),
    ]
    before = [signal.signal(number, ring) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def bounded(gigabytes: float = 3.0) -> Iterator[None]:
    """Let this process take only so much more address space, so that no input starves the host."""
    held = Path("/proc/self/statm")
    if not held.exists():  # only Linux tells what a process has now
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(held.read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (min(limit, hard) if hard > 0 else limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass
class Tally:
    """What came of the inputs."""

    volumes: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many inputs ran."""
        return self.volumes + self.refused + len(self.faults)


def peak_megabytes() -> float:
    """Return the most memory that this process has held."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def attempt(path: Path) -> tuple[bool, str]:
    """List and read what is at a path: whether a volume came, and what was wrong with that."""
    told: list[str] = []
    messages: list[str] = []
    came = False
    try:
        found = find(path)
        told.append(json.dumps(found.to_json(), allow_nan=False))
        told += [repr(item) for item in found.items]
        messages += [w for item in found.items for w in (*item.warnings, item.refusal)]
        messages += [skipped.reason for skipped in found.skipped]
        for item in found.items:
            try:
                volume = read(item)
                came = True
                told.append(repr(volume.provenance))
                if not np.isfinite(volume.affine).all() or volume.voxels.dtype.kind not in "iuf":
                    return came, "a volume without sense"
                if volume.voxels.dtype.kind == "f" and not np.isfinite(volume.voxels).all():
                    return came, "voxels that are not finite numbers"
                if item.shape is not None and volume.shape != tuple(item.shape):
                    return came, f"listed as {item.shape}, read as {volume.shape}"
            except TomochromeError as error:
                messages.append(str(error))
    except TomochromeError as error:
        messages.append(str(error))
    if "Musterfrau" in " ".join(told + messages):
        return came, "the patient's name was told"
    if any("\n" in text for text in messages):
        return came, "a message of several lines"
    return came, ""


def check(path: Path) -> tuple[bool, str]:
    """Run one input within time and memory, and with warnings taken down."""
    fault = ""
    came = False
    for patience in (1, 5):  # a second, longer time: the machine may have been busy
        peak, start = peak_megabytes(), time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with alarm(SECONDS * patience):
                    came, fault = attempt(path)
            except Hang:
                fault = f"hangs: more than {SECONDS * patience:g} s"
                gc.collect()  # what was interrupted may have left a file open: no test's fault
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
        if not fault and caught:
            fault = f"warning: {caught[0].message}"
        if not fault and time.process_time() - start > SECONDS * patience:
            fault = f"took {time.process_time() - start:.1f} s"
        if not fault and peak_megabytes() - peak > MEGABYTES:
            fault = f"took {peak_megabytes() - peak:.0f} MB"
        if not fault.startswith(("hangs", "took")) or "MB" in fault:
            break
    return came, fault


def run(kind: str, seed: int, numbers: range, folder: Path) -> Tally:
    """Run inputs one after another, and name those with a fault so that they can be made again."""
    _compile()
    tally = Tally()
    for number in numbers:
        place = folder / f"{kind}-{seed}-{number}"
        place.mkdir()
        path = place / ("DICOMDIR" if kind == "dicomdir" else f"a{SUFFIX.get(kind, '.dcm')}")
        if kind == "dicomdir":
            _beside_dicomdir(place)
        path.write_bytes(damaged(kind, seed, number))
        if kind == "series":
            with zipfile.ZipFile(path) as packed:
                packed.extractall(place)
            path.unlink()
            path = place
        came, fault = check(path)
        if fault:
            tally.faults.append(f"kind={kind} seed={seed} number={number}: {fault}")
        else:
            tally.volumes += came
            tally.refused += not came
        shutil.rmtree(place)
    return tally


@cache
def _compile() -> None:
    """Compile what reading compiles: no input is to blame for the seconds that this takes."""
    with TemporaryDirectory() as folder:
        slices = T.slices(_small(6))
        read(T.save(slices[:2] + slices[3:], Path(folder) / "uneven"))
        read(T.save_one(slices[0], Path(folder) / "a.dcm", T.SYNTAXES["rle"]))


@cache
def _disc() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        top = T.dicomdir(T.slices(_small(2), PatientName=NAME), Path(folder) / "cd").parent
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def _beside_dicomdir(place: Path) -> None:
    for name, body in _disc().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(body)
