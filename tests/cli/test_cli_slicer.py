"""Command line modules of 3D Slicer, run as it would run them, from their XML."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from cli_cases import SHAPE, small_ct
from ctk_cli import CLIModule
from lxml import etree

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.cli.slicer_modules import slicer_modules
from tomochrome.cli.slicer_run import run_module
from tomochrome.color.palettes import palette
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.phantom import make_patient
from tomochrome.tissue import Tissue
from tomochrome.transform import Transform

NAMES = ["TomochromeColorize", "TomochromeRegister", "TomochromeTransform", "TomochromeRestore"]
SCHEMA = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0"
         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <start><element name="executable">
    <ref name="category"/> <ref name="title"/> <ref name="description"/>
    <element name="version"><text/></element>
    <element name="documentation-url"><data type="anyURI"/></element>
    <element name="license"><text/></element>
    <element name="contributor"><text/></element>
    <oneOrMore><ref name="parameters"/></oneOrMore>
  </element></start>
  <define name="category"><element name="category"><text/></element></define>
  <define name="title"><element name="title"><text/></element></define>
  <define name="description"><element name="description"><text/></element></define>
  <define name="label"><element name="label"><text/></element></define>
  <define name="name"><element name="name">
    <data type="string"><param name="pattern">[A-Za-z_][A-Za-z0-9_]*</param></data>
  </element></define>
  <define name="longflag"><element name="longflag">
    <data type="string"><param name="pattern">--[A-Za-z][A-Za-z0-9]*</param></data>
  </element></define>
  <define name="place"><choice>
    <ref name="longflag"/>
    <element name="index"><data type="nonNegativeInteger"/></element>
  </choice></define>
  <define name="channel"><element name="channel">
    <choice><value>input</value><value>output</value></choice>
  </element></define>
  <define name="parameters"><element name="parameters">
    <ref name="label"/> <ref name="description"/>
    <oneOrMore><choice>
      <ref name="boolean"/> <ref name="number"/> <ref name="string"/> <ref name="enumeration"/>
      <ref name="node"/>
    </choice></oneOrMore>
  </element></define>
  <define name="common"><interleave>
    <ref name="name"/> <ref name="place"/> <ref name="label"/> <ref name="description"/>
  </interleave></define>
  <define name="boolean"><element name="boolean"><interleave>
    <ref name="common"/>
    <element name="default"><choice><value>true</value><value>false</value></choice></element>
  </interleave></element></define>
  <define name="constraints"><optional><element name="constraints">
    <element name="minimum"><data type="double"/></element>
    <element name="maximum"><data type="double"/></element>
    <element name="step"><data type="double"/></element>
  </element></optional></define>
  <define name="number"><choice>
    <element name="integer"><interleave>
      <ref name="common"/> <ref name="constraints"/>
      <element name="default"><data type="integer"/></element>
    </interleave></element>
    <element name="double"><interleave>
      <ref name="common"/> <ref name="constraints"/>
      <element name="default"><data type="double"/></element>
    </interleave></element>
  </choice></define>
  <define name="string"><element name="string"><interleave>
    <ref name="common"/> <element name="default"><text/></element>
  </interleave></element></define>
  <define name="enumeration"><element name="string-enumeration"><interleave>
    <ref name="common"/> <element name="default"><text/></element>
    <oneOrMore><element name="element"><data type="token"/></element></oneOrMore>
  </interleave></element></define>
  <define name="extensions"><attribute name="fileExtensions">
    <data type="string"><param name="pattern">\\.[a-z0-9.]+</param></data>
  </attribute></define>
  <define name="node"><choice>
    <element name="image"><ref name="file"/><attribute name="type"><choice>
      <value>scalar</value><value>label</value><value>vector</value>
    </choice></attribute></element>
    <element name="transform"><ref name="file"/></element>
    <element name="geometry"><ref name="file"/></element>
    <element name="table"><ref name="file"/>
      <attribute name="type"><value>color</value></attribute></element>
  </choice></define>
  <define name="file">
    <ref name="extensions"/>
    <interleave><ref name="common"/> <ref name="channel"/></interleave>
  </define>
</grammar>
"""
"""The rules of the documentation of the SlicerExecutionModel for the elements that are used: a
parameter has a flag or an index; what 3D Slicer passes as a file has a channel and a type that it
knows; an enumeration has elements; limits are in order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slicer") / "modules"
    assert main(["slicer", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume as 3D Slicer writes it for a module."""
    path = tmp_path_factory.mktemp("ct") / "BGJE_vtkMRMLScalarVolumeNodeB.nrrd"
    volume = small_ct()
    image = SimpleITK.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.affine[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path), True)
    return path


