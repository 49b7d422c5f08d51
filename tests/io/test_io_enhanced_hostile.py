"""Enhanced multi-frame objects that contradict themselves, nest without end or hold very much."""

from __future__ import annotations

import pytest
from enhanced_cases import frames_of, headers_of, item, told, write_enhanced
from io_cases import ct
from pydicom.sequence import Sequence as Items

from effort import calls_of
from tomochrome.errors import InputError
from tomochrome.io.dicom.warning_capture import captured_warnings


def boast(dataset):
    dataset.NumberOfFrames = 1_000_000


def one_more(dataset):
    dataset.NumberOfFrames = 8


def one_less(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[3]


def below_zero(dataset):
    dataset.NumberOfFrames = -7


def unnumbered(dataset):
    del dataset.NumberOfFrames


def no_per_frame(dataset):
    del dataset.PerFrameFunctionalGroupsSequence


def sequence_of_text(dataset):
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.add_new(0x52009230, "LO", "nonsense")


def one_item_more(dataset):
    dataset.PerFrameFunctionalGroupsSequence.append(item())


HOSTILE = {
    "one item too many": (one_item_more, "claims 7 frames but describes more"),
    "a million frames": (boast, "more than any scan holds"),
    "one frame too many": (one_more, "claims 8 frames but describes 7"),
    "one item too few": (one_less, "claims 7 frames but describes 6"),
    "a negative number": (below_zero, "claims -7 frames but describes"),
    "no number": (unnumbered, "claims 1 frames but describes more"),
    "no items": (no_per_frame, "claims 7 frames but describes 0"),
    "text in place of items": (sequence_of_text, "claims 7 frames but describes 0"),
}


def refused(path, words="."):
    with pytest.raises(InputError, match=words) as caught:
        headers_of(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", HOSTILE)
def test_contradictions_end_in_one_sentence(tmp_path, case):
    edit, words = HOSTILE[case]
    with captured_warnings():
        path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=edit)
    assert calls_of(lambda: refused(path, words)) < 20_000


def test_values_without_sense_are_none_and_not_those_of_the_others(tmp_path):
    def spoil(dataset):
        group = dataset.PerFrameFunctionalGroupsSequence[2]
        group.PlanePositionSequence[0].ImagePositionPatient = [1, 2]
        group.PixelMeasuresSequence = Items([item(PixelSpacing=None)])
        group.PixelValueTransformationSequence = Items([item(RescaleSlope=None)])
        group.FrameContentSequence[0].StackID = "Doe^Jane"
        dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence = Items()

    headers = headers_of(write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=spoil))
    assert [h.position is None for h in headers] == [i in (2, 3) for i in range(7)]
    assert headers[2].pixel_spacing is None
    assert headers[2].slope is None
    assert headers[2].intercept == -1024
    assert "StackID" not in told(headers[2])


def test_deep_nesting_ends(tmp_path):
    """Sequences within sequences, deeper than any stack of calls."""
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct((2, 4, 4))))
    for length, depth in ((b"\xff\xff\xff\xff", 5000), (None, 2000)):
        nest = b""
        for _ in range(depth):
            if length:
                break
            one = b"\xfe\xff\x00\xe0" + len(nest).to_bytes(4, "little") + nest
            nest = b"\x20\x00\x11\x91SQ\0\0" + len(one).to_bytes(4, "little") + one
        if length:
            nest = (b"\x20\x00\x11\x91SQ\0\0" + length + b"\xfe\xff\x00\xe0" + length) * depth
        whole = path.read_bytes()
        at = whole.index(b"\x00\x52\x30\x92SQ")
        bomb = tmp_path / f"bomb{depth}.dcm"
        group = b"\xfe\xff\x00\xe0" + len(nest).to_bytes(4, "little") + nest
        if length:
            group = b"\xfe\xff\x00\xe0" + length + nest
        size = length or len(group).to_bytes(4, "little")
        bomb.write_bytes(whole[:at] + b"\x00\x52\x30\x92SQ\0\0" + size + group)
        assert calls_of(lambda path=bomb: refused(path)) < 100_000


@pytest.mark.parametrize("item", [b"\0\0\0\0", b"\xff\xff\xff\xff\xfe\xff\x0d\xe0\0\0\0\0"])
def test_a_million_items_end(tmp_path, item):
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct((2, 4, 4))))
    whole = path.read_bytes()
    at = whole.index(b"\x00\x52\x30\x92SQ")
    items = (b"\xfe\xff\x00\xe0" + item) * 1_000_000
    size = len(items).to_bytes(4, "little")
    path.write_bytes(whole[:at] + b"\x00\x52\x30\x92SQ\0\0" + size + items)
    assert calls_of(lambda: refused(path, "claims 2 frames but describes more")) < 20_000


def test_twice_the_frames_are_twice_the_work(tmp_path):
    calls = []
    for count in (200, 400):
        path = write_enhanced(tmp_path / f"{count}.dcm", frames_of(ct((count, 4, 4))))
        assert len(headers_of(path)) == count
        calls.append(calls_of(lambda path=path: headers_of(path)))
    assert calls[1] < 2.2 * calls[0]
    assert calls[1] < 3000 * 400
