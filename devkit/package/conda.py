"""Step 1, package: a conda package specification becomes the requirement that pip knows it by.

Own code because conda's MatchSpec is only to be had with all of conda or as a compiled extension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement

from devkit.errors import EnvironmentInvalid

# The same project under two names: conda's -> PyPI's.
_PIP_NAMES = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-opencv": "opencv-python-headless",
    "opencv": "opencv-python-headless",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "dask-core": "dask",
    "faiss": "faiss-cpu",
    "importlib_metadata": "importlib-metadata",
    "pyqt": "pyqt5",
    "python-graphviz": "graphviz",
    "onnxruntime-cpp": "onnxruntime",
    "tensorflow-base": "tensorflow",
    "tensorflow-mkl": "tensorflow",
    "tensorflow-eigen": "tensorflow",
    "snappy-python": "python-snappy",
    "prompt_toolkit": "prompt-toolkit",
    "ibis-framework-core": "ibis-framework",
    "protobuf-python": "protobuf",
    "lightgbm-cpu": "lightgbm",
}
# They choose a build of something else; pip's wheels have chosen already.
_SELECTOR_NAMES = """
    pip nomkl blas cpuonly pytorch-mutex pytorch-cuda cudatoolkit cudnn nccl mkl-service mkl_fft
    mkl_random python_abi ca-certificates libgcc libgcc-ng libstdcxx-ng libstdcxx libgomp
    _libgcc_mutex _openmp_mutex tzdata zlib bzip2 xz ncurses readline tk openssl libffi sqlite
    intel-openmp llvm-openmp libblas libcblas liblapack libopenblas openblas ld_impl_linux-64
    libuuid libnsl libsqlite libzlib libexpat
"""
_SELECTORS = frozenset(_SELECTOR_NAMES.split())
# No package of Python: conda's name -> the Debian packages that bring the same.
_DEBIAN_NAMES = {
    "ffmpeg": "ffmpeg",
    "git": "git",
    "git-lfs": "git-lfs",
    "curl": "curl",
    "wget": "wget",
    "graphviz": "graphviz",
    "openjdk": "default-jre-headless",
    "nodejs": "nodejs",
    "poppler": "poppler-utils",
    "tesseract": "tesseract-ocr",
    "gdal": "gdal-bin",
    "libgdal": "libgdal-dev",
    "proj": "proj-bin",
    "geos": "libgeos-dev",
    "hdf5": "libhdf5-dev",
    "libsndfile": "libsndfile1",
    "sox": "sox",
    "pandoc": "pandoc",
    "make": "make",
    "cmake": "cmake",
    "gcc": "gcc",
    "gxx": "g++",
    "compilers": "build-essential",
    "gcc_linux-64": "gcc",
    "gxx_linux-64": "g++",
    "openmpi": "openmpi-bin",
    "mpich": "mpich",
    "unixodbc": "unixodbc",
    "r-base": "r-base",
    "libxml2": "libxml2",
    "vim": "vim",
    "imagemagick": "imagemagick",
    "libiconv": "libc6",
    "gxx_linux-aarch64": "g++",
    "glib": "libglib2.0-0",
}
_ONLY_CONDA = re.compile(
    r"^(r-.+|bioconductor-.+|perl|perl-.+|cuda(-(?!python$).+)?|cudatoolkit-dev"
    r"|.+_linux-\w+|m2w64-.+|vs\d+_.+|mamba|conda(-.+)?|anaconda|miniconda)$"
)
_SPEC = re.compile(
    r"^(?:[\w\-./:]+::)?(?P<name>[\w][\w.\-]*)"
    r"(?:\[(?P<keys>[^\]]*)\]|(?P<rest>[\s=<>!~].*))?$"
)
_KEY = re.compile(r"""(\w+)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^,]*))""")


@dataclass(frozen=True)
class CondaPackage:
    """One conda dependency: its name there and, in pip's words, the versions it allows."""

    name: str
    versions: str

    @property
    def pip_name(self) -> str:
        """The name of the same project on PyPI."""
        return _PIP_NAMES.get(self.name, self.name)

    @property
    def only_selects(self) -> bool:
        """Whether pip's wheels bring this along, so that nothing has to be installed."""
        return self.name in _SELECTORS

    @property
    def is_only_conda(self) -> bool:
        """Whether no package of that meaning is on PyPI."""
        return self.name in _DEBIAN_NAMES or bool(_ONLY_CONDA.match(self.name))

    @property
    def debian_name(self) -> str | None:
        """The Debian package that brings the same, when one is known."""
        return _DEBIAN_NAMES.get(self.name)


def parse(text: str, place: str) -> CondaPackage:
    """Read "channel::name=1.2=build", "name >=1,<2", "name 1.2 build" or "name[version='1.2']".

    Raises:
        EnvironmentInvalid: it is no specification, or says what pip has no words for ("1.2|1.4").
    """
    match = _SPEC.match(text.strip())
    if match is None:
        raise _invalid(text, place, "is not a conda package specification")
    if match["keys"] is not None:
        keys = {key: a or b or c for key, a, b, c in _KEY.findall(match["keys"])}
        versions = _versions(keys.get("version", ""))
    else:
        versions = _versions(_without_build((match["rest"] or "").strip()))
    try:
        Requirement(f"x{versions}")
    except InvalidRequirement as error:
        reason = "has versions that pip cannot express" if "|" in text else "has unclear versions"
        raise _invalid(text, place, reason) from error
    return CondaPackage(match["name"].lower(), versions)


def _invalid(text: str, place: str, reason: str) -> EnvironmentInvalid:
    return EnvironmentInvalid(
        f"{place}: {text!r} {reason}.", hint='Write it as "name=1.2" or "name>=1.2,<2".'
    )


def _without_build(rest: str) -> str:
    """Drop the build string: "=1.2=py37_0" and "1.2 py37_0" mean exactly 1.2."""
    if match := re.match(r"^=(?!=)\s*([^=\s]+)\s*=\s*[^=]+$", rest):
        return f"=={match[1]}"
    if match := re.match(r"^([\d*][^\s,|]*)(\s+\S+)?$", rest):
        return f"=={match[1]}"
    return rest


def _versions(text: str) -> str:
    return ",".join(_version(part.strip()) for part in text.split(",") if part.strip() != "*")


def _version(part: str) -> str:
    """One comparison: conda's "=1.2" is any 1.2.x, its "==1.2" and bare "1.2" are exact."""
    match = re.match(r"^(==|>=|<=|!=|~=|=|>|<)?\s*(.*)$", part)
    operator, version = (match[1] or "==", match[2].strip()) if match else ("==", part)
    if version in ("", "*"):
        return ""
    star = version.endswith("*")
    version = version.rstrip("*").rstrip(".")
    if operator == "=" or (star and operator == "=="):
        return f"=={version}.*"
    if star and operator == "!=":
        return f"!={version}.*"
    return f"{operator}{version}"
