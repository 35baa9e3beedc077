"""Run a command and print the most memory (bytes) that any one of its processes held.

A process of its own between the two: on Linux a child's peak starts at that of the process it was started from, and
this one is small.
"""

import resource
import subprocess
import sys

done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
unit = 1 if sys.platform == "darwin" else 1024
print(unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
