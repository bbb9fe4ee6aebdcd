"""Bills: reading them, which dimension they belong to, and the monthly budgets they are held to."""
