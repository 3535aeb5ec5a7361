"""Any sequence of nights: whatever happens between runs, and to runs, a sweep at the end leaves the truth.

`make proof` draws many more of them.
"""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from pipelines.claribi.errors import Shrunk
from pipelines.sandbox import DIALECTS
from pipelines.sandbox.access import Limits
from tests.memory import Memory
from tests.nightly import Nightly
from tests.proof import PROOF
from tests.stage import finish_calls

EXAMPLES, STEPS = (60, 25) if PROOF else (2, 7)


@pytest.mark.timeout(1_200 if PROOF else 180)
@pytest.mark.parametrize("details_in_list", [True, False], ids=["details in the list", "details apart"])
def test_any_nights_end_with_the_truth(tmp_path, stage, monkeypatch, details_in_list):
    class Nights(RuleBasedStateMachine):
        @initialize(
            spoken=st.sampled_from(list(DIALECTS.values())), order=st.sampled_from(["newest", "oldest", "none"])
        )
        def begin(self, spoken, order):
            spoken = replace(spoken, order=order, details_in_list=details_in_list)
            few = {"reports": 130, "dashboards": 3, "sources": 3, "history_days": 300}
            self.account, self.held = Nightly(tmp_path, stage, monkeypatch, spoken, **few), Memory()

        @rule(nights=st.integers(1, 9))
        def nights_pass(self, nights):
            self.account.organisation.advance(nights)

        @rule(number=st.integers(1, 130), what=st.sampled_from(["edit", "delete", "return"]))
        def somebody_changes_a_report(self, number, what):
            organisation = self.account.organisation
            if what == "edit" and organisation.shelves["reports"].holds(number):
                organisation.set("reports", number, {"title": f"Edited {number}"})
            elif what != "edit":
                organisation.set_gone("reports", number, what == "delete")

        @rule(calls=st.integers(3, 60), sweep=st.booleans())
        def a_run_of_few_calls(self, calls, sweep):
            self.export(calls, sweep=sweep)

        @rule(batch=st.integers(0, 6))
        def a_run_that_is_killed(self, batch):
            self.export(5000, killed_after=batch)

        @rule()
        def a_run(self):
            report = self.export(5000)
            assert report is None or report.exit_code == 0, report.notes

        def export(self, calls, **options):
            self.account.sandbox.limits = Limits(limit=calls)
            report = None
            with suppress(Shrunk):  # after weeks without a good run a fifth may really be gone
                report = self.held.export(self.account.settings(max_wait=0), **options)
            finish_calls()
            if report and report.walks.get("data_sources", {}).get("complete"):
                self.account.perfect()  # so that what was met is remembered
            assert report is None or report.exit_code in (0, 75), report.notes
            return report

        def teardown(self):
            if hasattr(self, "account"):
                organisation = self.account.organisation
                for number in sorted(
                    organisation.open
                ):  # of one that is unfinished a run may know more than is expected
                    organisation.set("reports", number, {"status": "completed"})
                assert self.export(50_000, sweep=True, allow_shrink=True).exit_code == 0
                assert self.held.alive() == self.account.perfect()

    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    few = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True, suppress_health_check=checks
    )
    run_state_machine_as_test(Nights, settings=few)
