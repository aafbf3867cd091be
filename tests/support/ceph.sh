#!/bin/bash
# ceph.sh -- one node of Ceph (mon, osd, radosgw) on loopback, from the
# distribution's packages: the strict S3 server of the integration tests.
#   ceph.sh start FOLDER   starts it with all state in FOLDER, waits until it
#                          answers, makes the bucket "test", and prints
#                          LS_TEST_S3_URL, ..._KEY and ..._SECRET as exports
#   ceph.sh stop FOLDER    stops what start started, by its pid files
# Needs: radosgw ceph-mon ceph-osd ceph-common curl. Exit 77: not installed.
set -eu
usage() { echo "usage: ceph.sh start|stop FOLDER" >&2; exit 2; }
[ $# -eq 2 ] || usage
cmd=$1; D=$(mkdir -p "$2" && cd "$2" && pwd)

stop() {
	for f in "$D"/run/client.rgw*.pid "$D"/run/osd.*.pid "$D"/run/mon.*.pid; do
		[ -f "$f" ] || continue
		pid=$(cat "$f"); kill "$pid" 2>/dev/null || true
		for _ in $(seq 1 50); do
			kill -0 "$pid" 2>/dev/null || break; sleep .1
		done
		kill -9 "$pid" 2>/dev/null || true
		rm -f "$f"
	done
}

if [ "$cmd" = stop ]; then stop; exit 0; fi
[ "$cmd" = start ] || usage
for p in radosgw ceph-mon ceph-osd ceph-authtool radosgw-admin curl python3; do
	command -v $p >/dev/null || { echo "ceph.sh: no $p" >&2; exit 77; }
done
[ ! -e "$D/ceph.conf" ] || { echo "ceph.sh: $D is not empty" >&2; exit 2; }

# Three free ports, and a range for the osd.
read -r WEB V2 V1 < <(python3 - <<'P'
import socket
s = [socket.socket() for _ in range(3)]
for x in s:
    x.bind(("127.0.0.1", 0))
print(*[x.getsockname()[1] for x in s])
P
)
mkdir -p "$D"/mon "$D"/osd "$D"/mgr "$D"/rgw "$D"/run "$D"/log
FSID=$(cat /proc/sys/kernel/random/uuid)
cat > "$D/ceph.conf" <<C
[global]
fsid = $FSID
mon_initial_members = a
mon_host = [v2:127.0.0.1:$V2/0,v1:127.0.0.1:$V1/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
run_dir = $D/run
admin_socket = $D/run/\$name.asok
pid_file = $D/run/\$name.pid
log_file = $D/log/\$name.log
crash_dir = $D/log
mon_data = $D/mon
osd_data = $D/osd
mgr_data = $D/mgr
mon_data_avail_warn = 1
mon_data_avail_crit = 0
keyring = $D/\$name.keyring
[osd]
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_op_num_shards = 2
osd_memory_target = 939524096
[client.rgw]
rgw_data = $D/rgw
rgw_frontends = beast endpoint=127.0.0.1:$WEB
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_dns_name = localhost
C
export CEPH_CONF=$D/ceph.conf
K=$D/tmp.keyring
trap 'stop' ERR
{
ceph-authtool --create-keyring "$K" --gen-key -n mon. --cap mon 'allow *'
ceph-authtool --create-keyring "$D/client.admin.keyring" --gen-key \
	-n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
ceph-authtool --create-keyring "$D/client.rgw.keyring" --gen-key \
	-n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
ceph-authtool --create-keyring "$D/osd.0.keyring" --gen-key \
	-n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
for k in client.admin client.rgw osd.0; do
	ceph-authtool "$K" --import-keyring "$D/$k.keyring"
done
monmaptool --create --fsid "$FSID" \
	--addv a "[v2:127.0.0.1:$V2,v1:127.0.0.1:$V1]" "$D/monmap"
ceph-mon --mkfs -i a --monmap "$D/monmap" --keyring "$K" -c "$D/ceph.conf"
ceph-mon -i a -c "$D/ceph.conf"
U=$(cat /proc/sys/kernel/random/uuid)
ceph -c "$D/ceph.conf" osd new "$U"
ceph-osd -i 0 --mkfs --osd-uuid "$U" -c "$D/ceph.conf"
ceph-osd -i 0 -c "$D/ceph.conf"
radosgw -n client.rgw -c "$D/ceph.conf"
} > "$D/log/start" 2>&1 </dev/null
for _ in $(seq 1 240); do
	curl -s -o /dev/null "http://127.0.0.1:$WEB/" && break; sleep .25
done
radosgw-admin -n client.rgw -c "$D/ceph.conf" user create --uid=t \
	--display-name=t --access-key=CEPHKEY --secret-key=CEPHSECRET \
	>> "$D/log/start" 2>&1
python3 - "127.0.0.1:$WEB" <<'P' # make_bucket: one signed PUT /test
import hashlib, hmac, sys, time, urllib.request
host, now = sys.argv[1], time.gmtime()
day, at = time.strftime("%Y%m%d", now), time.strftime("%Y%m%dT%H%M%SZ", now)
void = hashlib.sha256(b"").hexdigest()
scope = day + "/us-east-1/s3/aws4_request"
names = "host;x-amz-content-sha256;x-amz-date"
canon = "\n".join(["PUT", "/test", "", "host:" + host,
    "x-amz-content-sha256:" + void, "x-amz-date:" + at, "", names, void])
text = "\n".join(["AWS4-HMAC-SHA256", at, scope,
    hashlib.sha256(canon.encode()).hexdigest()])
key = b"AWS4CEPHSECRET"
for part in scope.split("/"):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
sig = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
r = urllib.request.Request("http://" + host + "/test", method="PUT", headers={
    "x-amz-date": at, "x-amz-content-sha256": void,
    "authorization": "AWS4-HMAC-SHA256 Credential=CEPHKEY/" + scope +
    ", SignedHeaders=" + names + ", Signature=" + sig})
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(r).read()
P
cat > "$D/env" <<E
export LS_TEST_S3_URL='s3://test/live?endpoint=http://127.0.0.1:$WEB&forcePathStyle=true&region=us-east-1'
export LS_TEST_S3_KEY=CEPHKEY LS_TEST_S3_SECRET=CEPHSECRET
E
cat "$D/env"
