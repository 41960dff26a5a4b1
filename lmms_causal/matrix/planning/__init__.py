"""What a plan asks for: models, interventions, tasks, and the cells that they make."""
