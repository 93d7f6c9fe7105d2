# shellcheck shell=bash
# Sourced by the scripts beside it: numbered steps with elapsed time, long output in log files that are shown only when
# something fails, and a progress line while a build runs.

# Plugins in a directory that others may write to are refused: what is built here must not depend on the user's umask.
umask 022

steps_total=1
step_number=0
step_started=0
logs=.build/logs

# die MESSAGE…: says what is wrong and ends.
die() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# elapsed SECONDS: 7s, 3m07s.
elapsed() {
  if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi
}

# step TEXT…: announces the next step.
step() {
  step_number=$((step_number + 1))
  step_started=$SECONDS
  printf '[%d/%d] %s…\n' "$step_number" "$steps_total" "$*"
}

# step_done [TEXT…]: ends the step with the time it took.
step_done() {
  printf '      %s (%s)\n' "${*:-done}" "$(elapsed $((SECONDS - step_started)))"
}

# show_progress LOG PID: until PID ends, what LOG says last, on one line of a terminal, else every 30 seconds; nothing where
# `quiet` is set, for what runs beside another.
show_progress() {
  [[ -z ${quiet:-} ]] || return 0
  local last shown=$SECONDS
  while kill -0 "$2" 2>/dev/null; do
    sleep 0.3
    last=$(tail -c 4096 "$1" | tr '\r' '\n' | grep -E '^\[[0-9]+/[0-9]+\]|^(Fetch|Creating|Comput|Updat)' | tail -n 1) || true
    if [[ -t 1 ]]; then
      printf '\r\033[K      %s  %.60s' "$(elapsed $((SECONDS - step_started)))" "$last"
    elif ((SECONDS - shown >= 30)); then
      shown=$SECONDS
      printf '      %s  %.60s\n' "$(elapsed $((SECONDS - step_started)))" "$last"
    fi
  done
  if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

# logged NAME COMMAND…: runs the command with its output in a log file; shows the end of it if the command fails.
logged() {
  local log=$logs/$1.log pid status=0
  shift
  mkdir -p "$logs"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # A foreground child would get the terminal's interrupt; this one has to be told.
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  show_progress "$log" "$pid"
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status != 0)); then
    printf '\n--- the end of %s ---\n' "$log" >&2
    { grep -nE 'error:|✘' "$log" | head -n 40 && printf -- '---\n'; } >&2 || true
    tail -n 40 "$log" >&2
    printf -- '---\n' >&2
    die "\"$*\" failed with status $status; all of its output is in $log"
  fi
}
