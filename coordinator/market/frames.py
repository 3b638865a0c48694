"""Bars from pandas data frames, for who has them in memory."""

from typing import TYPE_CHECKING

import numpy as np

from ...domain.bars import Bars, checked_bars
from ...domain.errors import DataError
from ...domain.events import BarsLoaded, Float64, Int64
from ..configuration.data_section import NO_CALENDAR, Calendar
from .calendars import with_sessions
from .market_data import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Frames = dict[str, "pd.DataFrame"]
"""Data frames by the names under which a workflow's `data` refers to them, as it refers to files."""


def frame_bars(
    frame: "pd.DataFrame", name: str, symbol: str, timeframe: str, calendar: Calendar = NO_CALENDAR
) -> Bars:
    """Take bars from a data frame, one per row, oldest first; it is copied.

    Columns are found by name in any case, as in files: open, high, low, close, and volume, which is zero
    where there is none. Times are those of a column called date, datetime, timestamp or time, else of the
    index; without a zone they are UTC.

    Raises
    ------
    DataError
        A column is missing or holds something else, `checked_bars` refuses a bar, or one lies in no session
        of the ``calendar``; rows count from 0.
    """
    found = {str(column).strip().lower(): column for column in frame.columns}
    prices: dict[str, Float64] = {}
    for column, synonyms in COLUMNS.items():
        given = next((found[synonym] for synonym in synonyms if synonym in found), None)
        if column == "time":
            time = _times(frame.index if given is None else frame[given], name)
        elif given is None and column == "volume":
            prices[column] = np.zeros(len(frame))
        elif given is None:
            raise DataError(
                f"data frame {name!r}: there must be a column {column}, found "
                f"{', '.join(map(str, frame.columns)) or 'none'}. Rename or add it."
            )
        else:
            prices[column] = _numbers(frame[given], name)
    columns, source = BarsLoaded(time=time, **prices), f"data frame {name!r}"
    bars = checked_bars(columns, symbol=symbol, timeframe=timeframe, source=source, first_row=0)
    return with_sessions(bars, calendar, source, 0)


def _times(values: "pd.Series | pd.Index", name: str) -> Int64:
    import pandas as pd

    try:
        if pd.api.types.is_numeric_dtype(values.dtype):
            raise TypeError("numbers")
        index = pd.DatetimeIndex(values)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data frame {name!r}: times must be dates, in a column called date or as the index, found "
            f"{values.dtype} ({error}). Convert them with `pandas.to_datetime`."
        ) from error
    if index.hasnans:
        row = int(np.argmax(index.isna()))
        raise DataError(
            f"data frame {name!r}, row {row}: each row must have a time, found none. Remove the row."
        )
    zoneless = index if index.tz is None else index.tz_convert("UTC").tz_localize(None)
    # Another unit gives new times anyway; those of the caller are copied.
    return zoneless.asi8.copy() if zoneless.unit == "ns" else zoneless.as_unit("ns").asi8


def _numbers(values: "pd.Series", name: str) -> Float64:
    try:
        return values.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data frame {name!r}: the column {values.name} must hold numbers, found {values.dtype} "
            f"({error}). Convert it with `pandas.to_numeric`."
        ) from error
