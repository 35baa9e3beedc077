"""What ``fit`` asks of the allocator: blocks that come back every step stay in the process until its end."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from kdlab.training.memory import kept_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
LARGE = 12_000_000  # numbers, 48 MB: beyond what glibc keeps by itself


def faults():
    """Page faults of a block that is taken, filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_freed_block_comes_back_without_page_faults_and_goes_at_the_end():
    pages = 4 * LARGE // resource.getpagesize()
    faults()
    assert faults() > pages / 2
    with kept_memory():
        faults()
        assert faults() < pages / 100
        kept = resident()
    assert resident() < kept - 3 * LARGE
    assert faults() > pages / 2
