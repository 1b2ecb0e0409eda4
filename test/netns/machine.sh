#!/bin/sh
# machine.sh ROOT WORK NAMESPACE CGROUP: boots systemd as the first process of a machine of its own, until it is killed.
#
#   ROOT       a Debian as a folder; nothing is written to it
#   WORK       an empty folder: what the machine writes, in memory
#   NAMESPACE  the network namespace that it lives in
#   CGROUP     an empty group of the unified hierarchy: the root of the machine's
set -e
root=$1 work=$2 namespace=$3 cgroup=$4

if [ "$5" != inside ]; then
	echo $$ >"$cgroup/cgroup.procs"
	exec nsenter --net="/run/netns/$namespace" unshare --mount --pid --fork --kill-child --uts --ipc --cgroup \
		sh "$0" "$root" "$work" "$namespace" "$cgroup" inside
fi

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$work"
mkdir "$work/upper" "$work/own" "$work/root"
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/own" overlay "$work/root"
cd "$work/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty net/tun; do
	mkdir -p "dev/${device%/*}" 2>/dev/null || true
	case $device in */*) ;; *) rmdir "dev/$device" 2>/dev/null || true ;; esac
	: >"dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
mkdir -p dev/shm dev/pts before
hostname machine
pivot_root . before
umount -l /before
exec env -i container=yoke PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target </dev/null
