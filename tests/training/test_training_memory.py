"""What ``fit`` asks of the allocator: blocks that come back every step stay in the process until its end."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")

# In a process of its own: a request too large to be met, such as other tests make, moves a thread away from the heap
# that the thresholds speak of.
PROGRAM = """
import resource
from pathlib import Path

import torch

from kdlab.training.memory import kept_memory

LARGE = 12_000_000  # numbers, 48 MB: beyond what glibc keeps by itself


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])


faults()
print(faults())
with kept_memory():
    for _ in range(3):  # what lies above a freed block may make the next one a little too long for its place, once
        faults()
    print(faults())
    print(resident())
print(resident())
print(faults())
print(4 * LARGE // resource.getpagesize())
"""


@pytest.mark.long
def test_a_freed_block_comes_back_without_page_faults_and_goes_at_the_end():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, inside, kept, left, after, pages = map(int, done.stdout.split())
    assert before > pages / 2
    assert inside < pages / 100
    assert left < kept - 3 * pages // 4
    assert after > pages / 2
