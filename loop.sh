#!/usr/bin/env bash
# Start (or go on with) a run: set everything up once, check the machine, then propose, try, judge and commit until done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
  cat <<'HELP'
./loop.sh [OPTIONS]        starts a run, or goes on with it where it ended

  --trials N      stop after N settled trials (3)          --hours H     stop after H hours (12)
  --run NAME      the run (demo): trials/NAME, branches experiments/NAME/*
  --profile P     the machine: pocket (any CPU), h100 (one GPU), 8xh100
  --proposer P    auto (shipped proposals, then search), scripted, search, command
  --push REMOTE   send every result to a git remote; `python -m experiments restore REMOTE NAME` brings it back
  --script DIR    scripted: a folder of proposals          --joint       search: up to six knobs at once
  --command CMD   command: the program that proposes       --show PATH   ... may read PATH   --pass NAME  ... gets a variable

  Ctrl-C ends the running trial, books it and stops. `touch STOP` stops after the trial. A crash is started again, with
  a growing pause; what was under way is tried once more, not a third time. Everything is kept in trials/NAME/loop.log.

  ./loop.sh --trials 3                                     first look: a few minutes, no GPU, no key
  ./loop.sh --run night --trials 1000 --hours 8 --proposer search --push backup
  .venv/bin/python -m experiments status --run night --watch
HELP
  exit
fi

for tool in git make "${PYTHON:-python3}"; do
  command -v "$tool" >/dev/null || { echo "loop.sh: $tool is missing; install it and start again" >&2; exit 2; }
done
make --silent setup
.venv/bin/python -m experiments doctor "$@"

trap '' HUP      # a closed laptop or a lost connection does not end a night
session="$(date +%s).$$"
for ((quick = 0; quick < 10; )); do
  began=$SECONDS code=0
  .venv/bin/python -m experiments run --session "$session" "$@" || code=$?
  case $code in 0 | 2 | 130) exit "$code" ;; esac      # done, a person must act, Ctrl-C
  echo "loop.sh: the controller ended with status $code; it is started again" >&2
  if ((SECONDS - began < 2)); then quick=$((quick + 1)); else quick=0; fi
  sleep 1
done
echo "loop.sh: the controller ended $quick times within two seconds; see trials/*/loop.log" >&2
exit 1
