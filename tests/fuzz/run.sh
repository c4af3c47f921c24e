#!/usr/bin/env bash
# Fuzzes one target: tests/fuzz/run.sh TARGET [SECONDS] [libFuzzer's own flags]. What it finds worth
# keeping goes to tests/fuzz/target/found/TARGET, a crash to tests/fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=${2:-300}
shift $(($# < 2 ? $# : 2))
# The dependencies that ship, not those of today.
cp Cargo.lock tests/fuzz/Cargo.lock
mkdir -p "tests/fuzz/target/found/$target"
# No sanitizer: there is no `unsafe` of ours, and stable Rust has none.
exec cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
  "tests/fuzz/target/found/$target" "tests/fuzz/corpus/$target" -- \
  -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 "$@"
