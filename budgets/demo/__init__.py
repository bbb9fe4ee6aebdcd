"""Demo data and its live traffic, the played incident, and the replay of a trace."""
