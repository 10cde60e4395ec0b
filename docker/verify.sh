#!/usr/bin/env bash
# Runs an image of the service and tells whether it is as it should be. Its output is a transcript; 0 means that all
# checks held. Knows the image, and of this repository the built-in model.
#
#   docker/verify.sh u2matte:cpu
#   docker/verify.sh u2matte:gpu -- --gpus all         options after -- go to `docker run`
#   docker/verify.sh u2matte:gpu --device cpu          the GPU image on a host without one
#   docker/verify.sh u2matte:cpu --engine buildah      as root, where there is neither Docker nor Podman
#   docker/verify.sh u2matte:cpu --photo portrait.jpg  with this photo instead of a drawn one
#
# Two containers run one after the other: the image as it is, and one as an arbitrary user of group 0 (as OpenShift
# does) with a model mounted at /models/mine. Root is read-only and /tmp a tmpfs in both, all capabilities are dropped
# and none can be won back.
#
# shellcheck disable=SC2016 # What stands in single quotes is for a shell in the container.
set -euo pipefail

usage() {
    sed -n '5,9s/^# *//p' "$0" >&2
    exit 2
}

image=
engine=
device=
photo=
while [ $# -gt 0 ]; do
    case $1 in
    --engine) engine=${2:?} && shift 2 ;;
    --device) device=${2:?} && shift 2 ;;
    --photo) photo=${2:?} && shift 2 ;;
    --) shift && break ;;
    -*) usage ;;
    *) [ -z "$image" ] || usage; image=$1 && shift ;;
    esac
done
run_options=("$@")
[ -n "$image" ] || usage
for each in docker podman buildah; do
    [ -n "$engine" ] || { "$each" info >/dev/null 2>&1 && engine=$each; }
done
case $engine in docker | podman | buildah) ;; *) usage ;; esac

here=$(cd "$(dirname "$0")" && pwd)
artifact=$here/../model/artifacts/portrait
work=$(mktemp -d)
failures=0

say() { printf '%s\n' "$*"; }
passed() { say "ok    $*"; }
failed() { say "FAIL  $*" && failures=$((failures + 1)); }
expect() { # DESCRIPTION COMMAND...
    local description=$1 output
    shift
    if output=$("$@" 2>&1); then passed "$description${output:+: $output}"; else failed "$description: $output"; fi
}
refuse() { # DESCRIPTION SCRIPT: what the script in the container finds must not be there
    local output
    if output=$(inside sh -c "if { $2; }; then exit 1; fi" 2>/dev/null); then passed "$1"; else failed "$1: $output"; fi
}

# --- engines: start USER MOUNT VARIABLE..., inside COMMAND..., finish, logs, remove

started_in_docker() {
    local user=$1 mount=$2 name=$3
    shift 3
    local options=(--detach --name "$name" --read-only --tmpfs /tmp --cap-drop ALL
        --security-opt no-new-privileges --network none)
    [ -z "$user" ] || options+=(--user "$user")
    [ -z "$mount" ] || options+=(--volume "$mount:/models/mine:ro")
    for each in "$@"; do options+=(--env "$each"); done
    "$engine" run "${options[@]}" ${run_options[@]+"${run_options[@]}"} "$image" >/dev/null
}

# Without an engine: the image's file system mounted read-only, in namespaces of its own, the network's among them, with
# the image's own entry point as process 1.
started_in_buildah() {
    local user=$1 mount=$2
    shift 2
    container=$(buildah from --pull-never "$image")
    root=$(buildah mount "$container")
    config() { buildah inspect --type image --format "{{range .OCIv1.Config.$1}}{{println .}}{{end}}" "$image"; }
    mapfile -t variables < <(config Env | sed '/^$/d')
    mapfile -t command < <({ config Entrypoint && config Cmd; } | sed '/^$/d')
    user=${user:-$(buildah inspect --type image --format '{{.OCIv1.Config.User}}' "$image")}
    account=$user
    variables+=("$@")
    unshare --mount --pid --net --fork --kill-child bash -euc '
        root=$1 mount=$2 account=$3
        shift 3
        ip link set lo up
        mount --make-rprivate /
        mount --bind "$root" "$root"
        if [ -n "$mount" ]; then
            mkdir -p "$root/models/mine"
            mount --bind "$mount" "$root/models/mine"
            mount -o remount,ro,bind "$root/models/mine"
        fi
        mount -o remount,ro,bind "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs "$root/tmp"
        exec chroot --userspec="$account" --groups= "$root" setpriv --no-new-privs env --ignore-environment "$@"
    ' verify "$root" "$mount" "$account" "${variables[@]}" "${command[@]}" >"$work/log" 2>&1 &
    outer=$!
    until process=$(pgrep --parent "$outer"); do
        kill -0 "$outer" || { cat "$work/log" && exit 1; }
    done
}

start() { # USER MOUNT VARIABLE...
    [ -z "$device" ] || set -- "$@" "MATTE_DEVICE=$device"
    local user=$1 mount=$2
    shift 2
    container=u2matte-verify-$$
    if [ "$engine" = buildah ]; then started_in_buildah "$user" "$mount" "$@"; else
        started_in_docker "$user" "$mount" "$container" "$@"
    fi
}

inside() {
    if [ "$engine" = buildah ]; then
        nsenter --target "$process" --mount --pid --net chroot --userspec="$account" --groups= "$root" \
            setpriv --no-new-privs env --ignore-environment "${variables[@]}" "$@"
    else
        "$engine" exec --interactive "$container" "$@"
    fi
}

