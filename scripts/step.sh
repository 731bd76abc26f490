#!/bin/sh
# Runs one step of the build on one line of output: what it does, a dot every two seconds, how long it took.
# What the command prints is shown only when it fails; the exit code is the command's.
#   step.sh TITLE COMMAND [ARGUMENT...]
set -u

title=$1
shift
log=$(mktemp)
ticker=
trap 'kill $ticker 2>/dev/null; rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start=$(date +%s)
printf 'prism: %s ' "$title"
(while sleep 2 >/dev/null 2>&1; do printf .; done) &  # a sleep left over holds no pipe open
ticker=$!
"$@" >"$log" 2>&1 </dev/null
code=$?
kill "$ticker" 2>/dev/null
wait "$ticker" 2>/dev/null
took=$(($(date +%s) - start))
if [ "$code" = 0 ]; then
    echo " $took s"
else
    echo " failed after $took s:"
    cat "$log" >&2
fi
exit "$code"
