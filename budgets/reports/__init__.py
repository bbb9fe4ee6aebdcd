"""The daily budget report: what work orders used of their caps, and what is to be done about it."""

__all__ = ["csv_file", "notify", "rows", "rules"]
