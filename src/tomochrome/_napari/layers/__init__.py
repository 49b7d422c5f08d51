"""Conversion between volumes and napari layers, their windows, and data computed on access."""
