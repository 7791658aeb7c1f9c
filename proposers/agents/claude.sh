#!/usr/bin/env bash
# Claude Code as a proposer: it edits its copy of base/ in the current folder, then prints title, hypothesis and class.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
told=$(python3 -c 'import json, sys; told = json.load(sys.stdin); del told["files"], told["proposal_schema"]; print(json.dumps(told))')
# In place of this shell: behind Landlock only the first process of a job may read its own /proc, and agents do.
exec "${1:-claude}" --bare -p --permission-mode acceptEdits "$(cat "$here/agent.md")" <<<"$told"
