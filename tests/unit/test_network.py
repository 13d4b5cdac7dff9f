"""Certificates, proxies and indexes: found where pip and uv look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devkit.config import load
from devkit.errors import BadValue
from devkit.package import network
from devkit.package.network import Network
from devkit.package.requirements import Requirements


def found(
    root: Path,
    environ: Mapping[str, str],
    *,
    wants: Requirements | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Network:
    """What is found where nothing but `environ` speaks, unless it names pip's file."""
    alone = {"PIP_CONFIG_FILE": os.devnull, "HOME": str(root / "home")}
    workspace = load(root, overrides=overrides, environ={})
    return network.found(workspace, wants or Requirements(), environ=alone | dict(environ))


def test_a_machine_that_says_nothing_asks_pypi(tmp_path: Path) -> None:
    reach = found(tmp_path, {})
    assert reach.indexes == ("https://pypi.org/simple",)
    assert (reach.ca, reach.settings, reach.secrets, reach.proxies) == (None, {}, {}, {})


def test_an_index_is_said_to_pip_and_to_uv(tmp_path: Path) -> None:
    reach = found(tmp_path, {"PIP_INDEX_URL": "https://a.test/simple"})
    assert reach.settings == {
        "PIP_INDEX_URL": "https://a.test/simple",
        "UV_DEFAULT_INDEX": "https://a.test/simple",
    }
    assert reach.notes == ("Packages come from https://a.test/simple (PIP_INDEX_URL).",)


def test_further_indexes_are_all_used_and_the_best_version_wins_as_in_pip(tmp_path: Path) -> None:
    wants = Requirements(extra_index_urls=("https://w.test/simple",))
    environ = {"PIP_EXTRA_INDEX_URL": "https://a.test/x https://w.test/simple"}
    reach = found(tmp_path, environ | {"UV_INDEX": "mine=https://u.test/x?a=b"}, wants=wants)
    assert reach.settings["PIP_EXTRA_INDEX_URL"] == (
        "https://w.test/simple https://a.test/x https://u.test/x?a=b"
    )
    assert reach.settings["UV_INDEX_STRATEGY"] == "unsafe-best-match"


def test_no_note_shows_a_password_of_an_address_that_is_not_used(tmp_path: Path) -> None:
    wants = Requirements(extra_index_urls=("file://me:hunter2@host/w",))
    environ = {
        "PIP_INDEX_URL": "https://me:hunter2@127.0.0.1/simple",
        "UV_INDEX": "mine=https://me:hunter2@localhost/x",
        "PIP_FIND_LINKS": "https://me:hunter2@a.test/x https://you:hunter2@b.test/y /wheels",
    }
    notes = "\n".join(found(tmp_path, environ, wants=wants).notes)
    assert "hunter2" not in notes
    for address in ("file://host/w", "https://127.0.0.1/simple", "https://localhost/x"):
        assert address in notes
    assert "find-links https://a.test/x https://b.test/y /wheels (" in notes


def test_the_environment_file_beats_the_machine(tmp_path: Path) -> None:
    wants = Requirements(index_url="https://w.test/simple")
    reach = found(tmp_path, {"PIP_INDEX_URL": "https://a.test/simple"}, wants=wants)
    assert reach.indexes == ("https://w.test/simple",)


def test_pips_files_are_read_and_its_install_section_wins(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://g.test/s\ntimeout = 9\n"
        "[install]\nindex_url = https://i.test/s\ntrusted-host = i.test\n    j.test\n"
    )
    reach = found(tmp_path, {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})
    assert reach.settings["PIP_INDEX_URL"] == "https://i.test/s"
    assert reach.settings["UV_HTTP_TIMEOUT"] == "9"
    assert reach.settings["UV_INSECURE_HOST"] == "i.test j.test"


