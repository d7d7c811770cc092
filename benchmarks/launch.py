"""Run a command and write down what it took: `python -I -S launch.py REPORT COMMAND...`.

The system counts a new process's peak memory from that of the process that starts it, so that no contestant would seem
smaller than the benchmark program: this one is smaller than any.
"""

import os
import signal
import sys
import time

if __name__ == "__main__":
    report, *command = sys.argv[1:]
    began = time.monotonic()
    # Python ignores SIGPIPE, and what it starts would, too.
    process = os.posix_spawnp(command[0], command, os.environ, setsigdef=[signal.SIGPIPE])
    _, status, usage = os.wait4(process, 0)
    wall = time.monotonic() - began
    with open(report, "w", encoding="ascii") as file:
        file.write(f"{wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
    sys.exit(os.waitstatus_to_exitcode(status))
