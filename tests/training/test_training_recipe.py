import json

import numpy as np
import pytest
from training_cases import STILL

from tomochrome.colorization.inputs import InputSpec
from tomochrome.errors import InputError, OptionError
from tomochrome.phantom import Structure
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.training import load_config
from tomochrome.training.augment import Augmentation, Sampler
from tomochrome.training.config import CONFIGS
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.tasks.tissue_task import tissue_weights

SHAPE = (32, 48)


def box_patient(hu=False):
    """Fat around muscle, a spleen on the patient's left, a liver on the right."""
    s = np.zeros((12, 40, 48), np.uint8)
    s[:, 4:36, 4:44] = Structure.SUBCUTANEOUS_FAT
    s[:, 8:32, 8:40] = Structure.MUSCLE
    s[3:9, 12:28, 10:20] = Structure.LIVER
    s[3:9, 14:26, 30:38] = Structure.SPLEEN
    scan = None
    if hu:
        scan = np.full(s.shape, -1000, np.int16)
        for structure, value in (
            (Structure.SUBCUTANEOUS_FAT, -100),
            (Structure.MUSCLE, 50),
            (Structure.LIVER, 60),
            (Structure.SPLEEN, 45),
        ):
            scan[s == structure] = value
    return TrainingPatient("box", s, (3.0, 2.0, 2.0), scan)


def drawn(sampler, patient):
    x = np.full((len(InputSpec().channels), *SHAPE), np.nan, np.float32)
    y = np.full(SHAPE, 99, np.uint8)
    sampler.sample(patient, x, y)
    return x, y


@pytest.mark.parametrize("hu", [False, True])
def test_samples_are_luminances_and_tissues(hu):
    sampler = Sampler(InputSpec(), SHAPE, seed=1)
    for _ in range(12):
        x, y = drawn(sampler, box_patient(hu))
        assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1
        assert y.max() < N_TISSUES


def test_samples_depend_only_on_the_seed():
    first = [drawn(Sampler(InputSpec(), SHAPE, seed=5), box_patient()) for _ in range(2)]
    np.testing.assert_array_equal(first[0][0], first[1][0])
    np.testing.assert_array_equal(first[0][1], first[1][1])


def test_samples_are_not_flipped():
    sampler = Sampler(InputSpec(), SHAPE, STILL, seed=2)
    seen = 0
    for _ in range(20):
        _, y = drawn(sampler, box_patient())
        spleen, liver = (np.argwhere(y == t) for t in (Tissue.SPLEEN, Tissue.LIVER))
        if len(spleen) and len(liver):
            seen += 1
            assert spleen[:, 1].mean() > liver[:, 1].mean()
    assert seen > 5


def test_a_real_scan_keeps_its_hu():
    patient = box_patient(hu=True)
    patient.hu[:, 16:20, 20:28] = 400  # something the labels know nothing of
    settings = Augmentation(**{**STILL.__dict__, "real_hu": 1.0})
    sampler = Sampler(InputSpec(), SHAPE, settings, seed=3)
    planes, structures = sampler.scan(patient)
    plane = planes[sampler.labelled]
    bright = plane[(structures == Structure.MUSCLE) & (plane > 250)]
    assert bright.size > 20


def test_rare_tissues_have_higher_but_bounded_weights():
    frequency = np.zeros(N_TISSUES)
    frequency[[0, 3, 4, 10]] = [1000, 400, 300, 1]
    weight = tissue_weights(frequency)
    assert weight[10] > weight[4] > weight[3]
    assert weight.max() / weight.min() < 80
    share = frequency / frequency.sum()
    assert (weight * share).sum() == pytest.approx(1, rel=0.2)


def test_slices_with_organs_are_preferred():
    patient = box_patient()
    rng = np.random.default_rng(0)
    chosen = [patient.pick_slice(rng, focus=1.0) for _ in range(40)]
    assert {tissue for tissue, _ in patient.organs} == {Tissue.LIVER, Tissue.SPLEEN}
    assert min(chosen) >= 3 and max(chosen) <= 8


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda p: p.stem)
def test_shipped_configurations_round_trip(path):
    config = load_config(path.stem)
    assert config.name == path.stem
    assert load_config(json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    "source",
    [
        "no-such-config",
        {"network": {}},
        {"name": "x", "network": {}, "surprise": 1},
        {"name": "x", "network": {}, "minutes": 0},
        {"name": "x", "network": {}, "phantoms": {"spacing": [1]}},
    ],
)
def test_invalid_configurations_are_rejected(source):
    with pytest.raises(OptionError):
        load_config(source)


