"""MME-CC: eleven tasks on pictures, scored by a judge or by rules that may abstain."""
