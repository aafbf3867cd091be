#!/bin/bash
# minio.sh -- MinIO on loopback for the integration tests.
#   minio.sh start FOLDER [BINARY]  all state in FOLDER, bucket "test"; prints
#                                   LS_TEST_S3_URL, ..._KEY, ..._SECRET
#   minio.sh stop FOLDER            by its pid file
# The binary is $MINIO, or minio in PATH. Exit 77: there is none.
set -eu
[ $# -ge 2 ] || { echo "usage: minio.sh start|stop FOLDER [BINARY]" >&2; exit 2; }
D=$(mkdir -p "$2" && cd "$2" && pwd)
if [ "$1" = stop ]; then
	[ ! -f "$D/pid" ] || kill "$(cat "$D/pid")" 2>/dev/null || true
	rm -f "$D/pid"; exit 0
fi
B=${3:-${MINIO:-minio}}
command -v "$B" >/dev/null || { echo "minio.sh: no $B" >&2; exit 77; }
P=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p "$D/data/test"
MINIO_ROOT_USER=MINIOKEY MINIO_ROOT_PASSWORD=MINIOSECRET MINIO_BROWSER=off \
	setsid "$B" server --quiet --address "127.0.0.1:$P" "$D/data" \
	> "$D/log" 2>&1 </dev/null &
echo $! > "$D/pid"
for _ in $(seq 1 120); do
	curl -fs -o /dev/null "http://127.0.0.1:$P/minio/health/ready" && break
	sleep .25
done
cat > "$D/env" <<E
export LS_TEST_S3_URL='s3://test/live?endpoint=http://127.0.0.1:$P&forcePathStyle=true&region=us-east-1'
export LS_TEST_S3_KEY=MINIOKEY LS_TEST_S3_SECRET=MINIOSECRET
E
cat "$D/env"
