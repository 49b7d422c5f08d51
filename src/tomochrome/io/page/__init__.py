"""Self-contained pages for web browsers: slices of a CT that the reader lights and compares."""

from tomochrome.io.page.case_page import CasePage, write_color_page

__all__ = ["CasePage", "write_color_page"]
