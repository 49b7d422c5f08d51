"""Bundles: they are treated as data, and any damage gives a one-sentence error."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colorize_cases import write_bundle

from tomochrome.bundles import (
    FOLDERS,
    WEIGHTS,
    eight_bit,
    load_arrays,
    load_state,
    read_weights,
    weights_folder,
)
from tomochrome.colorization import (
    DEFAULT_MODEL,
    ModelCard,
    colorize,
    find_model,
    model_title,
    models,
)
from tomochrome.colorization.cards import hu_edges, max_confidence, temperature
from tomochrome.colorization.kinds.network import LIKELIHOOD_POWER, TissueNetwork, likelihood_table
from tomochrome.colorization.kinds.transfer_function import load_table
from tomochrome.errors import ModelError
from tomochrome.volume import Volume, default_affine

Maker = Callable[..., Path]


def edit(bundle: Path, **changes: object) -> ModelCard:
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata.update(changes)
    file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))
    return find_model(bundle)


def test_shipped_models_have_cards_with_the_names_of_the_contract() -> None:
    cards = {card.name: card for card in models()}
    assert "transfer-function" in cards
    for card in cards.values():
        data = json.loads(json.dumps(card.to_json()))
        assert list(data) == [
            "name", "kind", "trained_on", "scores", "weights_sha256", "license",
        ]  # fmt: skip
        assert len(data["weights_sha256"]) == 64
        read_weights(card)


@pytest.fixture
def further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of `TOMOCHROME_MODELS`, with a copy of a shipped model as `mine` in the first."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    shutil.copytree(weights_folder() / "transfer-function", first / "mine")
    monkeypatch.setenv(FOLDERS, os.pathsep.join([str(first), str(second), str(tmp_path / "no")]))
    return first


def test_models_of_the_user_are_offered_beside_the_shipped_ones(further: Path) -> None:
    names = [card.name for card in models()]
    assert names[0] == DEFAULT_MODEL
    assert names.count("mine") == 1
    assert "transfer-function" in names
    assert find_model("mine").path == further / "mine"
    assert find_model("mine").name == "mine"
    assert find_model("transfer-function").path == weights_folder() / "transfer-function"
    ct = Volume(np.full((2, 16, 16), 40, np.int16), default_affine((3.0, 2.0, 2.0)), "HU")
    assert colorize(ct, model="mine", device="cpu").model == "mine"


def test_a_model_of_the_user_never_replaces_a_shipped_one(further: Path) -> None:
    other = further.rename(further.parent / "second" / "unet") / "mine"
    twin = other.parent.parent / "transfer-function"
    shutil.copytree(other, twin)
    by_name = {card.name: card.path for card in models()}
    assert by_name["transfer-function"] == weights_folder() / "transfer-function"
    assert by_name[str(twin)] == twin
    assert find_model(str(twin)).path == twin


def test_people_read_titles_and_a_model_without_one_goes_by_its_name(
    transfer_bundle: Maker, tmp_path: Path
) -> None:
    titles = {card.name: card.title for card in models()}
    assert titles["tissue"] == model_title("tissue") == "Tissue network, 2.5D"
    assert titles["transfer-function"] == "Transfer function (no network)"
    assert all(card.description for card in models())
    assert all("title" not in card.to_json() for card in models())  # as the contract has it
    assert model_title("never trained") == "never trained"
    card = find_model(transfer_bundle())
    assert card.title == card.name


def test_default_model_comes_first(transfer_bundle: Maker, tmp_path: Path) -> None:
    for name in ("zebra", "tissue", "aardvark"):
        transfer_bundle(name)
    assert [card.name for card in models(str(tmp_path))] == ["tissue", "aardvark", "zebra"]


def test_an_earlier_name_is_accepted_and_not_listed() -> None:
    assert find_model("tissue3d") == find_model("tissue") and DEFAULT_MODEL == "tissue"
    assert model_title("tissue3d + hints") == "Tissue network, 2.5D + hints"
    listed = [card.name for card in models()]
    assert listed[0] == "tissue" and "tissue3d" not in listed


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'heart'.*transfer-function"):
        find_model("heart")
    with pytest.raises(ModelError, match="unknown model ''"):
        find_model("")


@pytest.mark.parametrize("name", ["../transfer-function", "/etc/passwd", "transfer-function/.."])
def test_names_are_no_way_out_of_the_folder(name: str) -> None:
    with pytest.raises(ModelError):
        find_model(name)


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model bundle"):
        find_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": None}, "has no 'kind'"),
        ({"kind": "oracle"}, "of the kind 'oracle'"),
        ({"classes": ["air", "tissue"]}, "different set of tissues"),
        ({"name": None}, "has no 'name'"),
    ],
)
def test_foreign_metadata(transfer_bundle: Maker, change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        edit(transfer_bundle(), **change)


@pytest.mark.parametrize("text", ["", "[1]", "{", '"net"', "__import__('os').system('true')"])
def test_metadata_that_is_not_an_object(transfer_bundle: Maker, text: str) -> None:
    bundle = transfer_bundle()
    (bundle / "configs" / "metadata.json").write_text(text)
    with pytest.raises(ModelError, match="not"):
        find_model(bundle)


def test_damaged_weights_are_found_by_their_sum(transfer_bundle: Maker) -> None:
    bundle = transfer_bundle()
    file = bundle / "models" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-7] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load_arrays(find_model(bundle))


def test_weights_in_eight_bits_are_read_to_half_a_step(network_bundle: Maker) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    bundle = network_bundle()
    exact = load_state(find_model(bundle))
    exact = {n: t for n, t in exact.items() if not n.startswith("hu_")}
    data = save(eight_bit(exact))
    (bundle / WEIGHTS).write_bytes(data)
    read = load_state(edit(bundle, weights_sha256=hashlib.sha256(data).hexdigest()))
    assert set(read) == set(exact)
    for name, tensor in exact.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            channels = tensor.flatten(1)
            step = channels.abs().amax(1, keepdim=True) / 127
            assert ((read[name].flatten(1) - channels).abs() <= 0.501 * step + 1e-9).all()
        else:
            torch.testing.assert_close(read[name], tensor)


def test_missing_weights(transfer_bundle: Maker) -> None:
    bundle = transfer_bundle()
    (bundle / "models" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_arrays(find_model(bundle))


def test_a_pickle_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("a pickle was loaded"))
    bundle = write_bundle(tmp_path / "pickled", pickle.dumps({"probability": np.zeros((512, 26))}))
    for load in (load_arrays, load_state):
        with pytest.raises(ModelError, match="not a safetensors file"):
            load(find_model(bundle))


@pytest.mark.parametrize("length", [0, 4, 64])
def test_truncated_weights_with_a_matching_sum(tmp_path: Path, length: int) -> None:

    bundle = write_bundle(tmp_path / "short", (b"\x40" + b"\0" * 7 + b'{"a"')[:length])
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_arrays(find_model(bundle))


def test_hu_edges_as_a_list_and_as_a_rule(transfer_bundle: Maker) -> None:
    card = find_model(transfer_bundle())
    rule = hu_edges(card)
    assert (rule[0], rule[-1], len(rule)) == (-1024, -1024 + 8 * 512, 513)
    listed = edit(card.path, hu_edges=rule.tolist())
    np.testing.assert_array_equal(hu_edges(listed), rule)


@pytest.mark.parametrize(
    "edges", [None, 3, "wide", [0], [0, 0], [1, 0], [0, float("nan")], {"first": 0}, [[0], [1]]]
)
def test_edges_that_are_none(transfer_bundle: Maker, edges: object) -> None:
    card = edit(transfer_bundle(), hu_edges=edges)
    with pytest.raises(ModelError, match="HU bin"):
        hu_edges(card)


@pytest.mark.parametrize("value", [0, -1, "hot", float("inf")])
def test_impossible_temperature(transfer_bundle: Maker, value: object) -> None:
    with pytest.raises(ModelError, match="temperature"):
        temperature(edit(transfer_bundle(), temperature=value))


@pytest.mark.parametrize("value", [0, -1, 1.01, "all", float("nan")])
def test_impossible_highest_confidence(transfer_bundle: Maker, value: object) -> None:
    with pytest.raises(ModelError, match="max confidence"):
        max_confidence(edit(transfer_bundle(), max_confidence=value))


def test_tables_of_the_wrong_shape_or_content(transfer_bundle: Maker) -> None:
    wrong = {
        "small": np.zeros((3, 26), np.float32),
        "narrow": np.zeros((512, 25), np.float32),
        "negative": np.full((512, 26), -1, np.float32),
        "nan": np.full((512, 26), np.nan, np.float32),
    }
    for name, table in wrong.items():
        with pytest.raises(ModelError, match=r"shape|negative or"):
            load_table(find_model(transfer_bundle(name, table)))


def test_likelihood_is_smooth_between_bins(network_bundle: Maker) -> None:
    card = find_model(network_bundle())
    rng = np.random.default_rng(0)
    stored = rng.random((512, 26)).astype(np.float32)
    table = likelihood_table(card, stored) ** (1 / LIKELIHOOD_POWER)
    edges = hu_edges(card)
    centers = (edges[:-1] + edges[1:]) / 2
    np.testing.assert_allclose(table[(centers + 1024).astype(int)][:500], stored[:500], atol=1e-6)
    assert np.abs(np.diff(table, axis=0)).max() <= np.abs(np.diff(stored, axis=0)).max() / 8 + 1e-6
    assert (likelihood_table(card, None) == 1).all()


def test_weights_of_another_network(network_bundle: Maker) -> None:
    other = {"channels": [4, 12]}
    bundle = network_bundle()
    network = json.loads((bundle / "configs" / "metadata.json").read_text())["network"]
    card = edit(bundle, network={**network, **other})
    with pytest.raises(ModelError, match="do not match the network"):
        TissueNetwork(card, device="cpu")


@pytest.mark.parametrize("network", [None, "UNet", {"name": "eval"}, {"name": "UNet"}])
def test_network_that_cannot_be_built(network_bundle: Maker, network: object) -> None:
    card = edit(network_bundle(), network=network)
    with pytest.raises(ModelError):
        TissueNetwork(card, device="cpu")


def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save

    bundle = write_bundle(tmp_path / "half", save({"a": torch.ones(3, dtype=torch.float16)}))
    state = load_state(find_model(bundle))
    assert state["a"].dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 7}, "'classes' is not a list"),
        ({"classes": {"air": 0}}, "'classes' is not a list"),
        ({"classes": [["air"], None, 3]}, "different set of tissues"),
        ({"scores": "x"}, "'scores' is not an object"),
        ({"scores": [1, 2]}, "'scores' is not an object"),
        ({"name": ["a"]}, "'name' is not a text"),
        ({"title": {"en": "x"}}, "'title' is not a text"),
        ({"license": 3}, "'license' is not a text"),
        ({"weights_sha256": 12}, "'weights_sha256' is not a text"),
    ],
)
def test_metadata_of_another_form(
    transfer_bundle: Maker, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        edit(transfer_bundle(), **change)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"name": NaN, "kind": "transfer-function", "weights_sha256": ""}', "not a text"),
        ('{"bins": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_metadata_that_a_parser_stumbles_over(
    transfer_bundle: Maker, text: str, message: str
) -> None:
    bundle = transfer_bundle()
    (bundle / "configs" / "metadata.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        find_model(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"hu_edges": {"first": -1024, "step": 8, "bins": 1e999}},
        {"hu_edges": {"first": -1024, "step": 8, "bins": 10**12}},
        {"hu_edges": {"first": 10**400, "step": 8, "bins": 16}},
        {"hu_edges": [[1], 2]},
        {"temperature": 10**400},
        {"input": 5},
        {"input": {"channels": 3}},
        {"input": {"channels": [1, 2], "pixel_mm": 1, "slice_mm": 1}},
        {"network": {"name": ["UNet"]}},
        {"network": {"name": "UNet", "channels": {"a": 1}}},
    ],
)
def test_values_that_no_model_can_be_built_from(
    network_bundle: Maker, change: dict[str, object]
) -> None:
    """One sentence, wherever in the construction of a model such a value fails."""
    bundle = network_bundle()
    file = bundle / "configs" / "metadata.json"
    text = json.dumps({**json.loads(file.read_text()), **change})
    file.write_text(text)
    ct = Volume(np.full((4, 16, 16), 40, np.int16), default_affine((3.0, 2.0, 2.0)), "HU")
    with pytest.raises(ModelError) as refused:
        colorize(ct, model=bundle, device="cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change", [{"network": 5}, {"network": {"name": "SymNet", "channels": 3}}, {"shrink_by": "x"},
               {"shrink_by": 0}, {"network": {"name": "SymNet", "channels": [4, 8], "reach": "x"}}],
)  # fmt: skip
def test_a_registration_model_of_another_form(tmp_path: Path, change: dict[str, object]) -> None:
    from tomochrome.registration.pairwise import _network

    shipped = weights_folder() / "symnet"
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").symlink_to(shipped / "models")
    metadata = json.loads((shipped / "configs" / "metadata.json").read_text())
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({**metadata, **change}))
    with pytest.raises(ModelError):
        _network(tmp_path)
