"""`python -m tests.bench.measured PROGRAM …`: runs a program and prints the CPU seconds of it and all its descendants.

Linux only: as a "child subreaper" it inherits the processes that the program leaves behind, waits for them too, and
adds user and system time of them all. Exits as the program did.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    program = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    seconds, failed = 0.0, False
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        seconds += usage.ru_utime + usage.ru_stime
        failed = failed or (pid == program.pid and status != 0)
    print(seconds)
    sys.exit(failed)


if __name__ == "__main__":
    main()
