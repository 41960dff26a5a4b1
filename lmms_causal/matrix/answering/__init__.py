"""In a cell's process: the journal on the harness's model, and what it has seen and cost."""
