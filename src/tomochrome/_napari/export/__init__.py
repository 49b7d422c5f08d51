"""Writing of layers: writers for napari, File > Save, and the Export panel."""
