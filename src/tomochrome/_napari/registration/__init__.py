"""Registration of two layers: its panel, its work, its result and landmarks."""
