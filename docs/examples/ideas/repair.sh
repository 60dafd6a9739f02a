#!/bin/sh
# Repairs what the check found. The issue comes on standard input; standard output becomes repairs/$SPRAG_KEY.json.
set -eu

issue=$(cat)
idea=$(printf '%s\n' "$issue" | sed -n 's/.*"idea": *"\([^"]*\)".*/\1/p')
lines=$(printf '%s\n' "$issue" | sed -n 's/.*"lines": *\([0-9]*\).*/\1/p')

printf '{"id": "%s", "idea": "%s", "lines_before": %d, "lines": %d}\n' "$SPRAG_KEY" "$idea" "$lines" $((lines / 2))
