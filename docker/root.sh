#!/bin/sh
# root.sh PROGRAM FOLDER: lays out the image's file system around a static program.
set -eu
program=$1 root=$2
install -D -m 755 "$program" "$root/usr/local/bin/clearspan"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
install -d "$root/etc/clearspan"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
echo 'clearspan:x:65532:65532::/etc/clearspan:/sbin/nologin' > "$root/etc/passwd"
echo 'clearspan:x:65532:' > "$root/etc/group"
