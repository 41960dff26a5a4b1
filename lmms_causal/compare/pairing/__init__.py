"""Which documents of two runs belong together, and what is alike and what is not."""
