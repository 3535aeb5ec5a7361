"""The command in a process of its own that is forked from one in which its modules are imported already.

Hundreds of runs of the tests would otherwise spend a third of their time on imports. That the command starts by itself
is shown by the tests of the command line, the documentation, the workflow and the wheel.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from tempfile import TemporaryFile

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.forked", "pipelines.cli", "pipelines.nightly", "pipelines.backfilling"])


class Forked:
    """What the tests use of `subprocess.Popen`; standard input is empty, the outputs are text."""

    def __init__(self, words, *, cwd, env):
        self._outputs = [TemporaryFile("w+"), TemporaryFile("w+")]  # noqa: SIM115 - they live as long as this does
        sent = [multiprocessing.reduction.DupFd(file.fileno()) for file in self._outputs]
        self._process = _SERVER.Process(target=_command, args=(words, str(cwd), env, sent), daemon=True)
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("claribi-export", timeout)
        return self.returncode

    def kill(self):
        self._process.kill()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def communicate(self, timeout=None):
        self.wait(timeout)
        for file in self._outputs:
            file.seek(0)
        return tuple(file.read() for file in self._outputs)


def _command(words, cwd, env, outputs):
    """In the new process: become what `Popen` would have started."""
    for number, output in enumerate(outputs, start=1):
        os.dup2(output.detach(), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a server of forks ignores it
    sys.argv = ["claribi-export", *words]
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

    from pipelines.cli import main

    Container()[PluggableRunContext].reload()  # dlt looked at folder and environment when it was imported
    main()
