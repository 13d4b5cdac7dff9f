"""devkit: debug the model service that you deploy, in the container that you deploy."""

from pathlib import Path

__version__ = "0.1.0"

_PACKAGE = Path(__file__).parent
# A wheel has them inside the package, a checkout beside it.
TEMPLATES = (
    _PACKAGE / "templates" if (_PACKAGE / "templates").is_dir() else _PACKAGE.parent / "templates"
)
