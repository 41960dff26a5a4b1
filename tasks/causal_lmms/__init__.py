"""The groups `causal_lmms` and `causal_lmms_lite`, which have no documents of their own."""
