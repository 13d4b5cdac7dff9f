"""Step 5, sync: what starts the agent: the command, and what goes to its standard input first."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import devkit

# In the order in which they import each other.
_MODULES = {
    "inotify": "runtime/inotify.py",
    "places": "sync/agent/places.py",
    "frames": "sync/agent/frames.py",
    "entry": "sync/agent/entry.py",
    "known": "sync/agent/known.py",
    "digests": "sync/agent/digests.py",
    "opened": "sync/agent/opened.py",
    "staged": "sync/agent/staged.py",
    "swap": "sync/agent/swap.py",
    "scan": "sync/agent/scan.py",
    "side": "sync/agent/side.py",
    "contained": "sync/agent/contained.py",
    "watched": "sync/agent/watched.py",
    "notice": "sync/agent/notice.py",
    "telling": "sync/agent/telling.py",
    "requests": "sync/agent/requests.py",
    "serve": "sync/agent/serve.py",
}
# Reads the modules from standard input, and not a byte more.
_START = """
import json, os, sys, types
def take(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit()
        data += part
    return data
package = sys.modules["devkit_agent"] = types.ModuleType("devkit_agent")
package.__path__ = []
for name, text in json.loads(take(int(take(8))).decode()):
    module = types.ModuleType("devkit_agent." + name)
    module.__package__ = "devkit_agent"
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(text, "devkit agent: " + name, "exec"), module.__dict__)
package.serve.serve(sys.argv[1], package.inotify)
"""


def command(root: str, python: str = "python3") -> list[str]:
    """Return what to execute in the container, to serve the folder `root`."""
    # Isolated: the user's modules and PYTHON* variables are none of the agent's. UTF-8 in every
    # locale, -B: nothing is written.
    return [python, "-I", "-B", "-X", "utf8", "-c", _START, root]


@cache
def text() -> bytes:
    """Return what the started command reads first."""
    folder = Path(devkit.__file__).parent
    modules = [(name, (folder / path).read_text("utf-8")) for name, path in _MODULES.items()]
    body = json.dumps(modules).encode("ascii")
    return b"%08d%s" % (len(body), body)
