"""Keeping workspace and container in step. So far: saved files go into the container (push)."""
