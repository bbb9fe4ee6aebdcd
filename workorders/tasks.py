"""Jobs of service tokens. Each is safe to run twice."""

from workorders import tokens


def remind_of_tokens() -> int:
    """Every hour: tell owners of tokens that expire soon, each twice at most."""
    return tokens.remind()
