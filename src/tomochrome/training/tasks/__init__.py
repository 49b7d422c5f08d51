"""The shipped training tasks, one module each; see `tomochrome.training.task_interface`."""
