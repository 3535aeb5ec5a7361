"""One server on which many sandboxes appear in turn: starting and stopping one takes longer than most tests."""

import threading
from contextlib import contextmanager

from pipelines.sandbox import serve


class Stage:
    """An ASGI application that passes every call on to `sandbox`."""

    def __init__(self):
        self.sandbox = self.url = None

    async def __call__(self, scope, receive, send):
        await self.sandbox(scope, receive, send)


@contextmanager
def serve_stage():
    """Serve a stage; its `url` is where the sandbox of the moment answers."""
    stage = Stage()
    with serve(stage) as server:
        stage.url = server.url
        yield stage


def finish_calls():
    """Wait for calls that a walk left under way when it ended early: the next sandbox must not see them."""
    for thread in threading.enumerate():
        if thread.name.startswith("pages"):
            thread.join(timeout=30)
