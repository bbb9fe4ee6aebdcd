from budgets.admin import change_requests, limits, work_orders  # noqa: F401  (they register)
