"""A recorded search as one HTML page."""

from etsearch.viewer.page import ViewedSearch, page, viewed

__all__ = ["ViewedSearch", "page", "viewed"]
