"""Somebody else's parts for etsearch."""
