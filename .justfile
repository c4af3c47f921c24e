# What there is
[private]
default:
    @just --justfile .justfile --list

# Every test; with real clients and servers once tests/real/install.sh was run
test *args:
    cargo test --locked {{ args }}

# Formatting, lints, dependencies
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- --deny warnings
    cargo deny --config .deny.toml check

# Against a bare hyper pass-through and nginx
bench *args:
    cargo bench --locked --bench proxy {{ args }}

# One property for so many seconds, on any bytes
fuzz target seconds="300" *args:
    tests/fuzz/run.sh {{ target }} {{ seconds }} {{ args }}

# The proxy, with the settings in ./proxy.toml
run *args:
    cargo run --locked --release -- {{ args }}

# Mixed traffic with faults for so many minutes; before it, the minute of keep-alive that no suite has time for
soak minutes="60":
    cargo test --locked --test it -- --ignored a_minute_before
    cargo bench --locked --bench soak -- --minutes {{ minutes }}
