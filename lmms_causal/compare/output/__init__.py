"""What is printed and written of a comparison."""
