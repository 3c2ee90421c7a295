"""Rows that a caller may see."""
