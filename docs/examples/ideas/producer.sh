#!/bin/sh
# Has ideas, a few a second, and writes all of them down each time: ideas_log.json is replaced as a whole (a temporary
# file, then a rename), so that nobody ever reads half of it. Run again, it has no new ideas and changes nothing.
set -eu

ideas() {
    cat <<'END'
{"id": "tide-table", "title": "Tell the tide"}
{"id": "bird-song", "title": "Name a bird by its song, even in rain"}
{"id": "flaky-feed", "title": "Read the feed"}
{"id": "night-bus", "title": "Find the way home after the last train has gone"}
{"id": "perpetual-motion", "title": "Never stop"}
{"id": "seed-swap", "title": "Swap seeds"}
{"id": "shadow-clock", "title": "Read the hour off a shadow"}
END
}

# Replaces a file by what comes on standard input.
replace() {
    cat >"$1.new"
    mv -f "$1.new" "$1"
}

# The checker adds to this one; it is there from the start, so that its source is never missing.
[ -e QAissue.json ] || echo '[]' | replace QAissue.json

known=$(grep -c '"id"' ideas_log.json 2>/dev/null || true)
for count in 2 4 5 7; do
    [ "$count" -gt "${known:-0}" ] || continue
    ideas | awk -v count="$count" '
        NR <= count { printf "%s%s", (NR == 1 ? "[\n" : ",\n"), $0 }
        END { print "\n]" }' | replace ideas_log.json
    echo "$count ideas so far"
    [ "$count" -eq 7 ] || sleep 1
done
