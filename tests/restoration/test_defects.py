"""The map of defects and the values of a restoration."""

from __future__ import annotations

import numpy as np

from tomochrome.restoration import Defect, DefectMap, Restoration
from tomochrome.volume import Volume


def test_the_defects_of_a_map_are_counted_by_kind_and_slice() -> None:
    code = np.zeros((4, 5, 6), np.uint8)
    code[1, 2:4, 3] = 2
    code[3] = 3
    assert DefectMap(code).defects == (Defect("ring", 2, (1,)), Defect("missing", 30, (3,)))
    assert DefectMap(code).mask.sum() == 32
    assert DefectMap(np.zeros((1, 2, 2), np.uint8)).defects == ()


def test_a_restoration_marks_the_voxels_that_differ() -> None:
    scan = Volume(np.zeros((2, 4, 5), np.int16))
    voxels = scan.voxels.copy()
    voxels[1, 2, 3] = 40
    result = Restoration(scan, scan.with_voxels(voxels), DefectMap(voxels > 0), "linear", 0.1)
    assert np.argwhere(result.changed).tolist() == [[1, 2, 3]]
    assert result.restored_percent == 2.5
