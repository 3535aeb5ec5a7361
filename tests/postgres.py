"""A PostgreSQL server of the tests' own: Debian's programs, a folder and a port that are thrown away."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg2
import pytest

STARTS_WITHIN_S, STOPS_WITHIN_S = 60, 30
USER = "postgres"


class Database(NamedTuple):
    """A database that is empty."""

    host: str
    port: int
    name: str
    password: str

    @property
    def url(self):
        return f"postgresql://{USER}:{self.password}@{self.host}:{self.port}/{self.name}"

    def query(self, sql):
        """The rows of a query; stamps in UTC."""
        with psycopg2.connect(self.url, options="-c timezone=UTC") as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return [column.name for column in cursor.description], cursor.fetchall()


class Server:
    """A server that runs; every `database` is a new one."""

    def __init__(self, port, password):
        self._main, self._made = Database("127.0.0.1", port, "postgres", password), 0

    def database(self):
        self._made += 1
        name = f"made_{self._made}"
        connection = psycopg2.connect(self._main.url)
        try:
            connection.autocommit = True  # a database cannot be made inside a transaction
            connection.cursor().execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()
        return self._main._replace(name=name)


@contextmanager
def serve_postgres(password="a-password-of-the-tests"):
    """Start a server on a free port of loopback; skip the test where its programs are not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    # Not pytest's own folder: the server's user may not look into that one.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        with _running(programs[-1].parent, folder, password) as port:
            yield Server(port, password)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(programs, folder, password):
    data, secret, log = folder / "data", folder / "secret", folder / "log"
    secret.write_text(password)
    if os.geteuid() == 0:
        for place in (folder, secret):
            shutil.chown(place, USER)
    made = _as_its_user(
        [programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"],
    )
    words = made.communicate(timeout=STARTS_WITHIN_S)[0]
    assert made.returncode == 0, words
    port = _free_port()
    server = _as_its_user(
        [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"], output=log
    )
    try:
        _wait_until_ready(programs, port, server, log)
        yield port
    finally:
        server.send_signal(2)  # SIGINT: end at once, without waiting for callers
        try:
            server.wait(STOPS_WITHIN_S)
        finally:
            server.kill()


def _as_its_user(command, output=None):
    """Start a program; as root, for the user that Debian made, since the server refuses to run as root."""
    other = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.Popen(
        list(map(str, command)),
        **other,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=output.open("w") if output else subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_until_ready(programs, port, server, log):
    """`pg_isready` waits for an answer itself; it returns at once while nobody listens yet."""
    for _ in range(STARTS_WITHIN_S * 10):
        assert server.poll() is None, log.read_text()
        if subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0:
            return
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the server did not start within {STARTS_WITHIN_S} s: {log.read_text()}")


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
