#!/bin/sh
# Implements one idea. The idea comes on standard input; what goes to standard output becomes
# implementations/$SPRAG_KEY.json, as a whole and only when this script succeeds. Everything else goes to the log.
set -eu

idea=$(cat)
title=$(printf '%s\n' "$idea" | sed -n 's/.*"title": *"\([^"]*\)".*/\1/p')

case $SPRAG_KEY in
flaky-feed)
    # Fails twice, then works: sprag tries again, each time after a longer wait.
    if [ "$SPRAG_ATTEMPT" -lt 3 ]; then
        echo "the feed did not answer" >&2
        exit 1
    fi
    ;;
perpetual-motion)
    # Never works: 65 stands in `permanent_exit_codes`, so sprag gives the job up and goes on with the others.
    echo "physics says no" >&2
    exit 65
    ;;
esac

sleep 1 # The work.

implementation=$(printf '{"id": "%s", "title": "%s", "lines": %d}' "$SPRAG_KEY" "$title" $((${#title} * 3)))
printf '%s\n' "$implementation" | sh check.sh
printf '%s\n' "$implementation"
