"""Pages of scans: compact, exact, the same for every way of storing a scan, and nameless."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from page_cases import CONFIDENCE, drawn, written

from marker_cases import STORED, marked, stored_as, turned
from tomochrome.color import Chroma, Lighting, srgb_to_lab
from tomochrome.color.codes import FreeColors
from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.hatch import hatch_lines
from tomochrome.color.photograph_look import photograph_look
from tomochrome.color.space import GREY_L
from tomochrome.colorization import colorize
from tomochrome.colorization.case_coloring import photograph_page
from tomochrome.errors import Cancelled, OutputError
from tomochrome.geometry.orient import closest_axial
from tomochrome.io import check_output, read, write
from tomochrome.io.dicom.dicom_write import over_black
from tomochrome.io.page import CasePage, case_page
from tomochrome.io.page.page_planes import DARK_LINE, FINE_HU, LIGHT_LINE, OUTSIDE, ValueScale
from tomochrome.notices import Notice
from tomochrome.runtime.task import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, Volume, default_affine

VOLUME, CHROMA = drawn()


class Parts(HTMLParser):
    """The tags of a page, and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, list[str]] = {}
        self._open = ""
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.data = json.loads(self.scripts["data"][0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._open = str(dict(attrs).get("id") or dict(attrs).get("class") or "code")

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == "script" else self._open

    def handle_data(self, data: str) -> None:
        if self._open:
            self.scripts.setdefault(self._open, []).append(data)

    def slice(self, k: int) -> dict[str, np.ndarray]:
        """Decode a slice pixel by pixel, as it is described in the module."""
        data = self.data
        raw = np.frombuffer(zlib.decompress(base64.b64decode(self.scripts["slice"][k])), np.uint8)
        rows, columns, step = data["rows"], data["columns"], data["step"]
        count = rows * columns
        coded = (raw[:count].astype(int) | raw[count : 2 * count].astype(int) << 8).reshape(
            rows, columns
        )
        values = np.zeros((rows + 1, columns + 1), int)
        for y in range(rows):
            for x in range(columns):
                error = coded[y, x] >> 1 if coded[y, x] % 2 == 0 else -(coded[y, x] + 1 >> 1)
                values[y + 1, x + 1] = (values[y + 1, x] + values[y, x + 1]) // 2 + error
        decoded = {"value": values[1:, 1:]}
        raw = raw[2 * count :]
        if data["marks"]:
            decoded["marks"], raw = raw[:count].reshape(rows, columns), raw[count:]
        if data["lightness"]:
            levels, raw = np.cumsum(raw[:count], dtype=np.uint8), raw[count:]
            decoded["lightness"] = levels.reshape(rows, columns)
        shape = -(-rows // step), -(-columns // step)
        size = shape[0] * shape[1]
        index = raw[:size].astype(int) | raw[size : 2 * size].astype(int) << 8
        table = np.frombuffer(base64.b64decode(data["colorings"][0]["rows"]), np.int16)
        decoded["color"] = table.reshape(-1, 3)[index].reshape(*shape, 3)
        decoded["confidence"] = raw[2 * size : 3 * size].reshape(shape)
        return decoded


def test_a_page_holds_values_tissues_and_confidences(tmp_path: Path) -> None:
    parts = Parts(written(tmp_path / "a.html", VOLUME, CHROMA))
    hu = np.array(parts.data["values"])
    assert len(parts.scripts["slice"]) == VOLUME.shape[0]
    for k in (0, 4):
        decoded, z = parts.slice(k), VOLUME.shape[0] - 1 - k
        told, true = hu[decoded["value"]], np.asarray(VOLUME.voxels[z])
        fine = (true >= FINE_HU[0]) & (true < FINE_HU[1])
        assert (told == true)[fine].all() and np.abs(told - true).max() <= 1.5
        np.testing.assert_array_equal(decoded["color"][..., 0], CHROMA.code[z])
        np.testing.assert_allclose(decoded["color"][..., 1:], CHROMA.ab(slices=z), atol=0.5)
        assert (decoded["confidence"] == round(CONFIDENCE / 255 * 15)).all()
        assert parts.data["positions"][k] == 100 + 5 * z


@pytest.mark.parametrize("scale", case_page.SCALES)
def test_a_code_stands_for_the_values_near_its_center(scale: ValueScale) -> None:
    hu = np.arange(-1100, 3200)
    error = np.abs(scale.centers[scale.codes(hu)] - np.clip(hu, -1024, 3071))
    fine = (hu >= FINE_HU[0]) & (hu < FINE_HU[1])
    assert error[fine].max() == (scale.fine - 1) / 2
    assert error.max() == (scale.coarse - 1) / 2
    assert scale.centers[scale.codes(np.array([np.nan, 1e9]))].tolist() == pytest.approx(
        [-1024, 3071], abs=scale.coarse / 2
    )


def test_large_slices_store_color_at_half_the_resolution(tmp_path: Path) -> None:
    hu = np.full((1, 301, 290), 40, np.int16)
    code = np.full(hu.shape, Tissue.MUSCLE, np.uint16)
    code[:, :, 145:] = Tissue.LIVER
    affine = default_affine((1.0, 1.0, 1.0))
    chroma = replace(CHROMA, code=code, confidence=np.full(hu.shape, 99, np.uint8), affine=affine)
    parts = Parts(written(tmp_path / "a.html", Volume(hu, affine), chroma))
    assert parts.data["step"] == 2
    decoded = parts.slice(0)
    assert decoded["value"].shape == (301, 290) and decoded["color"].shape == (151, 145, 3)
    np.testing.assert_array_equal(decoded["color"][..., 0], code[0, ::2, ::2])


def test_every_way_of_storing_a_scan_gives_the_same_page(tmp_path: Path) -> None:
    write(marked(), tmp_path / "upright.html")
    expected = (tmp_path / "upright.html").read_bytes()
    for order, flips in STORED:
        write(stored_as(marked(), order, flips), tmp_path / "a.html", force=True)
        assert (tmp_path / "a.html").read_bytes() == expected, (order, flips)


def sheared() -> np.ndarray:
    affine = VOLUME.affine.copy()
    affine[1, 0] = 1.8  # each slice lies 1.8 mm further back: 5.3 mm along the axis, 5 mm apart
    return affine


RIGHT, DOWN = "The patient’s right is on the left of the picture.", "Slices run from head to feet."


@pytest.mark.parametrize(
    ("affine", "head", "geometry", "sides"),
    [
        (VOLUME.affine, "6 axial slices, 5 mm apart", "6 slices", [RIGHT, DOWN]),
        (sheared(), "6 axial slices, 5 mm apart", "6 slices", [RIGHT, DOWN]),
        (
            turned(VOLUME, 0, 0, 30).affine,
            "6 axial slices, oblique by 30 degrees, 5 mm apart",
            "6 slices",
            [RIGHT, DOWN],
        ),
        (  # left is mostly the front
            turned(VOLUME, 40, 35, 15).affine,
            "6 axial slices, oblique by 38 degrees, 5 mm apart",
            "6 slices",
            [DOWN],
        ),
        (  # from slice to slice mostly to the right
            turned(VOLUME, 20, 40, 35).affine,
            "6 sagittal slices, oblique by 50 degrees, 5 mm apart",
            "6 slices",
            [RIGHT],
        ),
        (None, "1 axial slice", "1 slice", [RIGHT]),
    ],
    ids=["upright", "sheared", "oblique", "turned", "sagittal", "single"],
)
def test_plane_distance_and_sides_are_those_of_the_grid(
    tmp_path: Path, affine: np.ndarray | None, head: str, geometry: str, sides: list[str]
) -> None:
    volume, chroma = VOLUME, CHROMA
    if affine is None:
        affine = VOLUME.affine
        volume = replace(volume, voxels=volume.voxels[:1])
        chroma = replace(chroma, code=chroma.code[:1], confidence=chroma.confidence[:1])
    volume, chroma = replace(volume, affine=affine), replace(chroma, affine=affine)
    text = Parts(written(tmp_path / "a.html", volume, chroma)).text
    assert f"<p>{head} · color by Model 1</p>" in text
    assert f"<dd>{geometry}, voxels of 2 × 2 × 5 mm; regular." in text
    told = text.partition("mm; regular.")[2].partition("</dd>")[0]
    assert " ".join(told.split()) == " ".join(sides)


def test_restored_and_unmeasured_voxels_are_marked(tmp_path: Path) -> None:
    restored, outside = np.zeros(VOLUME.shape, bool), np.zeros(VOLUME.shape, bool)
    restored[2, 20:40, 20:50] = True
    outside[:, :3] = True
    volume = replace(VOLUME, restored=restored, outside=outside)
    parts = Parts(written(tmp_path / "a.html", volume, CHROMA))
    marks = parts.slice(VOLUME.shape[0] - 1 - 2)["marks"]
    light, dark = hatch_lines(restored[2])
    assert ((marks == LIGHT_LINE) == light).all() and ((marks == DARK_LINE) == dark).all()
    assert ((marks > OUTSIDE) == restored[2]).all() and (marks[:3] == OUTSIDE).all()
    assert "Hatched: restored, not measured" in parts.text


def test_colors_of_another_scan_s_tissues_are_told_once(tmp_path: Path) -> None:
    """Lightness measured, tissues of the restored scan, as the panel *Restore* colors."""
    text = "the tissues were recognized in a partly restored scan"
    told = Provenance(warnings=(Notice("restored", "warning", text),))
    page = CasePage(VOLUME)
    for title in ("one", "two"):
        page.add(replace(CHROMA, provenance=told), title)
    page.write(tmp_path / "a.html")
    said = Parts(tmp_path / "a.html").text
    assert said.count("The tissues were recognized in a partly restored scan.") == 1
    assert "partly restored" not in Parts(written(tmp_path / "b.html", VOLUME, CHROMA)).text


def test_a_page_is_small_enough_for_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the steps of HU become coarser, then slices are left out, which the page says."""
    whole = written(tmp_path / "a.html", VOLUME, CHROMA)
    size = sum(map(len, Parts(whole).scripts["slice"]))
    reserve = 400_000 + 100_000
    monkeypatch.setattr(case_page, "MAX_BYTES", reserve + int(0.9 * size))
    parts = Parts(written(tmp_path / "b.html", VOLUME, CHROMA))
    assert len(parts.scripts["slice"]) == VOLUME.shape[0]
    assert sum(map(len, parts.scripts["slice"])) <= 0.9 * size
    assert "In steps of 2 HU" in parts.text or "In steps of 4 HU" in parts.text
    monkeypatch.setattr(case_page, "MAX_BYTES", reserve + int(0.3 * size))
    parts = Parts(written(tmp_path / "c.html", VOLUME, CHROMA))
    shown = len(parts.scripts["slice"])
    assert 0 < shown < VOLUME.shape[0]
    assert f"{VOLUME.shape[0] - shown} slices were left out" in parts.text


def test_a_real_abdomen_is_small_enough_for_mail(shared_data: Path, tmp_path: Path) -> None:
    """A hundred slices of 512x512 that the body fills need no steps larger than 2 HU."""
    scan = shared_data / "ct" / "abdomen_contrast_pancreas_5mm.nii.gz"
    if not scan.is_file():
        pytest.skip(f"no {scan.name}")
    volume = closest_axial(read(scan))
    assert volume.shape[1:] == (512, 512)
    few = range(0, volume.shape[0], 5)
    page = CasePage(volume, Lighting())
    page.add(colorize(volume, "transfer-function"), "Model")
    field = page.field
    sizes = [len(page.slice_text(k, case_page.SCALES[1], field)) for k in few]
    assert 100 * max(sizes) + 500_000 < case_page.MAX_BYTES


def test_slices_larger_than_the_sampled_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is estimated from six slices; what is written counts."""
    count = 36
    volume, chroma = drawn(count)
    hu = np.random.default_rng(1).integers(-200, 300, volume.shape).astype(np.int16)
    sampled = np.linspace(0, count - 1, 6).round().astype(int)
    assert len(set(sampled)) == 6
    hu[sampled] = 0
    monkeypatch.setattr(case_page, "MAX_BYTES", 500_000 + 100_000)
    parts = Parts(written(tmp_path / "a.html", Volume(hu, volume.affine), chroma))
    left = len(parts.scripts["slice"])
    assert 1 < left < count and sum(map(len, parts.scripts["slice"])) <= 100_000
    assert f"{count - left} slices were left out" in parts.text
    assert f"{left} axial slices, {5 * (count // left)} mm apart" in parts.text


def test_a_page_of_many_models_is_small_enough_for_mail_or_refused(tmp_path: Path) -> None:
    """Eleven colorings of 512x512, none of which can be compressed: nothing is larger."""
    shape, rng = (33, 512, 512), np.random.default_rng(1)
    affine = default_affine((5.0, 0.8, 0.8))
    volume = Volume(rng.integers(-200, 300, shape).astype(np.int16), affine)
    page = CasePage(volume, Lighting())
    for number in range(11):
        ab = rng.uniform(-127, 127, (65_000, 2)).astype(np.float32)
        ab[0] = 0
        code = rng.integers(1, 65_000, shape).astype(np.uint16)
        confidence = rng.integers(0, 256, shape).astype(np.uint8)
        page.add(Chroma(code, confidence, FreeColors(ab), affine, "noise"), f"Model {number}")
    page.write(tmp_path / "a.html")
    size, parts = (tmp_path / "a.html").stat().st_size, Parts(tmp_path / "a.html")
    assert 0.5 * case_page.MAX_BYTES < size <= case_page.MAX_BYTES
    left = len(parts.scripts["slice"])
    assert f"{len(volume.voxels) - left} slices were left out" in parts.text


def test_a_page_that_one_slice_makes_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_page, "MAX_BYTES", 30_000)
    with pytest.raises(OutputError, match=r"the page would have 0\.\d MB, and mail servers refuse"):
        write(marked(), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_loaded_and_nobody_is_named(tmp_path: Path) -> None:
    notice = Notice("damaged", "warning", "slices whose header is cut off: 1 of 6, 'DOE_JANE.dcm'")
    about = Provenance(source="/scans/DOE_JANE", title="DOE_JANE", warnings=(notice,))
    volume = replace(VOLUME, provenance=about)
    parts = Parts(written(tmp_path / "a.html", volume, CHROMA))
    assert "DOE" not in parts.text and "Slices whose header is cut off: 1 of 6" in parts.text
    assert not re.search(r"https?:|url\(|@import", parts.text)
    for tag, attributes in parts.tags:
        assert str(attributes.get("src", "data:")).startswith("data:"), tag
        assert str(attributes.get("href", "data:")).startswith("data:"), tag
    (policy,) = (a["content"] for _, a in parts.tags if a.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")
    assert "Not for diagnosis" in parts.text
    lines = [line for line in parts.text.splitlines() if "slice" not in line]
    assert sum("<script>" in line for line in lines) == 1


def test_settings_are_those_of_the_coloring(tmp_path: Path) -> None:
    settings = Lighting(window="bone", palette="vivid", saturation=0.5, tissues="liver")
    page = CasePage(VOLUME, settings)
    page.add(CHROMA, "Model")
    page.write(tmp_path / "a.html")
    parts = Parts(tmp_path / "a.html")
    color = parts.slice(0)["color"]
    liver = color[..., 0] == Tissue.LIVER
    expected = CHROMA.ab("vivid", VOLUME.shape[0] - 1)[liver] * 0.5
    np.testing.assert_allclose(color[liver][:, 1:], expected, atol=0.5)
    assert not color[~liver][:, 1:].any()
    assert parts.data["windows"][0]["text"] == "400/1800"


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def progress(done: int, total: int, stage: str) -> None:
        if stage == "writing slices" and done == 3:
            task.cancel()

    task = Task(progress)
    with running(task), pytest.raises(Cancelled):
        write(marked(), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []
    write(marked(), tmp_path / "a.htm")
    with pytest.raises(OutputError, match="already exists"):
        write(marked(), tmp_path / "a.htm")
    monkeypatch.setattr("tomochrome.formats.find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"\.html needs the package jinja2; install it with"):
        check_output(tmp_path / "b.html")


def test_a_page_with_the_look_of_a_photograph_says_so_in_every_picture(tmp_path: Path) -> None:
    image = photograph_look(VOLUME, CHROMA)
    write(image, tmp_path / "look.html")
    page = Parts(tmp_path / "look.html")
    assert [window["text"] for window in page.data["windows"]] == ["lightness not from the scanner"]
    assert "Look of a photograph: lightness not from the scanner. Not for diagnosis" in page.text
    assert "Lightness is the scanner" not in page.text
    plain = written(tmp_path / "plain.html", VOLUME, CHROMA)
    assert "not from the scanner" not in plain.read_text(encoding="utf-8")


def test_grey_stays_the_scanners_where_colors_have_the_look_of_a_photograph(tmp_path: Path) -> None:
    settings = Lighting()
    photograph_page(VOLUME, CHROMA, settings).write(tmp_path / "look.html")
    page, plain = (
        Parts(path)
        for path in (
            tmp_path / "look.html",
            written(tmp_path / "plain.html", VOLUME, CHROMA, **vars(settings)),
        )
    )
    assert page.data["note"] == "lightness not from the scanner"
    assert "Look of a photograph: lightness not from the scanner. Not for diagnosis" in page.text
    assert page.data["windows"] == plain.data["windows"]
    image = photograph_look(VOLUME, CHROMA)
    for k in (0, 4):
        decoded, z = page.slice(k), VOLUME.shape[0] - 1 - k
        np.testing.assert_array_equal(decoded["value"], plain.slice(k)["value"])
        pixels = over_black(np.asarray(image.voxels[z]))
        L = srgb_to_lab(pixels)[..., 0]
        assert np.abs(GREY_L[decoded["lightness"]] - L).max() <= 0.5
        made = lab_to_srgb8(np.dstack([GREY_L[decoded["lightness"]], decoded["color"][..., 1:]]))
        assert np.abs(made.astype(int) - pixels).max() <= 6  # rounded a* and b*, and confidence
