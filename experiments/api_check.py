"""Would the Messages API take this key and this model? Asked before a night starts; asking costs nothing."""

from data.errors import NeedsPerson
from experiments.api_client import client, reason
from preflight.text import one_line

MEANS = {401: "the key is not accepted", 403: "the key may not", 407: "the proxy wants a password"}


def problem(key: str, model: str) -> str:
    """Why the Messages API would refuse the key or the model; empty if it would not. Costs nothing.

    Asks with the client of the run: what stands in its way here stands in its way then.
    """
    if not key:
        return "not set"
    try:
        asked = client(key).with_options(timeout=20.0)
    except NeedsPerson as error:
        return str(error)
    import anthropic

    base = str(asked.base_url).rstrip("/")
    try:
        asked.models.retrieve(model) if model else asked.models.list(limit=1)
    except anthropic.APIStatusError as error:
        means = {**MEANS, 404: f"no model {one_line(model, 60)}"}.get(error.status_code, "")
        return f"{base} answers {error.status_code}" + (f", {means}" if means else "")
    except anthropic.APIError as error:
        return f"{base}: {one_line(reason(error), 160)}"
    finally:
        asked.close()
    return ""
