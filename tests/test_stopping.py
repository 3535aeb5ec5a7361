"""A run that is asked to stop loads what it has read, and the next one goes on."""

import json
import signal
import time

import pytest

from pipelines.sandbox import V1, Sandbox
from tests.command import Customer, organisation, truth
from tests.stage import finish_calls


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_loads_what_it_has_read(tmp_path, stage, sign):
    sandbox = stage.sandbox = Sandbox(V1, organisation())
    sandbox.latency_s = 0.02
    customer = Customer(tmp_path, stage.url, api_key=sandbox.account.key)
    process = customer.start("run", "--json")
    try:
        for _ in range(600):
            if len(sandbox.calls) > 200:
                break
            time.sleep(0.05)
        process.send_signal(sign)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    report = json.loads(stdout)
    assert (process.returncode, report["outcome"], stderr) == (75, "later", "")
    assert report["notes"] == ["Stopped as asked. What was read is kept; the same command goes on from here."]
    perfect = truth(sandbox.organisation)
    ids = sorted(row["id"] for row in perfect["reports"])
    assert customer.ids("reports") == ids  # the list comes before the details, and its rows say which are still to come
    some = customer.ids("reports", "detail_read_at IS NOT NULL")
    assert 50 < len(some) < 720
    sandbox.latency_s = 0.0
    sandbox.calls.clear()
    ended = customer.run()
    assert (ended.code, customer.ids("reports")) == (0, ids)
    assert customer.exported()["report_insights"] == perfect["report_insights"]
    asked = {call.path.split("/")[-2] for call in sandbox.calls if "/reports/" in call.path} - {"reports"}
    assert asked.isdisjoint(some)
    finish_calls()
