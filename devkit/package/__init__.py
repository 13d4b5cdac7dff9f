"""Step 1, package: workspace -> what to install -> Dockerfile and context -> image."""
