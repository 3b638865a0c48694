"""The answer to a question in SQL."""

import math
from datetime import date, datetime, time

import msgspec

Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]


class Answer(msgspec.Struct, frozen=True):
    """Rows under the names of their columns.

    Times are naive datetimes in UTC; a value that does not exist is None.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def records(self) -> list[dict[str, Json]]:
        """Copy the rows into dictionaries that JSON can carry.

        Times become ISO 8601 with a final ``Z``, numbers that JSON lacks (NaN, infinities) None, bytes
        hexadecimal, and whatever else it lacks text.
        """
        return [dict(zip(self.columns, (_json(value) for value in row), strict=True)) for row in self.rows]


def _json(value: object) -> Json:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.isoformat() + ("Z" if value.tzinfo is None else "")
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_json(item) for item in value]
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case _:
            return str(value)
