"""Stand in for the model: serve the local Messages API with prepared ideas, for runs without an API key.

    .venv/bin/python -m dev.benchmarks.replay ./loop.sh --run llm --proposer mix --trials 30

It knows nothing of the run but the prompt: it reads the requested class, the files and the outcomes there, as an LLM
would, and writes its edits against the text it was shown. It cannot have an idea that is not in IDEAS.
"""

import argparse
import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.helpers.servers.messages import KEY, MessagesApi, Reply, answered

LATENCY_SECONDS = 12.0  # about what 1,500 tokens take
PRESETS, PRESET = "base/presets.py", "pocket"
FILE = re.compile(r'<file path="([^"]+)"[^>]*>\n(.*?)</file>', re.DOTALL)
IDEAS = json.loads(Path(__file__).with_suffix(".json").read_text())  # knobs of the preset, or an edit


class CarefulModel:
    """A model that reads its prompt carefully; now and then it miscopies a line or asks for a file first."""

    def __init__(self, latency_seconds: float = LATENCY_SECONDS) -> None:
        self.latency_seconds, self.questions, self.used_titles = latency_seconds, 0, set[str]()

    def __call__(self, request: dict[str, Any]) -> Reply:
        return Reply(self.text(request), latency_seconds=self.latency_seconds, thinking="Which idea next? " * 60)

    def text(self, request: dict[str, Any]) -> str:
        system = "".join(part["text"] for part in request["system"])
        messages = [turn["content"] for turn in request["messages"] if turn["role"] == "user"]
        shown = dict(FILE.findall(system + "".join(messages)))
        kind = re.search(r"of class \*\*(\w+)\*\*", messages[0])
        assert kind is not None
        if len(messages) == 1:
            self.questions += 1
        tried = messages[0] + "".join(self.used_titles)
        remaining = [idea for idea in IDEAS if idea["title"] not in tried]
        none: dict[str, Any] = {"class": kind[1], "title": "None", "knobs": {}}
        idea: dict[str, Any] = min(remaining, key=lambda idea: idea["class"] != kind[1], default=none)
        if "edit" in idea and idea["edit"][0] not in shown:
            return str(answered(title=idea["title"], files=[idea["edit"][0]], **{"class": idea["class"]}))
        edits = [change(*idea["edit"])] if "edit" in idea else set_knobs(shown, idea["knobs"])
        if edits and self.questions % 6 == 3 and len(messages) == 1:
            edits[0]["search"] += "#"  # a miscopied line
        else:
            self.used_titles.add(idea["title"])
        fields = {
            "title": idea["title"],
            "idea": idea.get("idea", ""),
            "class": idea["class"],
            "hypothesis": f"Idea {idea.get('idea', '')} of the list; refuted if it is within the noise on two seeds.",
            "expected_delta_bpb": -0.005,
            "lessons": lessons(messages[0]) if "Also write `lessons`" in messages[0] else [],
        }
        return str(answered(edits=edits, **fields))


def change(path: str, search: str, replace: str) -> dict[str, str]:
    return {"path": path, "search": search, "replace": replace, "content": ""}


def set_knobs(shown: dict[str, str], knobs: dict[str, Any]) -> list[dict[str, str]]:
    """Return edits of the preset that set knobs in the sections where config.py declares them."""
    config, presets = ast.parse(shown["base/config.py"]), shown[PRESETS]
    section = {
        field.target.id: node.name
        for node in config.body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    preset = re.search(rf"def {PRESET}\(\).*?\n    \)\n", presets, re.DOTALL)
    assert preset is not None
    body, edits = preset[0], []
    for name, value in knobs.items():
        line = re.search(rf"^        (\w+)={section[name]}\((.*)\),$", body, re.MULTILINE)
        if line:
            kept = ", ".join(part for part in line[2].split(", ") if not part.startswith(f"{name}="))
            before, after = line[0], f"        {line[1]}={section[name]}({kept}, {name}={value!r}),"
        else:
            before = body.splitlines()[-2]
            after = f"        {section[name].lower()}={section[name]}({name}={value!r}),\n{before}"
        edits.append(change(PRESETS, before, after))
        body = body.replace(before, after)
    return edits


def lessons(digest: str) -> list[str]:
    """Summarize the digest's lines as a careful reader would."""
    measured = re.findall(
        r'trial (\d+), (\w+), ([+-][\d.]+), (\w+): "([^"]*)"', digest.partition("## Last measured")[2]
    )
    best = sorted(measured, key=lambda line: float(line[2]))
    lines = [
        f"{title}: {delta} bpb, {state} (trial {number}); the class {kind} pays"
        for number, kind, delta, state, title in best[:3]
    ]
    lines += [
        f"{title}: {delta} bpb (trial {number}), not again without a reason" for number, _, delta, _, title in best[-3:]
    ]
    return lines or ["Nothing has been measured yet."]


def main() -> None:
    """Run the command with the local Messages API in its environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command to run against the local Messages API")
    command = parser.parse_args().command
    with MessagesApi(CarefulModel()) as api:
        environment = {**os.environ, "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        raise SystemExit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
