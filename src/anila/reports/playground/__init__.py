"""The playground: one page in which chains move, on an energy of the plane or as images that a run's net draws."""

from anila.reports.playground.page import Page, page
from anila.reports.playground.serve import serve
from anila.reports.playground.subject import subject_of

__all__ = ["Page", "page", "serve", "subject_of"]
