"""Step 1, package: the certificates, proxies and package indexes that a build needs.

Found where pip and uv look. They reach the stage that installs packages, and nothing else.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from devkit.config import Workspace
from devkit.errors import BadValue
from devkit.package.requirements import Requirements

_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

Setting = tuple[str, str]
"""A value and where it was found."""


@dataclass(frozen=True)
class Network:
    """How a build gets at packages.

    `settings` are variables for pip and uv; `secrets` are those with a password in them. `proxies`
    are build arguments that Docker knows by itself. `ca` is a whole PEM bundle.
    """

    ca: bytes | None
    ca_path: Path | None
    settings: Mapping[str, str]
    secrets: Mapping[str, str]
    proxies: Mapping[str, str]
    indexes: tuple[str, ...]
    notes: tuple[str, ...]


def found(
    workspace: Workspace, wants: Requirements, *, environ: Mapping[str, str] = os.environ
) -> Network:
    """Look up what this machine, the workspace and its requirements say about the network.

    Raises:
        BadValue: a file of `build.ca_certificates` is not there.
    """
    environ = {**environ, **workspace.config.build.args}
    pip = _pip_configuration(environ)
    uv = _uv_configuration(workspace.root, environ)
    notes = list[str]()
    index, extra = _indexes(wants, environ, pip, uv, notes)
    ca, ca_path = _ca(workspace, environ, pip, notes)
    settings = _settings(index, extra, environ, pip, notes)
    secret = {name: value for name, value in settings.items() if _has_password(value)}
    return Network(
        ca=ca,
        ca_path=ca_path,
        settings={name: value for name, value in settings.items() if name not in secret},
        secrets=secret,
        proxies=_proxies(environ, notes),
        indexes=tuple(url for url, _ in (index or ("https://pypi.org/simple", ""), *extra)),
        notes=tuple(notes),
    )


def public(address: str) -> str:
    """An address without user name and password."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _pip_configuration(environ: Mapping[str, str]) -> dict[str, Setting]:
    """Read pip's files in its order; later ones win. `pip install`'s own section beats [global]."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return {}
    home = Path(environ.get("HOME", "~")).expanduser()
    personal = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    paths = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        personal / "pip/pip.conf",
        Path(sys.prefix, "pip.conf"),
        *([Path(named)] if named else []),
    ]
    result = dict[str, Setting]()
    for path in paths:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip says so itself
        for section in ("global", "install"):
            if parser.has_section(section):
                found_here = {k.replace("_", "-"): v for k, v in parser.items(section)}
                result |= {key: (value, str(path)) for key, value in found_here.items()}
    return result


def _uv_configuration(root: Path, environ: Mapping[str, str]) -> dict[str, Setting]:
    """Read uv's index settings: system, user, then the workspace; later ones win."""
    home = Path(environ.get("HOME", "~")).expanduser()
    personal = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    result = dict[str, Setting]()
    for path in (
        Path("/etc/uv/uv.toml"),
        personal / "uv/uv.toml",
        root / "pyproject.toml",
        root / "uv.toml",
    ):
        try:
            read: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        table = read.get("tool", {}).get("uv", {}) if path.name == "pyproject.toml" else read
        result |= {key: (value, str(path)) for key, value in _uv_indexes(table)}
    return result


