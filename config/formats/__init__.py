"""How dates are written, for every language that pages are shown in."""
