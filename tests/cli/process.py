"""The command line as a process of its own."""

import subprocess
import sys


def ets(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "etsearch", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=100, check=False)
