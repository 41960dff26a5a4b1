"""`amber_discriminative` and `amber_generative`: AMBER, yes/no questions and descriptions."""
