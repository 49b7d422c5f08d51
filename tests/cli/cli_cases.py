"""A small CT that the command line's tests write to disk, and the command line itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tomochrome.cli import main
from tomochrome.io.dicom.dicom_write import write_series
from tomochrome.volume import Volume, default_affine

SHAPE = (6, 48, 56)
AFFINE = default_affine((3.0, 1.5, 1.5), (-40.0, -30.0, 12.0))


def small_ct() -> Volume:
    """A cylinder of soft tissue with a shell of fat, a bone and a pocket of gas, in air."""
    rng = np.random.default_rng(7)
    _, y, x = np.indices(SHAPE)
    hu = np.full(SHAPE, -1000.0)
    radius = np.hypot((y - 23.5) / 20, (x - 27.5) / 24)
    hu[radius < 1.0] = -100
    hu[radius < 0.85] = 55
    hu[np.hypot(y - 34, x - 28) < 5] = 700
    hu[np.hypot(y - 15, x - 22) < 4] = -900
    noisy = hu + rng.normal(0, 8, SHAPE)
    return Volume(np.rint(noisy).astype(np.int16), AFFINE)


def make_series(folder: Path, modality: str = "CT") -> Path:
    """Write the small CT as a DICOM series."""
    write_series(small_ct(), folder, modality=modality, series_uid="1.2.826.0.1.3680043.8.498.77")
    return folder


class Run:
    """The result of one run of the command line: exit status, stdout and stderr."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *argv: object) -> None:
        capfd.readouterr()
        self.status = main([str(word) for word in argv])
        self.out, self.err = capfd.readouterr()

    @property
    def complaint(self) -> str:
        """The one line of an error, checked to be one line."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("error: ")
