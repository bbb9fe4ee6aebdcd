"""What pages draw with: charts, bars, figures, and the one rule for text in forms."""

__all__ = ["charts", "figures", "form_text", "subjects"]
