"""Comparison of two layers: its modes, its layer, its fields and their control."""
