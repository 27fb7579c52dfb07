#!/bin/sh
set -e
[ "$(id -u)" != 0 ] || exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
exec "$@"
