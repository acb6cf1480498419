# shellcheck shell=bash
# The first process of the namespaces that a private engine lives in. It does what
# it is told on stdin, one line each, and answers each with a line. When stdin
# ends, because the test has ended or was killed, it takes away all there is.
#
# Arguments: the engine's folder, its control group, an option of the daemon's or
# nothing, and the size of its disk if that is to be one of its own.
set -u
# It ends by killing everybody whom it can see.
[ "$$" = 1 ] || exit
folder=$1 group=$2 option=$3 size=${4:-}
engine=''

# Without the machine's own /run there is no containerd to be found but ours, and
# no socket, lock or pid file to be shared.
mount -t tmpfs tmpfs /run || exit
mkdir -p /run/lock "$folder/data" || exit
[ -z "$size" ] || mount -t tmpfs -o "size=$size" tmpfs "$folder/data" || exit

# Where root in a container is to be another user, there has to be a range of users,
# which is written down for this engine alone, and the way to its files be open.
case $option in
    --userns-remap=*)
        echo nobody:300000:65536 >/run/users && echo nogroup:300000:65536 >>/run/users &&
            mount --bind /run/users /etc/subuid && mount --bind /run/users /etc/subgid &&
            chmod 711 "$folder" || exit
        ;;
esac

# Whoever tries to reach the internet is to hear at once that there is none.
echo 0 >/proc/sys/net/ipv4/icmp_ratelimit || exit

join() {
    ip link set lo up && ip address add "$1/32" dev eth0 && ip link set eth0 up &&
        ip route add "$2/32" dev eth0 src "$1"
}

# What a killed daemon left would keep the next one from starting; but it has to
# find the containers again, to end them or to let them go on.
start() {
    rm -f /run/docker.pid "$folder/docker.sock" \
        /run/docker/containerd/containerd.pid /run/docker/containerd/*.sock*
    dockerd ${option:+"$option"} --host "unix://$folder/docker.sock" --data-root "$folder/data" \
        --cgroup-parent "/$group" --exec-opt native.cgroupdriver=cgroupfs \
        --bip 10.214.0.1/24 --default-address-pool base=10.214.128.0/17,size=24 \
        >>"$folder/engine.log" 2>&1 &
    engine=$!
}

stop() {
    kill -KILL "$engine"
    wait "$engine"
}

groups() { awk -v "group=$group" '$3 ~ /^cgroup/ { print $2 "/" group }' /proc/self/mounts; }

remove_groups() {
    local path left=0
    for path in $(groups); do
        [ ! -d "$path" ] || find "$path" -depth -type d -exec rmdir {} \; 2>/dev/null
        [ ! -d "$path" ] || left=1
    done
    return "$left"
}

remove_all() {
    local at tries=0
    kill -KILL -1
    while read -r _ at _; do
        case $at in "$folder"/*) umount --lazy "$at" ;; esac
    done </proc/self/mounts
    rm -rf "$folder"
    # A group can be removed once the last of its processes has let go of it.
    until remove_groups || [ "$((tries += 1))" -gt 100 ]; do sleep 0.1; done
}

# What is said from here on, of killed processes too, is for whoever reads the log.
exec 2>>"$folder/engine.log"
echo ready
while read -r order first second; do
    case $order in
        join) join "$first" "$second" && echo joined ;;
        start) start && echo started ;;
        kill)
            stop
            echo killed
            ;;
        pause) kill -STOP "$engine" && echo paused ;;
        resume) kill -CONT "$engine" && echo resumed ;;
    esac
done
remove_all
