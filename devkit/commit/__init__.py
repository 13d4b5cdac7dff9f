"""Step 6, commit: an edited container becomes the next image, which knows what it was made from."""
