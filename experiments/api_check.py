"""Would the Messages API take this key and this model? Asked before a night starts; asking costs nothing."""

import os
import urllib.error
import urllib.parse
import urllib.request

from experiments import key as key_of
from preflight.text import one_line


def problem(key: str, model: str) -> str:
    """Why the Messages API would refuse the key or the model; empty if it would not. Costs nothing."""
    if not key:
        return "not set"
    if flaw := key_of.flaw(key):
        return flaw
    base = os.environ.get("ANTHROPIC_BASE_URL", "https://api.anthropic.com").rstrip("/")
    headers = {"Authorization": f"Bearer {key}", "anthropic-version": "2026-10-21"}  # as anthropic 2.12.0
    place = f"{base}/v1/models" + (f"/{urllib.parse.quote(model)}" if model else "")
    try:
        with urllib.request.urlopen(urllib.request.Request(place, headers=headers), timeout=20):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            means = {401: "the key is not accepted", 403: "the key may not", 404: f"no model {one_line(model, 60)}"}
            return f"{base} answers {error.code}" + (f", {means[error.code]}" if error.code in means else "")
    except OSError as error:
        return f"{base}: {one_line(str(error), 100)}"
