"""A scan that was saved with its colors opens again bit for bit, and nothing else opens."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from io_cases import ORIENTATIONS
from tissue_file_cases import coloring

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.color import Chroma
from tomochrome.color.alpha import ALPHA_PRESETS, AlphaCurve
from tomochrome.color.codes import FreeColors
from tomochrome.color.palettes import Palette, palette
from tomochrome.errors import Cancelled, GeometryError, InputError, OutputError, TomochromeError
from tomochrome.geometry.measurement import Measurement
from tomochrome.io import colored_scan, find, is_colored_scan, write
from tomochrome.notices import Notice
from tomochrome.runtime import Task, running
from tomochrome.tissue import Tissue
from tomochrome.volume import Provenance, ScannerWindow
from tomochrome.windowing import Window


def scan(orientation="oblique", free=False, dtype=np.int16) -> tc.ColoredScan:
    volume, chroma = coloring(orientation=orientation)
    rng = np.random.default_rng(2)
    origin = Provenance(
        source="/data/MUSTERMANN_ERIKA/1.dcm", kind="dicom-series", modality="CT",
        series_uid="1.2.3.4", title="Thorax", verdict="incomplete", present=5,
        windows=(ScannerWindow("LUNG", -600.5, 1500.0, "SIGMOID"),),
        warnings=(
            Notice("damaged", "warning", "'MUSTERMANN.dcm' is damaged"),
            Notice("content", "info", "the couch is in the picture"),
        ),
    )  # fmt: skip
    volume = tc.Volume(
        volume.voxels.astype(dtype), volume.affine / 1.0, "HU", origin,
        outside=rng.random(volume.shape) < 0.1, restored=rng.random(volume.shape) < 0.1,
    )  # fmt: skip
    if free:
        ab = rng.normal(0, 20, (70_000, 2)).astype(np.float32)
        ab[0] = 0
        code = rng.integers(0, 70_000, volume.shape).astype(np.uint32)
        chroma = Chroma(code, chroma.confidence, FreeColors(ab), volume.affine, "zhang")
    else:
        shade = rng.uniform(-1, 1, len(chroma.table)).astype(np.float32)
        table = replace(chroma.table, contrast=3.0, shade=shade)
        chroma = replace(chroma, table=table)
    window = Window(41.25, 399.5, "SIGMOID", "mine")
    settings = tc.Lighting(window, 1.25, 0.5, palette("vivid"))
    if not free:
        settings = settings.replace(tissues={"fat": "hide", "liver": "dim"})
    return tc.ColoredScan(volume, chroma, settings)


def same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.int16, np.float32, ">i2"])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_it_opens_bit_for_bit(tmp_path, orientation, free, dtype) -> None:
    saved = scan(orientation, free, dtype)
    tc.save_colored(saved, tmp_path / "case.tomochrome")
    opened = tc.open_colored(tmp_path / "case.tomochrome")
    for name in ("voxels", "affine", "outside", "restored"):
        assert same(getattr(opened.volume, name), getattr(saved.volume, name)), name
    for name in ("code", "confidence", "affine"):
        assert same(getattr(opened.chroma, name), getattr(saved.chroma, name)), name
    for name in ("weights", "shade", "ab"):
        ours, theirs = (getattr(s.chroma.table, name, None) for s in (opened, saved))
        assert same(ours, theirs), name
    assert opened.settings == saved.settings
    assert same(opened.image.voxels, saved.image.voxels)
    lung = saved.settings.replace(window="lung", palette="natural")
    assert same(opened.lit(lung).voxels, saved.lit(lung).voxels)
    origin, old = opened.volume.provenance, saved.volume.provenance
    for name in ("modality", "title", "windows", "verdict", "present"):
        assert getattr(origin, name) == getattr(old, name)
    assert [str(w) for w in origin.warnings] == ["'…' is damaged", "the couch is in the picture"]


def test_it_names_neither_patient_nor_files(tmp_path) -> None:
    tc.save_colored(scan(), tmp_path / "case.tomochrome")
    with zipfile.ZipFile(tmp_path / "case.tomochrome") as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    for word in (b"MUSTERMANN", b"1.2.3.4", b".dcm"):
        assert word not in everything


MEASURED = (
    Measurement("line", np.array([[0.1, 0, 0], [1, 2 / 3, 3]]), {"length_mm": 3.7}),
    Measurement("polygon", np.eye(3), {"area_mm2": 9.0, "mean": -4.5}, "HU"),
)


def painted(colored: tc.ColoredScan) -> tuple[np.ndarray, ...]:
    small, large = (np.zeros(colored.volume.shape, kind) for kind in (np.uint8, np.int64))
    small[1, 2:4, 3] = 7
    large[0, 1, 1:3] = 40_000
    return small, large


def test_label_maps_that_cannot_be_opened_are_refused(tmp_path) -> None:
    labels = painted(scan("axial"))
    many = replace(scan("axial"), regions=5 * labels)
    with pytest.raises(OutputError, match=r"^10 label maps are too many for one file; save at m"):
        tc.save_colored(many, tmp_path / "a.tomochrome")
    turned = replace(scan("axial"), regions=(labels[0].T,))
    with pytest.raises(GeometryError, match=r"^a label map is not on the grid of the scan$"):
        tc.save_colored(turned, tmp_path / "a.tomochrome")
    assert list(tmp_path.iterdir()) == []


def test_what_was_measured_comes_back_and_stays_when_it_is_lit_anew(tmp_path, capsys) -> None:
    saved = replace(scan("axial"), measurements=MEASURED, regions=painted(scan("axial")))
    case = tc.save_colored(saved, tmp_path / "case.tomochrome")
    assert main(["colorize", str(case), "-o", str(tmp_path / "lung.tomochrome")]) == 0
    again = [str(case), "-o", str(tmp_path / "again.tomochrome"), "--model", "transfer-function"]
    assert main(["colorize", *again]) == 0
    for path in (case, tmp_path / "lung.tomochrome", tmp_path / "again.tomochrome"):
        opened = tc.open_colored(path).measurements
        assert len(opened) == 2
        for labels, drawn in zip(tc.open_colored(path).regions, saved.regions, strict=True):
            np.testing.assert_array_equal(labels, drawn)
            assert labels.dtype == np.min_scalar_type(drawn.max())
        for found, expected in zip(opened, MEASURED, strict=True):
            np.testing.assert_array_equal(found.points, expected.points)
            assert (found.shape, found.values, found.unit) == (
                expected.shape, expected.values, expected.unit
            )  # fmt: skip
    assert tc.open_colored(tc.save_colored(scan(), tmp_path / "b.tomochrome")).measurements == ()


def test_colored_again_it_keeps_the_settings_that_are_not_given(tmp_path, capsys) -> None:
    saved = scan()
    case = tc.save_colored(saved, tmp_path / "case.tomochrome")
    again = tmp_path / "again.tomochrome"
    arguments = ["colorize", str(case), "-o", str(again), "--model", "transfer-function"]
    assert main([*arguments, "--saturation", "1", "--palette", "natural"]) == 0
    opened = tc.open_colored(again)
    assert opened.chroma.model == "transfer-function" != saved.chroma.model
    assert (saved.settings.saturation, saved.settings.palette.name) == (1.25, "vivid")
    assert opened.settings == saved.settings.replace(saturation=1.0, palette="natural")


def test_colored_by_a_model_without_tissues_it_loses_their_selection(tmp_path, capsys) -> None:
    saved = scan()
    assert not saved.settings.tissues.is_all
    case = tc.save_colored(saved, tmp_path / "case.tomochrome")
    again = tmp_path / "again.tomochrome"
    assert main(["colorize", str(case), "-o", str(again), "--model", "unet"]) == 0
    assert tc.open_colored(again).settings == saved.settings.replace(tissues={})


def test_more_measurements_than_can_be_opened_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(colored_scan, "_MAX_HEADER", 100_000)
    with pytest.raises(OutputError, match=r"^2000 measurements are too many for one file"):
        tc.save_colored(replace(scan(), measurements=1000 * MEASURED), tmp_path / "a.tomochrome")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_measurements_opens(tmp_path) -> None:
    case = tc.save_colored(scan("axial"), tmp_path / "new.tomochrome")
    old = tmp_path / "old.tomochrome"
    old.write_bytes(repacked(case, with_header(lambda h: h.pop("measurements"))))
    assert tc.open_colored(old).measurements == ()


def test_numpy_opens_it(tmp_path) -> None:
    saved = scan()
    tc.save_colored(saved, tmp_path / "case.tomochrome")
    with np.load(tmp_path / "case.tomochrome") as arrays:
        np.testing.assert_array_equal(arrays["voxels"], saved.volume.voxels)
        header = json.loads(bytes(arrays["tomochrome.json"]))
    np.testing.assert_array_equal(header["affine_zyx_to_lps_mm"], saved.volume.affine)


def test_own_palettes_and_curves_come_back(tmp_path) -> None:
    lab = palette().lab + np.float32(0.1)
    own = Palette("mine", lab, palette().sources, np.array([1, 2], np.float32))
    curve = AlphaCurve("mine", ((0.5, 0.1), (7, 1.0)), of=(Tissue.LIVER,), others=0.25)
    saved = scan()
    saved = replace(saved, settings=saved.settings.replace(palette=own, alpha=curve))
    tc.save_colored(saved, tmp_path / "a.tomochrome")
    settings = tc.open_colored(tmp_path / "a.tomochrome").settings
    assert same(settings.palette.lab, own.lab)
    assert same(settings.palette.brain_shade, own.brain_shade)
    assert settings.alpha == curve
    assert (
        tc.open_colored(tc.save_colored(scan(), tmp_path / "b.tomochrome")).settings.alpha
        is ALPHA_PRESETS["body"]
    )


def test_every_command_that_reads_a_scan_reads_it(tmp_path, capsys) -> None:
    saved = scan("axial")
    saved = replace(saved, volume=replace(saved.volume, restored=None))
    path = tmp_path / "case.tomochrome"
    tc.save_colored(saved, path)
    assert is_colored_scan(path)
    assert not is_colored_scan(tmp_path)
    volume = tc.read(path)
    assert same(volume.voxels, saved.volume.voxels)
    assert volume.unit == "HU"
    assert same(volume.outside, saved.volume.outside)
    (item,) = find(path).items
    assert (item.kind, item.shape, item.unit) == ("colored-scan", saved.volume.shape, "HU")
    assert same(tc.read(item).voxels, volume.voxels)
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["kind"] == "colored-scan"
    (tmp_path / "renamed.zip").write_bytes(path.read_bytes())
    assert same(tc.read(tmp_path / "renamed.zip").voxels, volume.voxels)


def test_the_command_line_saves_opens_and_lights_it_anew(tmp_path, capsys) -> None:
    write(scan("axial").volume, tmp_path / "ct.nii.gz")
    plain, case = str(tmp_path / "ct.nii.gz"), str(tmp_path / "case.tomochrome")
    first = ["colorize", plain, "--model", "transfer-function", "--palette", "vivid", "--as-hu"]
    assert main([*first, "-o", case, "--window", "bone"]) == 0
    assert main([*first, "-o", str(tmp_path / "a.nrrd"), "--window", "bone"]) == 0
    shutil.move(plain, tmp_path / "away.nii.gz")
    again = ["colorize", case, "--json"]
    capsys.readouterr()
    assert main([*again, "-o", str(tmp_path / "b.nrrd")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["window"]["width"]) == ("transfer-function", 1800.0)
    assert same(tc.read(tmp_path / "a.nrrd").voxels, tc.read(tmp_path / "b.nrrd").voxels)
    assert main([*again, "-o", str(tmp_path / "c.nrrd"), "--window", "lung"]) == 0
    capsys.readouterr()
    lit = tc.open_colored(case)
    anew = lit.lit(lit.settings.replace(window="lung"))
    assert same(tc.read(tmp_path / "c.nrrd").voxels, anew.voxels)
    assert main(["colorize", case, "-o", case]) == 2
    assert "is the input" in capsys.readouterr().err
    assert main(["colorize", str(tmp_path / "away.nii.gz"), "-o", "x.png", "--model", "saved"]) == 2
    assert "error: " in capsys.readouterr().err


def test_what_is_wrong_is_said_in_a_sentence(tmp_path) -> None:
    saved = scan("axial")
    path = tmp_path / "a.tomochrome"
    moved = saved.chroma.affine.copy()
    moved[0, 3] += 5
    with pytest.raises(GeometryError):
        tc.save_colored(replace(saved, chroma=replace(saved.chroma, affine=moved)), path)
    with pytest.raises(OutputError, match="save_colored"):
        tc.write(saved.image, path)
    with pytest.raises(InputError, match=r"^what is saved must be a ColoredScan, .*, not Volume$"):
        tc.save_colored(saved.image, path)  # type: ignore[arg-type]
    tc.save_colored(saved, path)
    with pytest.raises(OutputError, match="already exists"):
        tc.save_colored(saved, path)
    tc.save_colored(saved, path, force=True)
    write(saved.volume, tmp_path / "ct.nrrd")
    for other in (tmp_path / "ct.nrrd", tmp_path / "none", tmp_path):
        with pytest.raises(InputError):
            tc.open_colored(other)


@pytest.mark.parametrize("stop", [1, 6, 20])
def test_a_cancelled_file_leaves_nothing(tmp_path, monkeypatch, stop) -> None:
    task, calls = Task(), []

    def counted() -> None:
        calls.append(0)
        if len(calls) == stop:
            task.cancel()
        task.check()

    monkeypatch.setattr(colored_scan, "check", counted)
    with running(task), pytest.raises(Cancelled):
        tc.save_colored(scan(), tmp_path / "a.tomochrome")
    assert list(tmp_path.iterdir()) == []


def repacked(path: Path, change) -> bytes:
    """The file with its members changed: ``change`` gets and returns {name: content}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in change(members).items():
            archive.writestr(name, content)
    return made.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    made = io.BytesIO()
    np.save(made, array, **options)
    return made.getvalue()


