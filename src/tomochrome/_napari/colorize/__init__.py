"""Coloring of scans and photographs: panels, the colored layer, its window and its legend."""
