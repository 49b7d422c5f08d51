"""Color hints: strokes that correct the colors of a scan."""
