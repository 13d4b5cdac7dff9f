"""The namespace that Azure ML's packages share; here for azureml.core.model when none is installed."""
