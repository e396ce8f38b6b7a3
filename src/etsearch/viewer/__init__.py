"""A recorded search as one HTML page."""

from etsearch.viewer.page import ViewedSearch, make_page, to_view, view_result

__all__ = ["ViewedSearch", "make_page", "to_view", "view_result"]
