"""Runs as one page of HTML that needs nothing else: how good they are, what they look like, how to repeat them."""

from anila.reports.page.page import write_page

__all__ = ["write_page"]
