"""The kinds of models that color, one module each; see `tomochrome.colorization.predictor`."""
