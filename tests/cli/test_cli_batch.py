"""``tomochrome batch``: every CT of a folder tree, on this computer and on a Dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct
from distributed import LocalCluster

from tomochrome.cli import batch_jobs
from tomochrome.cli.app import CANCELLED
from tomochrome.colorization import file_coloring
from tomochrome.colorization.coloring_request import Outputs, Source
from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.io import write

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")
UID = "1.2.826.0.1.3680043.8.498.77"
RESULTS = ("first/ct.nii.gz", f"second/series/{UID}.nii.gz", "second/thorax.nii.gz")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two volumes, a series, and files that are no CT."""
    folder = tmp_path / "scans"
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
    write(small_ct(), folder / "first" / "ct.nii.gz")
    write(small_ct(), folder / "second" / "thorax.nrrd")
    make_series(folder / "second" / "series")
    labels = np.zeros((4, 5, 6), np.uint8)  # not in Hounsfield units
    nib.Nifti1Image(labels, np.eye(4)).to_filename(folder / "second" / "labels.nii")
    (folder / "notes.txt").write_text("no scan")
    return folder


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def check_results(data: dict, scans: Path, out: Path) -> None:
    assert [r["output"] for r in data["results"]] == [str(out / name) for name in RESULTS]
    assert data["failed"] == data["kept"] == []
    assert {Path(file["path"]).name for file in data["skipped"]} == {"labels.nii", "notes.txt"}
    assert written(out) == sorted(RESULTS)


def test_every_ct_is_colored_as_colorize_does(scans: Path, tmp_path: Path, capfd: Capture) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone.nii.gz"
    run = Run(capfd, "batch", scans, "-o", out, *MODEL, "--window=liver", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert set(data) == {"output", "results", "failed", "kept", "skipped"}
    check_results(data, scans, out)
    source = scans / "first" / "ct.nii.gz"
    single = Run(capfd, "colorize", source, "-o", alone, *MODEL, "--window=liver", "--json")
    expected, found = json.loads(single.out), data["results"][0]
    for key in set(expected) - {"output", "seconds"}:
        assert found[key] == expected[key], key
    np.testing.assert_array_equal(
        np.asarray(nib.load(out / RESULTS[0]).dataobj),
        np.asarray(nib.load(alone).dataobj),
    )


def test_an_interrupted_batch_is_continued(scans: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    (out / "first").mkdir(parents=True)
    (out / RESULTS[0]).write_text("from earlier")
    run = Run(capfd, "batch", scans, "-o", out, *MODEL)
    assert run.status == 0
    assert "2 colored, 1 kept from earlier, 2 skipped, 0 failed" in run.out
    assert "not for diagnosis" in run.out
    assert (out / RESULTS[0]).read_text() == "from earlier"
    assert Run(capfd, "batch", scans, "-o", out, *MODEL, "--force").status == 0
    assert (out / RESULTS[0]).stat().st_size > 100


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_results_in_the_place_of_the_inputs_are_refused(
    force: tuple[str, ...], scans: Path, capfd: Capture
) -> None:
    before = {name: (scans / name).read_bytes() for name in written(scans)}
    run = Run(capfd, "batch", scans, "-o", scans, *MODEL, *force)
    assert run.status == 2
    assert f"the result of '{scans / 'first' / 'ct.nii.gz'}' would replace it" in run.complaint
    assert {name: (scans / name).read_bytes() for name in written(scans)} == before


def test_results_beside_the_inputs_are_written(scans: Path, capfd: Capture) -> None:
    for kept in (0, 3):  # the second time, the folder holds the results of the first
        run = Run(capfd, "batch", scans, "-o", scans / "out", *MODEL, "--json")
        assert run.status == 0, run.err
        assert len(json.loads(run.out)["kept"]) == kept
    assert {f"out/{name}" for name in RESULTS} < set(written(scans))


def test_one_failure_does_not_end_the_others(
    scans: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, errors = tmp_path / "out", [TomochromeError("the gantry fell over"), KeyError("defect")]
    real = file_coloring.colorize_file

    def color(source: Source, *rest: object) -> file_coloring.ColoringReport:
        if source.path.name in ("ct.nii.gz", "series"):
            raise errors.pop(0)
        return real(source, *rest)

    monkeypatch.setattr(batch_jobs, "colorize_file", color)
    run = Run(capfd, "batch", scans, "-o", out, *MODEL, "--json")
    assert run.status == 2
    data = json.loads(run.out)
    assert written(out) == [RESULTS[2]]
    assert sorted(path.name for path in out.iterdir()) == ["second"]  # no empty folder is left
    assert [f["error"] for f in data["failed"]] == [
        "the gantry fell over",
        "unexpected error, please report it: KeyError: 'defect'",
    ]
    assert run.err.splitlines()[-1] == "error: 2 of 3 volumes could not be colored"


def test_cancelling_keeps_what_is_finished(
    scans: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = file_coloring.colorize_file

    def color(source: Source, *rest: object) -> file_coloring.ColoringReport:
        if source.path.name == "series":
            raise Cancelled("cancelled by the user")
        return real(source, *rest)

    monkeypatch.setattr(batch_jobs, "colorize_file", color)
    assert Run(capfd, "batch", scans, "-o", tmp_path / "out", *MODEL).status == CANCELLED
    assert written(tmp_path / "out") == [RESULTS[0]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["first"]


def test_other_formats_and_several_inputs(scans: Path, tmp_path: Path, capfd: Capture) -> None:
    out, inputs = tmp_path / "out", (scans / "first", scans / "second" / "series")
    run = Run(capfd, "batch", *inputs, "-o", out, *MODEL, "--format", "dicom")
    assert run.status == 0, run.err
    assert {Path(name).parent for name in written(out)} == {
        Path("first/ct"),
        Path("second/series") / UID,
    }


def test_results_with_the_same_path_are_refused(
    scans: Path, tmp_path: Path, capfd: Capture
) -> None:
    write(small_ct(), scans / "first" / "ct.nrrd")
    run = Run(capfd, "batch", scans, "-o", tmp_path / "out", *MODEL)
    assert run.status == 2
    assert "2 inputs would be written to" in run.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "none"), "batch needs a model"),
        (("--model", "nonsense"), "nonsense"),
        (("--scheduler", "nonsense"), "the Dask scheduler 'nonsense' cannot be reached"),
    ],
)
def test_refusals(
    words: tuple[str, ...], message: str, scans: Path, tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "batch", scans, "-o", tmp_path / "out", *words)
    assert run.status == 2
    assert message in run.err
    assert run.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["nonsense", "http://host:8786", "tcp://host", "host:port"])