def claimed(shape: tuple[int, ...], descr: str = "<i2") -> bytes:
    made = io.BytesIO()
    described = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(made, described)
    return made.getvalue()


def with_header(change):
    def edited(members: dict[str, bytes]) -> dict[str, bytes]:
        header = json.loads(members["tomochrome.json"])
        change(header)
        return {**members, "tomochrome.json": json.dumps(header).encode()}

    return edited


HOSTILE = {
    "objects": lambda m: {**m, "voxels.npy": npy(np.array([[[print]]]), allow_pickle=True)},
    "huge": lambda m: {**m, "voxels.npy": claimed((1 << 20, 1 << 20, 1 << 20))},
    "overflow": lambda m: {**m, "voxels.npy": claimed((1 << 62, 1 << 62, 1 << 62))},
    "bomb": lambda m: {**m, "voxels.npy": claimed((4000, 512, 512)) + bytes(1 << 22)},
    "negative": lambda m: {**m, "voxels.npy": claimed((-3, 4, 5))},
    "flat": lambda m: {**m, "voxels.npy": npy(np.zeros((3, 3), np.int16))},
    "strings": lambda m: {**m, "voxels.npy": npy(np.full((7, 24, 20), "a"))},
    "other shape": lambda m: {**m, "code.npy": npy(np.zeros((7, 24, 21), np.uint16))},
    "codes without a row": lambda m: {**m, "code.npy": npy(np.full((7, 24, 20), 9, np.uint16))},
    "no mixtures": lambda m: {**m, "weights.npy": npy(np.full((6, 26), 9, np.float32))},
    "too long": lambda m: {**m, "code.npy": m["code.npy"] + b"1"},
    "too short": lambda m: {**m, "code.npy": m["code.npy"][:-1]},
    "missing": lambda m: {k: v for k, v in m.items() if k != "code.npy"},
    "no JSON": lambda m: {**m, "tomochrome.json": b"{"},
    "deep JSON": lambda m: {**m, "tomochrome.json": b"[" * 100_000},
    "long JSON": lambda m: {**m, "tomochrome.json": b" " * (5 << 20)},
    "list": lambda m: {**m, "tomochrome.json": b"[]"},
    "newer": with_header(lambda h: h.update(format=99)),
    "no affine": with_header(lambda h: h.update(affine_zyx_to_lps_mm=[[0] * 4] * 4)),
    "text affine": with_header(lambda h: h.update(affine_zyx_to_lps_mm="a")),
    "NaN": with_header(lambda h: h["settings"].update(saturation=float("nan"))),
    "no window": with_header(lambda h: h["settings"].pop("window")),
    "more of a window": with_header(lambda h: h["settings"]["window"].update(more=1)),
    "no tissue": with_header(lambda h: h["settings"]["tissues"].update(hidden=[77])),
    "no measurements": with_header(lambda h: h.update(measurements=[{"shape": "line"}])),
    "NaN measured": with_header(
        lambda h: h.update(
            measurements=[
                {"shape": "line", "points": [[1, 2, 3]] * 2, "values": {"a": float("nan")}}
            ]
        )
    ),
    "verdict": with_header(lambda h: h["scan"].update(verdict="fine")),
    "no palette": with_header(lambda h: h["settings"]["palette"].update(lab=[[1, 2]])),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.tomochrome")
    with pytest.raises(InputError, match="is not a regular file"):
        tc.open_colored(tmp_path / "pipe.tomochrome")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_a_sentence(tmp_path, name) -> None:
    tc.save_colored(scan("axial"), tmp_path / "good.tomochrome")
    bad = tmp_path / "bad.tomochrome"
    bad.write_bytes(repacked(tmp_path / "good.tomochrome", HOSTILE[name]))
    with pytest.raises(TomochromeError) as refused:
        tc.open_colored(bad)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "a.tomochrome"
    return tc.save_colored(scan("axial"), path).read_bytes()


@given(st.data())
def test_a_damaged_file_is_read_or_refused(good, tmp_path_factory, data) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    path = tmp_path_factory.getbasetemp() / "damaged.tomochrome"
    path.write_bytes(damaged[: cut if data.draw(st.booleans()) else None])
    try:
        tc.open_colored(path)
    except TomochromeError as error:
        assert "\n" not in str(error)
