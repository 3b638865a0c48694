"""Every error that ADMF-PC raises on purpose.

    AdmfError
    ├── ConfigurationError      a workflow description is wrong: a key, type, parameter, phase or reference
    │   └── UnknownNameError    a name that is not registered; carries the nearest matches
    ├── DataError               market data that can't be trusted: file, row and reason
    ├── StrategyError           a strategy raised, or returned something that is not a target exposure
    ├── ChangedError            what was recorded and what would happen now are not the same
    ├── CanceledError           the run was canceled
    ├── TimedOutError           a phase took longer than it may
    ├── LimitError              a run took more than its workflow allows
    ├── ExecutorError           shards could not be carried out, such as for want of memory
    ├── NotFoundError           no such run, phase, stream or event
    ├── StoreError              the event store could not be opened, read or written
    │   ├── ConflictError       somebody else appended to the stream first
    │   └── CorruptionError     stored bytes are not what was written
    └── QueryError              SQL that the read models can't answer

A message states what must hold, what was found (with the file, row, key or id), and the remedy.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AdmfError(Exception):
    """Root of all errors raised on purpose."""


class ConfigurationError(AdmfError):
    """A workflow description is wrong."""


class UnknownNameError(ConfigurationError):
    """A name is not registered.

    Parameters
    ----------
    kind
        What the name should have named, such as ``"strategy type"``.
    name
        The name that was given.
    known
        The names that would have been accepted.
    where
        Path of the value in its configuration, such as ``workflow.phases[0].strategies[0].type``.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
        super().__init__(f"{where + ': ' if where else ''}unknown {kind} {name!r}. {remedy}")

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str]]:
        return ConfigurationError, (str(self),)


class DataError(AdmfError):
    """Market data can't be trusted."""


class StrategyError(AdmfError):
    """A strategy raised, or returned something that is not a target exposure."""


class ChangedError(AdmfError):
    """What was recorded and what would happen now are not the same."""


class CanceledError(AdmfError):
    """The run was canceled."""


class TimedOutError(AdmfError):
    """A phase took longer than it may."""


class LimitError(AdmfError):
    """A run took more than its workflow allows.

    Parameters
    ----------
    key
        The limit, such as ``max_events``.
    message
        What was found.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"resources.{key}: {message}")
        self.key = key

    def __reduce__(self) -> tuple[type[AdmfError], tuple[str]]:
        return AdmfError, (str(self),)


class ExecutorError(AdmfError):
    """Shards could not be carried out, such as for want of memory."""


class NotFoundError(AdmfError):
    """No such run, phase, stream or event."""


class StoreError(AdmfError):
    """The event store could not be opened, read or written."""


class ConflictError(StoreError):
    """Somebody else appended to the stream first."""


class CorruptionError(StoreError):
    """Stored bytes are not what was written."""


class QueryError(AdmfError):
    """SQL that the read models can't answer."""
