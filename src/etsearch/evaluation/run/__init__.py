"""What makes a run: the recipe, its folder, and the searches one after the other."""
