"""`vcrbench_causal`: companions of lmms-eval's `vcrbench`, the clips of a video put in order."""
