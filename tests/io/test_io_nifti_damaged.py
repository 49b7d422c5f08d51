"""NIfTI files that are damaged, lie or hold no volume end in words; a big one can be cancelled."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import reads_or_refuses
from nifti_cases import hounsfield, patched, refused, saved

from tomochrome.errors import Cancelled, InputError
from tomochrome.io import find, image_file, read
from tomochrome.runtime import Task, current, running


def test_a_file_that_ends_between_two_slices_is_refused(tmp_path):
    values = np.arange(5 * 6 * 7, dtype=np.float32).reshape(7, 6, 5)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    packed = gzip.compress(whole)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole[: 352 + 3 * 7 * 6 * 4]))
    (tmp_path / "c.nii.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])  # a wrong check sum
    for name in ("b.nii.gz", "c.nii.gz"):
        with pytest.raises(InputError):
            read(tmp_path / name)


def test_what_is_no_volume_is_refused(tmp_path):
    refused(saved(tmp_path / "c.nii", np.zeros((3, 4, 5), np.complex64)), "not a single numeric")
    field = saved(tmp_path / "v.nii", np.zeros((3, 4, 5, 1, 3), np.float32))
    refused(field, "vector or deformation field")
    assert "vector" in find(tmp_path).skipped[1].reason
    path = saved(tmp_path / "z.nii", hounsfield())
    refused(patched(path, 40, np.int16([3, 20, -24, 6]).tobytes()), "empty|damaged")
    path = saved(tmp_path / "t.nii", hounsfield())
    refused(patched(path, 70, np.int16([1]).tobytes()), "damaged")


HUGE = np.int16([3, 32000, 32000, 32000]).tobytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_claims_beyond_the_file_are_refused_before_memory_is_taken(tmp_path, name):
    path = saved(tmp_path / name, hounsfield())
    refused(patched(path, 40, HUGE), "more than this reader allows")
    path = saved(tmp_path / f"b{name}", hounsfield())
    refused(patched(path, 40, np.int16([3, 1000, 1000, 500]).tobytes()), "header claims 1000000000")
    path = saved(tmp_path / f"c{name}", hounsfield())
    refused(patched(path, 40, np.int16([4, 20, 24, 6, 30000]).tobytes()), "30000 volumes")
    path = saved(tmp_path / f"d{name}", hounsfield())
    refused(patched(path, 108, np.float32([1e12]).tobytes()), "truncated|damaged")
    refused(patched(path, 108, np.float32([np.nan]).tobytes()), "damaged NIfTI header")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "LARGE_BYTES", 1 << 20)
    path = saved(tmp_path / "bomb.nii.gz", np.zeros((128, 128, 128), np.int16))
    refused(path, "decompression bomb")


def test_truncated_and_flipped_gzip_is_refused(tmp_path):
    path = saved(tmp_path / "a.nii.gz", hounsfield())
    whole = path.read_bytes()
    for size in (1, 5, 300, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "damaged|truncated")
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # the check sum
    path.write_bytes(flipped)
    refused(path, "damaged, truncated")
    path.write_bytes(whole + bytes(100))  # padding
    assert read(path).unit == "HU"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_big_file_can_be_cancelled_in_the_middle(tmp_path, name):
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, (128, 128, 1), dtype=np.int16).repeat(512, axis=2)
    path = saved(tmp_path / name, voxels)
    for function in (read, find):
        seen = []

        def stop(done, total, stage, seen=seen):
            if stage == "reading":
                seen.append((done, total))
                current().cancel()

        with running(Task(stop)), pytest.raises(Cancelled):
            function(path)
        assert len(seen) == 1
        assert seen[0][0] < seen[0][1]
    steps = []
    with running(Task(lambda *step: steps.append(step))):
        read(path)
    assert steps[-1][0] == steps[-1][1]
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_header_bytes_end_in_a_volume_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped.nii"
    if not path.exists():
        saved(path, hounsfield())
        path.with_suffix(".whole").write_bytes(path.read_bytes())
    content = bytearray(path.with_suffix(".whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, 351))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    path.write_bytes(content)
    reads_or_refuses(path)
