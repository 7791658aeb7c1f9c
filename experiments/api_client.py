"""The client of the Messages API, the same for doctor and for the run."""

from typing import TYPE_CHECKING

from data.errors import DataError, NeedsPerson
from data.network import require_usable
from experiments import key

if TYPE_CHECKING:
    import anthropic

RETRIES = 0  # of the SDK: it would sleep as long as a server says, unseen and unbooked (proposers/conversation.py does)
SECONDS, CONNECT_SECONDS = 120.0, 10.0  # between two events: a thinking model sends pings
WITHOUT_A_KEY = (
    "no API key: export ANTHROPIC_API_KEY=… and start again; --proposer auto, search or command need none of ours"
)


def client(held: str) -> "anthropic.Anthropic":
    """Raises NeedsPerson without a key, or where the environment's proxies or certificates cannot be used."""
    if not held:
        raise NeedsPerson(WITHOUT_A_KEY)
    if problem := key.flaw(held):
        raise NeedsPerson(problem)
    try:
        require_usable()
    except DataError as error:
        raise NeedsPerson(str(error)) from error
    import anthropic  # a second that most commands do not need
    import httpx2

    timeout = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
    return anthropic.Anthropic(api_key=held, auth_token=None, max_retries=RETRIES, timeout=timeout)


def reason(error: BaseException) -> str:
    """What a failed connection failed on: the SDK says `Connection error.`, and the system's own words lie below it."""
    told = str(error)
    while (inner := error.__cause__ or error.__context__) is not None:
        error, told = inner, str(inner) or told
    return told or type(error).__name__


def for_a_person(words: str) -> bool:
    """Whether waiting will not mend a failed connection: a certificate that is not trusted, a proxy's password."""
    return any(sign in words for sign in ("CERTIFICATE", "certificate", "407", "Proxy Authentication"))
