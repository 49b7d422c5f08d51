"""The napari plugin: readers, writers, sample data, panels and worker threads.

Only this package imports napari and Qt, and no other package imports it.
"""
