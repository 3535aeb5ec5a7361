"""The workflow as GitHub would run it: its own steps, night after night, on machines that remember nothing."""

import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import duckdb
import pytest

from pipelines.sandbox import KB, Limits, Organisation, Sandbox
from tests.command import truth
from tests.expressions import Open, UnknownExpression, evaluate, fill
from tests.workflow import PROJECT, WORKFLOWS, Hub, Job, faults, read

NIGHTLY, BACKFILL = WORKFLOWS / "nightly-export.yml", WORKFLOWS / "backfill.yml"
ALL = {file.name: read(file.read_text()) for file in sorted(WORKFLOWS.glob("*.yml"))}
STEPS = [
    pytest.param(step, id=f"{name}: {step['name']}")
    for name, workflow in ALL.items()
    for job in workflow["jobs"].values()
    for step in job.get("steps", [])
]
WHAT_FOLLOWS_A_FAILURE = {"Tell the monitor of a night that did not get as far as the export"}
OTHER_STORES = {"Log in to Google, without a key"}
DIGEST = {"Write the digest", "Offer the digest for download"}
ARTIFACT = "Bring them back from the last artifact, if the cache has lost them"


class Account:
    """A repository with the workflow in it, and the clariBI account that it exports."""

    def __init__(self, folder, stage, **options):
        self.stage, self.sandbox = stage, Sandbox(KB, Organisation(reports=60), **options)
        self.hub = Hub(folder / "hub", secrets={"SOURCES__CLARIBI__API_KEY": self.sandbox.account.key})

    def night(self, file=NIGHTLY, **options):
        """One run of the workflow. Where clariBI is, is the runner's own setting: on GitHub the default is right."""
        self.stage.sandbox = self.sandbox
        self.sandbox.calls.clear()
        environment = {"SOURCES__CLARIBI__BASE_URL": self.stage.url} | options.pop("environment", {})
        job = Job(self.hub, file, "export", environment=environment, **options).run()
        for secret in filter(None, self.hub.secrets.values()):
            assert secret not in job.printed + job.summary
        return job

    def query(self, sql, place="artifacts/claribi-export-duckdb"):
        with duckdb.connect(str(self.hub.folder / place / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()


@pytest.fixture
def account(tmp_path, stage):
    return Account(tmp_path, stage)


def skipped(job):
    return {name for name, outcome in job.outcomes.items() if outcome == "skipped"}


def test_three_nights_on_fresh_machines_and_the_one_without_calls_left_is_made_up_for(account):
    first = account.night()
    assert (first.succeeded, first.outputs, first.annotations) == (True, {"code": "0"}, [])
    assert skipped(first) == WHAT_FOLLOWS_A_FAILURE | OTHER_STORES
    assert "### clariBI export: done" in first.summary
    assert "| reports | 60 | 60 | · | · | 60 |" in first.summary

    account.sandbox.organisation.advance()
    account.sandbox.limits = Limits(limit=1)
    second = account.night()
    assert (second.succeeded, second.outputs) == (True, {"code": "75"})
    assert second.annotations == [("warning", "Come back later")]
    assert skipped(second) == WHAT_FOLLOWS_A_FAILURE | OTHER_STORES | DIGEST | {ARTIFACT}
    assert "### clariBI export: later" in second.summary

    account.sandbox.limits = Limits()
    account.hub.lose_caches()
    third = account.night()
    assert (third.succeeded, third.outputs, third.annotations) == (True, {"code": "0"}, [])
    assert skipped(third) == WHAT_FOLLOWS_A_FAILURE | OTHER_STORES
    assert len(account.sandbox.calls) < 10
    digest = account.hub.folder / "artifacts" / "claribi-digest" / "digest.html"
    assert digest.read_text().startswith("<!doctype html>")
    held = [one for (one,) in account.query("SELECT id FROM claribi.reports")]
    assert len(held) == len(set(held)) >= 60
    assert {row["id"] for row in truth(account.sandbox.organisation)["reports"]} <= set(held)
    assert account.query("SELECT trigger, outcome FROM claribi.export_runs ORDER BY started_at") == [
        ("schedule", "done"),
        ("schedule", "later"),
        ("schedule", "done"),
    ]


def test_a_refused_key_fails_the_run_and_keeps_what_was_there(account):
    account.hub.secrets["SOURCES__CLARIBI__API_KEY"] = "claribi_sk_of_somebody_else"
    night = account.night()
    assert (night.succeeded, night.outputs) == (False, {"code": "3"})
    assert night.annotations == [("error", "claribi-export ended with 3")]
    assert "clariBI refused" in night.printed
    assert night.outcomes["Keep the files for the next run"] == "success"
    assert night.outcomes["Offer the files for download"] == "skipped"
    assert "### clariBI export: failed" in night.summary


def test_a_secret_that_is_not_set_is_named(account):
    account.hub.secrets.clear()
    night = account.night()
    assert (night.succeeded, night.outputs) == (False, {"code": "2"})
    assert "SOURCES__CLARIBI__API_KEY is set but empty. In GitHub Actions this means" in night.printed
    assert account.sandbox.calls == []


def test_a_person_chooses_destination_tables_and_sweep(account):
    inputs = {"destination": "csv_files", "only": "reports", "sweep": True}
    night = account.night(event="workflow_dispatch", inputs=inputs)
    assert (night.succeeded, night.outputs) == (True, {"code": "0"})
    exports = account.hub.folder / "artifacts" / "claribi-export-csv_files" / "exports"
    assert (exports / "reports.csv").read_text().count("\n") == 61
    assert (exports / ".claribi" / "manifest.json").is_file()
    assert not (exports / "dashboards.csv").exists()
    assert ",workflow_dispatch," in (exports / "export_runs.csv").read_text()


def test_a_backfill_goes_on_where_its_last_round_ended(account):
    inputs = {"since": "2020-01-01", "until": "2030-01-01", "details": True}
    first = account.night(event="workflow_call", inputs=inputs | {"max-requests": "1"})
    assert (first.succeeded, first.outputs, first.annotations) == (
        True,
        {"code": "75"},
        [("warning", "Come back later")],
    )
    assert "### clariBI export: later" in first.summary
    second = account.night(event="workflow_call", inputs=inputs)
    assert (second.succeeded, second.outputs, second.annotations) == (True, {"code": "0"}, [])
    assert skipped(second) == WHAT_FOLLOWS_A_FAILURE | OTHER_STORES | DIGEST | {ARTIFACT}
    assert "Nothing is left of the window." in second.summary
    held = [one for (one,) in account.query("SELECT id FROM claribi.reports ORDER BY id")]
    assert held == sorted(row["id"] for row in truth(account.sandbox.organisation)["reports"])


def test_a_public_repository_keeps_no_files(account):
    account.hub.private = False
    night = account.night()
    assert (night.succeeded, night.annotations) == (False, [("error", "Everybody could read the export")])
    assert night.outcomes["Export"] == "skipped"
    assert account.sandbox.calls == []


def test_a_night_that_does_not_get_as_far_as_the_export_is_told_to_the_monitor(account):
    told = []

    class Monitor(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Monitor) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        account.hub.secrets["NOTIFY__HEARTBEAT_URL"] = f"http://127.0.0.1:{server.server_port}/the-secret/"
        night = account.night(fails="Install")
        server.shutdown()
    assert night.outcomes["Export"] == "skipped"
    assert [name for name, outcome in night.outcomes.items() if outcome == "failure"] == ["Install"]
    assert told == ["/the-secret/fail"]


def test_google_is_asked_for_a_login_only_where_it_is_the_destination():
    (step,) = (one for one in ALL["nightly-export.yml"]["jobs"]["export"]["steps"] if one["name"] in OTHER_STORES)
    provider = Open({"GOOGLE_WORKLOAD_IDENTITY_PROVIDER": "projects/1/…"})
    told = {
        (destination, bool(vars)): bool(
            evaluate(step["if"], {"env": {"EXPORT__DESTINATION": destination}, "vars": vars})
        )
        for destination in ("google_sheets", "duckdb")
        for vars in (provider, Open())
    }
    assert [asked for asked, wanted in told.items() if wanted] == [("google_sheets", True)]


@pytest.mark.parametrize(
    ("code", "max_requests", "rounds", "wanted"),
    [("75", "", 24, True), ("75", "", 1, False), ("75", "500", 24, False), ("0", "", 24, False), ("", "", 24, False)],
)
def test_a_backfill_starts_its_next_round_where_the_limit_ended_one_and_a_round_is_left(
    tmp_path, code, max_requests, rounds, wanted
):
    inputs = {"since": "2024-01-01", "details": True, "max-requests": max_requests, "rounds": rounds}
    hub = Hub(tmp_path / "hub")
    job = Job(hub, BACKFILL, "go-on", event="workflow_dispatch", inputs=inputs, needs={"backfill": {"code": code}})
    assert job.wanted is wanted
    if wanted:
        assert job.run().succeeded
        (asked,) = hub.asked
        assert asked == (
            "workflow run backfill.yml --repo us/nightly --ref main -f since=2024-01-01 -f until= -f details=true "
            "-f destination= -f rounds=23"
        )


def test_a_backfill_hands_on_what_the_export_takes_and_nothing_else():
    call = ALL["backfill.yml"]["jobs"]["backfill"]
    takes = ALL["nightly-export.yml"]["on"]["workflow_call"]
    assert call["uses"] == "$/.github/workflows/nightly-export.yml"
    assert call["with"].keys() == takes["inputs"].keys() - {"only", "sweep"}
    assert call["secrets"] == {name: f"${{{{ secrets.{name} }}}}" for name in takes["secrets"]}
    assert call["permissions"] == ALL["nightly-export.yml"]["jobs"]["export"]["permissions"]


def test_the_ten_lines_of_another_repository_are_ten_and_all_that_is_needed(tmp_path):
    page = (PROJECT / "docs" / "operations.md").read_text()
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "nightly-export.yml@" in block)
    assert len(text.splitlines()) == 10
    call = read(text)["jobs"]["export"]
    takes = ALL["nightly-export.yml"]["on"]["workflow_call"]
    assert call["permissions"] == ALL["nightly-export.yml"]["jobs"]["export"]["permissions"]
    assert list(call["secrets"]) == [name for name, secret in takes["secrets"].items() if secret["required"]]
    (tmp_path / "caller.yml").write_text(text.replace("COMMIT", "0" * 40))
    assert faults(tmp_path / "caller.yml") == ""


def test_the_schedules_of_a_public_repository_are_switched_on_anew(tmp_path):
    hub = Hub(tmp_path / "hub", private=False)
    job = Job(hub, WORKFLOWS / "keep-alive.yml", "keep")
    assert job.wanted
    assert job.run().succeeded
    place = "api --silent --method PUT repos/us/nightly/actions/workflows"
    assert hub.asked == [f"{place}/nightly-export.yml/enable", f"{place}/keep-alive.yml/enable"]
    assert not Job(Hub(tmp_path / "private"), WORKFLOWS / "keep-alive.yml", "keep").wanted


@pytest.mark.parametrize("name", ALL)
def test_a_workflow_may_do_nothing_but_what_a_job_asks_for_and_ends_by_itself(name):
    assert ALL[name]["permissions"] == {}
    for job in ALL[name]["jobs"].values():
        assert set(job["permissions"].values()) <= {"read", "write"}
        assert "uses" in job or job["timeout-minutes"]
        assert "secrets" not in str(job.get("env", ""))


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_pinned_and_sees_secrets_in_its_environment_alone(step):
    told = {key: value for key, value in step.items() if key != "env"}
    assert "secrets." not in str(told)
    assert "${{" not in step.get("run", "")
    if "uses" in step:
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", step["uses"])
    if step.get("uses", "").startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False


def test_a_pinned_action_says_which_version_that_is_and_the_same_one_everywhere():
    pinned = {}
    for file in WORKFLOWS.glob("*.yml"):
        lines = [line for line in file.read_text().splitlines() if re.search(r"uses: (?!\$/)", line)]
        for line in lines:
            action, commit, version = re.search(r"uses: ([^@]+)@(\w{40}) # (v\d+\.\d+\.\d+)$", line).groups()
            pinned.setdefault("/".join(action.split("/")[:2]), set()).add((commit, version))
    assert {action: len(found) for action, found in pinned.items()} == dict.fromkeys(pinned, 1)


def test_the_night_does_not_begin_at_a_minute_that_others_choose():
    ((night,),) = (event.values() for event in ALL["nightly-export.yml"]["on"]["schedule"])
    assert int(night.split()[0]) % 5


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.a || vars.B || 'duckdb'", "duckdb"),
        ("inputs.since && 350 || 60", 60),
        ("!inputs.a && (steps.x.outcome == 'Success' || false)", True),
        ("'it''s' != null", True),
        ("failure() && true", False),
    ],
)
def test_an_expression_has_the_value_that_github_gives_it(expression, value):
    contexts = {
        "inputs": {"a": None, "since": ""},
        "vars": Open(),
        "steps": {"x": {"outcome": "success"}},
    }
    assert evaluate(expression, contexts, {"failure": lambda: False}) == value
    assert fill("${{ inputs.a }}-${{ steps.x.outcome }}", contexts) == "-success"


@pytest.mark.parametrize(
    "expression", ["github.actor", "inputs.typo", "nothing", "hashFiles('a')", "1 +", "'a' 'b'", "steps.y.outcome"]
)
def test_an_expression_that_is_not_known_is_an_error(expression):
    with pytest.raises(UnknownExpression):
        evaluate(expression, {"github": {}, "inputs": {}, "steps": {}})
