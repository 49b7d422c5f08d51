"""The viewer's own behavior with a scan: orientation, overlays, windows, readout and 3D."""
