"""Conda's words for versions, and what they are for pip."""

from __future__ import annotations

import pytest

from devkit.errors import EnvironmentInvalid
from devkit.package import conda


@pytest.mark.parametrize(
    ("written", "name", "versions"),
    [
        ("numpy", "numpy", ""),
        ("numpy=1.26", "numpy", "==1.26.*"),
        ("numpy==1.26.4", "numpy", "==1.26.4"),
        ("numpy=1.26.*", "numpy", "==1.26.*"),
        ("numpy=1.26.4=py311h64a7726_0", "numpy", "==1.26.4"),
        ("numpy 1.26.4 py311h64a7726_0", "numpy", "==1.26.4"),
        ("numpy 1.26.*", "numpy", "==1.26.*"),
        ("numpy=*", "numpy", ""),
        ("numpy=*=mkl_*", "numpy", ""),
        ("numpy>=1.2,<2", "numpy", ">=1.2,<2"),
        ("numpy >=1.2, <2", "numpy", ">=1.2,<2"),
        ("numpy!=1.5.*", "numpy", "!=1.5.*"),
        ("numpy~=1.2", "numpy", "~=1.2"),
        ("conda-forge::numpy=1.2", "numpy", "==1.2.*"),
        ("conda-forge/linux-64::numpy", "numpy", ""),
        ("numpy[version='>=1.2,<2']", "numpy", ">=1.2,<2"),
        ("Scikit-Learn=1.9", "scikit-learn", "==1.9.*"),
    ],
)
def test_a_specification_becomes_the_same_versions_in_pips_words(
    written: str, name: str, versions: str
) -> None:
    package = conda.parse(written, "environment.yml:1")
    assert (package.name, package.versions) == (name, versions)


@pytest.mark.parametrize("written", ["numpy=1.2|1.4", "=1.2", "numpy>=a,b c", "numpy ** 3"])
def test_what_pip_cannot_express_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"^environment.yml:7: "):
        conda.parse(written, "environment.yml:7")


def test_a_project_with_two_names_gets_its_pip_name() -> None:
    assert conda.parse("pytorch=2.4", "f:1").pip_name == "torch"


@pytest.mark.parametrize("name", ["ffmpeg", "r-base", "openjdk", "cuda-toolkit", "gxx_linux-64"])
def test_what_is_no_python_package_is_only_condas(name: str) -> None:
    assert conda.parse(name, "f:1").is_only_conda


@pytest.mark.parametrize("name", ["librosa", "libcst", "cuda-python", "requests", "rich"])
def test_python_packages_with_suspicious_names_are_not_only_condas(name: str) -> None:
    package = conda.parse(name, "f:1")
    assert not package.is_only_conda
    assert not package.only_selects