@pytest.mark.parametrize("name", ["tissue", "symnet"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"minuts": 3}, "has an unknown field 'minuts'; did you mean 'minutes'?"),
        ({"zzz": 3}, "has an unknown field 'zzz'; known: name, network, minutes,"),
        ({"phantoms": {"cont": 3}}, "unknown field 'phantoms.cont'; did you mean 'phantoms.co"),
        ({"phantoms": [1, 2]}, "'phantoms' is [1, 2]: it should be an object"),
        ({"phantoms": {"regions": {"moon": 1}}}, "'moon' is not a known region; choose from head"),
        ({"phantoms": {"regions": {"head": "all"}}}, "'phantoms.regions.head' is 'all': it should"),
        ({"phantoms": {"regions": {"head": -1}}}, "'phantoms.regions.head' is -1: it should be gr"),
        (
            {"phantoms": {"regions": {}}},
            "'phantoms.regions' is {}: at least one region needs a share above 0",
        ),
        ({"phantoms": {"spacing": [1, 1, 0]}}, "'phantoms.spacing.2' is 0: it should be greater t"),
        ({"minutes": "long"}, "'minutes' is 'long': it should be a valid number"),
        ({"minutes": float("inf")}, "'minutes' is inf: it should be a finite number"),
        ({"batch": 1.5}, "'batch' is 1.5: it should be a valid integer"),
        ({"batch": True}, "'batch' is True: it should be a valid integer"),
        ({"shape": 7}, "'shape' is 7: it should be a valid array"),
        ({"shape": [7]}, "'shape' has too few values"),
        ({"shape": [17, 17]}, "'shape'"),
        ({"seed": "x"}, "'seed' is 'x': it should be a valid integer"),
        ({"learning_rate": -1}, "'learning_rate' is -1: it should be greater than 0"),
        ({"network": "UNet"}, "'network' is 'UNet': it should be an object"),
        ({"name": "../elsewhere"}, "'name' is '../elsewhere': use letters, digits, - and _"),
        ({"name": 7}, "'name' is 7: it should be a valid string"),
        ({"task": "cooking"}, "no training task 'cooking'; choose from"),
        ({"task": 7}, "no training task '7'; choose from"),
    ],
)
def test_configuration_errors_give_a_one_line_message(name, change, words, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**json.loads((CONFIGS / f"{name}.json").read_text()), **change}))
    with pytest.raises(OptionError) as refused:
        load_config(path)
    said = str(refused.value)
    assert words in said and f"'{path}'" in said and "\n" not in said and "__init__" not in said


def test_missing_and_misspelled_fields_are_reported():
    with pytest.raises(OptionError, match="the training configuration lacks the field 'name'; add"):
        load_config({"network": {}})
    with pytest.raises(OptionError, match=r"'opening.sharee'; did you mean 'opening.share'"):
        load_config({"name": "x", "network": {"name": "SymNet"}, "opening": {"sharee": 1}})


def test_configurations_must_be_json_objects(tmp_path):
    bad = tmp_path / "a.json"
    bad.write_text("[1]")
    with pytest.raises(OptionError, match="not a training configuration"):
        load_config(bad)
    bad.write_bytes(b"\xff\x00")
    with pytest.raises(OptionError, match="cannot be read"):
        load_config(bad)


def test_a_real_abdomen_is_completed(shared_data):
    from tomochrome.training.labelled import read_labelled

    ct = shared_data / "ct"
    patient = read_labelled(ct / "abdomen_3mm.nii.gz", ct / "abdomen_3mm_labels.nii.gz")
    assert patient.hu is not None
    wanted = (Structure.LIVER, Structure.SPLEEN, Structure.URINE)
    place = {s: np.argwhere(patient.structures == s).mean(axis=0) for s in wanted}
    assert place[Structure.LIVER][2] < place[Structure.SPLEEN][2]  # x grows to the left
    assert place[Structure.URINE][0] < place[Structure.LIVER][0]  # z grows to superior
    fat = patient.hu[patient.structures == Structure.VISCERAL_FAT]
    assert -115 < np.median(fat) < -85
    outside = patient.structures == Structure.OUTSIDE_AIR
    assert 0.2 < outside.mean() < 0.6
    with pytest.raises(InputError):
        read_labelled(ct / "abdomen_3mm.nii.gz", ct / "thorax_cta_1p5mm.nii.gz")
    with pytest.raises(InputError):
        read_labelled(ct / "nothing.nii.gz", ct / "abdomen_3mm_labels.nii.gz")
