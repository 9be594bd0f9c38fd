#!/bin/sh
# Run by dracut's initramfs once the medium's root is there, and before changes are laid over it: checks the medium, and finds a place for
# changes where they are to be kept. What is done is in media.sh, as in Hatchery's own initramfs.

type getarg >/dev/null 2>&1 || . /lib/dracut-lib.sh

hatchery_media() (
    . /lib/hatchery/media.sh
    base=/run/hatchery
    check=
    keep=
    getargbool 0 hatchery.check && check=yes
    getargbool 0 hatchery.keep && keep=yes
    mkdir -p $base/changes
    ln -s /run/initramfs/live $base/medium
    ln -s /run/rootfsbase $base/system
    found=$(whole_disk)
    check_medium
    if [ "$keep" = yes ] && mount_room; then
        mkdir -p $base/changes/upper $base/changes/work
        rmdir /run/overlayfs /run/ovlwork 2>/dev/null
        ln -s $base/changes/upper /run/overlayfs
        ln -s $base/changes/work /run/ovlwork
    fi
    # What dracut 059 lays over the root by systemd takes them for granted.
    mkdir -m 0755 -p /run/overlayfs /run/ovlwork
)

# The disk that the medium is on: a stick's image begins with a partition of the same label.
whole_disk() {
    name=$(readlink -f /run/initramfs/livedev)
    name=${name##*/}
    if [ -e "/sys/class/block/$name/partition" ]; then
        name=$(readlink -f "/sys/class/block/$name/..")
        name=${name##*/}
    fi
    echo "/dev/$name"
}

say() {
    for console in $(cat /sys/class/tty/console/active); do
        echo "hatchery: $*" >"/dev/$console"
    done 2>/dev/null
}

rescue() {
    say "$*"
    emergency_shell -n hatchery "$*"
}

# A disk starts without any of this.
[ -e /run/initramfs/live/image.squashfs ] && hatchery_media
