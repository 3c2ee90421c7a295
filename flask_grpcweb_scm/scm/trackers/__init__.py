"""Trackers: hosts of issues."""
