"""Samplers compared fairly: same nets, data and seeds, equal gradient evaluations, error bars over seeds."""

from anila.reports.comparison.outcome import Outcome, outcome_of
from anila.reports.comparison.plan import Plan, Trial, plan, plan_of
from anila.reports.comparison.race import race

__all__ = ["Outcome", "Plan", "Trial", "outcome_of", "plan", "plan_of", "race"]
