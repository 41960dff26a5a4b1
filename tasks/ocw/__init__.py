"""`ocw`: Only Connect Walls, sixteen clues into four groups, and what connects each group."""
