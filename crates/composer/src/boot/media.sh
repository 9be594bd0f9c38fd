# What a medium can do besides starting: be checked, keep changes, or be fetched over the network instead. Part of /init, which has
# the words of the command line and "say", "rescue" and "load_for_devices"; the first two also of dracut's, by dracut-media.sh.

# Compares the root with the checksums beside it.
check_medium() {
    [ "$check" = yes ] || return 0
    say "checking the medium"
    until parts_are_right; do
        rescue "the medium is damaged: $why. Write it again."
    done
    say "the medium is sound"
}

# Each line of the checksums is the SHA-256 of 4 MiB, the last of what is left.
parts_are_right() {
    why="image.squashfs.sums is missing"
    set -- $(cat $base/medium/image.squashfs.sums)
    [ $# -gt 0 ] || return 1
    why="image.squashfs is not what it should be"
    total=$#
    part=0
    for expected; do
        actual=$(dd if=$base/medium/image.squashfs bs=4194304 skip=$part count=1 2>/dev/null | sha256sum)
        [ "${actual%% *}" = "$expected" ] || return 1
        before=$((part * 10 / total))
        part=$((part + 1))
        [ $((part * 10 / total)) = $before ] || say "$((part * 100 / total)) % are checked"
    done
}

# Mounts the layer that takes what is changed: a filesystem on the rest of the medium's disk when that was asked for, and memory
# otherwise.
mount_changes() {
    [ "$keep" = yes ] && mount_room && return
    mount -t tmpfs -o mode=0755 changes $base/changes
}

mount_room() {
    if find_room && format_room && mount -t ext4 "$room" $base/changes; then
        say "changes are kept on $found"
        return 0
    fi
    say "changes cannot be kept: $why. They are lost when the machine stops."
    return 1
}

# Makes a loop device of the disk behind the image's end, which its partition table tells ("EFI PART" at byte 512; the last sector,
# as two words, at byte 544).
find_room() {
    why="there is no disk behind the medium that could be written"
    [ "$(dd if="$found" bs=512 skip=1 count=1 2>/dev/null | head -c 8)" = "EFI PART" ] || return 1
    [ "$(cat "/sys/class/block/${found#/dev/}/ro")" = 0 ] || return 1
    size=$(cat "/sys/class/block/${found#/dev/}/size")
    set -- $(dd if="$found" bs=8 skip=68 count=1 2>/dev/null | od -An -t u4)
    [ $# = 2 ] || return 1
    start=$((($1 + $2 * 4294967296 + 2048) / 2048 * 2048))
    why="the disk is no larger than the image"
    [ $((size - start)) -ge 131072 ] || return 1
    why="it cannot be opened"
    room=$(losetup -f) && losetup -o $((start * 512)) "$room" "$found"
}

# Makes the filesystem once, by the system's own program. Its label, at byte 1144, tells it from what was on the disk before.
format_room() {
    [ "$(dd if="$room" bs=8 skip=143 count=2 2>/dev/null | head -c 13)" = hatchery-keep ] && return 0
    say "preparing the rest of $found to keep changes"
    why="the system has no mkfs.ext4 (sys-fs/e2fsprogs)"
    mount -o bind /dev $base/system/dev || return 1
    made=1
    for program in /sbin/mkfs.ext4 /usr/sbin/mkfs.ext4; do
        [ -e "$base/system$program" ] || [ -L "$base/system$program" ] || continue
        why="$program failed"
        chroot $base/system $program -q -F -L hatchery-keep "$room" </dev/null >/dev/null 2>&1 && made=0
        break
    done
    umount $base/system/dev
    return $made
}

# Fetches the root into memory. The command line has the address of the script that started all this, the root's name beside it, and
# its checksum.
fetch_system() {
    found=${fetch%/*}/$file
    mkdir -p $base/memory
    mount -t tmpfs -o mode=0755,size=90% memory $base/memory
    image=$base/memory/image.squashfs
    until connect && say "fetching $found" && wget -q -O $image "$found" && is_whole; do
        rescue "$found could not be fetched: $why."
    done
}

# Waits for a network card and an address.
connect() {
    waited=0
    load_for_devices
    why="no network card, or nobody who gives out addresses"
    until give_addresses; do
        [ "$waited" -lt "$patience" ] || return 1
        sleep 1
        waited=$((waited + 1))
        load_for_devices
    done
    why="the server does not answer, has no such file, or the memory is too small for it"
}

give_addresses() {
    for card in /sys/class/net/*; do
        card=${card##*/}
        [ "$card" != lo ] || continue
        ip link set "$card" up
        udhcpc -i "$card" -n -q -t 5 -T 2 -s /lib/hatchery/dhcp.sh && return 0
    done >/dev/null 2>&1
    return 1
}

is_whole() {
    why="what came is not what was asked for"
    echo "$sum  $image" | sha256sum -c >/dev/null 2>&1
}
