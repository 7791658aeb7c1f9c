#!/usr/bin/env bash
# Claude Code as a proposer: it edits its copy of base/ in the current folder, then prints title, hypothesis and class.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
python3 -c 'import json, sys; told = json.load(sys.stdin); del told["files"], told["proposal_schema"]; print(json.dumps(told))' |
  "${1:-claude}" --bare -p --permission-mode acceptEdits "$(cat "$here/agent.md")"
