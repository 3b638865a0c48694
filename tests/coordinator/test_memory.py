"""Memory that a simulation frees stays with its process."""

import subprocess
import sys

import pytest

TOUCHED_TWICE = """
import resource
import numpy as np
{before}
for _ in range(2):
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""
KEEP = "from admf.coordinator.simulation.memory import keep_freed_memory; keep_freed_memory()"


def faults_when_a_block_is_taken_again(before: str) -> int:
    """Take and free 64 MiB twice in a process of its own; return the page faults of the second time."""
    code = TOUCHED_TWICE.format(before=before)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to keep memory")
def test_a_large_block_that_was_freed_is_taken_again_without_asking_the_system():
    assert faults_when_a_block_is_taken_again(before="") > 16
    assert faults_when_a_block_is_taken_again(before=KEEP) <= 16
