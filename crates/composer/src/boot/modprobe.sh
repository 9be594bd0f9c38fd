#!/bin/sh
# What the kernel calls when it wants a module of its own accord: modprobe -q -- NAME.

PATH=/bin
. /lib/hatchery/modules.sh
for wanted in "$@"; do
    case $wanted in
        -*) ;;
        *) match "$wanted" ;;
    esac
done
