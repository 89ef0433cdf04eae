"""What a process has used, in a process of its own."""

import subprocess
import sys

_CODE = """
from streamflow.metrics.families import Metrics
from streamflow.metrics.samples import points_of

def peak(metrics=Metrics()):
    return dict((name, number) for name, _, number in points_of(metrics.registry))["process_peak_memory_bytes"]

before = peak()
large = b"x" * (150 << 20)
del large
print(int(peak() - before))
"""


def test_the_peak_of_memory_stays_when_the_memory_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 50 << 20
