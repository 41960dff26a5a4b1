"""Files of either harness become runs, tasks and samples."""
