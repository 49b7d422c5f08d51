"""The documentation says what is there: links, commands, code, tutorials, the release."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import tomochrome
from tomochrome.cli.app import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
MAX_README_BYTES = 12_000
COLOR_NETWORKS = sorted(path.parents[1] for path in ROOT.glob("weights/*/configs/metadata.json")
                        if json.loads(path.read_text())["kind"] == "color-network")  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in some languages."""
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\S+)\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE):
        if found[2] in languages:
            yield found[3]


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub and the site give the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    if path.name == "cards.md":
        headings = [folder.name for folder in (ROOT / "weights").iterdir()]
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings}


def commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of each ``tomochrome`` command that a page shows."""
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["tomochrome"]:
                yield words[1:]


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= MAX_README_BYTES


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place) if place else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("path", [p for p in PAGES if any(commands(p))], ids=name_of)
def test_commands_are_valid(path: Path) -> None:
    for words in commands(path):
        assert words[0] in COMMANDS
        build_parser(words[0]).parse_args([word for word in words if word != "..."])


@pytest.mark.parametrize("path", [p for p in PAGES if any(blocks(p, "python"))], ids=name_of)
def test_code_is_valid(path: Path) -> None:
    for block in blocks(path, "python"):
        ast.parse(block)


def test_make_has_the_targets_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([\w-]+)", text)) <= targets, path


def test_every_example_is_in_a_tutorial() -> None:
    tutorials = "".join(p.read_text() for p in (ROOT / "docs" / "tutorials").glob("*.md"))
    for example in (ROOT / "examples").glob("*.py"):
        assert f"../../examples/{example.name}" in tutorials, example.name


def test_every_model_has_its_card_and_its_row() -> None:
    cards = (ROOT / "docs" / "cards.md").read_text(encoding="utf-8")
    models = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for folder in (ROOT / "weights").iterdir():
        assert f"../weights/{folder.name}/docs/README.md" in cards
        if not folder.name.startswith(("symnet", "restoration", "streaks", "defects", "features")):
            assert f"`{folder.name}`" in models  # the others do not color


@pytest.mark.parametrize("folder", COLOR_NETWORKS, ids=lambda folder: folder.name)
def test_a_card_of_a_color_network_agrees_with_its_log_and_settings(folder: Path) -> None:
    card = " ".join((folder / "docs" / "README.md").read_text(encoding="utf-8").split())
    steps = (folder / "docs" / "log.csv").read_text().splitlines()[-1].split(",")[0]
    assert f"## How {steps} steps of" in card
    found = [shlex.split(text)[1:] for text in re.findall(r"`(tomochrome train [^`]*)`", card)]
    runs = [build_parser(words[0]).parse_args(words) for words in found]
    assert runs[-1].steps == int(steps)
    start = json.loads((folder / "configs" / "train.json").read_text())["start"]
    assert f"/weights/{start}` as `start`" in card
    if (folder / "models" / "photograph.safetensors").exists():
        assert "`models/photograph.safetensors`" in card
    page = (ROOT / "docs" / "photographs.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{folder.name}` .*$", page.split("**Training times**")[1], re.MULTILINE)
    assert row is not None and f"({int(steps):,})" in row[0]
    assert "licences below" not in card and "CC BY" in card


@pytest.mark.parametrize("name", ["restoration", "restoration-vae", "restoration-vae-resnet",
                                  "defects", "features-alexnet", "features-resnet18",
                                  "features-vgg16"])  # fmt: skip
def test_the_command_of_a_card_has_the_settings_and_steps_of_the_run(name: str) -> None:
    folder = ROOT / "weights" / name
    card = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(tomochrome train [^`]*)`", card)
    words = shlex.split(command)[1:]
    run = build_parser(words[0]).parse_args(words)
    last = (folder / "docs" / "log.csv").read_text().splitlines()[-1]
    assert str(run.steps) == last.split(",")[0] and run.config == "configs/train.json"
    assert json.loads((folder / run.config).read_text()).get("start") is None


def test_the_default_is_the_best_where_the_cards_say_so() -> None:
    """And on the photographs of a frozen head it has the largest error, as they say, too."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    tables = re.split(r"^\*\*", page.split("<!-- model table -->")[1], flags=re.MULTILINE)[1:]
    assert len(tables) == 4
    for table in tables:
        rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \[", table, re.MULTILINE)
        errors = {name: float(error) for name, error in rows}
        others = [error for name, error in errors.items() if name != "tissue"]
        if table.startswith("Head photographs"):
            assert errors["tissue"] > max(others)
        else:
            assert errors["tissue"] < min(others)


def test_the_reference_has_all_packages() -> None:
    reference = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")}
    source = ROOT / "src" / "tomochrome"
    packages = {path.stem for path in source.iterdir() if path.suffix == ".py" or path.is_dir()}
    private = {"__init__", "__pycache__", "_napari", "cli", "registration"}
    assert packages - private - {"weights", "napari", "py"} <= reference


def test_the_release_is_named_once_in_each_place() -> None:
    """The version is in `tomochrome.__version__`; pyproject.toml and the site read it there."""
    version = tomochrome.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    date = re.search(r'^date-released: "([\d-]+)"$', citation, re.MULTILINE)
    assert date is not None
    assert f"\nversion: {version}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (\[.*)$", changelog, re.MULTILINE)
    assert releases[:2] == ["[Unreleased]", f"[{version}] - {date[1]}"]
