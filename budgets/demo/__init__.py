"""Demo data and its live traffic, the played incident, and the replay of a trace."""

__all__ = [
    "bills",
    "cast",
    "incident",
    "product",
    "replay",
    "seeding",
    "service",
    "telling",
    "trickle",
]
