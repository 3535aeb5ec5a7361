"""`NOTIFY__…`: every way to write it, what is refused, and that dlt is told what is secret."""

import subprocess
import sys

import pytest
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.configuration.utils import get_resolved_traces

from pipelines.claribi.errors import SettingError
from pipelines.watch.notify_settings import NotifySettings, known_addresses, load_notify_settings

MAIL = "mailtos://me:secret-word@example.com?to=a@example.com,b@example.com"
CHAT = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"
MONITOR = "https://hc-ping.example/0123456789abcdef"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """No setting but those of the test."""
    (tmp_path / ".dlt").mkdir()
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def setting(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"NOTIFY__{name.upper()}", value)
    return load_notify_settings()


def urls(settings):
    return [address.url for address in settings.addresses]


def test_nothing_is_set_by_default():
    assert load_notify_settings() == NotifySettings()
    assert NotifySettings() == NotifySettings((), None, (), "xlsx", 15)


def test_a_secret_that_a_workflow_lacks_arrives_empty_and_is_not_set(monkeypatch):
    names = ("urls", "heartbeat_url", "deliver", "format", "max_attachment_mb")
    assert setting(monkeypatch, **dict.fromkeys(names, " ")) == NotifySettings()


@pytest.mark.parametrize(
    "written",
    [
        f"{MAIL},{CHAT}",
        f" {MAIL} , {CHAT}\n",
        f"{MAIL}\n{CHAT}",
        f'["{MAIL}", "{CHAT}"]',
        f"[{MAIL}, {CHAT}]",
        f"['{MAIL}', '{CHAT}']",
    ],
)
def test_addresses_are_a_list_however_it_is_written(monkeypatch, written):
    assert urls(setting(monkeypatch, urls=written)) == [MAIL, CHAT]


def test_all_settings_at_once(monkeypatch):
    settings = setting(
        monkeypatch,
        urls=MAIL,
        heartbeat_url=f" {MONITOR}\n",
        deliver="reports, usage,reports",
        format="CSV",
        max_attachment_mb="2.5",
    )
    assert urls(settings) == [MAIL]
    assert known_addresses() == [MAIL, MONITOR]
    assert settings.heartbeat_url == MONITOR
    assert (settings.deliver, settings.form, settings.max_attachment_mb) == (("reports", "usage"), "csv", 2.5)
    assert "secret-word" not in repr(settings)
    assert "0123456789abcdef" not in repr(settings)


def test_the_names_alone_are_no_settings(monkeypatch):
    for name in ("URLS", "HEARTBEAT_URL", "DELIVER", "FORMAT", "MAX_ATTACHMENT_MB"):
        monkeypatch.setenv(name, "something of another program")
    assert load_notify_settings() == NotifySettings()


def test_dlt_is_told_of_each_address_that_it_is_secret(monkeypatch):
    traces = get_resolved_traces()
    traces.clear()
    setting(monkeypatch, urls=MAIL, heartbeat_url=MONITOR)
    told = [trace for trace in traces.resolved_traces if trace.value in (MAIL, MONITOR)]
    assert {trace.value for trace in told} == {MAIL, MONITOR}
    assert all(is_secret_hint(trace.hint) for trace in told)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("urls", "nosuch://0123456789abcdef", "holds an address that cannot be used, number 1 of 1 (nosuch://…). "),
        ("heartbeat_url", "hc-ping.example/0123456789abcdef", "is no address that begins with https://"),
        ("heartbeat_url", "ftp://hc-ping.example/0123456789abcdef", "is no address that begins with https://"),
        ("heartbeat_url", "https://hc-ping.example:99999999/0123456789abcdef", "is no address that begins with"),
        ("heartbeat_url", "https://[0123456789abcdef", "is no address that begins with https://"),
        ("deliver", "reports,nothing", "names 'nothing'; the tables are reports, report_insights, "),
        ("format", "pdf", "is 'pdf'; it may be xlsx or csv."),
        ("max_attachment_mb", "many", "is 'many'; it may be megabytes above 0, such as 15."),
        ("max_attachment_mb", "0", "is '0'; it may be megabytes above 0, such as 15."),
        ("max_attachment_mb", "nan", "is 'nan'; it may be megabytes above 0, such as 15."),
    ],
)
def test_what_cannot_work_is_refused_without_showing_a_secret(monkeypatch, name, value, problem):
    with pytest.raises(SettingError) as refused:
        setting(monkeypatch, **{name: value})
    assert str(refused.value).startswith(f"NOTIFY__{name.upper()} {problem}")
    assert refused.value.exit_code == 2
    assert "0123456789abcdef" not in str(refused.value)


def test_tables_are_refused_where_no_address_takes_them(monkeypatch):
    with pytest.raises(SettingError, match=r"^NOTIFY__DELIVER names tables, but no address of NOTIFY__URLS is a mail"):
        setting(monkeypatch, urls=CHAT, deliver="reports")


def test_tables_without_any_address_are_no_fault(monkeypatch):
    """The file of settings says what to deliver; a machine for trying things out has no secret to deliver it with."""
    assert setting(monkeypatch, deliver="reports").deliver == ("reports",)


def test_the_extra_that_writes_workbooks_is_named(monkeypatch):
    monkeypatch.setattr("pipelines.watch.notify_settings.find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"NOTIFY__DELIVER .*pip install 'claribi-export\[watch\]'"):
        setting(monkeypatch, deliver="reports")
    assert setting(monkeypatch, deliver="reports", format="csv").form == "csv"


def test_the_files_of_settings_are_read(folder):
    (folder / ".dlt" / "secrets.toml").write_text(f'[notify]\nurls = ["{MAIL}", "{CHAT}"]\n')
    (folder / ".dlt" / "config.toml").write_text('[notify]\ndeliver = ["reports"]\nmax_attachment_mb = 2\n')
    settings = in_a_process_of_its_own(folder)
    assert settings == f"{[MAIL, CHAT]!r} ('reports',) 2.0\n"


def in_a_process_of_its_own(folder):
    """In this one dlt has read its files already."""
    show = (
        "from pipelines.watch.notify_settings import load_notify_settings as load; s = load(); "
        "print([a.url for a in s.addresses], s.deliver, s.max_attachment_mb)"
    )
    ended = subprocess.run([sys.executable, "-c", show], cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    return ended.stdout
