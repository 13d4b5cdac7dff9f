"""devkit: debug the model service that you deploy, in the container that you deploy."""

__version__ = "0.1.0"
