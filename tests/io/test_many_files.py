"""Many files at once: listing is cheap for each, can be cancelled, and works in several threads."""

from __future__ import annotations

import threading
import warnings
from itertools import pairwise

import mutations
import numpy as np
import pytest
import torture as T
from fuzz_seeds import one

from effort import calls_of
from tomochrome.errors import Cancelled, TomochromeError
from tomochrome.io import find, read
from tomochrome.runtime import Task, running


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Return a folder of 2,000 slices in 20 series."""
    folder = tmp_path_factory.mktemp("crowd")
    d = one(SeriesInstanceUID="1.2.3.4.5.99", SOPInstanceUID="1.2.3.4.5.6.99999999")
    d.ImagePositionPatient = ["0", "0", "000000.0"]
    first = T.save_one(d, folder / "first")
    body = first.read_bytes()
    first.unlink()
    for i in range(2000):
        changed = body.replace(b"1.2.3.4.5.6.99999999", f"1.2.3.4.5.6.{10_000_000 + i}".encode())
        changed = changed.replace(b"1.2.3.4.5.99", f"1.2.3.4.5.{10 + i % 20}".encode())
        changed = changed.replace(b"000000.0", f"{2.0 * (i // 20):08.1f}".encode())
        (folder / f"{i}").write_bytes(changed)
    return folder


def test_2000_files_are_listed_with_little_work_for_each(crowd):
    found = find(crowd)
    assert calls_of(lambda: find(crowd)) < 2000 * 1200
    assert len(found.items) == 20
    assert {item.shape for item in found.items} == {(100, 32, 32)}
    assert {item.verdict for item in found.items} == {"regular"}


def test_listing_2000_files_tells_progress_and_can_be_cancelled(crowd):
    told = []

    def progress(done, total, stage):
        told.append((done, total))
        if done >= 300:
            token.cancel()

    token = Task(progress)
    with running(token), pytest.raises(Cancelled):
        find(crowd)
    assert max(done for done, _ in told) < 600
    assert all(a[0] <= b[0] for a, b in pairwise(told) if a[1] == b[1])


def many_geometries(folder, count):
    """Write files of which no two lie in planes of one orientation and spacing."""
    folder.mkdir()
    d = one(SeriesInstanceUID="1.2.3", StudyInstanceUID="1.2")
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
    for i in range(count):
        a = np.pi * i / 1000
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"1.2.{i}"
        d.ImageOrientationPatient = [f"{v:.8f}" for v in (np.cos(a), np.sin(a), 0, 0, 0, -1)]
        d.PixelSpacing = [f"{1 + i / 100:.4f}"] * 2
        d.save_as(folder / f"{i}", enforce_file_format=True)
    return folder


def test_nothing_compares_every_file_with_every_other(tmp_path):
    folders = [many_geometries(tmp_path / f"{count}", count) for count in (200, 400)]
    found = []
    few, many = (calls_of(lambda folder=folder: found.append(find(folder))) for folder in folders)
    assert len(found[1].items) > 360  # neighbours may be within tolerance
    assert many < 3 * few  # all pairs would be four times as many


def test_reading_and_listing_in_several_threads_at_once(crowd, tmp_path):
    """Warnings of damaged headers are caught for each thread, whatever the others do."""
    bad = [mutations.damaged("classic", 77, i) for i in range(40)]
    faults: list[str] = []

    def work(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        for i, body in enumerate(bad):
            (folder / f"{i}").write_bytes(body)
            try:
                found = find(folder / f"{i}")
                for item in found.items:
                    read(item)
            except TomochromeError:
                pass
            except Exception as error:
                faults.append(repr(error))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    assert [str(w.message) for w in caught] == []
