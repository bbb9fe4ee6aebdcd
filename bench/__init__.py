"""Measures the admission path on this machine: `make bench`. Not part of the product or of CI."""
