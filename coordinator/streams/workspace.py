"""Where runs are kept: an event store, and beside it the read models that can be thrown away."""

import os
from hashlib import sha256
from pathlib import Path

from ...domain.errors import NotFoundError
from ...eventstore.location import locate
from ...eventstore.store import EventStore, open_store
from ...projections.read_models import ReadModels

FOLDER = ".admf"
MEMORY = "memory://"
VARIABLE = "ADMF_STORE"


class Workspace:
    """An event store with its read models.

    Parameters
    ----------
    location
        A folder, an SQLite file (``.sqlite`` or ``.db``), ``memory://`` or ``postgresql://...``; where it is
        None, the environment variable ``ADMF_STORE``, else the folder ``.admf`` in the current one.
    create
        Whether to make a store in a file that does not exist.

    Attributes
    ----------
    name
        Where the store is, for people; it holds no password.

    Raises
    ------
    NotFoundError
        There is no such file, and it is not to be made.
    StoreError
        The store can't be opened.
    """

    def __init__(self, location: str | Path | None = None, *, create: bool = True) -> None:
        chosen = str(location or os.environ.get(VARIABLE) or FOLDER)
        if chosen == MEMORY:
            url, read_models = chosen, None
        elif "://" in chosen and not chosen.startswith("sqlite:"):
            url = chosen
            read_models = Path(FOLDER) / f"readmodels-{sha256(chosen.encode()).hexdigest()[:12]}.duckdb"
            read_models.parent.mkdir(parents=True, exist_ok=True)
        else:
            path = Path(chosen.removeprefix("sqlite:///")).expanduser()
            file = path if path.suffix in (".sqlite", ".db") else path / "events.sqlite"
            if not create and not file.is_file():
                raise NotFoundError(
                    f"there is no store {str(file)!r}; `admf run` makes one. "
                    f"--store or {VARIABLE} names another."
                )
            url = str(file)
            read_models = file.with_name("readmodels.duckdb" if file != path else f"{file.stem}.duckdb")
        self.name = locate(url).name
        self.store: EventStore = open_store(url)
        self.read_models = ReadModels(read_models, self.store)

    def close(self) -> None:
        """Close both."""
        self.read_models.close()
        self.store.close()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
