"""How an engine, a reward model and the loop are timed: single batches, small searches, and both models at once."""
