"""`causal_vqa`: VQA-Causal and VCR-Causal, which caption tells cause and effect the right way."""
