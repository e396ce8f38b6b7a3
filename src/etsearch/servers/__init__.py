"""Servers that are reached by HTTP: addresses, requests under trouble, replicas, tokenizers, figures, what they say."""
