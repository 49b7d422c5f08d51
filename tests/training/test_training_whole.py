"""`tomochrome train` from the command line to the written card, for every configuration."""

import json
import re

import pytest
from training_cases import shipped, small, write_data, write_defect_scans, write_run

from tomochrome.cli.app import main
from tomochrome.training.config import CONFIGS

pytest.importorskip("torch")


WANTED = {
    "tissue": ["tissue", "transfer-function"],
    "tissue-7-slices": ["tissue-7-slices", "transfer-function"],
    "tissue-3d-unet": ["tissue-3d-unet"],
    "tissue-3d-segresnet": ["tissue-3d-segresnet"],
    "symnet": ["symnet"],
    **{
        name: [name]
        for name in (
            "scim",
            "unet",
            "unet-quantized",
            "coloria-cnn",
            "zhang",
            "artistic",
            "stable",
            "bigcolor",
            "features-alexnet",
            "features-vgg16",
            "features-resnet18",
            "restoration",
            "restoration-vae",
            "restoration-vae-resnet",
            "defects",
        )
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_every_shipped_configuration_is_trained_below():
    networks = {json.loads(p.read_text())["network"]["name"] for p in CONFIGS.glob("*.json")}
    assert networks == {
        "UNet", "SymNet", "Scim", "ColorUNet", "Zhang", "DynamicUNet", "BigColor", "SegResNet",
        "AlexNet", "VGG16", "ResNet18", "MaskedUNet", "TranslationVAE", "DefectUNet",
    }  # fmt: skip
    assert shipped() == sorted(WANTED)


@pytest.mark.parametrize("real", [False, True], ids=["phantoms", "data"])
@pytest.mark.parametrize("name", shipped())
def test_training_writes_a_card(name, real, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tomochrome.training.symnet_score.PAIRS", 2)  # measured on, of each kind
    for slices in ("WEIGHT", "CALIBRATION", "HISTOGRAM"):
        monkeypatch.setattr(f"tomochrome.training.tasks.tissue_task.{slices}_SLICES", 16)
    for slices in ("WEIGHT", "HELD_OUT"):
        monkeypatch.setattr(f"tomochrome.training.tasks.features_task.{slices}_SLICES", 16)
    config = tmp_path / "mine.json"
    config.write_text(json.dumps(small(name)))
    run = write_run(tmp_path / "run")
    write_defect_scans(run / "pool-defects")
    monkeypatch.setattr("tomochrome.training.tasks.restoration_task.MEASURED_SAMPLES", 8)
    monkeypatch.setattr("tomochrome.training.tasks.defects_task.MEASURED_SAMPLES", 8)
    argv = ["train", str(config), "--out", str(run), "--steps", "3", "--device", "cpu", "--json"]
    if real:
        argv += ["--data", str(data)]
    status = main(argv)
    out, err = capsys.readouterr()
    assert status == 0, err
    told = json.loads(out)
    assert told["config"] == name
    assert "Traceback" not in err
    wanted = WANTED[name]
    assert told["bundles"] == [str(run / "weights" / bundle) for bundle in wanted]
    for bundle in wanted:
        folder = run / "weights" / bundle
        card = (folder / "docs" / "README.md").read_text()
        assert re.search(r"^\*\*Not for diagnosis\.\*\* [A-Z]", card, re.MULTILINE)
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        if not name.startswith(("restoration", "defects")):  # these use other files of the folder
            assert any("real" in line for line in metadata["trained_on"]) == real
        assert (folder / "models" / "model.safetensors").is_file()
        assert (folder / "LICENSE").is_file()
    first = run / "weights" / wanted[0]
    assert json.loads((first / "configs" / "train.json").read_text())["name"] == name
    assert (first / "docs" / "log.csv").read_text() == (run / "log.csv").read_text()
    assert (run / "log.csv").read_text().splitlines()[-1].startswith("3,")


@pytest.mark.parametrize("name", shipped())
def test_resuming_without_a_run_is_rejected_and_creates_nothing(name, tmp_path, capsys):
    out = tmp_path / "nothing"
    assert main(["train", name, "--out", str(out), "--resume"]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"error: there is no run to resume in '{out}' (it has no checkpoint.pt); train without "
        "--resume\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("steps", ["0", "-1", "1.5", "many"])
def test_steps_must_be_a_positive_integer(steps, tmp_path, capsys):
    assert main(["train", "tissue", "--out", str(tmp_path / "r"), f"--steps={steps}"]) == 2
    assert "must be an integer of at least 1" in capsys.readouterr().err
