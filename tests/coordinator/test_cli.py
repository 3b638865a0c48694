import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from admf.coordinator.cli import app
from admf.coordinator.commands.catalog import components
from admf.domain.errors import NotFoundError
from admf.domain.metrics import METRICS
from typer.testing import CliRunner, Result

ADMF = Path(sys.executable).with_name("admf")
RUN_ID = re.compile(r"workflow_\d{8}_\d{6}_[0-9a-f]{8}")

STUDY = """
name: study
data: {file: bars.csv, symbol: TEST}
strategies: [{name: cross, type: sma_crossover}]
workflow:
  - name: search
    type: optimization
    data: {end: 2020-05-31}
    optimization: {parameters: {cross.fast: [2, 3, 5], cross.slow: [8, 13]}}
  - {name: check, type: validation, inherit_best_from: search, data: {start: 2020-06-01, end: 2020-09-30}}
"""
FOLDS = """
name: folds
data: {file: bars.csv, symbol: TEST}
strategies: [{name: cross, type: sma_crossover, parameters: {fast: 2, slow: 8}}]
optimization: {parameters: {cross.fast: [2, 3], cross.slow: [8, 13]}}
walk_forward: {train_size: 60, test_size: 30}
workflow: validation
"""
STRATEGIES = """
import time

def raises(close, number=3):
    raise ValueError("out of ideas")

def short(close):
    return close[:5] * 0

def slow(close):
    open("begun", "w").close()
    time.sleep(60)
    return close * 0
"""


def single(strategy: str) -> str:
    return f"workflow: backtest\nstrategy: ideas.py:{strategy}\ndata_file: bars.csv\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two workflows, the data that they read, and a store that holds a run of each."""
    made = tmp_path_factory.mktemp("workspace")
    rows = ["time,open,high,low,close,volume"]
    for bar in range(220):
        date = time.strftime("%Y-%m-%d", time.gmtime(1_577_923_200 + 86_400 * bar))
        price = 100 + 20 * math.sin(bar / 9) + bar / 10
        rows.append(f"{date},{price},{price + 2},{price - 2},{price + 1},1000")
    (made / "bars.csv").write_text("\n".join(rows))
    (made / "study.yaml").write_text(STUDY)
    (made / "folds.yaml").write_text(FOLDS)
    (made / "ideas.py").write_text(STRATEGIES)
    (made / "raising.yaml").write_text(single("raises"))
    before = Path.cwd()
    os.chdir(made)
    try:
        for workflow in ("study.yaml", "folds.yaml"):
            result = admf("run", workflow)
            assert result.exit_code == 0, result.output
    finally:
        os.chdir(before)
    return made


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ADMF_STORE", raising=False)
    return folder


def admf(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="admf")


