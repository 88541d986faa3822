# A node of a test's own, held by this script: processes, network, file systems and cgroups. It ends, and all that runs
# in it, at end of file on standard input, also when the test is killed.
# usage: node.sh FOLDER (an empty one)
set -euo pipefail

# From within: mounts over everything that runtimes write to, then the node waits.
inside() {
    # the pid that others know: /proc is still theirs
    read -r pid _ </proc/self/stat
    mount -t proc proc /proc
    mkdir "$1/layers"
    mount -t tmpfs layers "$1/layers"
    mkdir "$1/layers/upper" "$1/layers/work"
    mount -t overlay etc -o "lowerdir=/etc,upperdir=$1/layers/upper,workdir=$1/layers/work" /etc
    for folder in /run /opt /var/lib /var/log /var/tmp /dev/shm; do
        mount -t tmpfs node "$folder"
    done
    mkdir /run/lock
    umount -R /sys/fs/cgroup
    mount_cgroups
    ip link set lo up
    echo "$pid"
    # the shell is pid 1 here, and reaps what others leave behind
    read -r _ || true
}

# The cgroup namespace shows the node's own groups as the roots.
mount_cgroups() {
    local groups group controllers
    mapfile -t groups </proc/self/cgroup
    if [[ "${groups[*]}" == 0::* ]]; then
        mount -t cgroup2 cgroup /sys/fs/cgroup
        # a group that hands controllers on has no processes
        mkdir /sys/fs/cgroup/init
        echo 1 >/sys/fs/cgroup/init/cgroup.procs
        return
    fi
    mount -t tmpfs cgroup /sys/fs/cgroup
    for group in "${groups[@]}"; do
        IFS=: read -r _ controllers _ <<<"$group"
        [[ $controllers ]] || continue
        mkdir "/sys/fs/cgroup/${controllers#name=}"
        [[ $controllers != name=* ]] || controllers=none,$controllers
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/${controllers##*name=}"
    done
}

if [[ ${2-} == inside ]]; then
    inside "$1"
    exit
fi

# a terminal's interrupt is for the test; its end is what counts here
trap '' HUP INT TERM
mapfile -t groups </proc/self/cgroup
own=()
for group in "${groups[@]}"; do
    IFS=: read -r _ controllers path <<<"$group"
    hierarchy=/sys/fs/cgroup/${controllers#name=}
    # beside version 1, version 2 has no controllers
    [[ $controllers || ${#groups[@]} == 1 ]] || continue
    parent=${hierarchy%/}${path%/}
    group=$parent/firewallnetns-test-$$
    mkdir "$group"
    own+=("$group")
    if [[ -e $group/cpuset.cpus && $controllers ]]; then
        cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
        cat "$parent/cpuset.mems" >"$group/cpuset.mems"
    fi
    echo $$ >"$group/cgroup.procs"
done

status=0
unshare --cgroup --fork --ipc --mount --pid --uts bash "$0" "$1" inside || status=$?

for group in "${own[@]}"; do
    echo $$ >"${group%/*}/cgroup.procs"
    # the kernel takes some time to forget the dead
    for ((try = 0; try < 500; try++)); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.01
    done
    [[ ! -e $group ]]
done
exit "$status"
