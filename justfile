# What there is to do here: `just --list`. CI is `just ci`.

# Build the program.
build:
    cargo build --release --locked

# Format, dependencies, lint, component, tests: everything that CI checks.
ci:
    .ci/run

# Unit, property and black-box tests.
test:
    cargo test --workspace

# Warnings are errors.
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# Licences, duplicates and sources of the dependencies, and known vulnerabilities (needs a network).
deny:
    .ci/deny licenses bans sources advisories

format:
    cargo fmt --all
    cargo fmt --manifest-path examples/wasm-agent/Cargo.toml

# Rebuild the component after a change of guest/ or wit/. Needs: rustup target add wasm32-unknown-unknown
guest:
    guest/build

# Compare the committed component with what its source gives.
guest-check:
    .ci/component

# Kill batches ten thousand times at random moments: nothing is lost, done twice or left running.
kills count="10000":
    tests/kills {{count}}

# Take the power away hundreds of times, over a file system that drops what was not synced. Needs /dev/fuse.
power-loss count="600":
    cargo build --workspace --bins --tests
    "${CARGO_TARGET_DIR:-target}"/debug/power-loss {{count}}

# Kill every command at every system call that changes something: see `syscall-kills --help`.
syscall-kills *args:
    cargo build --release --workspace --bins
    target/release/syscall-kills {{args}}

# Speed, size and memory, against other tools in the same run where they are installed.
bench:
    cargo build --release
    tests/bench
