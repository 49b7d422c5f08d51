"""Carry the top-level ``napari.yaml`` and ``weights/`` to where an installed package finds them.

A wheel gets copies inside the package. An editable install must follow the files of the
checkout, so the manifest is linked into ``src/tomochrome`` (git ignores the link) and
`tomochrome.bundles` looks for ``weights/`` beside ``src``: nothing there can grow stale.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ResourcesHook(BuildHookInterface):
    """Hatchling's hook, called once a build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the resources to a wheel, or link the manifest for an editable install."""
        if version == "editable":
            _link(Path(self.root))
        else:
            build_data["force_include"].update(
                {"napari.yaml": "tomochrome/napari.yaml", "weights": "tomochrome/weights"}
            )


def _link(root: Path) -> None:
    link = root / "src" / "tomochrome" / "napari.yaml"
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.join("..", "..", "napari.yaml"))  # noqa: PTH118 - a relative link
    except OSError:  # Windows without the right to make links
        shutil.copyfile(root / "napari.yaml", link)
