"""Recorded traces of real requests, played against the public HTTP API through the client."""