def test_an_address_that_dask_cannot_use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client with such an address waits 20 s and prints a traceback when it is deleted.
    monkeypatch.setattr("distributed.Client", lambda *_, **__: pytest.fail("a client was made"))
    with pytest.raises(OptionError, match="cannot be reached"):
        batch_jobs.run_on_cluster([], batch_jobs.ColoringRequest(), address)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as running:
        yield running


def test_a_dask_cluster_writes_the_same(
    scans: Path, tmp_path: Path, capfd: Capture, cluster: LocalCluster
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    Run(capfd, "batch", scans, "-o", here, *MODEL)
    address = cluster.scheduler_address
    run = Run(capfd, "batch", scans, "-o", there, *MODEL, "--scheduler", address, "--json")
    assert run.status == 0, run.err
    check_results(json.loads(run.out), scans, there)
    for name in RESULTS:
        one, other = (nib.load(folder / name).dataobj for folder in (here, there))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_cancelling_stops_the_jobs_of_a_cluster(
    scans: Path, tmp_path: Path, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomochrome.runtime import report
    from tomochrome.runtime.task import Task, check, running

    stopped = []

    def endless(*_: object) -> None:
        monkeypatch.setattr(batch_jobs, "_ASK_SECONDS", 0.0)
        task.cancel()
        try:
            while True:
                report(0, 0, "predicting")
                check()
        except Cancelled:
            stopped.append(True)
            raise

    monkeypatch.setattr(batch_jobs, "colorize_file", endless)
    task = Task()
    source = Source(scans / "first" / "ct.nii.gz")
    outputs = [Outputs(str(tmp_path / "out" / name)) for name in ("a.nrrd", "b.nrrd")]
    jobs = [batch_jobs.Job(source, output) for output in outputs]
    with running(task), pytest.raises(Cancelled):
        batch_jobs.run_on_cluster(jobs, batch_jobs.ColoringRequest(), cluster.scheduler_address)
    assert stopped == [True]  # the second one has not begun
    assert not (tmp_path / "out").exists()


def test_each_volume_of_a_file_has_a_result(tmp_path: Path, capfd: Capture) -> None:
    ct = small_ct()
    phases = np.stack([np.asarray(ct.voxels).T] * 2, axis=-1)
    nib.Nifti1Image(phases, np.diag([1.0, 1.0, 3.0, 1.0])).to_filename(tmp_path / "phases.nii.gz")
    run = Run(capfd, "batch", tmp_path / "phases.nii.gz", "-o", tmp_path / "out", *MODEL)
    assert run.status == 0, run.err
    assert written(tmp_path / "out") == ["phases-1.nii.gz", "phases-2.nii.gz"]


def test_a_named_file_without_a_ct_is_reported_after_the_others(
    scans: Path, tmp_path: Path, capfd: Capture
) -> None:
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"\x1f\x8b no gzip data")
    run = Run(capfd, "batch", scans / "first", damaged, "-o", tmp_path / "out", *MODEL, "--json")
    assert run.status == 2
    assert run.err.splitlines()[-1].startswith(f"error: '{damaged}' could not be colored")
    data = json.loads(run.out)
    assert len(data["results"]) == 1 and data["skipped"][-1]["path"] == str(damaged)
    assert written(tmp_path / "out")


def test_inputs_without_any_ct_are_an_error(tmp_path: Path, capfd: Capture) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    run = Run(capfd, "batch", empty, "-o", tmp_path / "out", *MODEL)
    assert run.status == 2
    assert "no CT in Hounsfield units" in run.err
    assert not (tmp_path / "out").exists()