alive() {
    if [ "$engine" = buildah ]; then kill -0 "$process" 2>/dev/null; else
        [ "$("$engine" inspect --format '{{.State.Running}}' "$container")" = true ]
    fi
}

finish() { # Sends SIGTERM to process 1; `status` is its exit status, or "killed" when it took longer than 40 s.
    if [ "$engine" = buildah ]; then
        kill -TERM "$process"
        if timeout 40 tail --pid="$process" -f /dev/null; then
            status=0
            wait "$outer" || status=$?
        else
            status=killed
            kill -KILL "$process"
        fi
    else
        "$engine" stop --time 40 "$container" >/dev/null
        status=$("$engine" inspect --format '{{.State.ExitCode}}' "$container" | sed 's/^137$/killed/')
    fi
}

logs() { if [ "$engine" = buildah ]; then cat "$work/log"; else "$engine" logs "$container" 2>&1; fi; }

remove() {
    [ -n "${container:-}" ] || return 0
    if [ "$engine" = buildah ]; then
        kill -KILL "${process:-0}" 2>/dev/null || true
        wait "${outer:-}" 2>/dev/null || true
        buildah umount "$container" >/dev/null && buildah rm "$container" >/dev/null
    else
        "$engine" rm --force "$container" >/dev/null
    fi
    container=
}
trap 'remove; rm -rf "$work"' EXIT

# --- checks

ready() { # By the image's own health check, for at most two minutes.
    local begun=$SECONDS
    until inside python /opt/healthcheck.py >"$work/health" 2>&1; do
        if ! alive || [ $((SECONDS - begun)) -gt 120 ]; then
            failed "ready: after $((SECONDS - begun)) s it is not, or has ended: $(cat "$work/health")"
            logs | tail -n 20
            exit 1
        fi
        sleep 0.5
    done
    passed "ready after $((SECONDS - begun)) s: $(cat "$work/health")"
}

post() {
    local client
    client=$(<"$here/verify_client.py")
    if [ -n "$photo" ]; then inside python -c "$client" given <"$photo"; else
        inside python -c "$client" drawn </dev/null
    fi
}

check_posts() {
    local output
    if output=$(post 2>&1); then while read -r line; do passed "$line"; done <<<"$output"; else failed "$output"; fi
}

check_stop() {
    local begun=$SECONDS
    finish
    if [ "$status" = 0 ]; then passed "SIGTERM: exit status 0 within $((SECONDS - begun + 1)) s"; else
        failed "SIGTERM: exit status $status"
        logs | tail -n 20
    fi
}

say "# $image, by $engine${device:+, MATTE_DEVICE=$device}"
if [ "$engine" = buildah ]; then
    say "size  $(buildah images --format '{{.Size}}' "$image")"
    health=$(buildah inspect --type image --format '{{.Docker.Config.Healthcheck}}' "$image")
    labels=$(buildah inspect --type image --format '{{.OCIv1.Config.Labels}}' "$image")
else
    say "size  $("$engine" image inspect --format '{{.Size}}' "$image") bytes"
    health=$("$engine" image inspect --format '{{.Config.Healthcheck}}' "$image")
    labels=$("$engine" image inspect --format '{{.Config.Labels}}' "$image")
fi
expect "the image has a health check" grep healthcheck.py <<<"$health"
expect "labels" grep -o 'org.opencontainers.image.[vr][a-z]*:[^ ]*' <<<"$labels"

say "# as it is"
start "" ""
ready
expect "process 1" inside cat /proc/1/comm
expect "user is not root" inside sh -c 'id && [ "$(id -u)" != 0 ]'
expect "no capability is left" inside sh -c 'grep -q "^CapEff:\s*0*$" /proc/self/status'
refuse "root cannot be written" 'echo x >/probe || echo x >/opt/probe || echo x >/var/tmp/probe'
expect "/tmp can be written" inside sh -c 'echo x >/tmp/probe && rm /tmp/probe'
refuse "no compiler" 'command -v gcc || command -v cc || command -v c++ || command -v clang || command -v tcc'
refuse "no pip beside the service" 'python -c "import pip"'
refuse "no file lends root's rights" 'find / -xdev -type f -perm /6000 2>/dev/null | grep .'
refuse "no bytecode is missing" \
    'cd /opt/venv/lib/python3*/site-packages && find app model -name "*.py" | while read -r f; do
        ls "$(dirname "$f")/__pycache__/$(basename "$f" .py)".*.pyc >/dev/null 2>&1 || echo "$f"; done | grep .'
check_posts
check_stop
remove

say "# as user 12345 of group 0, with another model mounted"
start 12345:0 "$artifact" MATTE_MODEL_DIR=/models/mine
ready
expect "user" inside sh -c 'id -u && [ "$(id -u)" = 12345 ]'
refuse "root cannot be written" 'echo x >/probe || echo x >/opt/probe || echo x >/var/tmp/probe'
expect "the service reads the mounted model" inside python -c \
    'import os; print(os.environ["MATTE_MODEL_DIR"]); assert os.path.exists("/models/mine/manifest.json")'
check_posts
check_stop
remove

if [ "$failures" = 0 ]; then say "# all checks held"; else
    say "# $failures checks failed"
    exit 1
fi
