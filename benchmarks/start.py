"""How long a user waits: the help, and the demo's workflow with and without compiled code on disk.

Run as ``python benchmarks/start.py`` in the environment where admf is installed. Prints medians of whole
processes, from their start to their exit. They may keep bytecode, as an installed package has it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ADMF = [sys.executable, "-m", "admf"]


def seconds(arguments: list[str], folder: Path, cache: Path) -> float:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**inherited, "XDG_CACHE_HOME": str(cache), "ADMF_STORE": str(folder / "store")}
    start = time.perf_counter()
    subprocess.run([*ADMF, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = folder / "warm"
        seconds(["run", "train_test"], folder, warm)
        rows = {
            "admf --help": [seconds(["--help"], folder, warm) for _ in range(11)],
            "admf run train_test, warm": [
                seconds(["run", "train_test", "--no-cache"], folder, warm) for _ in range(7)
            ],
            "admf run train_test, nothing compiled": [
                seconds(["run", "train_test", "--no-cache"], folder, folder / f"cold-{number}")
                for number in range(3)
            ],
        }
    for what, times in rows.items():
        spread = f"{min(times):.2f} to {max(times):.2f}, {len(times)} runs"
        print(f"{what:<40} {statistics.median(times):6.2f} s   ({spread})")


if __name__ == "__main__":
    main()
