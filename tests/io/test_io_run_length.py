"""Run lengths, against pydicom's encoder and decoder, and damaged in every way."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.pixels.encoders.native import _encode_segment

from tomochrome.io.dicom.run_length import decode


def encode(values: np.ndarray) -> bytes:
    """Encode (y, x) values, most significant bytes first, by pydicom's encoder."""
    planes = values.view(np.uint8).reshape(*values.shape, -1)[..., ::-1]
    segments = [
        bytes(
            _encode_segment(np.ascontiguousarray(planes[..., i]).tobytes(), columns=values.shape[1])
        )
        for i in range(planes.shape[-1])
    ]
    starts = 64 + np.cumsum([0, *map(len, segments[:-1])])
    offsets = [*starts.tolist(), *[0] * (15 - len(segments))]
    return struct.pack("<16I", len(segments), *offsets) + b"".join(segments)


def image(width: int, seed: int, flat: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256**width, (13, 9), dtype=np.uint64).astype(f"<u{width}")
    values[rng.random((13, 9)) < flat] = 7
    return values


@given(
    width=st.sampled_from((1, 2, 4)), seed=st.integers(0, 10**6), flat=st.sampled_from((0, 0.5, 1))
)
@settings(deadline=None, max_examples=40)
def test_what_was_encoded_comes_back(width, seed, flat):
    values = image(width, seed, flat)
    code = encode(values)
    back = decode(code, values.size, width)
    np.testing.assert_array_equal(back.view(f"<u{width}").reshape(values.shape), values)
    theirs = np.frombuffer(_rle_decode_frame(code, 13, 9, 1, 8 * width, ">"), f"<u{width}")
    np.testing.assert_array_equal(back.view(f"<u{width}").ravel(), theirs)


def test_runs_that_go_on_beyond_the_last_pixel_are_cut():
    code = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([256 - 9, 5, 3, 1, 2, 3, 4])
    assert decode(code, 4, 1).ravel().tolist() == [5, 5, 5, 5]
    assert decode(code, 12, 1).ravel().tolist() == [5] * 10 + [1, 2]


def test_no_operation_is_none():
    code = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([128, 128, 0, 9, 128, 255, 8])
    assert decode(code, 3, 1).ravel().tolist() == [9, 8, 8]


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\0" * 63,
        struct.pack("<16I", 3, 64, 66, 68, *[0] * 12) + b"\0" * 20,
        struct.pack("<16I", 2, 64, 4000, *[0] * 13) + b"\0" * 20,
        struct.pack("<16I", 2, 60, 66, *[0] * 13) + b"\0" * 20,
        struct.pack("<16I", 2, 70, 66, *[0] * 13) + b"\0" * 20,
        struct.pack("<16I", 2, 64, 66, *[0] * 13) + bytes([1, 2]),
        struct.pack("<16I", 2, 64, 66, *[0] * 13) + bytes([255, 2, 255]),
        struct.pack("<16I", 2, 64, 64, *[0] * 13),
    ],
)
def test_damage_is_an_error(code):
    with pytest.raises(ValueError, match=r"segment|cut short"):
        decode(code, 2, 2)


@given(data=st.data(), width=st.sampled_from((1, 2)))
@settings(deadline=None, max_examples=200)
def test_any_bytes_end_well(data, width):
    code = bytearray(encode(image(width, 3, 0.5)))
    for _ in range(data.draw(st.integers(1, 6))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    code = code[: data.draw(st.integers(0, len(code)))]
    with contextlib.suppress(ValueError):
        assert decode(bytes(code), 117, width).shape == (117, width)
