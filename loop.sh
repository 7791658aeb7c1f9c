#!/usr/bin/env bash
# Start or continue a run: set everything up once, check the machine, then propose, try, judge and commit until done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
  cat <<'HELP'
./loop.sh [OPTIONS]        starts a run, or continues it where it ended

  --trials N      stop after N settled trials (3)          --hours H     stop after H hours (12)
  --run NAME      the run (demo): trials/NAME, branches experiments/NAME/*; it remembers its options
  --profile P     a machine of profiles.toml: pocket (any CPU), laptop, one_gpu, h100, 8xh100, or yours
  --minutes M     another training time than the profile's  --corpus DIR  another corpus
  --proposer P    auto (shipped proposals, then search), anthropic, mix, search, merge, scripted, command
  --model M       anthropic, mix: another model            --effort E    low, medium, high, xhigh, max
  --budget-usd X  stop before calls and machine cost more than X dollars together, at list price
  --push REMOTE   send every result to a git remote; `python -m experiments restore REMOTE NAME` brings it back
  --script DIR    scripted: a folder of proposals          --joint       search: up to six knobs at once
  --command CMD   command: the program that proposes       --show PATH   ... may read PATH   --pass NAME  ... gets a variable
  --level L       namespace, landlock or none; default: the best this machine offers
  --unsafe        a GPU run with isolation that lets more than 1,000 bits pass from job to job (landlock, none)

  Ctrl-C ends the running trial, records it and stops; ./loop.sh --run NAME goes on. `touch STOP` stops after the running trial, once; `echo NAME > STOP`
  stops that run only. After a crash the controller restarts, with a growing pause; the interrupted idea is tried once
  more, not a third time. Everything is logged in trials/NAME/loop.log.

  ./loop.sh --trials 3                                     first look: a quarter of an hour, no GPU, no key
  ./loop.sh --run night --trials 1000 --hours 8 --proposer search --push backup
  ANTHROPIC_API_KEY=… ./loop.sh --run llm --trials 200 --hours 8 --proposer mix --budget-usd 20
  .venv/bin/python -m experiments status --run night --watch
HELP
  exit
fi

for tool in git make "${PYTHON:-python3}"; do
  command -v "$tool" >/dev/null || { echo "loop.sh: $tool is missing; install it and start again" >&2; exit 2; }
done
make --silent setup
if [[ -n ${ANTHROPIC_API_KEY:-} ]]; then          # out of the environment before anything runs next to a trial
  exec .venv/bin/python experiments/credentials.py ./loop.sh "$@"
fi
.venv/bin/python -m experiments doctor "$@"

stop='' controller=''
trap '' HUP PIPE                                  # a closed laptop or a lost connection does not end a night
trap 'stop=1' INT                                 # Ctrl-C reaches the controller too, and it ends in order
trap 'stop=1; kill -TERM $controller 2>/dev/null || true' TERM

session="$(date +%s).$$"
pause=1
for ((tries = 0; tries < 20; tries++)); do
  began=$SECONDS
  .venv/bin/python -m experiments run --session "$session" "$@" &
  controller=$!
  while :; do                                     # a trapped signal ends a wait early
    code=0
    wait "$controller" || code=$?
    kill -0 "$controller" 2>/dev/null || break
  done
  case $code in 0 | 2 | 130) exit "$code" ;; esac # done, a person must act, Ctrl-C
  [[ -z $stop ]] || exit 130
  echo "loop.sh: the controller ended with status $code; it is started again in $pause s" >&2 || true
  sleep "$pause" &
  wait $! || { kill $! 2>/dev/null || true; }
  [[ -z $stop ]] || exit 130
  # The controller itself counts starts without a settled trial; this pause is for one that does not get that far.
  if ((SECONDS - began > 5 + pause)); then pause=1 tries=0; else pause=$((pause < 150 ? 2 * pause : 300)); fi
done
echo "loop.sh: the controller ended $tries times within seconds; see trials/*/loop.log" >&2 || true
exit 1
