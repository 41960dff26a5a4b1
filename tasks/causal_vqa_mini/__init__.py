"""`causal_vqa_mini`: causal order, presence and colour questions on rendered scenes."""
