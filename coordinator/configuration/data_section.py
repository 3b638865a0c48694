"""Which bars a phase reads, as a workflow description says it."""

from datetime import date
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Discriminator, Field, Tag, model_validator

from .section import TAGS, Section, section_tag


class Calendar(NamedTuple):
    """The name of an exchange's calendar, empty for none, and the path of the key that states it."""

    name: str
    where: str


NO_CALENDAR = Calendar("", "")


class FileSection(Section):
    """A file with a `calendar` of its own; an empty one is none."""

    file: str
    calendar: str | None = None


FileOrName = Annotated[
    Annotated[FileSection, Tag(TAGS[0])] | Annotated[str, Tag(TAGS[1])], Discriminator(section_tag)
]


class DataSection(Section):
    """Which bars to read: those of one `file`, or `files` by symbol, which share one account.

    Bars of the `timeframe` that files have may be `resample`d to a coarser one, and must lie in the sessions
    of a `calendar` if one is named, for all files or for one of `files`. `start` and `end` bound the bars
    that are traded, both days included.
    """

    file: str = ""
    symbol: str = ""
    files: dict[str, FileOrName] = Field({})
    timeframe: str = "1d"
    resample: str = ""
    calendar: str = ""
    start: date | None = None
    end: date | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.file) == bool(self.files):
            found = "both" if self.file else "neither"
            raise ValueError(f"name either one `file`, or `files` by symbol; it has {found}")
        if self.files and self.symbol:
            raise ValueError("`symbol` names that of `file`; the keys of `files` are symbols themselves")
        if not all(symbol and file for symbol, file in self.sources.items()):
            raise ValueError("`files` must map symbols to files, none of them empty")
        return self

    @property
    def traded_timeframe(self) -> str:
        """The timeframe of the bars that are traded."""
        return self.resample or self.timeframe

    @property
    def sources(self) -> dict[str, str]:
        """The file of each symbol, in the order in which phases number their symbols: by name."""
        if self.files:
            files = sorted(self.files.items())
            return {symbol: each.file if isinstance(each, FileSection) else each for symbol, each in files}
        return {self.symbol or Path(self.file).name.partition(".")[0].upper(): self.file}

    @property
    def calendars(self) -> dict[str, Calendar]:
        """The calendar of each symbol: of its file, or else of all files."""
        found = dict.fromkeys(self.sources, Calendar(self.calendar, "data.calendar"))
        for symbol, each in self.files.items():
            if isinstance(each, FileSection) and each.calendar is not None:
                found[symbol] = Calendar(each.calendar, f"data.files.{symbol}.calendar")
        return found
