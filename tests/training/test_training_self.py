"""Training of a tissue network on unlabelled scans with a teacher."""

import nibabel
import numpy as np
import pytest
from training_cases import STILL, small, write_data, write_pool

from tomochrome.colorization.predict import colorize
from tomochrome.errors import OptionError
from tomochrome.phantom import Structure, make_patient, tissue_table
from tomochrome.tissue import Tissue
from tomochrome.training import load_config, self_training, train
from tomochrome.training.patients import UNSURE
from tomochrome.training.self_training import TAUGHT, read_taught, teach
from tomochrome.training.tasks.tissue_task import Tissues, TissueSamples

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def colorings():
    """What the teacher said of the views that these tests share."""
    return {}


@pytest.fixture(autouse=True)
def each_view_is_colored_once(colorings, monkeypatch):
    def colorize_once(view, model):
        key = model, np.asarray(view.voxels).tobytes(), view.affine.tobytes()
        if key not in colorings:
            colorings[key] = colorize(view, model=model)
        return colorings[key]

    monkeypatch.setattr(self_training, "colorize", colorize_once)


@pytest.fixture(scope="module")
def patient():
    return make_patient(2, "abdomen", (6.0, 4.0, 4.0), shape=(6, 80, 96))


@pytest.fixture(scope="module")
def folder(patient, tmp_path_factory):
    """A data folder with one unlabelled scan."""
    data = write_data(tmp_path_factory.mktemp("data"))
    voxels = np.asarray(patient.ct.voxels).T[::-1, ::-1].astype(np.int16)
    affine = np.diag([-4.0, -4.0, 6.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), data / TAUGHT[0])
    return data


def test_the_teacher_names_what_it_is_sure_of(patient):
    sure, all_named = (teach(patient.ct, "tissue", least) for least in (0.9, 0.0))
    table = np.append(tissue_table(), np.zeros(256 - len(tissue_table()), np.uint8))
    table[UNSURE] = 255
    truth = np.asarray(patient.tissue.voxels)
    body = truth > Tissue.AIR
    kept = body & (sure != UNSURE)
    assert 0.3 < kept.sum() / body.sum() < (body & (all_named != UNSURE)).sum() / body.sum()
    right = (table[sure] == truth)[kept].mean()
    assert right > 0.95  # and better than where it is unsure
    unsure = body & (sure == UNSURE) & (all_named != UNSURE)
    assert right > (table[all_named] == truth)[unsure].mean() + 0.1


def test_taught_scans_keep_their_hu_and_what_is_unsure_has_no_weight(folder, patient):
    (taught,) = read_taught(folder, "tissue", 0.9)
    assert taught.taught and taught.hu is not None and taught.hu.shape == patient.ct.shape
    plan = load_config(
        {
            **small("tissue"), "shape": [128, 160], "structure_weights": {"LIVER": 2.0},
            "teacher": "tissue",
        }
    )  # fmt: skip
    assert plan.voxel_weights[[Structure.LIVER, Structure.SPLEEN, UNSURE]].tolist() == [2, 1, 0]
    samples = TissueSamples(
        plan, folder / "none", [], 1, STILL, spec=plan.spec, taught=(1.0, [taught]),
        weights=plan.voxel_weights,
    )  # fmt: skip
    for k in range(4):
        images, tissues, weights = samples[k]
        assert images.shape[1:] == tissues.shape == weights.shape
        assert set(np.unique(weights)) <= {0.0, 1.0, 2.0}
        assert (weights[tissues == Tissue.LIVER] == 2).all()
    assert samples.last_patient == taught.name
    hu, structures = samples.scan()
    fat = hu[structures == np.flatnonzero(tissue_table() == Tissue.FAT)[0]]
    assert -140 < np.median(fat) < -60  # as scanned, at a slightly changed scale


def test_a_network_learns_from_a_teacher_and_says_so(folder, tmp_path):
    write_pool(tmp_path / "pool", range(1, 3))
    plan = {**small("tissue"), "teacher": "tissue", "taught_share": 0.5, "taught_confidence": 0.8}
    train(
        plan, folder, tmp_path / "run", steps=3, pool=tmp_path / "pool", paint=False, device="cpu"
    )
    task = Tissues(load_config(plan), tmp_path / "pool", folder)
    assert any("1 CT of living people" in line for line in task.trained_on())
    drawn = task.dataset()
    names = []
    for k in range(40):
        drawn[k]
        names.append(drawn.last_patient)
    share = np.mean([name in TAUGHT[0] for name in names])
    assert 0.2 < share < 0.8


def test_a_structure_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="'LIVR' is not a structure of the phantom"):
        load_config({**small("tissue"), "structure_weights": {"LIVR": 2.0}})
