"""The kinds of colorization models, one module each; see `tomochrome.colorization.predictor`."""
