"""A further format is one file: see `toy_format`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import toy_format
from io_cases import ct

from tomochrome.cli import main
from tomochrome.errors import InputError
from tomochrome.io import find, read
from tomochrome.io.image_formats import open_image


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "a.toy"
    voxels = ct().voxels
    head = f"TOY {' '.join(map(str, voxels.shape))}\n".encode()
    path.write_bytes(head + voxels.astype("<i2").tobytes())
    return path


def test_a_new_format_is_listed_and_read(toy: Path, capsys) -> None:
    assert len(Path(toy_format.__file__).read_text().splitlines()) <= 40
    (item,) = find(toy.parent).items
    assert (item.kind, item.unit, item.shape) == ("toy", "HU", ct().shape)
    for volume in (read(toy), read(item), read(toy.parent)):
        np.testing.assert_array_equal(volume.voxels, ct().voxels)
        assert volume.spacing == (3.0, 2.0, 1.0)
        assert volume.provenance.history == ("read a TOY file",)
    assert main(["info", str(toy), "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["items"]
    assert listed["kind"] == "toy"


def test_a_damaged_file_of_it_is_one_sentence(toy: Path) -> None:
    toy.write_bytes(toy.read_bytes()[:-5])
    with pytest.raises(InputError, match="cannot be read as TOY") as caught:
        read(toy)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="unsupported kind: nothing"):
        open_image(toy, "nothing")
