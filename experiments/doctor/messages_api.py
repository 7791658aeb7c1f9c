"""Check that the Messages API accepts the API key and the model; the check itself costs nothing."""

from common.errors import NeedsPerson
from common.text import one_line
from experiments.messages_client import client, root_cause

MEANINGS = {401: "the key is not accepted", 403: "the key lacks permission", 407: "the proxy requires a password"}


def problem(key: str, model: str) -> str:
    """Return why the Messages API would refuse the key or the model, or an empty string.

    The check uses the same client as the run, so both fail for the same reasons.
    """
    if not key:
        return "not set"
    try:
        connection = client(key).with_options(timeout=20.0)
    except NeedsPerson as error:
        return str(error)
    import anthropic

    base = str(connection.base_url).rstrip("/")
    try:
        connection.models.retrieve(model) if model else connection.models.list(limit=1)
    except anthropic.APIStatusError as error:
        meaning = {**MEANINGS, 404: f"no model {one_line(model, 60)}"}.get(error.status_code, "")
        return f"{base} answers {error.status_code}" + (f", {meaning}" if meaning else "")
    except anthropic.APIError as error:
        return f"{base}: {one_line(root_cause(error), 160)}"
    finally:
        connection.close()
    return ""
