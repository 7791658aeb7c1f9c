"""The interface of generate_next.py as a process: its exit statuses, and the prefixes of lines on its stderr."""

from common.errors import CaddieError, NeedsPerson, NoProposal

EXIT_FAILED = 1  # a crash of Python is 1 as well: worth trying again
EXIT_STATUSES: dict[int, type[CaddieError]] = {3: NoProposal, 4: NeedsPerson}
REASON_PREFIX = "ended: "  # a line that says why there is no proposal
NOTE_PREFIX = "note: "  # a line to show to the user at once


def exit_status(error: CaddieError) -> int:
    """Return the exit status of generate_next.py for an error."""
    return next((status for status, kind in EXIT_STATUSES.items() if isinstance(error, kind)), EXIT_FAILED)
