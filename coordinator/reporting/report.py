"""Writing the page of a run, where the library that draws its charts is installed."""

from importlib.util import find_spec
from pathlib import Path

from ...domain.errors import ConfigurationError
from ..result import WorkflowResult
from ..streams.workspace import Workspace


def write_report(workspace: Workspace, run: str, file: Path, *, overwrite: bool = False) -> Path:
    """Write the page of a run, and return its file.

    Parameters
    ----------
    workspace
        Where the run is kept.
    run
        Its id.
    file
        Where to.
    overwrite
        Whether a file that exists is replaced.

    Raises
    ------
    ConfigurationError
        The file exists, or its folder does not, or plotly is not installed.
    """
    if file.exists() and not overwrite:
        raise ConfigurationError(f"{file} exists; name another file, or say --force to replace it.")
    if not file.parent.is_dir():
        raise ConfigurationError(f"{file}: there is no folder {file.parent}; make it first.")
    if find_spec("plotly") is None:
        raise ConfigurationError("a report needs plotly, which is an extra: pip install 'admf[report]'.")
    from .page import report_page

    page = report_page(workspace, WorkflowResult(workspace, run))
    part = file.with_name(f".{file.name}.part")
    part.write_text(page, encoding="utf-8")
    return part.replace(file)
