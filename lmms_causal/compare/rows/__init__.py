"""What is compared, a row each: metrics, their parts, their margins and families."""
