"""Judgements -> documents that people and programs read."""
