# archive.sh FILE NAME: keeps a file of PostgreSQL's log. It must last when this ends with 0, and nothing is written over.
set -eu
to=/archive/$CLUSTER/wal/$2
if [ -e "$to" ]; then
    exec cmp "$1" "$to"
fi
cp "$1" "$to.half"
sync "$to.half"
mv "$to.half" "$to"
sync /archive/"$CLUSTER"/wal
