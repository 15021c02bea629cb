#!/bin/bash
# A replica: a copy of PRIMARY when its data folder is new, then streaming from it.
set -euo pipefail

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  echo "copying $PRIMARY"
  # -R writes standby.signal and how to reach the primary; a copy that fails is removed, and the restart tries again.
  PGPASSWORD=$REPLICATION_PASSWORD pg_basebackup --host="$PRIMARY" --port="${PRIMARY_PORT:-5432}" \
    --username=replicator --pgdata="$PGDATA" --write-recovery-conf --wal-method=stream --checkpoint=fast
fi

exec docker-entrypoint.sh postgres "$@"
