"""What can go wrong on clariBI's side, one class for each situation a user can act on.

    ClaribiError
    ├── SettingError          exit 2   a setting is missing or cannot work
    ├── ExtraMissing          exit 2   what was asked for needs packages that are not installed
    ├── Unreachable           exit 1   no answer, or only errors, after the last try
    ├── CallFailed            exit 1   one call was answered with an error that trying again does not mend
    │   └── NotFound          exit 1   there is no such object, or no such list
    ├── LookFailed            exit …   clariBI could not be looked at; the code is that of the reason
    ├── NothingRead           exit 4   the destination holds no run that could be looked at
    ├── DialectGone           exit 1   the address that was found out once is no longer there
    ├── Refused               exit 3   clariBI said no: key, plan
    │   ├── ScopeMissing      exit 3   the key may not read one resource; the others go on
    │   └── MfaRequired       exit 3   the login wants a second factor, which a nightly job has not
    ├── Untrustworthy         exit 4   an answer that must not be taken for data
    │   ├── NotJson           exit 4   an HTML page, or a body that is no JSON, where data was asked for
    │   ├── UnknownEnvelope   exit 4   a list in a shape no document describes
    │   ├── ForeignOrigin     exit 4   a link or redirect that leads to another host
    │   ├── WalkBroken        exit 4   pages repeat or end where more should follow
    │   ├── WalkUnproven      exit 4   a list kept changing while it was read; its rows are loaded
    │   └── Shrunk            exit 4   far fewer objects than the destination holds
    ├── AlreadyRunning        exit 75  another run of the same destination is under way on this machine
    └── Paused                exit 75  the reading ended early; what was read is loaded and the place is saved
        ├── ComeBackLater     exit 75  the rate limit is spent
        ├── CallsSpent        exit 75  as many calls were made as --max-requests allows
        └── Stopped           exit 75  somebody asked the run to stop: Ctrl-C, or the machine is going down

Texts are for people: what happened, to which object, what to do next. No text ever holds a key.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

ENV_PREFIX = "SOURCES__CLARIBI__"


class ClaribiError(Exception):
    """Root of everything that clariBI's side can raise on purpose."""

    exit_code = 1


class SettingError(ClaribiError):
    """A setting is missing or cannot work; `name` is the source's own name for it, what the user typed, or a file."""

    exit_code = 2

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        typed = name.startswith(("--", ".", "/")) or "__" in name
        super().__init__(f"{name if typed else ENV_PREFIX + name.upper()} {problem}")


class ExtraMissing(ClaribiError):
    """What was asked for needs packages that a plain install leaves out; `extra` brings them."""

    exit_code = 2

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"This needs {package}, which a plain install leaves out: pip install 'claribi-export[{extra}]'"
        )


class NothingRead(ClaribiError):
    """There is no run in the destination to look at."""

    exit_code = 4

    def __init__(self) -> None:
        super().__init__("The destination holds no run yet, so there is nothing to look at: claribi-export run")


class LookFailed(ClaribiError):
    """A look at clariBI has ended before anything could be told; `reason` and the exit code are what it failed of."""

    def __init__(self, reason: str, exit_code: int) -> None:
        self.reason, self.exit_code = reason, exit_code
        super().__init__(reason)


class Unreachable(ClaribiError):
    """clariBI did not answer, or answered with errors only, until the last try."""

    def __init__(self, what: str, reason: str, tries: int) -> None:
        self.what, self.reason, self.tries = what, reason, tries
        super().__init__(
            f"clariBI could not be read: {what} failed {tries} time{'s' * (tries != 1)}, "
            f"the last time with: {reason} "
            "Nothing was lost; run the same command again later."
        )


class CallFailed(ClaribiError):
    """clariBI answered one call with an error that trying again does not mend; `reason` is its own sentence."""

    def __init__(self, resource: str, path: str, status: int, reason: str) -> None:
        self.resource, self.path, self.status, self.reason = resource, path, status, reason
        super().__init__(
            f"clariBI answered {path} ({resource}) with HTTP {status}: {reason} "
            "`claribi-export doctor` shows what this account answers; please report it if it stays."
        )


class NotFound(CallFailed):
    """There is nothing at `path`: an object that was deleted, or a list that this account's API has not."""

    def __init__(self, resource: str, path: str, reason: str) -> None:
        super().__init__(resource, path, 404, reason)


class DialectGone(ClaribiError):
    """The address under which this account was read so far is no longer there."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"clariBI no longer answers at {path}, where this account was read so far (HTTP 404). If it speaks another "
            "dialect by now, `claribi-export run --switch-dialect` finds it out anew; ids may change with it."
        )


class Refused(ClaribiError):
    """clariBI refused the key, the login or the plan; `reason` is the server's own sentence."""

    exit_code = 3

    def __init__(self, what: str, status: int, reason: str, next_step: str) -> None:
        self.what, self.status, self.reason = what, status, reason
        super().__init__(f"clariBI refused {what} (HTTP {status}): {reason} {next_step}")


