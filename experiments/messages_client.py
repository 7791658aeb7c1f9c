"""The client of the Messages API, shared by doctor and the run."""

from typing import TYPE_CHECKING

from common.errors import DataError, NeedsPerson
from common.network import check_network_environment
from experiments import credentials

if TYPE_CHECKING:
    import anthropic

# No retries by the SDK: it would sleep as long as a server says, unseen and unrecorded (proposers/llm/chat.py retries).
RETRIES = 0
SECONDS, CONNECT_SECONDS = 120.0, 10.0  # between two events: a thinking model sends pings
NO_KEY = "no API key: export ANTHROPIC_API_KEY=… and start again; --proposer auto, search and command do not use it"


def client(key: str) -> "anthropic.Anthropic":
    """Return a client for the key.

    Raises:
        NeedsPerson: There is no key, or the environment's proxies or certificates cannot be used.
    """
    if not key:
        raise NeedsPerson(NO_KEY)
    if problem := credentials.validate_key(key):
        raise NeedsPerson(problem)
    try:
        check_network_environment()
    except DataError as error:
        raise NeedsPerson(str(error)) from error
    import anthropic  # takes a second to import, and most commands do not need it
    import httpx2

    timeout = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
    return anthropic.Anthropic(api_key=key, auth_token=None, max_retries=RETRIES, timeout=timeout)


def root_cause(error: BaseException) -> str:
    """Return the message at the root of a failed connection: the SDK's own is only `Connection error.`."""
    message = str(error)
    while (inner := error.__cause__ or error.__context__) is not None:
        error, message = inner, str(inner) or message
    return message or type(error).__name__


def needs_person(message: str) -> bool:
    """Return whether waiting cannot fix a failed connection: an untrusted certificate, a proxy's password."""
    return any(sign in message for sign in ("CERTIFICATE", "certificate", "407", "Proxy Authentication"))
