#!/usr/bin/env bash
# Codex as a proposer: edits its copy of base/ in the current folder, then prints title, hypothesis and class.
# caddie's sandbox isolates it; Codex's own cannot be set up inside another one.
set -euo pipefail
folder=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
context=$(python3 -c 'import json, sys; context = json.load(sys.stdin); del context["files"], context["proposal_schema"]; print(json.dumps(context))')
# exec, because with Landlock only the first process of a job may read its own /proc, which agents do.
exec "${1:-codex}" exec --ephemeral --skip-git-repo-check --sandbox danger-full-access "$(cat "$folder/agent.md")" <<<"$context"
