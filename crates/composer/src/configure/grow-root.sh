#!/bin/sh
# Grows the partition that the root is on to the end of its disk, if it is the disk's last one, and then its filesystem. Nothing is
# done twice: where there is no more room, nothing changes. Only disk images ask for it, by the word hatchery.grow.

main() {
	find_root || fail "the root is not on a partition of a disk"
	if is_last && has_room; then
		grow_partition || exit 1
	fi
	grow_filesystem
}

fail() {
	echo "hatchery-grow: $*" >&2
	exit 1
}

# The root's device and type: the fields of its line around the lone dash (proc_pid_mountinfo(5)).
find_root() {
	while read -r _ _ _ _ place rest; do
		[ "$place" = / ] || continue
		rest=${rest#*- }
		type=${rest%% *}
		rest=${rest#* }
		source=${rest%% *}
	done </proc/self/mountinfo
	[ -b "$source" ] || return 1
	name=$(readlink -f "$source")
	name=${name##*/}
	[ -r "/sys/class/block/$name/partition" ] || return 1
	read -r number <"/sys/class/block/$name/partition"
	folder=$(readlink -f "/sys/class/block/$name")
	folder=${folder%/*}
	disk=${folder##*/}
	[ -b "/dev/$disk" ]
}

# Sizes here are in sectors of 512 bytes, whatever the disk's own are.
is_last() {
	read -r start <"$folder/$name/start"
	for other in "$folder"/*/start; do
		read -r at <"$other"
		[ "$at" -gt "$start" ] && return 1
	done
	return 0
}

# A MiB or more behind it, besides the table's copy.
has_room() {
	read -r size <"$folder/$name/size"
	read -r whole <"$folder/size"
	[ $((whole - start - size)) -gt 4096 ]
}

grow_partition() {
	if command -v sfdisk >/dev/null; then
		# The table's copy moves to the disk's end; the disk is in use, so the kernel is told about the one partition only.
		echo ", +" | sfdisk --quiet --no-reread --no-tell-kernel --force -N "$number" "/dev/$disk" ||
			fail "sfdisk could not grow partition $number of /dev/$disk"
		if command -v partx >/dev/null; then
			partx --update --nr "$number" "/dev/$disk"
		else
			partprobe "/dev/$disk"
		fi
	elif command -v growpart >/dev/null; then
		growpart "/dev/$disk" "$number"
	else
		fail "there is no sfdisk (sys-apps/util-linux) and no growpart in the image"
	fi
}

grow_filesystem() {
	case $type in
		ext2 | ext3 | ext4) resize2fs "$source" ;;
		btrfs) btrfs filesystem resize max / ;;
		xfs) xfs_growfs / ;;
		*) fail "a filesystem of type $type cannot be grown here" ;;
	esac
}

main
