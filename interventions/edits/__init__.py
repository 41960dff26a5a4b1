"""What can be edited: pictures as tensors, tokens, attention weights, hidden states, logits.

Each module has one subject, knows no method and no harness, and leaves nothing behind: edits are
pure functions, or context managers around one forward pass.
"""