def _uv_indexes(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for source in (table, table.get("pip", {})):
        if "index-url" in source:
            yield "index-url", source["index-url"]
        if "extra-index-url" in source:
            yield "extra-index-url", " ".join(source["extra-index-url"])
        listed = [i for i in source.get("index", ()) if not i.get("explicit")]
        for index in listed:
            if index.get("default"):
                yield "index-url", index["url"]
        others = [i["url"] for i in listed if not i.get("default")]
        if others:
            yield "extra-index-url", " ".join(others)


def _indexes(
    wants: Requirements,
    environ: Mapping[str, str],
    pip: Mapping[str, Setting],
    uv: Mapping[str, Setting],
    notes: list[str],
) -> tuple[Setting | None, list[Setting]]:
    """Find the index and the further ones that a build can reach."""
    index: Setting | None = None
    candidates = [
        (wants.index_url or "", "the environment file"),
        *_of(environ, "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"),
        *(c["index-url"] for c in (uv, pip) if "index-url" in c),
    ]
    for value, origin in candidates:
        if value and index is None and _reachable(value, origin, notes):
            index = (_unnamed(value), origin)
    extra = dict[str, str]()
    for values, origin in (
        (" ".join(wants.extra_index_urls), "the environment file"),
        *_of(environ, "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"),
        *(c["extra-index-url"] for c in (uv, pip) if "extra-index-url" in c),
    ):
        for value in values.split():
            if _reachable(value, origin, notes):
                extra.setdefault(_unnamed(value), origin)
    links = [*_of(environ, "PIP_FIND_LINKS", "UV_FIND_LINKS")]
    links += [pip["find-links"]] if "find-links" in pip else []
    for value, origin in dict(reversed(links)).items():
        shown = " ".join(map(public, value.split()))
        notes.append(f"find-links {shown} ({origin}) is not used: a build cannot reach it.")
    return index, list(extra.items())


def _of(environ: Mapping[str, str], *names: str) -> list[Setting]:
    return [(environ[name], name) for name in names if environ.get(name)]


def _unnamed(value: str) -> str:
    """Drop the name of uv's "name=https://..."."""
    name, _, url = value.partition("=")
    return url if "://" in url and "://" not in name else value


def _reachable(value: str, origin: str, notes: list[str]) -> bool:
    """Whether a container can get there: neither a folder nor a port of this machine."""
    parts = urlsplit(_unnamed(value))
    local = _is_of_this_machine(parts.hostname)
    if parts.scheme in ("http", "https") and not local:
        return True
    what = "a port" if local else "a folder"
    notes.append(
        f"Index {public(_unnamed(value))} ({origin}) is not used: it is {what} of this machine."
    )
    return False


def _is_of_this_machine(host: str | None) -> bool:
    return host in ("localhost", "::1") or (host or "").startswith("127.")


def _settings(
    index: Setting | None,
    extra: list[Setting],
    environ: Mapping[str, str],
    pip: Mapping[str, Setting],
    notes: list[str],
) -> dict[str, str]:
    """Say to pip and to uv the same, each in its own variables."""
    settings = dict[str, str]()
    if index:
        settings |= {"PIP_INDEX_URL": index[0], "UV_DEFAULT_INDEX": index[0]}
        notes.append(f"Packages come from {public(index[0])} ({index[1]}).")
    if extra:
        urls = " ".join(url for url, _ in extra)
        # The requirements were written for pip, which takes the best version of all indexes.
        settings |= {"PIP_EXTRA_INDEX_URL": urls, "UV_INDEX": urls}
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        notes += [f"Packages may come from {public(url)} too ({origin})." for url, origin in extra]
    for key, ours in (
        ("trusted-host", "UV_INSECURE_HOST"),
        ("timeout", "UV_HTTP_TIMEOUT"),
    ):
        variable = "PIP_DEFAULT_TIMEOUT" if key == "timeout" else "PIP_TRUSTED_HOST"
        value = environ.get(variable) or pip.get(key, ("", ""))[0]
        if value:
            settings |= {variable: " ".join(value.split()), ours: " ".join(value.split())}
    return settings


def _has_password(value: str) -> bool:
    return any("@" in urlsplit(part).netloc for part in value.split())


def _ca(
    workspace: Workspace, environ: Mapping[str, str], pip: Mapping[str, Setting], notes: list[str]
) -> tuple[bytes | None, Path | None]:
    """Find the bundle that this machine trusts, and add the configured certificates."""
    bundle, origin = _bundle(environ, pip, notes)
    own = [workspace.root / Path(p).expanduser() for p in workspace.config.build.ca_certificates]
    for path in own:
        if not path.is_file():
            raise BadValue(
                f"The certificate file {path} is not there.",
                hint="Correct build.ca_certificates in devkit.yaml.",
            )
    if own:
        base = bundle or Path(DEFAULT_CA_BUNDLE_PATH)
        notes.append(f"Certificates: {', '.join(map(str, own))} (build.ca_certificates).")
        return b"\n".join(path.read_bytes() for path in (base, *own)), bundle
    if bundle:
        notes.append(f"Certificates: {bundle} ({origin}).")
        return bundle.read_bytes(), bundle
    return None, None


def _bundle(
    environ: Mapping[str, str], pip: Mapping[str, Setting], notes: list[str]
) -> tuple[Path | None, str]:
    first, *others = _CA_VARIABLES
    settings = [*_of(environ, first), *([pip["cert"]] if "cert" in pip else [])]
    for value, origin in (*settings, *_of(environ, *others)):
        path = Path(value).expanduser()
        if path.is_file():
            return path, origin
        notes.append(f"Certificates {value} ({origin}) are not used: there is no such file.")
    return None, ""


def _proxies(environ: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    proxies = dict[str, str]()
    for name in _PROXIES:
        value = environ.get(name) or environ.get(name.upper())
        if not value:
            continue
        if name != "no_proxy":
            # curl and pip take "host:port" for it; apt does not, and a password would be shown.
            value = value if "://" in value else f"http://{value}"
            if _is_of_this_machine(urlsplit(value).hostname):
                notes.append(f"{name} is a port of this machine; a build cannot reach it.")
                continue
        # Some programs read only one of the two spellings.
        proxies |= {name: value, name.upper(): value}
        notes.append(f"{name}: {value if name == 'no_proxy' else public(value)}.")
    return proxies
