#!/usr/bin/env bash
# Start (or go on with) a run: set everything up once, then propose, try, judge, and commit until done.
#   ./loop.sh --trials 3            three trials of the shipped proposals on this machine's CPU
#   ./loop.sh --run night --hours 8 --trials 1000
# Every option of `python -m experiments run --help` is passed on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for tool in git make cc "${PYTHON:-python3}"; do
  command -v "$tool" >/dev/null || { echo "loop.sh: $tool is missing; install it and start again" >&2; exit 1; }
done
make --silent setup
exec .venv/bin/python -m experiments run "$@"
