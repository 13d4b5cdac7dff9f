"""The exceptions that azureml.core.model raises, printed as the SDK prints them."""

from __future__ import annotations

import json
from typing import Any, Optional


class AzureMLException(Exception):
    """The root; `message` holds the plain text."""

    _error_code: Optional[str] = None

    def __init__(
        self, exception_message: str = "", inner_exception: Optional[BaseException] = None, **_: Any
    ) -> None:
        super().__init__(exception_message)
        self.message = exception_message
        self.inner_exception = inner_exception

    def __str__(self) -> str:
        error = {"message": self.message}
        if self._error_code:
            error["code"] = self._error_code
        return "{}:\n\tMessage: {}\n\tInnerException {}\n\tErrorResponse \n{}".format(
            type(self).__name__,
            self.message,
            self.inner_exception,
            json.dumps({"error": error}, indent=4),
        )


class UserErrorException(AzureMLException):
    """Something the caller did wrong."""

    _error_code = "UserError"


class ModelNotFoundException(AzureMLException):
    """No such model."""


class RunEnvironmentException(AzureMLException):
    """Not inside a submitted run."""


class WebserviceException(AzureMLException):
    """What model and service calls raise; `status_code` may hold an HTTP status."""

    def __init__(
        self, exception_message: str = "", status_code: Optional[int] = None, **kwargs: Any
    ) -> None:
        super().__init__(exception_message, **kwargs)
        self.status_code = status_code