def test_the_field_of_slicer_and_the_kind_of_the_tissue_map_have_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["slicer", str(tmp_path / "modules")]) == 0
    place = "Edit > Application Settings > Modules > Additional module paths"
    assert capsys.readouterr().out.endswith(f"{place}\n")
    assert place in (Path(__file__).parents[2] / "docs" / "slicer.md").read_text("utf-8")
    tree = etree.parse(str(tmp_path / "modules" / "TomochromeColorize.xml"))
    (node,) = tree.xpath("//image[name='tissueMap']")
    assert node.get("type") == "label"
    assert re.search("new segmentation .* new label map", node.findtext("description"))
    (table,) = tree.xpath("//table[name='tissueColors']")
    assert f"'{table.findtext('label')}'" in node.findtext("description")


def run(folder: Path, name: str, **values: object) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a module as 3D Slicer does: flags of its XML, then the arguments in their order."""
    module = CLIModule(str(folder / f"{name}.xml"))
    arguments, options, outputs = module.classifyParameters()
    assert outputs == []
    words, returned = [], folder.parent / f"{name}.params"
    for parameter in options:
        value = values.pop(parameter.name, parameter.default)
        if parameter.typ == "boolean":
            words += [parameter.longflag] if value else []
        elif value is not None and (value != "" or not parameter.isExternalType()):
            words += [parameter.longflag, str(value)]
    words += ["--returnparameterfile", str(returned)]
    words += [str(values.pop(parameter.name)) for parameter in arguments]
    assert not values
    launcher = [sys.executable, str(folder / f"{name}.py"), *words]
    # what 3D Slicer sets for its own Python, which would break any other
    broken = {**os.environ, "PYTHONHOME": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"}
    broken["PYTHONPATH"] = ""
    own = {"PYTHONPATH": str(Path(tc.__file__).parents[1])}
    text = (folder / f"{name}.py").read_text()
    if "site-packages" not in own["PYTHONPATH"]:  # a tree that is not the installed one
        inner = folder / f"{name}_tree.py"
        inner.write_text(
            text.replace("    if os.name", f"    environment |= {own}\n    if os.name")
        )
        launcher[1] = str(inner)
    del broken["PYTHONHOME"]  # the interpreter of this test plays the part of Slicer's
    done = subprocess.run(launcher, capture_output=True, text=True, env=broken, check=False)
    return done, returned


def progress(text: str) -> list[float]:
    """The progress that 3D Slicer reads, after checking that each stage begins and ends."""
    assert text.count("<filter-start>") == text.count("<filter-end>") > 0
    values = [
        float(v) for v in re.findall(r"^<filter-progress>([\d.]+)</filter-progress>$", text, re.M)
    ]
    assert all(0 <= value <= 1 for value in values)
    for block in re.findall(r"^<filter-start>.*$", text, re.M):
        assert [child.tag for child in etree.fromstring(block)] == ["filter-name", "filter-comment"]
    return values


@pytest.mark.parametrize("name", NAMES)
def test_xml_follows_the_rules_and_is_parsed_by_ctk_cli(folder, name, caplog, capfd) -> None:
    tree = etree.parse(folder / f"{name}.xml")
    etree.RelaxNG(etree.XML(SCHEMA)).assertValid(tree)
    module = CLIModule(str(folder / f"{name}.xml"))
    assert caplog.records == []
    assert (module.name, module.category) == (name, "Tomochrome")
    described = next(m for m in slicer_modules() if m.name == name)
    parsed = {parameter.name: parameter for parameter in module.parameters()}
    assert list(parsed) == [parameter.name for parameter in described.parameters]
    arguments, _, _ = module.classifyParameters()
    assert [parameter.index for parameter in arguments] == list(range(len(arguments)))
    for parameter in described.parameters:
        own = parsed[parameter.name]
        if parameter.choices:
            assert own.default in own.elements == list(parameter.choices)
        if parameter.limits:
            limits = [float(getattr(own.constraints, k)) for k in ("minimum", "maximum", "step")]
            assert limits == list(parameter.limits)
    from tomochrome.cli.slicer_run import run_module

    assert run_module([name, "--xml"]) == 0
    assert capfd.readouterr().out == (folder / f"{name}.xml").read_text()


def test_each_module_is_an_xml_and_a_launcher(folder, capsys) -> None:
    assert sorted(p.stem for p in folder.iterdir() if p.suffix == ".xml") == sorted(NAMES)
    for name in NAMES:
        launcher = folder / f"{name}.py"
        assert launcher.read_text().startswith("#!")  # so 3D Slicer tells it from its own scripts
        assert os.access(launcher, os.X_OK) or os.name == "nt"
        compile(launcher.read_text(), str(launcher), "exec")
    assert main(["slicer", str(folder)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["slicer", str(folder), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modules"] == NAMES


def test_colorize_returns_volume_segmentation_and_names(folder, ct, tmp_path) -> None:
    files = {name: tmp_path / f"{name}{ending}" for name, ending in (
        ("outputVolume", ".nrrd"), ("tissueMap", ".seg.nrrd"), ("tissueColors", ".ctbl"),
        ("surfaces", ".ply"),
    )}  # fmt: skip
    done, returned = run(
        folder, "TomochromeColorize", inputVolume=ct, model="transfer-function",
        palette="vivid", window="bone", **files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert returned.exists()
    assert max(progress(done.stdout)) == 1
    color = SimpleITK.ReadImage(str(files["outputVolume"]))
    labels = SimpleITK.ReadImage(str(files["tissueMap"]))
    for image in (color, labels):
        assert image.GetSize() == SHAPE[::-1]
        assert image.GetOrigin() == SimpleITK.ReadImage(str(ct)).GetOrigin()
    assert color.GetNumberOfComponentsPerPixel() == 4
    names = {labels.GetMetaData(k) for k in labels.GetMetaDataKeys() if k.endswith("_Name")}
    present = np.unique(SimpleITK.GetArrayFromImage(labels))
    assert names == {Tissue(int(v)).title for v in present if v}
    table = [line.split() for line in files["tissueColors"].read_text().splitlines()[1:]]
    assert [int(v) for v in table[Tissue.FAT][2:5]] == palette("vivid").rgb[Tissue.FAT].tolist()
    assert files["surfaces"].read_bytes().startswith(b"ply")


def test_register_returns_transforms_that_transform_applies(folder, tmp_path) -> None:
    fixed = small_ct()
    moved = np.roll(fixed.voxels, 4, axis=2)
    tc.write(fixed, tmp_path / "fixed.nrrd")
    tc.write(tc.Volume(moved, fixed.affine), tmp_path / "moving.nrrd")
    done, _ = run(
        folder, "TomochromeRegister", fixedVolume=tmp_path / "fixed.nrrd",
        movingVolume=tmp_path / "moving.nrrd", refine=0, model="none", init="rigid",
        movedVolume=tmp_path / "moved.nii.gz",
        forwardTransform=tmp_path / "f.h5", inverseTransform=tmp_path / "i.h5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert progress(done.stdout)
    for name in ("f.h5", "i.h5"):
        SimpleITK.ReadTransform(str(tmp_path / name))
    done, _ = run(
        folder, "TomochromeTransform", inputVolume=tmp_path / "moving.nrrd",
        transform=tmp_path / "f.h5", referenceVolume=tmp_path / "fixed.nrrd",
        outputVolume=tmp_path / "again.nrrd",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, again = (tc.read(tmp_path / name).voxels for name in ("moved.nii.gz", "again.nrrd"))
    inner = np.s_[1:-1, 8:-8, 12:-12]
    assert np.abs(np.asarray(first, float)[inner] - again[inner]).mean() < 2
    difference = np.abs(again[inner] - fixed.voxels[inner].astype(float)).mean()
    assert difference < 0.5 * np.abs(moved[inner] - fixed.voxels[inner].astype(float)).mean()


def test_register_with_the_shipped_network_finds_a_known_motion(folder, tmp_path) -> None:
    """The middle of the body shifts against the rest, which nothing affine describes."""
    fixed = make_patient(3, "abdomen", (8.0, 8.0, 8.0)).ct
    middle = np.array(fixed.shape) / 2
    far = np.stack(np.indices(fixed.shape), axis=-1) / middle - 1
    motion = np.array([14.0, 0.0, 9.0])  # mm to the left and to the head
    shift = np.exp(-4 * (far**2).sum(axis=-1))[..., None] * motion
    known = Transform.from_fields(DisplacementField(shift, fixed.affine))
    tc.write(fixed, tmp_path / "fixed.nrrd")
    tc.write(known.apply(fixed, fixed), tmp_path / "moving.nrrd")
    done, _ = run(
        folder, "TomochromeRegister", fixedVolume=tmp_path / "fixed.nrrd",
        movingVolume=tmp_path / "moving.nrrd", refine=0, init="none", device="cpu",
        movedVolume=tmp_path / "moved.nii.gz",
        forwardTransform=tmp_path / "f.h5", inverseTransform=tmp_path / "i.h5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert max(progress(done.stdout)) == 1
    # what 3D Slicer reads: there, back again, and to where the body has moved from
    forward, inverse = (SimpleITK.ReadTransform(str(tmp_path / n)) for n in ("f.h5", "i.h5"))
    center = fixed.affine[:3, :3] @ middle + fixed.affine[:3, 3]
    near = center + np.random.default_rng(1).uniform(-25, 25, (40, 3))
    there = np.array([forward.TransformPoint(p) for p in near])
    back = np.array([inverse.TransformPoint(p) for p in there])
    assert np.linalg.norm(back - near, axis=1).max() < 2
    before = np.linalg.norm(known.points(near) - near, axis=1).mean()
    after = np.linalg.norm(known.points(there) - near, axis=1).mean()
    assert before > 10
    assert after < 0.5 * before
    moved = tc.read(tmp_path / "moved.nii.gz")
    by_itk = SimpleITK.Resample(
        SimpleITK.ReadImage(str(tmp_path / "moving.nrrd")),
        SimpleITK.ReadImage(str(tmp_path / "fixed.nrrd")),
        forward, SimpleITK.sitkLinear, -1000,
    )  # fmt: skip
    inner = np.s_[4:-4, 4:-4, 4:-4]
    off = np.abs(SimpleITK.GetArrayFromImage(by_itk)[inner].astype(float) - moved.voxels[inner])
    assert np.percentile(off, 99) <= 2


def test_restore_returns_the_scan_even_if_nothing_is_wrong(folder, ct, tmp_path) -> None:
    (tmp_path / "r.nrrd").write_bytes(b"an earlier result")
    done, _ = run(
        folder, "TomochromeRestore", inputVolume=ct, outputVolume=tmp_path / "r.nrrd",
        defects="missing", model="classical",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(tc.read(tmp_path / "r.nrrd").voxels, small_ct().voxels)


def test_restore_returns_what_it_filled_and_where(folder, ct, tmp_path) -> None:
    hu = np.array(small_ct().voxels)
    hu[3] = -1000  # a lost slice
    damaged = tmp_path / "damaged.nrrd"
    tc.write(small_ct().with_voxels(hu), damaged)
    done, _ = run(
        folder, "TomochromeRestore", inputVolume=damaged, outputVolume=tmp_path / "r.nrrd",
        restoredMask=tmp_path / "m.nrrd", defects="missing", model="classical",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    restored, mask = (tc.read(tmp_path / name).voxels for name in ("r.nrrd", "m.nrrd"))
    assert mask[3].any() and not mask[:3].any()
    assert restored[3].max() > -500
    np.testing.assert_array_equal(restored[mask == 0], hu[mask == 0])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("Colorize", {"only": "gizzard"}, "error: unknown tissue 'gizzard'"),
        ("Colorize", {"tissueColors": "missing/c.ctbl"}, "error: "),
        ("Restore", {"inputVolume": "missing.nrrd"}, "error: "),
        ("Restore", {"defects": "bogus"}, "error: "),
        ("Restore", {"returned": "missing/p.params"}, "error: "),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_and_a_status(
    name, values, words, ct, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"inputVolume": str(ct), "outputVolume": "o.nrrd", **values}
    module = next(m for m in slicer_modules() if m.name == f"Tomochrome{name}")
    argv = [module.name, "--returnparameterfile", values.pop("returned", "p.params")]
    if name == "Colorize":
        argv += ["--model", "transfer-function", "--tissueColors", "t.ctbl"]
    else:
        argv += ["--model", "classical"]
    for parameter in module.parameters:
        if parameter.index is None and parameter.name in values:
            argv += [f"--{parameter.name}", values[parameter.name]]
    argv += [values[parameter.name] for parameter in sorted(
        (p for p in module.parameters if p.index is not None), key=lambda p: p.index)]  # fmt: skip
    assert run_module(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(words) and not any("Traceback" in line for line in lines)
    written = {path.name for path in tmp_path.iterdir()}
    if "'missing'" in lines[-1]:  # what could be written, was
        assert "o.nrrd" in written
    else:
        assert not written


def test_a_module_that_is_unknown_is_refused() -> None:
    assert run_module(["nothing"]) == run_module([]) == 2
    assert run_module([NAMES[0], "--nothing"]) == 2