def json_of(*arguments: str) -> object:
    result = admf(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ADMF, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_run_shows_phases_side_by_side_and_where_it_is_kept(here):
    result = admf("run", "study.yaml", "--store", "elsewhere")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("study  completed")
    assert lines[2].split() == ["search", "check"]
    cells = {line.split("  ")[0]: line.split() for line in lines[3:] if line}
    assert cells["status"][1:] == ["completed", "completed"]
    assert cells["trials"][1:] == ["6", "1"]
    assert cells["cross.fast"][1] == cells["cross.fast"][2]
    assert len(cells["sharpe_ratio"]) == 3
    assert "elsewhere/events.sqlite" in result.stdout
    assert "admf show" in result.stdout


def test_a_run_as_json_holds_every_phase_with_its_output(here):
    run = json_of("run", "study.yaml", "--store", "memory://")
    assert RUN_ID.fullmatch(run["run"])
    assert run["status"] == "completed"
    search = run["phases"]["search"]
    assert search["stream"] == f"{run['run']}/search"
    assert len(search["head_hash"]) == 64
    assert search["rows"] > search["events"] > 0
    assert search["output"]["trials"] == 6
    assert run["metrics"] == run["phases"]["check"]["output"]["metrics"]


def test_what_is_not_a_number_is_null_in_json(here):
    run = json_of("run", "study.yaml", "--store", "memory://", "--set", "check.data.start=2020-08-06")
    assert run["phases"]["check"]["output"]["metrics"]["win_rate"] is None


def test_workers_and_settings_reach_the_run(here):
    one = json_of("run", "study.yaml", "--store", "memory://", "--set", "capital=5000")
    two = json_of("run", "study.yaml", "--store", "memory://", "--set", "capital=5000", "--workers", "2")
    assert one["phases"]["search"]["head_hash"] == two["phases"]["search"]["head_hash"]
    assert one["phases"]["check"]["output"]["best"]["metrics"]["peak_equity"] < 50_000


def test_runs_are_listed_newest_first(here):
    entries = json_of("runs")
    assert [entry["name"] for entry in entries][-2:] == ["folds", "study"]
    assert entries[-1]["completed"] == entries[-1]["phases"] == 2
    lines = admf("runs").stdout.splitlines()
    assert lines[0].split()[:3] == ["run", "name", "status"]
    assert entries[-1]["run"] in lines[-1]


def test_a_run_is_found_by_a_part_of_its_id(here):
    run = json_of("runs")[-1]["run"]
    assert json_of("show", run)["run"] == json_of("show", run[-8:])["run"] == run
    ambiguous = admf("show", "workflow_")
    assert ambiguous.exit_code == 3
    assert "Give more of it" in ambiguous.stderr


def test_show_adds_top_trials_and_folds(here):
    runs = {entry["name"]: entry["run"] for entry in json_of("runs")}
    study = admf("show", runs["study"]).stdout
    years = json_of("show", runs["study"], "--returns")
    months = next(iter(years.values()))
    for found in months.values():
        growth = 1.0
        for number in found.keys() - {"year"}:
            growth *= 1.0 + found[number]
        assert growth == pytest.approx(1.0 + found["year"])
    table = admf("show", runs["study"], "--returns").stdout
    assert all(f"{year}  " in table for year in months)
    assert f"{found['year']:.1%}" in table
    assert "search: highest sharpe_ratio of 6 trials" in study
    values = [float(line.split()[3]) for line in study.split("Sharpe")[1].splitlines()[1:]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 6
    folds = admf("show", runs["folds"]).stdout
    assert "mean in sample" in folds
    assert "  out of sample" in folds
    assert "validation: 5 folds" in folds


def test_events_are_rows_with_the_times_of_their_bars(here):
    run = json_of("runs")[-1]["run"]
    fills = json_of("events", f"{run}/search", "--type", "OrdersFilled", "--container", "3", "--limit", "4")
    assert len(fills["events"]) == 4
    first = fills["events"][0]
    assert re.fullmatch(rf"{run}/search#\d+", first["address"])
    assert first["time"].startswith("2020-0")
    assert first["fields"]["symbol"] == "TEST"
    sql = f"SELECT count(*) AS n FROM fills WHERE run = '{run}' AND phase = 'search' AND container = 3"
    assert fills["more"] + 4 == json_of("query", sql)[0]["n"]


def test_events_without_a_filter_are_those_of_the_whole_stream(here):
    run = json_of("runs")[-1]["run"]
    whole = json_of("events", f"{run}/search", "--limit", "7")
    assert [event["address"].rpartition("#")[2] for event in whole["events"]] == list("1234567")
    assert whole["more"] + 7 == json_of("show", run)["phases"]["search"]["rows"]
    screen = admf("events", run).stdout
    assert "WorkflowStarted" in screen
    assert "WorkflowCompleted" in screen
    assert "more;" not in screen


def test_events_of_a_container_that_batches_rule_out_are_not_decoded(here):
    from admf.coordinator.streams.workspace import Workspace

    run = json_of("runs")[-1]["run"]
    with Workspace(".admf", create=False) as workspace:
        for recorded in workspace.store.read(f"{run}/search", topics=("OrdersFilled",)):
            assert recorded.statistics["container"] == (0, 5)
    assert json_of("events", f"{run}/search", "--container", "6") == {"events": [], "more": 0}


def test_a_query_answers_as_table_json_and_csv(here):
    sql = "SELECT name, phases FROM runs ORDER BY started_at LIMIT 2"
    assert json_of("query", sql) == [{"name": "study", "phases": 2}, {"name": "folds", "phases": 1}]
    rows = list(csv.reader(io.StringIO(admf("query", sql, "--csv").stdout)))
    assert rows == [["name", "phases"], ["study", "2"], ["folds", "1"]]
    table = admf("query", sql).stdout.splitlines()
    assert [line.split() for line in table] == [
        ["name", "phases"],
        ["study", "2"],
        ["folds", "1"],
        ["2", "rows"],
    ]


def test_validate_says_what_would_be_done_and_does_nothing(here):
    before = len(json_of("runs"))
    check = json_of("validate", "study.yaml")
    assert [(phase["name"], phase["inherit_best_from"]) for phase in check["phases"]] == [
        ("search", None),
        ("check", "search"),
    ]
    assert [phase["trials"] for phase in check["phases"]] == [6, 1]
    assert check["phases"][0]["last_time"] == "2020-05-31"
    assert check["phases"][1]["configuration"]["data"]["file"] == "bars.csv"
    assert admf("validate", "study.yaml").stdout.startswith("study  valid")
    assert len(json_of("runs")) == before


def test_every_metric_has_its_formulas():
    metrics = {each.name: each.formulas for each in components() if each.kind == "metric"}
    assert set(metrics) == set(METRICS)
    assert metrics["sharpe_ratio"] == {
        "admf": "mean(r) / std(r, ddof 1) sqrt(N)",
        "backtesting_py": "annual_return / volatility",
        "empyrical": "mean(r) / std(r, ddof 1) sqrt(N)",
        "quantstats": "mean(r) / std(r, ddof 1) sqrt(N)",
    }
    assert metrics["average_trade_days"]["backtesting_py"] == "mean from entry to exit, rounded up"


def test_components_are_listed_and_described(here):
    listing = admf("components").stdout
    for heading in ("strategies", "features", "phase types", "metrics", "execution"):
        assert heading in listing
    both = json_of("components", "rsi")
    assert [component["kind"] for component in both] == ["strategy", "feature"]
    assert both[0]["parameters"]["oversold"] == 30.0
    assert both[0]["space"]["period"] == [7, 14, 21]
    assert "annual_return / volatility" in admf("components", "sharpe_ratio").stdout


def test_a_template_that_is_printed_can_be_run(here):
    listed = json_of("templates")
    assert {"train_test", "walk_forward"} <= {template["name"] for template in listed}
    Path("mine.yaml").write_text(admf("templates", "train_test").stdout)
    assert admf("validate", "mine.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("code", "kind", "arguments"),
    [
        (2, "ConfigurationError", ("run", "study.yaml", "--set", "capital=-1")),
        (2, "UnknownNameError", ("run", "study.yaml", "--set", "captial=1")),
        (2, "ConfigurationError", ("validate", "study.yaml", "--set", "strategies.cross.type=no.py:f")),
        (2, "DataError", ("validate", "study.yaml", "--set", "data.file=missing.csv")),
        (2, "DataError", ("run", "study.yaml", "--set", "check.data.start=2031-01-01")),
        (2, "StrategyError", ("run", "raising.yaml", "--store", "memory://")),
        (2, "QueryError", ("query", "DELETE FROM runs")),
        (2, "UnknownNameError", ("events", "last", "--type", "OrderFilled")),
        (2, "ConfigurationError", ("events", "last", "--type", "PhaseStarted", "--container", "1")),
        (3, "NotFoundError", ("run", "nothing.yaml")),
        (3, "NotFoundError", ("show", "nothing")),
        (3, "NotFoundError", ("events", "last/nothing")),
        (3, "NotFoundError", ("components", "sharp_ratio")),
        (3, "NotFoundError", ("templates", "train")),
        (3, "NotFoundError", ("runs", "--store", "nowhere")),
    ],
)
def test_an_error_is_a_paragraph_or_an_object_with_an_exit_code(here, code, kind, arguments):
    plain = admf(*arguments)
    assert plain.exit_code == code
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: ") or "\nerror: " in plain.stderr
    assert "Traceback" not in plain.output
    scripted = admf(*arguments, "--json")
    assert scripted.exit_code == code
    error = json.loads(scripted.stdout)["error"]
    assert error["type"] == kind
    assert error["message"]


def test_a_question_does_not_make_a_store(here):
    admf("runs", "--store", "nowhere")
    assert not Path("nowhere").exists()


def test_wrong_usage_is_code_2():
    assert admf("frobnicate").exit_code == 2
    assert admf("events", "last", "--limit", "0").exit_code == 2


def test_debug_lets_the_error_through(here):
    result = admf("run", "nothing.yaml", "--debug")
    assert isinstance(result.exception, NotFoundError)


def test_a_failed_run_says_where_and_stays_readable(folder, tmp_path):
    (tmp_path / "bars.csv").write_bytes((folder / "bars.csv").read_bytes())
    (tmp_path / "ideas.py").write_text(STRATEGIES)
    (tmp_path / "study.yaml").write_text(
        "workflow: backtest\nstrategy: ideas.py:short\ndata_file: bars.csv\n"
    )
    failed = process(tmp_path, "run", "study.yaml")
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    run = RUN_ID.search(failed.stderr)
    assert run
    assert "The phase backtest of the run" in failed.stderr
    shown = process(tmp_path, "show", run[0])
    assert shown.returncode == 0
    assert "shape (5,)" in shown.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_canceled_and_keeps_its_work(folder, tmp_path, number):
    (tmp_path / "bars.csv").write_bytes((folder / "bars.csv").read_bytes())
    (tmp_path / "ideas.py").write_text(STRATEGIES)
    (tmp_path / "study.yaml").write_text(single("slow"))
    # Python ignores an interrupt where its parent does, as the shell's background jobs do.
    command = [sys.executable, "-c", INTERRUPTIBLE, str(ADMF), "run", "study.yaml"]
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "was canceled in the phase backtest" in errors
    assert "Traceback" not in errors
    listed = json.loads(process(tmp_path, "runs", "--json").stdout)
    assert [entry["status"] for entry in listed] == ["canceled"]


INTERRUPTIBLE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_reader_that_goes_away_is_no_error(folder):
    pipeline = f"{ADMF} components --json | head -1"
    done = subprocess.run(["bash", "-c", pipeline], cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.stdout == "[\n"
    assert done.stderr == ""


def test_a_pipe_gets_no_colour_no_progress_and_whole_lines(folder):
    done = process(folder, "run", "study.yaml", "--store", "memory://")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def imported(heavy, *arguments, cwd=None):
    """Those of some packages that a command imports."""
    code = (
        "import sys\nfrom admf.coordinator.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print(*sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, check=True, capture_output=True, text=True, timeout=30
    )
    return done.stderr.split()


def test_help_needs_nothing_heavy():
    heavy = {"numpy", "numba", "duckdb", "pydantic", "rich", "eventsourcing", "msgspec", "yaml", "talib"}
    assert imported(heavy, "--help") == []


def test_a_query_needs_no_more_than_the_read_models(folder):
    heavy = {"duckdb", "numba", "pandas", "talib", "yaml"}
    assert imported(heavy, "query", "SELECT count(*) FROM fills", cwd=folder) == ["duckdb"]


def test_a_run_imports_no_library_that_it_does_not_use(folder):
    heavy = {"pandas", "scipy.linalg", "optuna", "hmmlearn", "exchange_calendars", "plotly"}
    assert imported(heavy, "run", "study.yaml", "--store", "memory://", cwd=folder) == []


@pytest.mark.parametrize("command", [("show", "last"), ("events", "last"), ("validate", "study.yaml")])
def test_only_what_computes_imports_the_compiler(folder, command):
    imported({"numba"}, "runs", cwd=folder)  # The read models have caught up.
    assert imported({"numba", "llvmlite"}, *command, cwd=folder) == []


LEAVING = """
import sys
from admf.coordinator.cli import main
class Kept:
    def __del__(self):
        print("taken apart")
kept = Kept()
sys.argv = ["admf", *sys.argv[1:]]
main()
"""


def test_a_command_ends_with_its_output_and_its_code_and_takes_nothing_apart(folder):
    endings = []
    for arguments in (("--version",), ("show", "nothing", "--store", "memory://")):
        command = [sys.executable, "-c", LEAVING, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        endings.append((done.returncode, done.stdout.startswith("admf "), "taken apart" in done.stdout))
    assert endings == [(0, True, False), (3, False, False)]


def test_the_package_runs_as_a_module(folder):
    command = [sys.executable, "-m", "admf", "--version"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    assert re.fullmatch(r"admf \d+\.\d+\.\d+\n", done.stdout)
