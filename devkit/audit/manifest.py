"""A manifest, of Kubernetes or compose, becomes findings; whatever holds `containers` is a pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from devkit.audit import compose, finding, settings
from devkit.audit.finding import Finding, in_order
from devkit.errors import BadValue

_MOST_BYTES = 10_000_000
_DEEPEST = 30
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def findings(text: bytes, name: str) -> list[Finding]:
    """Return what does not belong in production.

    Args:
        text: the file's bytes; it may hold several documents.
        name: what the file is called in findings and messages.

    Raises:
        BadValue: it is not YAML, empty, or nothing that starts containers.
    """
    documents = [item for item in _documents(text, name) if item is not None]
    if not documents:
        raise BadValue(f"{name} is empty.", hint="Name a Kubernetes manifest or a compose file.")
    known = [item for item in documents if isinstance(item, dict) and _is_known(item)]
    if not known:
        raise BadValue(
            f"{name} holds no Kubernetes object and no compose service.",
            hint="A Kubernetes object has `kind`, a compose file has `services`.",
        )
    return in_order(found for item in known for found in _of_document(item, name))


def _documents(text: bytes, name: str) -> list[Any]:
    if len(text) > _MOST_BYTES:
        raise BadValue(f"{name} is too large for a manifest.", hint="Name the manifest itself.")
    try:
        return list(yaml.safe_load_all(text.decode("utf-8-sig")))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or "it cannot be read"
        hint = "Correct that line. A chart is rendered first: `helm template`."
        raise BadValue(f"{place}: the file is not valid YAML: {problem}.", hint=hint) from error


def _is_known(document: dict[str, Any]) -> bool:
    return isinstance(document.get("kind"), str) or compose.is_compose(document)


def _of_document(document: dict[str, Any], name: str) -> Iterator[Finding]:
    if compose.is_compose(document):
        yield from compose.findings(document, name)
        return
    for item in _objects(document, set()):
        place = f"{name}: {item['kind']}/{_mapping(item.get('metadata')).get('name', '?')}"
        if item["kind"] == "Service":
            yield from _of_service(_mapping(item.get("spec")), place)
        elif item["kind"] == "ConfigMap":
            yield from settings.of_variables(_texts(item.get("data")), place)
        else:
            for pod in _pods(item, set()):
                yield from _of_pod(pod, place)


def _objects(document: Any, seen: set[int]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a document: a List holds several, and by an alias perhaps itself."""
    if not isinstance(document, dict) or id(document) in seen or len(seen) > 10_000:
        return
    seen.add(id(document))
    if str(document.get("kind", "")).endswith("List"):
        for item in _list(document.get("items")):
            yield from _objects(item, seen)
    elif isinstance(document.get("kind"), str):
        yield document


def _pods(value: Any, seen: set[int], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield each pod: also within kinds that nobody knows here (a rollout, a model server)."""
    # An alias makes one object stand in many places: once is enough.
    if not isinstance(value, dict | list) or id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if isinstance(value, dict) and isinstance(value.get("containers"), list):
        yield value
        return
    for inner in value.values() if isinstance(value, dict) else value:
        yield from _pods(inner, seen, depth + 1)


def _of_service(spec: Mapping[str, Any], place: str) -> Iterator[Finding]:
    for port in _mappings(spec.get("ports")):
        for key in ("port", "targetPort"):
            yield from _of_port(port.get(key), place)


def _of_pod(pod: Mapping[str, Any], place: str) -> Iterator[Finding]:
    common = _mapping(pod.get("securityContext"))
    for key in _CONTAINERS:
        for container in _mappings(pod.get(key)):
            where = f"{place}, {container.get('name', '?')}"
            yield from _of_container(container, where)
            # The container's own words stand before the pod's.
            context = {**common, **_mapping(container.get("securityContext"))}
            yield from _of_context(context, where)


def _of_container(container: Mapping[str, Any], where: str) -> Iterator[Finding]:
    variables = {
        str(entry.get("name")): str(entry["value"])
        for entry in _mappings(container.get("env"))
        if entry.get("value") is not None
    }
    yield from settings.of_variables(variables, f"{where}, env")
    for port in _mappings(container.get("ports")):
        for key in ("containerPort", "hostPort"):
            yield from _of_port(port.get(key), where)
    for key in ("command", "args"):
        words = [str(word) for word in _list(container.get(key))]
        yield from settings.of_command(words, f"{where}, {key}")


def _of_context(context: Mapping[str, Any], where: str) -> Iterator[Finding]:
    if context.get("privileged") is True:
        yield Finding.of(finding.PRIVILEGED, "The container is privileged.", where)
    user = context.get("runAsUser")
    if user == 0 and user is not False:
        yield Finding.of(finding.ROOT, "runAsUser is 0: it runs as root.", where)
    elif not isinstance(user, int) and context.get("runAsNonRoot") is not True:
        title = "Nothing keeps it from running as root, if its image does."
        yield Finding.of(finding.PERHAPS_ROOT, title, where)


def _of_port(value: Any, where: str) -> Iterator[Finding]:
    if str(value).isdecimal():
        yield from settings.of_port(int(value), f"{where}, port {value}")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(inner) for key, inner in _mapping(value).items() if inner is not None}
