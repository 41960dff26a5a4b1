"""`vlind`: VLind-Bench, how far answers about a picture come from language priors."""
