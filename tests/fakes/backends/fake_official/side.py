"""The official side."""
