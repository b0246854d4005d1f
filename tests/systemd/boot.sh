#!/bin/sh
# Become the init of a machine of its own: `boot.sh FOLDER PYTHON SITE SOURCE`, run in new namespaces (see machine.py).
# The machine sees this one's files through an overlay, changes none of them, and has devices, network and processes of its own.
set -e
folder=$1 python=$2 site=$3 source=$4
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder/layers"
root=$folder/layers/root
mkdir "$folder/layers/upper" "$folder/layers/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" "$root"
: >"$root/etc/fstab"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$place"; done
chmod 1777 "$root/tmp"
# nodes of its own: bound ones would let what runs there change the mode of this machine's
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
  set -- $node
  mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for place in python site source share; do mkdir -p "$root/opt/test/$place"; done
mount --bind "$python" "$root/opt/test/python"
mount --bind "$site" "$root/opt/test/site"
mount --bind "$source" "$root/opt/test/source"
mount --bind "$folder/share" "$root/opt/test/share"
ip link set lo up
cd "$root"
mount --move . /
# mounts of services are seen by the others where the root is shared; what makes a container has to see to that
exec chroot . sh -c 'mount --make-rshared / && exec "$@"' - env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  NOTIFY_SOCKET=/opt/test/share/ready /lib/systemd/systemd --system --unit=basic.target
