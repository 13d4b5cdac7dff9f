"""What can go wrong, as one family.

    DevkitError                     exit 1
      ConfigError                   exit 2: what the user wrote or has in the workspace
        UnknownKey, BadValue, EntryScriptMissing, EntryScriptBroken, EnvironmentInvalid,
        NoBuildForPython, ModelMissing, LaunchFileBroken, SecretRefused, RemoteDebugRefused,
        OwnFolderUnusable
      EngineError                   exit 3: the container engine
        NoEngine, EngineDenied, Unsupported, PortInUse, NameInUse, ImageMissing,
        ContainerMissing, NotOurs
      SyncHalted                    exit 4
      BuildError                    exit 5
        BaseImageMissing, PackageInstallFailed
      ServiceError                  exit 6: the service is not healthy
        InitFailed, ContainerDied, OutOfMemory, NotReady, NoService
      DebuggerError                 exit 7: the debugger or a path mapping is not proved
        MappingNotProved, AlreadyAttached, DebuggerUnreachable
      Interrupted                   exit 130

An error is a fact in one sentence that names the thing; `hint` says what to type or change. The
class name is the stable code that programs key on; the texts may change.
"""

from __future__ import annotations

from errno import EACCES, EPERM, EROFS


class DevkitError(Exception):
    """The root of the family: one sentence, an optional hint, an exit code."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable name of this kind of error."""
        return type(self).__name__


class ConfigError(DevkitError):
    """Something in the workspace, the configuration or the arguments is wrong."""

    exit_code = 2


class UnknownKey(ConfigError):
    """A key in devkit.yaml that devkit does not know."""


class BadValue(ConfigError):
    """A value that does not fit its key or option."""


class EntryScriptMissing(ConfigError):
    """The entry script is not there."""


class EntryScriptBroken(ConfigError):
    """The entry script does not parse, or has no init() or run()."""


class EnvironmentInvalid(ConfigError):
    """The environment file cannot be read or says something that devkit cannot install."""


class NoBuildForPython(ConfigError):
    """A pinned package has no build for the Python version of the image."""


class ModelMissing(ConfigError):
    """A model's path is not there."""


class LaunchFileBroken(ConfigError):
    """launch.json or tasks.json does not parse; it was left alone."""


class SecretRefused(ConfigError):
    """A secret would have stayed in the image."""


class RemoteDebugRefused(ConfigError):
    """The debugger would have listened beyond loopback without an explicit yes."""


class OwnFolderUnusable(ConfigError, OSError):
    """The workspace's .devkit, or a file in it; an OSError, too, for steps that can do without."""

    def __init__(
        self, message: str, *, hint: str | None = None, number: int | None = None, why: str = ""
    ) -> None:
        """Make it; `number` and `why` are the system's."""
        super().__init__(message, hint=hint)
        self.errno, self.strerror = number, why or None

    def __str__(self) -> str:
        return self.message

    @property
    def is_only_read(self) -> bool:
        """Whether it is sound, and this user may not write to it."""
        return self.errno in (EACCES, EPERM, EROFS)


class EngineError(DevkitError):
    """The container engine failed or refused."""

    exit_code = 3


class NoEngine(EngineError):
    """No container engine answers."""


class EngineDenied(EngineError):
    """The engine is there, but this user may not use it."""


class Unsupported(EngineError):
    """This engine cannot do that."""


class PortInUse(EngineError):
    """A host port is taken."""


class NameInUse(EngineError):
    """A container of that name exists already."""


class ImageMissing(EngineError):
    """The engine has no such image."""


class ContainerMissing(EngineError):
    """The engine has no such container."""


class NotOurs(EngineError):
    """The container was not made by devkit; it is left alone."""


class SyncHalted(DevkitError):
    """Sync stopped because going on could lose a file."""

    exit_code = 4


class BuildError(DevkitError):
    """The image could not be built."""

    exit_code = 5


class BaseImageMissing(BuildError):
    """The base image is not there and cannot be pulled."""


class PackageInstallFailed(BuildError):
    """A requirement could not be installed."""


class ServiceError(DevkitError):
    """The scoring service is not healthy."""

    exit_code = 6


class InitFailed(ServiceError):
    """The entry script does not load, or init() raised; `file` and `line` are local if known."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: str | None = None,
        line: int | None = None,
        traceback: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.traceback = traceback


class ContainerDied(ServiceError):
    """The container ended by itself."""


class OutOfMemory(ContainerDied):
    """The container was killed because it used more memory than it may."""


class NotReady(ServiceError):
    """The service did not become ready in time."""


class NoService(ServiceError):
    """No such service is running."""


class DebuggerError(DevkitError):
    """The debugger could not be proved to work."""

    exit_code = 7


class MappingNotProved(DebuggerError):
    """A breakpoint does not verify, or local and container file differ."""


class AlreadyAttached(DebuggerError):
    """Another client is attached."""


class DebuggerUnreachable(DebuggerError):
    """Nothing that speaks the debug adapter protocol answers."""


class Interrupted(DevkitError):
    """Ctrl-C; what was started has been cleaned up."""

    exit_code = 130
