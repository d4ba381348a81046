"""Network blocks both model families use, built from plain numbers."""
