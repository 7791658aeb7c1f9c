"""Proxies and certificates as the environment names them: mended where only the spelling is at fault, else named."""

import os
import re

from data.errors import DataError

PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
VARIABLES = (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # no proxy is the way to this machine
BRACKETED = re.compile(r"\[([0-9a-fA-F:.]+)\](:\d+)?")  # an IPv6 address as in a URL, which httpx cannot read here


def require_usable() -> None:
    """Raise DataError where no HTTP client can be made of this environment, with the reason and the variables."""
    held = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""  # of the two spellings that one is read
    if held or any(os.environ.get(proxy) or os.environ.get(proxy.lower()) for proxy in PROXIES):
        left_out = [BRACKETED.sub(r"\1", part.strip()) for part in held.split(",") if part.strip()]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join([*left_out, *LOOPBACK])
    if problem := _problem():
        names = [spelled for name in VARIABLES for spelled in (name, name.lower()) if os.environ.get(spelled)]
        guilty = [name for name in names if not _problem_without(name)] or names
        told = ", ".join(f"{name}={without_password(os.environ[name])}" for name in guilty)
        if any("@" in os.environ[name] for name in guilty):
            problem = re.sub(r"'[^']*'", "'…'", problem)  # may be a part of the password
        raise DataError(f"no connection can be made with {told or 'this environment'}: {problem}")


def without_password(address: str) -> str:
    """An address without the user and password that it may carry, however badly they are written."""
    scheme, _, rest = address.rpartition("://")
    return f"{scheme}://"[: len(scheme) and None] + (f"…@{rest.rpartition('@')[2]}" if "@" in rest else rest)


def _problem() -> str:
    """Why a client cannot be made; empty if it can."""
    import httpx2  # half a second that most commands do not need

    try:
        httpx2.Client().close()
    except (httpx2.InvalidURL, ImportError, ValueError, OSError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def _problem_without(name: str) -> str:
    held = os.environ.pop(name)
    try:
        return _problem()
    finally:
        os.environ[name] = held
