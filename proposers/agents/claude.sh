#!/usr/bin/env bash
# Claude Code as a proposer: edits its copy of base/ in the current folder, then prints title, hypothesis and class.
set -euo pipefail
folder=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
context=$(python3 -c 'import json, sys; context = json.load(sys.stdin); del context["files"], context["proposal_schema"]; print(json.dumps(context))')
# exec, because with Landlock only the first process of a job may read its own /proc, which agents do.
exec "${1:-claude}" --bare -p --permission-mode acceptEdits "$(cat "$folder/agent.md")" <<<"$context"
