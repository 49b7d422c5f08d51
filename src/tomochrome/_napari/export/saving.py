"""Adapts napari's File > Save to the layers of this plugin.

napari 0.9 offers its own TIFF writer first, which rejects names with a dot, such as the layer name
"Thorax 1.5 mm", and does not store the position of the scan. For several layers it offers SVG
first, which cannot store volumes. Errors are shown with a traceback. A plugin can change neither
the order of the writers nor the message, so the ``save`` of the layer list is replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from npe2 import PluginManager

from tomochrome._napari.export.layer_writers import write_dicom, write_nifti, write_several
from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.kit.notifications import show_message
from tomochrome._napari.layers.volume_layers import kind_of, source_of
from tomochrome.errors import TomochromeError
from tomochrome.formats import NIFTI
from tomochrome.notices import sentence

PLUGIN = "napari-tomochrome"


class Saving(ViewerFollower):
    """Replaces ``save`` of a layer list: layers of this plugin are saved as NIfTI by default.

    Parameters
    ----------
    viewer
        The viewer whose ``layers.save`` is replaced; it is not kept alive.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        viewer.layers.save = self

    def __call__(
        self, path: Any, *, selected: bool = False, plugin: str | None = None, _writer: Any = None
    ) -> list[str]:
        """Save all or the selected layers, with the arguments of napari's own ``save``."""
        layers: Any = self.viewer.layers
        chosen = [x for x in layers if not selected or x in layers.selection]
        from_dialog = _writer is not None
        try:
            is_folder = str(path).endswith("/")
            if plugin is None and is_folder and len(chosen) == 1 and _any_of_plugin(chosen):
                return write_dicom(str(path), *chosen[0].as_layer_data_tuple()[:2])
            if plugin is None and chosen and _has_no_format(str(path), _writer, chosen):
                return self._save_as_nifti(str(path), chosen, notify=from_dialog)
            written = type(layers).save(
                layers, path, selected=selected, plugin=plugin, _writer=_writer
            )
        except Exception as error:
            if not from_dialog or not _any_of_plugin(chosen):
                raise
            return _report(path, error)
        if not written and from_dialog and _any_of_plugin(chosen):
            return [str(path)]  # cancelled or reported already; napari would add a traceback
        return list(written)

    @staticmethod
    def _save_as_nifti(path: str, chosen: list[Any], *, notify: bool) -> list[str]:
        data = [layer.as_layer_data_tuple() for layer in chosen]
        one = len(data) == 1
        written = write_nifti(path, *data[0][:2]) if one else write_several(path, data)
        if notify and written:
            names = ", ".join(f"'{Path(name).name}'" for name in written)
            show_message(f"Saved as {names}.")
        return written or ([path] if notify else [])


def _any_of_plugin(layers: list[Any]) -> bool:
    return any(source_of(layer.metadata) is not None for layer in layers)


def _has_no_format(path: str, writer: Any, layers: list[Any]) -> bool:
    """Whether a path has no extension of a format, and all layers can be saved as NIfTI."""
    if not _any_of_plugin(layers):
        return False
    if not all(isinstance(x, (Image, Labels)) for x in layers):
        return False
    if any(isinstance(x, Image) and source_of(x.metadata) is None for x in layers):
        return False
    if writer is not None:
        if writer.plugin_name == PLUGIN or not writer.filename_extensions:
            return False  # this plugin's writers add the extension; a folder needs none
        endings = writer.filename_extensions
        return not any(path.lower().endswith(ending.lower()) for ending in endings)
    kinds = [kind_of(layer) for layer in layers]
    writer_of_path, _ = PluginManager.instance().get_writer(path, kinds)
    return not path.endswith("/") and (writer_of_path is None or not Path(path).suffix)


def _report(path: Any, error: Exception) -> list[str]:
    """Show why nothing was saved; returning the path keeps napari from adding a traceback."""
    if isinstance(error, TomochromeError):
        show_message(sentence(error), "error")
    else:
        show_message(
            f"'{Path(path).name}' cannot be saved in this format; choose {NIFTI.name} "
            "or use the Export panel.",
            "error",
        )
    return [str(path)]
