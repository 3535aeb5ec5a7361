"""Settings: what is read, from which names, and what is refused before the first call."""

import pytest

from pipelines.claribi.errors import SettingError
from pipelines.claribi.settings import load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_key_of_something_else_is_never_taken_for_claribis(monkeypatch):
    monkeypatch.setenv("API_KEY", "a_key_of_another_service")
    with pytest.raises(SettingError, match="API_KEY is missing"):
        load_settings()


def test_an_empty_key_is_told_from_a_missing_one(monkeypatch):
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "")
    with pytest.raises(SettingError, match="set but empty"):
        load_settings()


def test_numbers_are_numbers_and_a_key_stays_text(monkeypatch):
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "12345")
    monkeypatch.setenv("SOURCES__CLARIBI__MAX_WAIT", "5")
    monkeypatch.setenv("SOURCES__CLARIBI__RETRY_TRIES", "3")
    settings = load_settings()
    assert (settings.api_key, settings.max_wait, settings.retry_tries) == ("12345", 5.0, 3)


def test_what_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "claribi_sk_x")
    monkeypatch.setenv("SOURCES__CLARIBI__MAX_WAIT", "an hour")
    with pytest.raises(SettingError, match="SOURCES__CLARIBI__MAX_WAIT is not a number"):
        load_settings()


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://claribi.com", "clear text"),
        ("claribi.com", "must look like"),
        ("https://claribi.com/app/", "may be empty"),
        ("https://user:word@claribi.com", "an address alone"),
    ],
)
def test_an_address_that_cannot_work_is_refused(monkeypatch, address, problem):
    monkeypatch.setenv("SOURCES__CLARIBI__API_KEY", "claribi_sk_x")
    monkeypatch.setenv("SOURCES__CLARIBI__BASE_URL", address)
    with pytest.raises(SettingError, match=problem):
        load_settings()
