"""Every figure of devkit beside what one would do by hand, in one run: `python -m bench`."""
