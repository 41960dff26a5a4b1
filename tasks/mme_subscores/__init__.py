"""`mme_subscores`: MME with every sub-score, and its hallucination subset."""
