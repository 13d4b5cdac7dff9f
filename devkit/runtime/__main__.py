"""Starts the service: `python /opt/devkit/devkit_runtime`."""

import importlib
import os
import sys


def _start() -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    # Run as a folder, Python puts the folder itself first on the path: its module names would then
    # shadow the user's (worker, settings, ...).
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    if not __package__:
        sys.path.insert(0, os.path.dirname(here))
    package = importlib.import_module(__package__ or os.path.basename(here))
    if not __package__:
        del sys.path[0]
    role = sys.argv[1] if len(sys.argv) > 1 else "supervisor"
    result = importlib.import_module("." + role, package.__name__).main(sys.argv[2:])
    return int(result or 0)


sys.exit(_start())
