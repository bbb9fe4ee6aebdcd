"""The monthly review: opened by a job, worked through by people, closed by two signatures."""
