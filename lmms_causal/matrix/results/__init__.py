"""What the cells say together: comparisons, sensitivity curves, negative controls."""
