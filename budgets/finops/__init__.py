"""Money over months: bills, monthly budgets, cost reviews, hotspots, and whom to call."""

__all__ = ["bills", "contacts", "hotspots", "reviews"]