class ScopeMissing(Refused):
    """The key may not read one resource; `scope` is the permission to add, where it is known."""

    def __init__(self, resource: str, status: int, reason: str, scope: str) -> None:
        self.resource, self.scope = resource, scope
        super().__init__(
            resource,
            status,
            reason,
            f"Give the key the permission {scope}, or leave {resource} out with --only.",
        )


class MfaRequired(Refused):
    """The login wants a one-time code."""

    def __init__(self) -> None:
        super().__init__(
            "the login",
            200,
            "the account has multi-factor authentication (mfa_required).",
            "An unattended job cannot type a code: make an API key (Settings > Developer > API Keys) and set "
            f"{ENV_PREFIX}API_KEY.",
        )


class Untrustworthy(ClaribiError):
    """Root of the answers that must not be taken for data."""

    exit_code = 4


class NotJson(Untrustworthy):
    """Something other than JSON came with a status of success."""

    def __init__(self, what: str, content_type: str, beginning: str) -> None:
        self.what, self.content_type = what, content_type
        super().__init__(
            f"{what} answered with {content_type or 'no content type'} instead of JSON "
            f"(it begins: {beginning!r}). "
            "That is a login or maintenance page, or the wrong address: check "
            f"{ENV_PREFIX}BASE_URL with `claribi-export doctor`."
        )


class UnknownEnvelope(Untrustworthy):
    """A list came in a shape that no document of clariBI's describes; `seen` are the keys it had."""

    def __init__(self, what: str, seen: Iterable[str]) -> None:
        self.what, self.seen = what, sorted(seen)
        super().__init__(
            f"{what} answered in an unknown shape: expected a list, or one under results, items or data, "
            f"but saw {', '.join(self.seen) or 'nothing'}. Nothing was exported from it; "
            "please report these names, so that the export can learn them."
        )


class ForeignOrigin(Untrustworthy):
    """A link or a redirect leads to another host; `host` never got the key."""

    def __init__(self, what: str, host: str) -> None:
        self.what, self.host = what, host
        super().__init__(
            f"{what} points to another host ({host}). The key was not sent there and nothing was read from it. "
            f"If clariBI has moved, set the new address as {ENV_PREFIX}BASE_URL."
        )


class WalkBroken(Untrustworthy):
    """Pages repeat, or end where more should follow."""

    def __init__(self, resource: str, problem: str) -> None:
        self.resource, self.problem = resource, problem
        super().__init__(
            f"The list of {resource} cannot be trusted: {problem} The destination keeps the last good run; "
            "run again, and report it if it stays."
        )


class WalkUnproven(Untrustworthy):
    """A list kept changing while it was read, so that it cannot be proven whole."""

    def __init__(self, resource: str, problem: str) -> None:
        self.resource = resource
        super().__init__(
            f"The list of {resource} could not be proven whole: {problem} The rows that were read are loaded and "
            "nothing was marked deleted; run again when clariBI is quieter."
        )


class Shrunk(Untrustworthy):
    """Far fewer objects came than the destination holds."""

    def __init__(self, table: str, held: int, missing: int) -> None:
        self.table, self.held, self.missing = table, held, missing
        super().__init__(
            f"{missing} of the {held} {table} in the destination are missing from clariBI's list. "
            "So many at once are more likely a fault than a clean-up, so nothing was marked deleted. "
            "If they are really gone, run once with --allow-shrink."
        )


class AlreadyRunning(ClaribiError):
    """Another run of the same destination is under way on this machine; `holder` says which, in words."""

    exit_code = 75

    def __init__(self, what: str, destination: str, holder: str, waited_s: float) -> None:
        self.what, self.destination, self.holder, self.waited_s = what, destination, holder, waited_s
        super().__init__(
            f"Another {what} into {destination} is under way: {holder}; waited {waited_s:,.0f} s. "
            "Nothing was read or written. Run again when that one has ended."
        )


class Paused(ClaribiError):
    """Root of what ends the reading early without a fault: what was read is loaded, and the next run goes on."""

    exit_code = 75


class ComeBackLater(Paused):
    """The rate limit is spent and waiting would take too long; `at` is when to come back (UTC)."""

    def __init__(self, at: datetime, wait_s: float, max_wait_s: float, window: str = "rate limit") -> None:
        self.at, self.wait_s = at.astimezone(UTC), wait_s
        super().__init__(
            f"clariBI's {window} is spent until {self.at:%Y-%m-%d %H:%M:%S} UTC, {wait_s:,.0f} s from now; "
            f"{ENV_PREFIX}MAX_WAIT allows {max_wait_s:,.0f} s a run. What was read is kept; run again after that."
        )


class CallsSpent(Paused):
    """As many calls were made as the user allowed."""

    def __init__(self, calls: int) -> None:
        super().__init__(
            f"The {calls:,} calls of --max-requests are made. What was read is kept; the same command goes on."
        )


class Stopped(Paused):
    """Somebody asked the run to stop."""

    def __init__(self) -> None:
        super().__init__("Stopped as asked. What was read is kept; the same command goes on from here.")
