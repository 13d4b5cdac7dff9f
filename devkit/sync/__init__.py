"""Step 5, sync: workspace and container kept in step. So far, saved files go in (push)."""