def test_uvs_files_are_read_and_explicit_indexes_are_not_general(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text(
        '[[index]]\nname = "d"\nurl = "https://d.test/s"\ndefault = true\n'
        '[[index]]\nurl = "https://e.test/s"\n'
        '[[index]]\nurl = "https://x.test/s"\nexplicit = true\n'
    )
    assert found(tmp_path, {}).indexes == ("https://d.test/s", "https://e.test/s")


@pytest.mark.parametrize("url", ["file:///opt/pypi/simple", "/opt/pypi", "http://localhost:3141/"])
def test_an_index_of_this_machine_is_left_out_with_a_note(tmp_path: Path, url: str) -> None:
    reach = found(tmp_path, {"PIP_EXTRA_INDEX_URL": url, "PIP_FIND_LINKS": "/opt/wheels"})
    assert reach.settings == {}
    assert f"Index {url} (PIP_EXTRA_INDEX_URL) is not used" in reach.notes[0]
    assert "find-links /opt/wheels (PIP_FIND_LINKS) is not used" in reach.notes[1]


def test_an_index_with_a_password_is_a_secret_and_never_shown(tmp_path: Path) -> None:
    reach = found(tmp_path, {"PIP_INDEX_URL": "https://me:hush@a.test/simple"})
    assert reach.settings == {}
    assert set(reach.secrets) == {"PIP_INDEX_URL", "UV_DEFAULT_INDEX"}
    assert "hush" not in " ".join(reach.notes)


def test_build_args_speak_louder_than_the_environment(tmp_path: Path) -> None:
    reach = found(
        tmp_path,
        {"PIP_INDEX_URL": "https://a.test/s"},
        overrides={"build.args": {"PIP_INDEX_URL": "https://b.test/s"}},
    )
    assert reach.indexes == ("https://b.test/s",)


@pytest.mark.parametrize("name", ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_bundle_of_this_machine_goes_to_the_build(tmp_path: Path, name: str) -> None:
    (tmp_path / "ca.pem").write_bytes(b"BUNDLE")
    reach = found(tmp_path, {name: str(tmp_path / "ca.pem")})
    assert (reach.ca, reach.ca_path) == (b"BUNDLE", tmp_path / "ca.pem")
    assert reach.notes == (f"Certificates: {tmp_path / 'ca.pem'} ({name}).",)


def test_configured_certificates_are_added_to_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"BUNDLE")
    (tmp_path / "own.pem").write_bytes(b"OWN")
    own = {"build.ca_certificates": ["own.pem"]}
    assert (
        found(tmp_path, {"PIP_CERT": str(tmp_path / "ca.pem")}, overrides=own).ca == b"BUNDLE\nOWN"
    )
    # Alone, they stand beside the authorities that everybody trusts.
    assert b"BEGIN CERTIFICATE" in (found(tmp_path, {}, overrides=own).ca or b"")


def test_a_configured_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"gone.pem is not there"):
        found(tmp_path, {}, overrides={"build.ca_certificates": ["gone.pem"]})


def test_proxies_go_to_the_build_in_both_spellings_and_their_password_is_not_shown(
    tmp_path: Path,
) -> None:
    environ = {"HTTPS_PROXY": "http://me:hush@p.test:3128", "no_proxy": "a.test"}
    reach = found(tmp_path, environ)
    assert reach.proxies["https_proxy"] == reach.proxies["HTTPS_PROXY"] == environ["HTTPS_PROXY"]
    assert reach.proxies["NO_PROXY"] == "a.test"
    assert "hush" not in " ".join(reach.notes)


def test_a_proxy_without_a_scheme_is_one_for_http_and_its_password_is_not_shown(
    tmp_path: Path,
) -> None:
    reach = found(tmp_path, {"http_proxy": "me:hush@p.test:3128"})
    assert reach.proxies["http_proxy"] == "http://me:hush@p.test:3128"
    assert reach.notes == ("http_proxy: http://p.test:3128.",)


@pytest.mark.parametrize("address", ["http://127.0.0.1:3128", "localhost:3128", "127.0.1.1:8080"])
def test_a_proxy_of_this_machine_is_left_out_with_a_note(tmp_path: Path, address: str) -> None:
    reach = found(tmp_path, {"http_proxy": address})
    assert reach.proxies == {}
    assert "http_proxy is a port of this machine" in reach.notes[0]
