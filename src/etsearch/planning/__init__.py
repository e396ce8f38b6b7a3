"""What a search costs on hardware that may not be at hand: accelerators, the shapes of models, and predictions."""
