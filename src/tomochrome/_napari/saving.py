"""napari's File > Save, made to work for layers of ours.

napari offers its own TIFF writer first. That writer refuses a name with a dot in it, such as the
layer's own name "Thorax 1.5 mm", and a TIFF does not hold where the scan lies. For several layers
it offers SVG first, which holds no volumes. Errors come with a traceback.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from tomochrome._napari.layers import source_of
from tomochrome._napari.wording import sentence
from tomochrome._napari.writer import write_dicom, write_nifti, write_several
from tomochrome.errors import TomochromeError
from tomochrome.formats import NIFTI

PLUGIN = "napari-tomochrome"


class Saving:
    """Saves layers of ours as NIfTI where the name asks for no format; others as napari does.

    Parameters
    ----------
    viewer
        The viewer whose layer list's ``save`` this takes over; it is not kept alive.
    """

    def __init__(self, viewer: Any) -> None:
        self._layers = weakref.ref(viewer.layers)
        viewer.layers.save = self

    def __call__(
        self, path: Any, *, selected: bool = False, plugin: str | None = None, _writer: Any = None
    ) -> list[str]:
        """Save layers: all of them, or those selected. As napari's own ``save``."""
        layers: Any = self._layers()
        chosen = [x for x in layers if not selected or x in layers.selection]
        from_dialog = _writer is not None
        try:
            if plugin is None and _asks_for_series(str(path), chosen):
                return write_dicom(str(path), *chosen[0].as_layer_data_tuple()[:2])
            if plugin is None and chosen and _asks_for_none(str(path), _writer, chosen):
                return self._save_as_nifti(str(path), chosen, say=from_dialog)
            written = type(layers).save(
                layers, path, selected=selected, plugin=plugin, _writer=_writer
            )
        except Exception as error:
            if not from_dialog or not _ours(chosen):
                raise
            return _explained(path, error)
        if not written and from_dialog and _ours(chosen):
            return [str(path)]  # cancelled, or said already; napari would add a traceback
        return list(written)

    @staticmethod
    def _save_as_nifti(path: str, chosen: list[Any], *, say: bool) -> list[str]:
        from napari.utils.notifications import show_info

        data = [layer.as_layer_data_tuple() for layer in chosen]
        one = len(data) == 1
        written = write_nifti(path, *data[0][:2]) if one else write_several(path, data)
        if say and written:
            names = ", ".join(f"'{Path(name).name}'" for name in written)
            show_info(f"Saved as {names}.")
        return written or ([path] if say else [])


def _ours(layers: list[Any]) -> bool:
    return any(source_of(layer.metadata) is not None for layer in layers)


def _asks_for_series(path: str, layers: list[Any]) -> bool:
    """Whether a name is that of a folder, for one layer of ours: a DICOM series."""
    return path.endswith("/") and len(layers) == 1 and source_of(layers[0].metadata) is not None


def _asks_for_none(path: str, writer: Any, layers: list[Any]) -> bool:
    """Whether a name asks for no format, and all these layers can be NIfTI by us."""
    if not _ours(layers) or any(x._type_string not in ("image", "labels") for x in layers):
        return False
    if any(x._type_string == "image" and source_of(x.metadata) is None for x in layers):
        return False
    if writer is not None:
        if writer.plugin_name == PLUGIN or not writer.filename_extensions:
            return False  # our writers complete the name; a folder needs no ending
        endings = writer.filename_extensions
        return not any(path.lower().endswith(ending.lower()) for ending in endings)
    from npe2 import PluginManager

    kinds = [layer._type_string for layer in layers]
    known, _ = PluginManager.instance().get_writer(path, kinds)
    return not path.endswith("/") and (known is None or not Path(path).suffix)


def _explained(path: Any, error: Exception) -> list[str]:
    """Say in one sentence why nothing was saved; napari takes the returned path for done."""
    from napari.utils.notifications import show_error

    if isinstance(error, TomochromeError):
        show_error(sentence(error))
    else:
        show_error(
            f"'{Path(path).name}' cannot be saved in this format; choose {NIFTI.name} "
            "or use Export in the panel Colorize volume."
        )
    return [str(path)]
