"""Base images for the tests and the demo: `scripts/base.py 3.13 3.11` pulls them or makes them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from devkit import base
from devkit.engine import Engine
from devkit.engines import connect
from devkit.errors import DevkitError, NoEngine


def main(pythons: list[str]) -> int:
    try:
        engine = connect()
        with ThreadPoolExecutor() as pool:
            for line in pool.map(lambda python: _made(engine, python), pythons):
                print(line, flush=True)
    except NoEngine as error:
        print(f"base: none made. {error}")
    except DevkitError as error:
        print(f"base: {error}\n{error.hint or ''}", file=sys.stderr)
        return error.exit_code
    return 0


def _made(engine: Engine, python: str) -> str:
    def progress(line: str) -> None:
        # debootstrap's line per package would bury the others.
        if line.startswith(("Installing", "Importing", "Retrieving InRelease", "Pulling")):
            print(f"base: {python}: {line}", flush=True)

    return f"base: {base.ensure(engine, python=python, progress=progress)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
