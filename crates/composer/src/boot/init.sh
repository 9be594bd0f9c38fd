#!/bin/sh
# The first program of a Hatchery image. On a medium: finds it by its label, and puts a writable layer in memory over its read-only
# root. On a disk: mounts the root that the command line names. Then it hands over to the system's own init.
#
# Words of the kernel command line it knows:
#   hatchery.label=ID   the medium's volume id
#   hatchery.toram      copy the root into memory first, so that the medium can be taken out
#   hatchery.check      compare the medium with its checksum first
#   hatchery.keep       keep changes on the rest of the medium's disk
#   hatchery.fetch=URL hatchery.file=NAME hatchery.sha256=SUM   fetch the root from beside URL instead
#   hatchery.wait=N     seconds to wait for the medium (60)
#   root=WHERE          a disk's root instead of a medium: UUID=…, LABEL=… or /dev/…
#   rootfstype= rootflags= ro rw   how it is mounted (ro)
#   init=PATH           another program to hand over to

PATH=/bin
. /lib/hatchery/settings.sh
. /lib/hatchery/modules.sh
. /lib/hatchery/media.sh

seen=
found=
check=
keep=
fetch=
file=
sum=
why=
base=/run/hatchery
root=
type=
flags=
access=ro

main() {
    mount_kernel_filesystems
    read_command_line
    say "starting $name"
    for module in $early_modules; do
        load "$module"
    done
    if [ -n "$root" ]; then
        wait_for_root
    elif [ -n "$fetch" ]; then
        fetch_system
        mount_root
    else
        wait_for_medium
        check_medium
        keep_in_memory
        mount_root
    fi
    hand_over "$@"
}

# Says a line on every console: the screen and the serial line alike.
say() {
    for console in $(cat /sys/class/tty/console/active); do
        echo "hatchery: $*" >"/dev/$console"
    done 2>/dev/null
}

# The system speaks to the last of the consoles alone. Whoever sits at another one would think that it hangs.
say_where_messages_go() {
    active=$(cat /sys/class/tty/console/active)
    last=${active##* }
    case $last in
        tty[0-9]*) place="the screen" ;;
        *) place=$last ;;
    esac
    for console in $active; do
        [ "$console" = "$last" ] && continue
        echo "hatchery: what the system says while it starts is on $place; wait here for the login" >"/dev/$console"
    done 2>/dev/null
}

mount_kernel_filesystems() {
    mount -t proc -o nosuid,noexec,nodev proc /proc
    mount -t sysfs -o nosuid,noexec,nodev sysfs /sys
    mount -t devtmpfs -o mode=0755,nosuid dev /dev
    mount -t tmpfs -o mode=0755,nosuid,nodev run /run
    mkdir -p $base/medium $base/system $base/changes /newroot
}

read_command_line() {
    for word in $(cat /proc/cmdline); do
        case $word in
            hatchery.label=*) label=${word#*=} ;;
            hatchery.toram) toram=yes ;;
            hatchery.check) check=yes ;;
            hatchery.keep) keep=yes ;;
            hatchery.fetch=*) fetch=${word#*=} ;;
            hatchery.file=*) file=${word#*=} ;;
            hatchery.sha256=*) sum=${word#*=} ;;
            hatchery.wait=*) patience=${word#*=} ;;
            root=*) root=${word#*=} ;;
            rootfstype=*) type=${word#*=} ;;
            rootflags=*) flags=${word#*=} ;;
            ro | rw) access=$word ;;
            init=*) init=${word#*=} ;;
        esac
    done
}

# Loads what the devices that showed up since the last call ask for.
load_for_devices() {
    for file in /sys/bus/*/devices/*/modalias; do
        read -r alias <"$file" || continue
        case $seen in
            *" $alias "*) continue ;;
        esac
        seen="$seen $alias "
        match "$alias"
    done 2>/dev/null
}

wait_for_medium() {
    waited=0
    load_for_devices
    until find_medium; do
        if [ "$waited" -ge "$patience" ]; then
            rescue "no medium with the label $label and a file image.squashfs showed up within $patience seconds."
            waited=0
        fi
        sleep 1
        waited=$((waited + 1))
        load_for_devices
    done
}

wait_for_root() {
    waited=0
    load_for_devices
    until mount_disk; do
        if [ "$waited" -ge "$patience" ]; then
            rescue "the root $root did not show up within $patience seconds, or could not be mounted."
            waited=0
        fi
        sleep 1
        waited=$((waited + 1))
        load_for_devices
    done
}

# Mounts the root of a disk. Its filesystem's driver is loaded by the kernel's own request.
mount_disk() {
    case $root in
        UUID=* | LABEL=*) found=$(findfs "$root" 2>/dev/null) || return 1 ;;
        *) found=$root ;;
    esac
    [ -b "$found" ] || return 1
    for try in ${type:-ext4 btrfs xfs}; do
        mount -t "$try" -o "$access${flags:+,$flags}" "$found" /newroot && return 0
    done 2>/dev/null
    return 1
}

# Mounts the medium. ISO 9660 keeps its volume descriptor at byte 32768: "CD001" at 1, the volume id, padded with spaces, at 40.
find_medium() {
    for entry in /sys/class/block/*; do
        name=${entry##*/}
        case $name in
            loop* | ram* | zram* | fd*) continue ;;
        esac
        [ "$(dd if="/dev/$name" bs=1 skip=32769 count=5 2>/dev/null)" = CD001 ] || continue
        id=$(dd if="/dev/$name" bs=8 skip=4101 count=4 2>/dev/null)
        id=${id%"${id##*[! ]}"}
        [ "$id" = "$label" ] || continue
        mount -t iso9660 -o ro "/dev/$name" $base/medium || continue
        if [ -f $base/medium/image.squashfs ]; then
            found=/dev/$name
            return 0
        fi
        umount $base/medium
    done
    return 1
}

keep_in_memory() {
    image=$base/medium/image.squashfs
    [ "$toram" = yes ] || return
    say "copying the system into memory"
    mkdir -p $base/memory
    if mount -t tmpfs -o mode=0755,size=90% memory $base/memory && cp $image $base/memory/image.squashfs; then
        image=$base/memory/image.squashfs
        umount $base/medium
    else
        say "the memory is too small for the system: it stays on $found"
        umount $base/memory
    fi
}

mount_root() {
    until mount -t squashfs -o ro,loop $image $base/system; do
        rescue "image.squashfs on $found could not be mounted: the medium may be damaged."
    done
    mount_changes
    mkdir -p $base/changes/upper $base/changes/work
    layers=lowerdir=$base/system,upperdir=$base/changes/upper,workdir=$base/changes/work
    until mount -t overlay -o $layers hatchery /newroot; do
        rescue "the writable layer could not be put over the system."
    done
}

hand_over() {
    until [ -x "/newroot$init" ] || [ -L "/newroot$init" ]; do
        rescue "there is no $init in the system."
    done
    say_where_messages_go
    for dir in dev proc sys run; do
        mkdir -p /newroot/$dir
        mount -o move /$dir /newroot/$dir
    done
    exec switch_root /newroot "$init" "$@"
}

# Says what is wrong and opens a shell on the console; leaving it tries again.
rescue() {
    say "$*"
    say "disks: $(cd /sys/class/block && echo *)"
    say "a shell follows; type “exit” to try again, “reboot -f” to give up"
    setsid cttyhack sh || sh
}

main "$@"
