#!/usr/bin/env bash
# Fuzzes one target: tests/fuzz/run.sh TARGET [SECONDS] [libFuzzer's own flags]. Inputs worth keeping
# for the next run go to target/fuzz/found/TARGET, one that breaks the property to
# tests/fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=${2:-300}
shift $(($# < 2 ? $# : 2))
# The dependencies that ship, not those of today.
cp Cargo.lock tests/fuzz/Cargo.lock
mkdir -p "target/fuzz/found/$target"
# No sanitizer: none of it is ours that is unsafe, and stable Rust has none.
exec cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none "$target" \
  "target/fuzz/found/$target" "tests/fuzz/corpus/$target" -- \
  -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 "$@"
