"""Components found by name."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from .errors import ConfigurationError, UnknownNameError

Component = TypeVar("Component")


def _origin(component: object) -> tuple[str, str] | int:
    function = getattr(component, "function", component)
    function = getattr(function, "py_func", function)
    if not hasattr(function, "__qualname__"):
        return id(component)
    return function.__module__, function.__qualname__


class Registry(Generic[Component]):
    """Components of one kind, found by name.

    Parameters
    ----------
    kind
        What a name in this registry names, as used in messages, such as ``"strategy type"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, Component] = {}

    def register(self, name: str, component: Component) -> None:
        """Add a component.

        Raises
        ------
        ConfigurationError
            The name is taken, unless by a component of the same origin: a module or a notebook cell may be
            executed again.
        """
        taken = self._components.get(name)
        if taken is not None and _origin(taken) != _origin(component):
            raise ConfigurationError(f"the {self.kind} {name!r} is registered already; choose another name.")
        self._components[name] = component

    def get(self, name: str, where: str = "") -> Component:
        """Return the component called `name`.

        Raises
        ------
        UnknownNameError
            Nothing is registered under that name; ``where`` is the path that the message names.
        """
        if name not in self._components:
            raise UnknownNameError(self.kind, name, self._components, where)
        return self._components[name]

    def __contains__(self, name: str) -> bool:
        return name in self._components

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._components))
