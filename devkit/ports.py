"""Step 2, run: ports of this machine: which are free, and who has a taken one."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import re
import socket
from collections.abc import Collection, Sequence
from contextlib import closing

from devkit.contract import DEBUG_PORT
from devkit.engine import Engine, PortBinding
from devkit.errors import BadValue, PortInUse

_SEARCHED = 200
_LAST = 65535


def chosen(
    bindings: Sequence[PortBinding], *, own: Collection[tuple[str, int]]
) -> tuple[PortBinding, ...]:
    """Return the bindings with a free port for each 0, which is none of `own` (bind, port).

    A port is chosen here, not by the engine: one that the engine picks changes with each start.
    """
    used = {port for _, port in own} | {binding.host_port for binding in bindings}
    done = []
    for binding in bindings:
        if not binding.host_port:
            port = _any_free(binding.bind, used)
            used.add(port)
            binding = dataclasses.replace(binding, host_port=port)
        done.append(binding)
    return tuple(done)


def refuse_taken(
    engine: Engine, bindings: Sequence[PortBinding], *, own: Collection[tuple[str, int]]
) -> None:
    """Refuse ports of this machine that are taken, but for those of `own`.

    Raises:
        PortInUse: names all that are taken, their owners, and ports that are free.
    """
    asked = [binding for binding in bindings if (binding.bind, binding.host_port) not in own]
    taken = [binding for binding in asked if not is_free(binding.bind, binding.host_port)]
    if taken:
        raise _in_use(engine, taken, used={binding.host_port for binding in bindings})


def explained(engine: Engine, bindings: Sequence[PortBinding], error: PortInUse) -> PortInUse:
    """Return the engine's refusal with the owner and a free port in it, where they can be told."""
    if not is_local(engine.info().endpoint):
        return error
    for binding in bindings:
        if re.search(rf"\b{binding.host_port}\b", error.message):
            return _in_use(engine, [binding], used={b.host_port for b in bindings})
    return error


def is_free(bind: str, port: int) -> bool:
    """Say whether a listener could have this port now."""
    with closing(_probe(bind)) as probe:
        # Connections that linger from an earlier listener do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            # Any other refusal (a low port, a foreign address) is the engine's to judge.
            return error.errno != errno.EADDRINUSE
    return True


def is_local(endpoint: str) -> bool:
    """Say whether an engine publishes ports on this machine."""
    return endpoint.startswith(("unix:", "npipe:", "file:"))


def is_loopback(bind: str) -> bool:
    """Say whether only this machine reaches what listens there.

    Raises:
        BadValue: it is no address.
    """
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError as error:
        raise BadValue(
            f"{bind!r} is not an address to bind.", hint="Use 127.0.0.1, or 0.0.0.0 for all."
        ) from error


def _in_use(engine: Engine, taken: Sequence[PortBinding], *, used: set[int]) -> PortInUse:
    said, options, auto = list[str](), list[str](), list[str]()
    for binding in taken:
        option = "--debug-port" if binding.container_port == DEBUG_PORT else "--port"
        owner = _owner(engine, binding.host_port) or "another program"
        said.append(f"port {binding.host_port} of this machine is already used by {owner}")
        free = _free_above(binding, used)
        used = {*used, free}
        options.append(f"{option} {free}")
        auto.append(f"{option} auto")
    message = ", and ".join(said)
    return PortInUse(
        f"{message[0].upper()}{message[1:]}.",
        hint=f"`devkit debug {' '.join(options)}` takes what is free now; or "
        f"`devkit debug {' '.join(auto)}`.",
    )


def _free_above(binding: PortBinding, used: Collection[int]) -> int:
    following = range(binding.host_port + 1, min(binding.host_port + _SEARCHED, _LAST))
    candidates = (port for port in following if port not in used and is_free(binding.bind, port))
    return next(candidates, None) or _any_free(binding.bind, used)


def _owner(engine: Engine, port: int) -> str | None:
    for container in engine.containers({}):
        if container.is_running and any(host == port for _, host in container.ports.values()):
            return f"the container {container.name}"
    return _process(port)


def _process(port: int) -> str | None:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                return f"the process {psutil.Process(connection.pid).name()} ({connection.pid})"
    except psutil.Error:
        # Other users' processes are not shown to everybody.
        return None
    return None


def _any_free(bind: str, used: Collection[int]) -> int:
    while True:
        with closing(_probe(bind)) as probe:
            probe.bind((bind, 0))
            port = int(probe.getsockname()[1])
        if port not in used:
            return port


def _probe(bind: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET, socket.SOCK_STREAM)
