"""Servers of a recipe: what they are started with, how they are started, found again and ended."""
