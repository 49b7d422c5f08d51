"""Damaged inputs by the thousand, each made again from its kind, seed and number.

`mutate` damages a healthy input of `fuzz_seeds`. DICOM is taken apart element by element, so that
damage reaches values, lengths, value representations and nesting that flipped bytes hardly ever
do; NIfTI has its header fields changed, text headers their lines, and what is compressed is
damaged inside as well as outside.
"""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from copy import deepcopy

import nibabel as nib
import numpy as np
from dicom_elements import Element, nested, parse
from fuzz_seeds import SEEDS, healthy

Rng = np.random.Generator

_EXPLICIT = {"classic", "rle", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "enhanced", "dicomdir"}


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


def _harm(level: list[Element], i: int, rng: Rng) -> None:
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
        level[i] = Element(element.tag, b"SQ", b"", None, [deepcopy(level[: int(rng.integers(4))])])
    elif what == 5:
        level[i] = nested(int(rng.integers(2, 200)), element.tag)
    elif what == 6 and len(element.value) in (2, 4, 8):
        n = len(element.value)
        element.value = (int(rng.choice(_INTS)) & (256**n - 1)).to_bytes(n, "little")
    else:
        element.value = _TEXTS[int(rng.integers(len(_TEXTS)))]
        element.items = None


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
