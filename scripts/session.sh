# shellcheck shell=bash
# For `make run`, `make test`, `make soak` and `make bench`: services of their own, which are
# gone afterwards however it ends. Sourced; expects `title` to be set.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
title=${title:?}
state=${WORKER_STATE_DIR:-$root/.services}/$title
export WORKER_STATE_DIR=$state
# A network of its own, by which the workers that a killed manager or test left
# behind are found, and nobody else's are.
WORKER_NETWORK=worker-$title-$(printf '%s' "$root" | sha256sum | cut -c1-6)
export WORKER_NETWORK
background=()
open_stage=

say() { printf '%s: %s\n' "$title" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# Two at once in one checkout would stop each other's Redis. Background programs
# must not inherit descriptor 8, or they would keep the lock.
lock_session() {
    mkdir -p "$state"
    exec 8>"$state.lock"
    flock --nonblock 8 || die "another make $title is under way in this checkout"
}

# stage NAME COMMAND…. Not with `||` behind the command: that would switch off
# `set -e` within it. The end of the session names a stage that was left open.
stage() {
    local started=$SECONDS
    open_stage=$1
    shift
    say "$open_stage …"
    "$@" 8>&-
    say "$open_stage: ok, $((SECONDS - started)) s"
    open_stage=
}

# The base image waits for the network, the build for the processor: they share
# the time. What a killed session left behind goes first.
services_and_build() {
    remove_workers
    scripts/services down
    rm -rf "$state"
    mkdir -p "$state"
    scripts/services up 8>&- &
    local services=$! status=0
    scripts/build || status=$?
    wait "$services" || die "the services did not start"
    [ "$status" = 0 ] || die "the build failed"
    local exports
    exports=$(scripts/services env)
    eval "$exports"
}

# start NAME COMMAND…: in the background, with a log in the state directory, and
# a process group of its own, so that it ends with all that it has started.
start() {
    local name=$1
    shift
    setsid "$@" >"$state/$name.out" 2>"$state/$name.log" 8>&- &
    background+=($!)
}

# wait_until SECONDS COMMAND…
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# The last started ends first: the manager before what it talks to.
end_background() {
    local index pid
    for ((index = ${#background[@]} - 1; index >= 0; index--)); do
        pid=${background[index]}
        kill -- "-$pid" 2>/dev/null || kill "$pid" 2>/dev/null || continue
        wait_until 30 gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
}

# What runs beside a worker is on the network, and the worker is on its address;
# the two share volumes that are named after the worker.
remove_workers() {
    local gateways gateway namespace worker
    gateways=$(timeout 20 docker ps --all --format '{{.Names}}' --filter "network=$WORKER_NETWORK" \
        --filter label=io.worker-manager.gateway 2>/dev/null) || return 0
    for gateway in $gateways; do
        say "removing $gateway and its workers"
        namespace=${gateway%-gateway}
        docker rm --force "$gateway" "$gateway-trial" >/dev/null 2>&1 || true
        docker network rm "$gateway-trial-network" >/dev/null 2>&1 || true
        for worker in $(docker ps --all --format '{{.Names}}' \
            --filter "label=io.worker-manager.namespace=$namespace" 2>/dev/null); do
            docker rm --force --volumes "$worker" "$worker-companion" >/dev/null 2>&1 || true
            docker network rm "$worker-network" >/dev/null 2>&1 || true
            docker volume rm --force "$worker-home" "$worker-shared" "$worker-state" \
                >/dev/null 2>&1 || true
        done
    done
}

end_session() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    [ -z "$open_stage" ] || say "FAILED: $open_stage"
    # An `up` may still be running when the build has failed.
    wait_for_services
    end_background
    remove_workers
    scripts/services down || status=1
    exit "$status"
}

wait_for_services() {
    local pid
    for pid in $(jobs -p); do
        case " ${background[*]:-} " in
        *" $pid "*) ;;
        *)
            say "waiting for the services to be up, so that they can be stopped"
            wait "$pid" || true
            ;;
        esac
    done
}

lock_session
trap end_session EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
