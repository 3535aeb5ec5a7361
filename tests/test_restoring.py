"""An old copy of the warehouse is put back, on the machine that made it and on another one."""

import shutil

import pytest

from tests.nightly import Nightly


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_one_sweep_brings_an_old_copy_up_to_date(tmp_path, stage, monkeypatch, machine):
    night = Nightly(tmp_path, stage, monkeypatch, reports=240)
    night.good_export()
    copy = shutil.copy(night.warehouse, tmp_path / "copy.duckdb")
    night.organisation.advance(10)
    night.good_export()
    shutil.copy(copy, night.warehouse)
    if machine == "another":
        night.forget()
    # What dlt keeps on the same machine is newer than the copy, so the next run must not go by what it remembers.
    night.good_export(sweep=True)
    assert night.alive() == night.perfect()
