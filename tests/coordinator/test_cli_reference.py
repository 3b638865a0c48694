"""docs/cli.md, as the commands themselves describe it; run this file to write it anew."""

import os
import re
import shlex
import tempfile
from contextlib import suppress
from pathlib import Path

from admf import Coordinator
from admf.coordinator import cli
from admf.coordinator.commands import application
from admf.coordinator.running.progress import Silence
from typer.testing import CliRunner

REFERENCE = Path(__file__).parents[2] / "docs" / "cli.md"
REMEDY = "docs/cli.md is out of date: run `python tests/coordinator/test_cli_reference.py`"

BEST = """SELECT container, parameters, round(sharpe_ratio, 3) AS sharpe_ratio
FROM trials JOIN portfolio_metrics USING (run, phase, container)
WHERE phase = 'training' ORDER BY sharpe_ratio DESC LIMIT 3"""
EXAMPLES = {
    "run": "run train_test",
    "runs": "runs",
    "show": "show last",
    "report": "report last --to study.html",
    "events": "events last/out_of_sample --type OrdersFilled --limit 5",
    "query": f'query "{BEST}"',
    "explain": "explain last/out_of_sample#28",
    "rebuild": "rebuild",
    "export": "export last --to run.admf",
    "import": "import run.admf --store elsewhere",
    "verify": "verify last",
    "status": "status last",
    "cancel": "cancel last",
    "resume": "resume last",
    "fork": "fork last --from out_of_sample --set out_of_sample.data.start=2012-01-01",
    "replay": "replay last",
    "compare": "compare last {first}",
    "validate": "validate walk_forward",
    "graph": "graph last",
    "check": "check momentum",
    "components": "components sharpe_ratio",
    "templates": "templates",
}
UNDER_WAY = "status"
"""Before this example, a run is begun that stops after its first phase."""
STAND_INS = ("ab12cd34", "5f2e9a01", "c07d41b6", "e83a6f5c", "19b4d2e7", "7ac05e98")
INTRODUCTION = """# Command line

Written by `python tests/coordinator/test_cli_reference.py` from the help of the commands; every example was
executed. The run ids, times, durations and head hashes in them are stand-ins (a head hash changes with the
version of the package); every other figure is what you will see.

`--store` and `--debug` may stand before or after the name of a command. Tables go to standard output,
progress and warnings to standard error. A terminal gets colour, live progress, and the columns that fit; a
pipe gets every column in full. With `--json`, an error is an object too: `{"error": {"type": ...,
"message": ...}}`.
"""


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, arguments, prog_name="admf", env={"COLUMNS": "80", "ADMF_STORE": ""})
    assert result.exit_code == 0, result.output
    return result.stdout


class StoppedError(BaseException):
    """Stands for the end of a process: the run that it carried on is neither completed nor canceled."""


class StoppedAfterAPhase(Silence):
    def phase_completed(self, phase: str, *, cached: bool = False) -> None:  # noqa: ARG002
        raise StoppedError


def begin_a_run() -> None:
    with suppress(StoppedError), Coordinator(progress=StoppedAfterAPhase()) as coordinator:
        coordinator.execute_workflow("train_test", cache=False)


def with_stand_ins(text: str, ids: dict[str, str]) -> str:
    for run in re.findall(RUN, text):
        ids.setdefault(run, STAND_INS[len(ids)])
    for run, stand_in in ids.items():
        text = text.replace(run, f"workflow_20261121_101500_{stand_in}").replace(run[-8:], stand_in)
    text = re.sub(r"(process +)\d+ on \S+", r"\g<1>4711 on host", text)
    text = re.sub(r"(  \d{4}-\d\d-\d\d) \d\d:\d\d\b", "  2026-11-21 10:15", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "02c60f9d44bf203f", text)
    # In a column, ten seconds are one character wider.
    text = re.sub(r"(?<=  )\d+\.\d\d s\b", lambda found: "0.38 s".rjust(len(found[0])), text)
    return re.sub(r"\d+\.\d\d s\b", "0.38 s", text)


def reference() -> str:
    """Execute the examples in an empty folder, and put them together with the help."""
    codes = (application.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    parts = [INTRODUCTION, codes, block(invoke("--help"))]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ids: dict[str, str] = {}
        try:
            for name, example in EXAMPLES.items():
                if name == UNDER_WAY:
                    begin_a_run()
                words = example.format(first=next(iter(ids), "")[-8:])
                output = invoke(*shlex.split(words))
                help_text = block(invoke(name, "--help"))
                example_text = block(with_stand_ins(f"$ admf {words}\n{output}", ids))
                parts += [f"## {name}", help_text, example_text]
        finally:
            os.chdir(before)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


RUN = re.compile(r"workflow_\d{8}_\d{6}_[0-9a-f]{8}")


def block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


def test_every_command_has_an_example_in_its_help_and_in_the_reference():
    commands = {command.name for command in cli.app.registered_commands}
    assert commands == set(EXAMPLES)
    for name in commands:
        assert f"  admf {name}" in invoke(name, "--help").partition("Example")[2]


def test_the_reference_is_up_to_date():
    assert REFERENCE.read_text() == reference(), REMEDY


if __name__ == "__main__":
    REFERENCE.write_text(reference())
