"""The namespace that Azure ML's packages share, for when none of them is installed."""
