"""CenterBench: center-embedded sentences, plausible and implausible, six levels deep."""
