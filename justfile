# Recipes call cargo's aliases, which need neither just nor anything else. `just` lists them.

_list:
    @just --list --unsorted

# A tour of Mill on this machine; leaves it running
demo:
    cargo demo

# Everything that must pass
test:
    cargo prove

# Format, lints, licences, documentation, the rules of the house
check:
    cargo xtask check

# The simulation: just sim SEEDS=100000, or just sim SEED=17 to see one again
sim *ARGS="SEEDS=2000":
    #!/usr/bin/env bash
    set -euo pipefail
    options=()
    for argument in {{ ARGS }}; do
        case "$argument" in
            SEEDS=*) options+=(--seeds "${argument#*=}") ;;
            SEED=*) options+=(--seed "${argument#*=}") ;;
            *) options+=("$argument") ;;
        esac
    done
    cargo xtask sim "${options[@]}"

# End-to-end stories, by name or all: just e2e deploy_hello
e2e *NAMES:
    cargo xtask e2e {{ NAMES }}

# Everything in full counts: an hour or more
prove-long:
    cargo xtask prove-long

# Measurements beside the peers
bench:
    cargo xtask bench
