"""Check the environment's proxies and certificates: fix their spelling where possible, else name the variables."""

import os
import re

from common.errors import DataError

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
VARIABLES = (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # never through a proxy
BRACKETED = re.compile(r"\[([0-9a-fA-F:.]+)\](:\d+)?")  # an IPv6 address as in a URL, which httpx cannot parse here


def check_network_environment() -> None:
    """Raise DataError, with the reason and the variables, if no HTTP client can be created in this environment."""
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""  # clients prefer the lower-case one
    if no_proxy or any(os.environ.get(proxy) or os.environ.get(proxy.lower()) for proxy in PROXIES):
        hosts = [BRACKETED.sub(r"\1", part.strip()) for part in no_proxy.split(",") if part.strip()]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join([*hosts, *LOOPBACK])
    if problem := _problem():
        names = [spelling for name in VARIABLES for spelling in (name, name.lower()) if os.environ.get(spelling)]
        guilty = [name for name in names if not _problem_without(name)] or names
        settings = ", ".join(f"{name}={without_password(os.environ[name])}" for name in guilty)
        if any("@" in os.environ[name] for name in guilty):
            problem = re.sub(r"'[^']*'", "'…'", problem)  # may be part of the password
        raise DataError(f"no connection can be made with {settings or 'this environment'}: {problem}")


def without_password(address: str) -> str:
    """Return an address without the user and password that it may carry, however malformed they are."""
    scheme, _, rest = address.rpartition("://")
    return f"{scheme}://"[: len(scheme) and None] + (f"…@{rest.rpartition('@')[2]}" if "@" in rest else rest)


def _problem() -> str:
    """Return the reason why no client can be created; empty if one can."""
    import httpx2  # takes half a second that most commands do not need

    try:
        httpx2.Client().close()
    except (httpx2.InvalidURL, ImportError, ValueError, OSError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def _problem_without(name: str) -> str:
    value = os.environ.pop(name)
    try:
        return _problem()
    finally:
        os.environ[name] = value
