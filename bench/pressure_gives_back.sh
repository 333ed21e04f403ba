#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Goal: however `scoot-bench pressure` ends, it leaves no cgroup and no process behind.
# Method: ends it in the middle of a trial, by a signal that it could catch and by one that nobody can; its group, which
# scootd is in by then, must be gone a few seconds later. Takes scoot-bench and scootd. 77: there are no cgroups for us.
set -euo pipefail
bench=$1 scootd=$2
v1=/sys/fs/cgroup/memory
root=$([ -e $v1/memory.limit_in_bytes ] && echo $v1 || echo /sys/fs/cgroup)

# wait_for SECONDS COMMAND..: true once the command is.
wait_for() {
  local tries=$(($1 * 20))
  shift
  until "$@"; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.05
  done
}
busy() { [ "$(cat "$root/scoot-bench-$process-"*/cgroup.procs 2>/dev/null | wc -l)" -ge 2 ]; }
gone() { ! compgen -G "$root/scoot-bench-$process-*" >/dev/null; }
# A process that ended, but was not waited for, has no command line any more.
ended() { [ -z "$(tr -d '\0' 2>/dev/null <"/proc/$1/cmdline")" ]; }

for signal in TERM KILL; do
  "$bench" pressure --scootd "$scootd" --no-swap --arms none --rates 64 &
  process=$!
  if ! wait_for 20 busy; then
    if ! ended $process; then
      kill -KILL $process
      echo "no trial began"
      exit 1
    fi
    status=0
    wait $process || status=$?
    exit $status # 77 where it skips
  fi
  children=$(cat "$root/scoot-bench-$process-"*/cgroup.procs)
  kill -$signal $process
  wait_for 10 gone || { echo "SIG$signal leaves a group behind"; exit 1; }
  for child in $children; do
    wait_for 5 ended "$child" || { echo "SIG$signal leaves process $child behind"; exit 1; }
  done
  echo "SIG$signal: all is given back"
done
