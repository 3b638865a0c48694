"""The bars that the sections of a workflow name, each file read once."""

from pathlib import Path

import numpy as np

from ...domain.bars import Bars, Window
from ...domain.errors import ConfigurationError, DataError
from ...domain.panel import Panel
from ...domain.resampling import resampled
from ..configuration.data_section import Calendar, DataSection
from ..configuration.sections import PhaseSection
from .frames import Frames, frame_bars
from .market_data import find_data_file, load_bars

MICROSECOND = 1_000
"""In nanoseconds."""


class DataFiles:
    """Reads data files for the phases of one workflow.

    Parameters
    ----------
    folder
        Where file names start from, before the current folder and the bundled data.
    frames
        Data frames that go before files of the same names.
    """

    def __init__(self, folder: Path, frames: Frames | None = None) -> None:
        self._folder = folder
        self._frames = frames or {}
        self._bars: dict[tuple[Path, str, str, Calendar, str], Bars] = {}

    def panel(self, section: PhaseSection) -> tuple[Panel, Window]:
        """Return all bars of a phase's files, and the window of those that it trades.

        Raises
        ------
        ConfigurationError
            The phase names no data.
        DataError
            There is no such file, it can't be trusted, or no bar lies between the dates; or there are several
            symbols, and a time that is not in whole microseconds, as the read models keep it.
        """
        data = section.data
        if data is None:
            raise ConfigurationError(
                f"phase {section.name!r} needs data; state `data: {{file: ...}}` for it or for the workflow."
            )
        panel = Panel([self._loaded(data, symbol, file) for symbol, file in data.sources.items()])
        if len(panel.bars) > 1 and (panel.time % MICROSECOND).any():
            place = int(np.argmax(panel.time % MICROSECOND != 0))
            raise DataError(
                f"{', '.join(panel.symbols)}: times of several symbols must be in whole microseconds, found "
                f"{panel.time[place]} ns since 1970. Round them."
            )
        return panel, panel.window(data.start, data.end)

    def _loaded(self, data: DataSection, symbol: str, file: str) -> Bars:
        path = Path(file) if file in self._frames else find_data_file(file, (self._folder,))
        calendar = data.calendars[symbol]
        key = (path, symbol, data.timeframe, calendar, data.resample)
        if key not in self._bars:
            if file in self._frames:
                bars = frame_bars(self._frames[file], file, symbol, data.timeframe, calendar)
            else:
                bars = load_bars(path, symbol, data.timeframe, calendar)
            self._bars[key] = resampled(bars, data.resample) if data.resample else bars
        return self._bars[key]
