#!/bin/bash
# What the guest is for. A line that begins with @ is for the host (xtask/src/vm/word.rs), the rest is the tests' own.
say() {
  printf '@%s\n' "$*"
}

# list NAME PROGRAM ARGUMENT…: says every test that PROGRAM has.
list() {
  local name=$1 line
  shift
  while read -r line; do
    case $line in
    *': test') say test "$name/${line%: test}" ;;
    esac
  done < <("$@" --list --format terse)
}

# run NAME PROGRAM ARGUMENT…: runs tests, and says how that ended. What they print past their runner goes to the console: here it
# could come between a test's name and its result.
run() {
  local name=$1
  shift
  say run "$name"
  "$@" 2>/dev/console
  say ran "$?"
}

cd "$CHECKOUT" || exit
say release "$(uname -r)"
# What this kernel's verifier says of the programs is read from here.
say check
"$BUILT/conngate" check -o json
say checked "$?"
. /run/job/runs
say end
