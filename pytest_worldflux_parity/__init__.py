"""Parity of world-model re-implementations with their official programs, as a pytest plugin."""
