"""The face in napari: readers, writers, samples, the panel, and the bridge to worker threads.

Nothing here is imported by the rest of the package, and only here are napari and Qt imported.
"""
