"""`mucr`: MuCR, which of four near-alike pictures follows from this one, and through what."""
