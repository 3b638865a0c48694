import getpass
import importlib.util
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from ..domain.errors import StoreError


class Location(msgspec.Struct, frozen=True):
    """Where an event store is.

    Attributes
    ----------
    name
        What messages call it; holds no password.
    environment
        The library's settings that lead there.
    """

    name: str
    environment: dict[str, str]


def locate(url: str | Path) -> Location:
    """Turn a URL or a path into a location; the parent folder of a SQLite file is made.

    Raises
    ------
    StoreError
        The URL is none of ``memory://``, ``sqlite:///path``, ``postgresql://...`` and a path; or the folder
        can't be made; or the PostgreSQL client is not installed.
    """
    scheme, separator, _ = str(url).partition("://")
    if isinstance(url, Path) or not separator:
        return _sqlite(Path(url))
    match scheme:
        case "memory":
            return Location("memory://", _environment("memory"))
        case "sqlite":
            return _sqlite(Path(url.removeprefix("sqlite:///")))
        case "postgresql" | "postgres":
            return _postgres(url)
    raise StoreError(
        f"an event store is memory://, a path, sqlite:///path or postgresql://..., found scheme {scheme!r}."
    )


def _environment(module: str, **settings: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": f"{__package__}.{module}",
        "MAPPER_TOPIC": f"{__package__}.mapper:RecordedMapper",
        "ORIGINATOR_ID_TYPE": "text",
        **settings,
    }


def _sqlite(path: Path) -> Location:
    path = path.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"event store {path}: its folder can't be made: {error.strerror}. Name another store."
        ) from error
    return Location(str(path), _environment("sqlite", SQLITE_DBNAME=str(path)))


def _postgres(url: str) -> Location:
    if not all(importlib.util.find_spec(module) for module in ("psycopg", "psycopg_pool")):
        raise StoreError("a store in PostgreSQL needs its client: pip install admf[postgres]")
    try:
        parts = urlsplit(url)
        host, port, dbname = parts.hostname or "localhost", parts.port or 5432, unquote(parts.path.strip("/"))
    except ValueError:
        # Neither the URL nor the parser's complaint is shown: either may hold the password.
        raise StoreError(
            "a PostgreSQL store is postgresql://user:password@host:port/dbname, and this URL can't be read. "
            "Write special characters of the password as %XX."
        ) from None
    user = unquote(parts.username) if parts.username else getpass.getuser()
    password = unquote(parts.password) if parts.password else os.environ.get("PGPASSWORD", "")
    return Location(
        f"postgresql://{user}@{host}:{port}/{dbname}",
        _environment(
            "postgres",
            POSTGRES_DBNAME=dbname,
            POSTGRES_HOST=host,
            POSTGRES_PORT=str(port),
            POSTGRES_USER=user,
            POSTGRES_PASSWORD=password,
            POSTGRES_POOL_SIZE="1",
        ),
    )
