#!/bin/sh
# Checks the implementation on standard input and notes what is wrong with it in QAissue.json.
#
# Two checks may run at once, and each may be killed and run again at any point; no lock is needed. Each notes its issue
# in a file of its own, then writes the list from all of these files, then looks whether another one came meanwhile.
set -eu

lines=$(sed -n 's/.*"lines": *\([0-9]*\).*/\1/p')
[ "$lines" -gt 60 ] || exit 0
echo "too long: $lines lines" >&2

mkdir -p issues
issue=$(printf '{"id": "%s-too-long", "idea": "%s", "lines": %d}' "$SPRAG_KEY" "$SPRAG_KEY" "$lines")
printf '%s\n' "$issue" >"issues/.$SPRAG_KEY"
mv -f "issues/.$SPRAG_KEY" "issues/$SPRAG_KEY"

noted=
while [ "$noted" != "$(ls issues)" ]; do
    noted=$(ls issues)
    (cd issues && cat $noted) | awk '
        { printf "%s%s", (NR == 1 ? "[\n" : ",\n"), $0 }
        END { print "\n]" }' >"QAissue.json.$SPRAG_JOB"
    mv -f "QAissue.json.$SPRAG_JOB" QAissue.json
done
