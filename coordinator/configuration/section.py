"""The base of everything that a workflow description may say."""

import msgspec
from pydantic import BaseModel, ConfigDict

TAGS = ("<section>", "<value>")
"""Steps in the paths of pydantic's errors that no configuration has."""


class Section(BaseModel):
    """Base of all sections: immutable, and every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    def json_text(self) -> str:
        """Return the section as JSON with sorted keys, so that equal sections are equal texts."""
        return self._text(set())

    def _text(self, exclude: set[str]) -> str:
        plain = self.model_dump(mode="json", exclude_none=True, exclude=exclude)
        return msgspec.json.encode(plain, order="deterministic").decode()


def section_tag(raw: object) -> str:
    """Tell, of what may be a section or a plain value, which of them it is."""
    return TAGS[0] if isinstance(raw, dict | Section) else TAGS[1]
