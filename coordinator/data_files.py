"""The bars that the sections of a workflow name, each file read once."""

from pathlib import Path

from ..domain.bars import Bars, Window
from ..domain.errors import ConfigurationError
from ..domain.panel import Panel
from .configuration import PhaseSection
from .market_data import find_data_file, load_bars


class DataFiles:
    """Reads data files for the phases of one workflow.

    Parameters
    ----------
    folder
        Where file names start from, before the current folder and the bundled data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bars: dict[tuple[Path, str, str], Bars] = {}

    def panel(self, section: PhaseSection) -> tuple[Panel, Window]:
        """Return all bars of a phase's file, and the window of those that it trades.

        Raises
        ------
        ConfigurationError
            The phase names no data.
        DataError
            There is no such file, it can't be trusted, or no bar lies between the dates.
        """
        data = section.data
        if data is None:
            raise ConfigurationError(
                f"phase {section.name!r} needs data; state `data: {{file: ...}}` for it or for the workflow."
            )
        panel = Panel([self._loaded(data.file, data.symbol, data.timeframe)])
        return panel, panel.window(data.start, data.end)

    def _loaded(self, file: str, symbol: str, timeframe: str) -> Bars:
        path = find_data_file(file, (self._folder,))
        key = (path, symbol or path.name.partition(".")[0].upper(), timeframe)
        if key not in self._bars:
            self._bars[key] = load_bars(*key)
        return self._bars[key]
