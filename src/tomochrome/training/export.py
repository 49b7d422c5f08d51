"""Export of a finished run as bundles: safetensors, metadata, model card, license, log."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import torch

from tomochrome import __version__
from tomochrome.bundles import PHOTOGRAPH, PHOTOGRAPH_WEIGHTS, WEIGHTS, eight_bit, in_words
from tomochrome.errors import InputError
from tomochrome.runtime import quietly, write_whole
from tomochrome.training.config import TrainingConfig
from tomochrome.training.folder import CHECKPOINT, LOG, SECOND, make_folder
from tomochrome.training.pool import HELD_OUT, PhantomGenerator
from tomochrome.training.task_interface import Bundle, Evidence, Task, load_config
from tomochrome.training.trainer import foreign_checkpoint, read_checkpoint, start_task

CARDS = Path(__file__).resolve().parent / "cards"
"""One Markdown template for each kind of model card."""
DISTRIBUTION = "napari-tomochrome"
_HELD_OUT_PATIENTS = 12


def finish(
    run: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig,
    data: str | os.PathLike[str] | None = None,
    pool: str | os.PathLike[str] | None = None,
    held_out: str | os.PathLike[str] | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Evaluate the model of a finished run on held-out data, and write its bundles.

    Parameters
    ----------
    run
        Folder of the run, with its checkpoint and log.
    weights
        Folder in which the bundles are written.
    config, data, pool
        As passed to `tomochrome.training.train`.
    held_out
        Folder of phantom patients to evaluate on, generated if it has none; by default
        ``run/held-out``.
    scores
        Additional scores for the model cards, by bundle name.
    notes
        Paragraphs about this run for the model card.

    Returns
    -------
    list of pathlib.Path
        The folders of the bundles.

    Raises
    ------
    TomochromeError
        If the run has no checkpoint of this configuration, or a file cannot be written.
    """
    plan = load_config(config)
    folder, target = Path(run), make_folder(weights)
    task = start_task(plan, folder, data, pool)
    net = load_mean(folder / CHECKPOINT, task)
    patients = Path(held_out) if held_out is not None else folder / "held-out"
    if plan.phantoms is not None and not (held_out is not None and any(patients.glob("*.npz"))):
        few = plan.phantoms.model_copy(update={"count": _HELD_OUT_PATIENTS})
        with PhantomGenerator(patients, few, HELD_OUT) as generator:
            generator.wait(few.count, "generating held-out phantoms")
    log = (folder / LOG).read_text(encoding="utf-8").strip().splitlines()
    size = sum(parameter.numel() for parameter in net.parameters())
    evidence = Evidence(patients if plan.phantoms else None, log, size, scores or {}, notes)
    second, path = task.second_run(net), folder / SECOND
    if second is not None and (path / CHECKPOINT).is_file():
        after = second[0]
        lines = (path / LOG).read_text(encoding="utf-8").strip().splitlines()
        evidence = replace(
            evidence, second=(after, load_mean(path / CHECKPOINT, after)), second_log=lines
        )
    with quietly():
        bundles = task.bundles(net, evidence)
    return [write_bundle(target, bundle, task, evidence) for bundle in bundles]


