#!/bin/sh
# Runs the person's script when the system has started for the first time, and keeps what it says.

state=/var/lib/hatchery
log=/var/log/hatchery-first-boot.log

[ -e "$state/first-boot.started" ] && exit 0
mkdir -p "$state"
# Marked before it runs: a machine that loses its power in the middle must not do half of it twice.
: >"$state/first-boot.started"
umask 077
echo "first-boot script started $(date -u '+%Y-%m-%d %H:%M:%S UTC')" >"$log"
umask 022
cd / || exit 1
/usr/lib/hatchery/first-boot </dev/null >>"$log" 2>&1
status=$?
echo "first-boot script ended with status $status" >>"$log"
exit "$status"
