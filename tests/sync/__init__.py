"""Sync with real processes, without an engine."""
