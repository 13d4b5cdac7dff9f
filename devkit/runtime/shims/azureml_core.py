"""azureml.core as far as an entry script in a container needs it."""

from azureml.core.model import Model

__all__ = ["Model"]