def load_mean(checkpoint: Path, task: Task[Any]) -> torch.nn.Module:
    """Return the network of a checkpoint in evaluation mode.

    Its weights are those with the lowest validation loss or, without validation, the final moving
    average.

    Raises
    ------
    InputError
        If the checkpoint cannot be read or belongs to another network.
    """
    net, advice = task.network(), "give the configuration it was trained with"
    try:
        data = read_checkpoint(checkpoint, advice)
        net.load_state_dict(data.get("best") or data["mean"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise foreign_checkpoint(checkpoint, advice) from error
    return net.eval().requires_grad_(False)


def write_bundle(folder: Path, bundle: Bundle, task: Task[Any], evidence: Evidence) -> Path:
    """Write a bundle atomically, replacing an existing one.

    Parameters
    ----------
    folder
        Folder of bundles.
    bundle
        The bundle to write.
    task, evidence
        The run's task (with its configuration) and evaluation, for the model card.

    Returns
    -------
    pathlib.Path
        The folder of the bundle.

    Raises
    ------
    InputError
        If a tensor contains infinities or NaN, or the license is missing.
    """
    from safetensors.torch import save

    files = {WEIGHTS: bundle.tensors}
    if bundle.photograph is not None:
        files[PHOTOGRAPH_WEIGHTS] = eight_bit(bundle.photograph)
    contents = {}
    for place, tensors in files.items():
        invalid = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
        if invalid:
            raise InputError(
                f"the weights contain infinite or NaN values ({invalid[0]}); train again"
            )
        contents[place] = save(dict(tensors))
    hashes = {place: hashlib.sha256(data).hexdigest() for place, data in contents.items()}
    trained_on = task.trained_on()
    metadata = {
        "name": bundle.name,
        "version": __version__,
        "license": "BSD-3-Clause",
        "trained_on": trained_on,
        **bundle.metadata,
        "weights_sha256": hashes[WEIGHTS],
    }
    if bundle.photograph is not None:
        metadata[PHOTOGRAPH] |= {"weights_sha256": hashes[PHOTOGRAPH_WEIGHTS]}
    if "network" in metadata:  # fields of MONAI's bundle format
        metadata |= {"monai_version": installed("monai"), "pytorch_version": installed("torch")}
    settings = task.config.model_dump_json(indent=2) + "\n"
    run_files = {"configs/train.json": settings, "docs/log.csv": "\n".join(evidence.log) + "\n"}
    if evidence.second_log:
        run_files["docs/log-photographs.csv"] = "\n".join(evidence.second_log) + "\n"
    texts = {
        "configs/metadata.json": json.dumps(metadata, indent=2, ensure_ascii=False) + "\n",
        "docs/README.md": fill_card(bundle, metadata, task.config, evidence),
        "LICENSE": read_license(),
        **(run_files if "network" in metadata else {}),
    }
    path = folder / bundle.name
    with write_whole(path, force=True) as temporary:
        for name in ("configs", "models", "docs"):
            (temporary / name).mkdir(parents=True)
        for place, data in contents.items():
            (temporary / place).write_bytes(data)
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
    return path


def fill_card(
    bundle: Bundle, metadata: Mapping[str, Any], config: TrainingConfig, evidence: Evidence
) -> str:
    """Return the model card: the bundle's Markdown template with its placeholders filled.

    Placeholders are fields of the configuration and the metadata, ``bundle.words``, and ``steps``,
    ``minutes``, ``parameters`` (millions), ``trained_on``, ``scores`` and ``notes``.
    """
    steps, seconds = evidence.log[-1].split(",")[:2] if len(evidence.log) > 1 else ("0", "0")
    fields = {k: v for k, v in config.model_dump().items() if k != "name"}
    if "shape" in fields:
        fields["shape"] = " x ".join(map(str, fields["shape"]))
    about = str(metadata.get("description", ""))
    values = {
        **fields,
        **metadata,
        "description": f"{about[:1].upper()}{about[1:]}.",
        "steps": steps,
        "minutes": f"{float(seconds) / 60:.0f}",
        "parameters": f"{evidence.parameters / 1e6:.2f}",
        "trained_on": "\n".join(f"- {line}" for line in metadata["trained_on"]),
        "scores": score_lines(metadata.get("scores", {})),
        "notes": "".join(f"\n{note}\n" for note in evidence.notes),
        **bundle.words,
    }
    return (CARDS / f"{bundle.card}.md").read_text(encoding="utf-8").format_map(values)


def score_lines(scores: Mapping[str, Any]) -> str:
    """Return the scores of a model card as a Markdown list."""
    rows = [f"- {in_words(key)}: {in_words(value)}" for key, value in scores.items()]
    return "\n".join(rows) or "- not measured yet"


def installed(package: str) -> str:
    """Return the version of an installed package, without a local suffix such as ``+cpu``."""
    return version(package).partition("+")[0]


def read_license() -> str:
    """Return the text of the project's license, which every bundle contains.

    It comes from the metadata of the installed distribution, which a wheel and an editable
    install both have.

    Raises
    ------
    InputError
        If the distribution is not installed, or was installed without its license.
    """
    try:
        text = distribution(DISTRIBUTION).read_text("licenses/LICENSE")
    except PackageNotFoundError:
        text = None
    if text is None:
        raise InputError(
            f"the license of '{DISTRIBUTION}', which every bundle contains, is not installed; "
            "install the package again with pip"
        )
    return text
